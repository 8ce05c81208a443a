"""What the heat maps have to know of an image tower: its last layer, its grid and how it pools."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

PLAIN = ("VisionTransformer", "Eva", "ConvNeXt")  # described by their attributes alone


@dataclass(frozen=True)
class Tower:
    """An image tower of open_clip.

    blocks: the residual blocks of a transformer; empty for a convolutional tower. last: the module
    whose output is the last feature map (last block, or last convolutional stage). grid: rows and
    columns of that map. prefix: tokens before the patches. pool: what the image feature is read
    from: "token" (the class token), "average" or "pooler" (an attention pooler, the module
    `pooler`). channels_last: whether a convolutional stage puts its channels last; tokens: whether
    a stage gives a row of tokens.
    """

    name: str
    last: nn.Module
    grid: tuple[int, int]
    pool: str
    blocks: list[nn.Module] = field(default_factory=list)
    prefix: int = 0
    pooler: Any = None  # an nn.Module, read by the names that its own class has
    channels_last: bool = False
    tokens: bool = False

    def to_grid(self, x: Tensor) -> Tensor:
        """Output of a layer as [B, channels, rows, cols], tokens before the patches left out."""
        if self.blocks or self.tokens:
            return x[:, self.prefix :].unflatten(1, self.grid).permute(0, 3, 1, 2)
        return x.permute(0, 3, 1, 2) if self.channels_last else x


def find_tower(model: nn.Module) -> Tower:
    """Describe the image tower. Raises UserError for one that has no known last feature map."""
    visual = model.visual
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        found = _timm_transformer(trunk) or _timm_stages(visual)
        if type(trunk).__name__ not in PLAIN:
            found = _measured(visual, found)
    elif hasattr(visual, "transformer"):
        found = _open_clip_transformer(visual)
    else:
        found = _resnet(visual) if hasattr(visual, "layer4") else None
    if found is None:
        kind = type(visual if trunk is None else trunk).__name__
        raise UserError(f"the image tower {kind} has no known last feature map: no heat map of it")
    return found


def _open_clip_transformer(visual) -> Tower | None:
    blocks, grid = list(visual.transformer.resblocks), tuple(visual.grid_size)
    name = type(visual).__name__
    if visual.attn_pool is not None:
        kind, first = visual.attn_pool_type, visual.pool_type == "tok"  # the first query is read
        pooler = visual.attn_pool_contrastive if kind == "parallel" else visual.attn_pool
        if kind == "cascade" or (kind == "" and not first):
            raise UserError("an image tower with cascaded or averaged poolers has no heat maps")
        return Tower(name, blocks[-1], grid, "pooler", blocks, 1, pooler)
    pool = {"tok": "token", "avg": "average"}.get(visual.pool_type)
    return Tower(name, blocks[-1], grid, pool, blocks, 1) if pool else None


def _timm_transformer(trunk) -> Tower | None:
    grid = getattr(getattr(trunk, "patch_embed", None), "grid_size", None)
    blocks, prefix = getattr(trunk, "blocks", ()), getattr(trunk, "num_prefix_tokens", None)
    if grid is None or prefix is None or not len(blocks) or not hasattr(trunk, "global_pool"):
        return None
    blocks = list(blocks)
    name, grid = type(trunk).__name__, tuple(grid)
    if getattr(trunk, "attn_pool", None) is not None:
        return Tower(name, blocks[-1], grid, "pooler", blocks, prefix, trunk.attn_pool)
    pool = {"token": "token", "avg": "average"}.get(trunk.global_pool)
    return Tower(name, blocks[-1], grid, pool, blocks, prefix) if pool else None


def _measured(visual, found: Tower | None) -> Tower | None:
    """A tower of a family that is not known by name, as one forward pass shows its last stage.

    found: what the names of its parts promise; it stands where the output bears it out.
    """
    trunk = visual.trunk
    parts = (getattr(trunk, name, None) for name in ("stages", "layers", "blocks"))
    stages = next((p for p in parts if isinstance(p, nn.Sequential | nn.ModuleList) and len(p)), ())
    last: Any = found.last if found else next(reversed(list(stages)), None)
    shape = _output_shape(visual, last) if last is not None else ()
    name, sides = type(trunk).__name__, _sides(visual)
    if len(shape) == 3:
        if found and found.blocks and shape[1] == found.prefix + found.grid[0] * found.grid[1]:
            return found
        for prefix in (0, getattr(trunk, "num_prefix_tokens", 0), 1):
            rows = round(((shape[1] - prefix) * sides[0] / sides[1]) ** 0.5)
            if rows and (shape[1] - prefix) % rows == 0:
                grid = rows, (shape[1] - prefix) // rows
                if grid[0] * sides[1] == grid[1] * sides[0]:
                    return Tower(name, last, grid, "average", prefix=prefix, tokens=True)
    if len(shape) == 4:
        first, final = (_fits(shape[at : at + 2], sides) for at in (2, 1))
        known = {getattr(trunk, "num_features", 0)}
        known |= {part.get("num_chs") for part in getattr(trunk, "feature_info", ()) or ()}
        channels_last = final and not (first and shape[1] in known)
        if first or final:
            grid = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
            return Tower(name, last, grid, "average", channels_last=channels_last)
    return None


def _fits(grid, sides) -> bool:
    """Whether rows and columns are to each other as height and width, as near as rounding lets."""
    return abs(grid[0] - grid[1] * sides[0] / sides[1]) < 1


def _sides(visual) -> tuple[int, int]:
    size = visual.image_size
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


def _output_shape(visual, module: nn.Module) -> tuple[int, ...]:
    """The shape of what a module gives for one image; () where it is no single tensor."""
    seen: list[tuple[int, ...]] = []

    def look(module, args, out):
        seen.append(tuple(out.shape) if isinstance(out, Tensor) else ())

    handle = module.register_forward_hook(look)
    try:
        with torch.no_grad():
            like = next(visual.parameters())
            visual(like.new_zeros(1, 3, *_sides(visual)))
    finally:
        handle.remove()
    return seen[-1] if seen else ()


def _timm_stages(visual) -> Tower | None:
    trunk = visual.trunk
    stages = getattr(trunk, "stages", getattr(trunk, "layers", None))
    info = getattr(trunk, "feature_info", None)
    if not isinstance(stages, nn.Sequential | nn.ModuleList) or not info or not len(stages):
        return None
    grid = tuple(-(-side // info[-1]["reduction"]) for side in visual.image_size)
    last = getattr(trunk, "output_fmt", None)
    channels_last = str(getattr(last, "value", last)) == "NHWC"
    name = type(trunk).__name__
    return Tower(name, stages[-1], grid, "average", channels_last=channels_last)


def _resnet(visual) -> Tower:
    size = visual.image_size
    sides = size if isinstance(size, tuple | list) else (size, size)
    grid = tuple(side // 32 for side in sides)
    name = type(visual).__name__
    return Tower(name, visual.layer4, grid, "pooler", [], 1, visual.attnpool)


def check_model(model: nn.Module) -> None:
    """Refuse the states in which a heat map would be wrong or would change the model."""
    if torch.is_inference_mode_enabled():
        raise UserError("heat maps need gradients: use torch.no_grad instead of inference_mode")
    if any(module.training for module in model.modules() if not list(module.children())):
        raise UserError("the model is in training mode: call model.eval() first")
    if any(getattr(module, "grad_checkpointing", False) for module in model.modules()):
        raise UserError("call model.set_grad_checkpointing(False) first")
