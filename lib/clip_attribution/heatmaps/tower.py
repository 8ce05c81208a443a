"""What the heat maps have to know of an image tower: its last layer, its grid and how it pools."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError


@dataclass(frozen=True)
class Tower:
    """An image tower of open_clip.

    blocks: the residual blocks of a transformer; empty for a convolutional tower. last: the module
    whose output is the last feature map (last block, or last convolutional stage). grid: rows and
    columns of that map. prefix: tokens before the patches. pool: what the image feature is read
    from: "token" (the class token), "average" or "pooler" (an attention pooler, the module
    `pooler`). channels_last: whether a convolutional stage puts its channels last.
    """

    name: str
    last: nn.Module
    grid: tuple[int, int]
    pool: str
    blocks: list[nn.Module] = field(default_factory=list)
    prefix: int = 0
    pooler: Any = None  # an nn.Module, read by the names that its own class has
    channels_last: bool = False

    def to_grid(self, x: Tensor) -> Tensor:
        """Output of a layer as [B, channels, rows, cols], tokens before the patches left out."""
        if self.blocks:
            return x[:, self.prefix :].unflatten(1, self.grid).permute(0, 3, 1, 2)
        return x.permute(0, 3, 1, 2) if self.channels_last else x


def find_tower(model: nn.Module) -> Tower:
    """Describe the image tower. Raises UserError for one that has no known last feature map."""
    visual = model.visual
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        found = _timm_transformer(trunk) if hasattr(trunk, "blocks") else _timm_stages(visual)
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
    blocks = list(trunk.blocks)
    grid, prefix = getattr(trunk.patch_embed, "grid_size", None), trunk.num_prefix_tokens
    if grid is None:
        return None
    name, grid = type(trunk).__name__, tuple(grid)
    if getattr(trunk, "attn_pool", None) is not None:
        return Tower(name, blocks[-1], grid, "pooler", blocks, prefix, trunk.attn_pool)
    pool = {"token": "token", "avg": "average"}.get(trunk.global_pool)
    return Tower(name, blocks[-1], grid, pool, blocks, prefix) if pool else None


def _timm_stages(visual) -> Tower | None:
    trunk = visual.trunk
    stages = getattr(trunk, "stages", getattr(trunk, "layers", None))
    info = getattr(trunk, "feature_info", None)
    if stages is None or not info:
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
