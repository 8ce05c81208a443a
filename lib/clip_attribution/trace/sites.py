"""Where a tower's attention modules are, and the state that the model is held in for a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from .layouts import LAYOUTS, layout_of
from .reading import TraceError

BLOCK_LISTS = (  # where a tower keeps its residual blocks
    "transformer.resblocks",
    "transformer.encoder.layer",
    "trunk.blocks",
)
POOLERS = ("attn_pool_contrastive", "attn_pool", "attnpool", "trunk.attn_pool")


class Site(NamedTuple):
    """One attention module: its key (layer index or "pooler"), path, and the block around it."""

    key: int | str
    name: str
    module: nn.Module
    block: nn.Module


def _reach(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name, None)
    return root


def _tower(model: nn.Module, tower: str) -> nn.Module:
    if tower not in ("text", "image"):
        raise TraceError(f"tower must be 'text' or 'image', not {tower!r}")
    found = getattr(model, "visual", None) if tower == "image" else getattr(model, "text", model)
    if not isinstance(found, nn.Module):
        raise TraceError(f"{type(model).__name__} has no {tower} tower: pass an open_clip model")
    return found


def _attentions(module: nn.Module) -> list[nn.Module]:
    return [inner for inner in module.modules() if layout_of(inner)]


def _suspects(module: nn.Module) -> list[nn.Module]:
    """Modules that look like attention by their class, a base class, or their own name."""

    def looks(name: str, inner: nn.Module) -> bool:
        kinds = [kind.__name__ for kind in type(inner).__mro__]
        return any("att" in word.lower() for word in (name.rsplit(".")[-1], *kinds))

    return [inner for name, inner in module.named_modules() if name and looks(name, inner)]


def _site(key: int | str, block: nn.Module, names: dict[nn.Module, str]) -> Site:
    found = _attentions(block)
    if len(found) == 1:
        return Site(key, names[found[0]], found[0], block)
    odd = (found[1:] or _suspects(block) or [block])[0]
    known = ", ".join(sorted({name.rsplit(".", 1)[1] for name in LAYOUTS}))
    kind = f"{type(odd).__module__}.{type(odd).__name__}"
    what = f"{len(found)} attention modules" if found else "unknown attention layout"
    raise TraceError(f"{what}: {names[odd] or names[block]} is a {kind}; known are {known}")


def find_blocks(model: nn.Module, tower: str) -> list[nn.Module]:
    """A tower's residual blocks in forward order, whatever their attention; [] for a ResNet."""
    root = _tower(model, tower)
    lists = [found for path in BLOCK_LISTS if (found := _reach(root, path)) is not None]
    return list(lists[0]) if lists else []


def find_sites(model: nn.Module, tower: str) -> list[Site]:
    """Every block's attention module in forward order, then the pooler's where there is one."""
    root = _tower(model, tower)
    names = {module: name for name, module in model.named_modules()}
    sites = [_site(i, block, names) for i, block in enumerate(find_blocks(model, tower))]
    poolers = [found for path in POOLERS if (found := _reach(root, path)) is not None]
    if poolers and _attentions(poolers[0]):
        sites.append(_site("pooler", poolers[0], names))
    if sites:
        return sites
    odd = next((f"; {names[m]} is a {type(m).__name__}" for m in _suspects(root)), "")
    kind = type(getattr(root, "trunk", getattr(root, "transformer", root))).__name__
    raise TraceError(f"the {tower} tower ({kind}) has no attention blocks that can be traced{odd}")


def count_layers(model: nn.Module, tower: str = "text") -> int:
    """Number of residual attention blocks of a tower (0 for a ResNet)."""
    return sum(site.key != "pooler" for site in find_sites(model, tower))


@contextmanager
def held_flags(model: nn.Module, sites: list[Site]) -> Iterator[None]:
    """Freeze the model, all but the input projections of the traced nn.MultiheadAttention.

    torch multiplies a frozen weight with MultiheadAttention's strided input as a batched product,
    on a CPU at twice the time. No gradient of these weights is ever taken.
    """
    before = {p: p.requires_grad for p in model.parameters()}
    strided = {getattr(site.module, "in_proj_weight", None) for site in sites}
    try:
        for p in before:
            p.requires_grad_(p in strided)
        yield
    finally:
        for p, flag in before.items():
            p.requires_grad_(flag)


def check_state(model: nn.Module, sites: list[Site], tower: str, start: int) -> int:
    """The absolute start layer, after everything that would make the trace wrong is refused."""
    if torch.is_inference_mode_enabled():
        raise TraceError("a trace needs gradients: use torch.no_grad instead of inference_mode")
    for name, module in model.named_modules():
        if getattr(module, "grad_checkpointing", getattr(module, "gradient_checkpointing", False)):
            raise TraceError(f"{name or 'model'}: call set_grad_checkpointing(False) first")
    n = sum(site.key != "pooler" for site in sites)
    if not -n <= start < max(n, 1):
        raise TraceError(f"start={start}: the {tower} tower has {n} layers")
    return start % n if n else 0
