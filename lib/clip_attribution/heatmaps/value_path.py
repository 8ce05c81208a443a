"""Patch-text similarity by the value path: what each patch says when nothing is mixed into it.

    f_i = projection( block( x_i alone ) )        map_i = cosine(f_i, text)

Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP" (MaskCLIP), ECCV 2022. A patch that attends
to itself alone has attention 1, so the last attention gives W_o (W_v z_i + b_v) + b_o, its value
path, and queries and keys drop out. That is computed by giving the last block every patch as a
sequence of its own. As in MaskCLIP's public code the block's residual path and its
feed-forward layer stay; residual=False leaves both out, so that only value, output projection,
last norm and projection to the shared space are left. In a tower with an attention pooler (SigLIP,
CoCa, the ResNets) it is the pooler that reads one patch at a time; it has no residual path.
In a ResNet f_i = c_proj(v_proj(x_i)), without the positional embedding, as in the paper.

Sign: a cosine, above zero like the phrase, below unlike it; in practice all have a common offset.
Known weakness: a patch was never trained to be compared with a text.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UserError
from ..trace.layouts import layout_of
from .batch import Batch
from .registry import ATTENTION, method
from .tower import Tower, find_tower

TOKENS = 8192  # patches that run as sequences of their own at a time: bounds memory


@method(
    "value_path",
    signed=True,
    towers=ATTENTION,
    paper="Zhou et al., ECCV 2022",
    about="cosine of phrase and patch, each patch read by itself",
)
def prepare(clip, layers=None, residual: bool = True):
    """A function from a Batch to its maps. layers has to be None: the last attention."""
    tower = find_tower(clip.model)
    _check(tower, layers)
    if tower.pool != "pooler":
        _attention(tower.last)
    at_once = max(1, TOKENS // (tower.grid[0] * tower.grid[1]))

    @torch.no_grad()
    def maps(batch: Batch) -> Tensor:
        parts = batch.pixels.split(at_once)
        features = torch.cat([_patch_features(clip, tower, part, residual) for part in parts])
        cosines = torch.einsum("pnd,pd->pn", features[batch.image_of], batch.texts)
        return cosines.unflatten(1, tower.grid)

    return maps


def _check(tower: Tower, layers) -> None:
    if layers is not None:
        raise UserError("value_path reads the last attention: leave layers at None")
    if not tower.blocks and tower.pooler is None:
        raise UserError(f"a {tower.name} ends without attention: value_path is undefined for it")
    if getattr(tower.pooler, "pos_embed", None) is not None:
        raise UserError("value_path is undefined for a pooler with a positional embedding")


def _attention(block):
    """The block's attention module; one that cannot run on a sequence of one is refused."""
    found = [module for module in block.modules() if layout_of(module)]
    if len(found) != 1:
        raise UserError(f"value_path: a {type(block).__name__} has no known attention")
    return found[0]


def _patch_features(clip, tower: Tower, pixels: Tensor, residual: bool) -> Tensor:
    """Unit features [B, patches, D] of pixels [B, 3, h, w]."""
    if not tower.blocks:
        features = _resnet_features(clip, tower, pixels)
    else:
        with _alone(tower, residual):
            features = clip.model.encode_image(pixels, normalize=False)
        features = features.unflatten(0, (len(pixels), -1))
    return normalize(features.float(), dim=-1)


def _resnet_features(clip, tower: Tower, pixels: Tensor) -> Tensor:
    kept = []
    handle = tower.pooler.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    try:
        clip.model.encode_image(pixels, normalize=False)
    finally:
        handle.remove()
    places = kept[0].flatten(2).transpose(1, 2)
    return tower.pooler.c_proj(tower.pooler.v_proj(places))


@contextmanager
def _alone(tower: Tower, residual: bool) -> Iterator[None]:
    """Make the last attention read one patch at a time: B images become B * patches items."""
    copies = 1 + tower.prefix if tower.pool == "average" else 1  # the mean skips the prefix
    reader = tower.pooler if tower.pool == "pooler" else tower.last
    patches = tower.grid[0] * tower.grid[1]

    def apart(_, args, kwargs):
        x = args[0][:, -patches:].flatten(0, 1)
        kwargs = {name: None if name == "rope" else given for name, given in kwargs.items()}
        return (x[:, None].expand(-1, copies, -1), *args[1:]), kwargs

    with ExitStack() as stack:
        handles = [reader.register_forward_pre_hook(apart, with_kwargs=True)]
        handles += _one_query(tower) if tower.pool == "pooler" else []
        handles += _values_only(tower) if tower.pool != "pooler" and not residual else []
        for handle in handles:
            stack.callback(handle.remove)
        yield


def _one_query(tower: Tower) -> list:
    """CoCa's pooler asks many queries, of which the first is the image's feature."""
    inner = getattr(tower.pooler, "attn", None)
    if inner is None:
        return []
    first = inner.register_forward_pre_hook(lambda _, args: (args[0][:, :1], *args[1:]))
    return [first]


def _values_only(tower: Tower) -> list:
    """Make the last block return what its attention returned."""
    kept: list[Tensor] = []

    def keep(_, args, output):
        kept[:] = [output[0] if isinstance(output, tuple) else output]

    inner = _attention(tower.last).register_forward_hook(keep)
    return [inner, tower.last.register_forward_hook(lambda *_: kept[0])]
