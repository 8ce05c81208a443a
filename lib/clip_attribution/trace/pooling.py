"""Run a tower of an open_clip model so that its pooled position is known.

The pooled position is the row of attention that every method reads: EOT in CLIP's text tower,
the class token in a ViT. A tower that pools over many positions has no such row and is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..errors import UserError, one_line

FIRST_TOKEN_POOLERS = ("ClsPooler", "ClsLastHiddenStatePooler")  # of open_clip's text wrapper


def text_tower(model):
    """The module that holds the text tower: `model.text`, or the model itself in plain CLIP."""
    return model if hasattr(model, "token_embedding") else model.text


def text_rows(model, ids: Tensor) -> Tensor:
    """Pooled position of each row of ids [B, n], LongTensor [B].

    Raises UserError for a tower that pools over several positions.
    """
    tower = text_tower(model)
    if hasattr(tower, "pooler"):
        return _fixed(ids, 0, type(tower.pooler).__name__ in FIRST_TOKEN_POOLERS)
    if getattr(tower, "cls_emb", None) is not None:
        return _fixed(ids, ids.shape[1])
    pool = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "none")
    if pool == "argmax":
        return ids.argmax(-1)
    if pool == "eos":
        return (ids == _eos_id(tower)).int().argmax(-1)
    return _fixed(ids, ids.shape[1] - 1 if pool == "last" else 0, pool in ("first", "last"))


def _fixed(ids: Tensor, position: int, single: bool = True) -> Tensor:
    if not single:
        raise UserError(
            "this text tower pools over all its tokens, so no single row of attention leads to "
            "the score: word attribution by attention is undefined for it"
        )
    return torch.full((len(ids),), position, dtype=torch.long, device=ids.device)


def _eos_id(tower) -> int:
    return tower.text_eos_id if hasattr(tower, "text_eos_id") else tower.eos_id


def can_trim(model) -> bool:
    """Whether columns beyond the longest EOT may be dropped without changing a number.

    True for a causal tower that pools at EOT: no position up to EOT sees a later one.
    """
    tower = text_tower(model)
    pool = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "none")
    causal = getattr(tower, "attn_mask", None) is not None
    appended = getattr(tower, "cls_emb", None) is not None
    return causal and pool in ("argmax", "eos") and not appended


def encode_text(model, ids: Tensor) -> Tensor:
    """Text features [B, D], not normalised, of ids [B, n] that may be trimmed to n columns."""
    if not can_trim(model):
        return model.encode_text(ids, normalize=False)
    tower, n = text_tower(model), ids.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:n].to(dtype)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:n, :n])
    pooled = x[torch.arange(len(ids), device=ids.device), text_rows(model, ids)]
    return project_text(tower, tower.ln_final(pooled))


def project_text(tower, pooled: Tensor) -> Tensor:
    """Text features [B, D] from the pooled, normed states [B, d]."""
    head = tower.text_projection
    if head is None:
        return pooled
    return head(pooled) if isinstance(head, torch.nn.Module) else pooled @ head


@contextmanager
def known_tower(model) -> Iterator[None]:
    """Inside, what goes wrong in an image tower of a family of timm that no method here was written
    for is a UserError.
    """
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as reason:
        trunk = getattr(getattr(model, "visual", None), "trunk", None)
        if trunk is None or type(trunk).__name__ in ("VisionTransformer", "ConvNeXt"):
            raise
        raise UserError(
            f"the image tower {type(trunk).__name__} is of a family that this is not defined for "
            f"({one_line(reason)})"
        ) from reason


def image_layout(model) -> tuple[int, tuple[int, int]]:
    """Number of tokens before the patches, and the grid (rows, columns) of the patches.

    Raises UserError unless the tower is a ViT pooled at its class token (position 0).
    """
    visual = model.visual
    trunk = getattr(visual, "trunk", None)
    if trunk is not None and hasattr(trunk, "patch_embed"):
        prefix = getattr(trunk, "num_prefix_tokens", 0)
        grid = getattr(trunk.patch_embed, "grid_size", None)
        single = getattr(trunk, "global_pool", "") == "token" and prefix >= 1 and grid is not None
    else:
        single = getattr(visual, "pool_type", "") == "tok" and visual.attn_pool is None
        prefix, grid = 1, getattr(visual, "grid_size", None)
    if not single or grid is None:
        raise UserError(
            f"the image tower {type(trunk or visual).__name__} is not pooled at a class token, so "
            "no single row of attention leads to the score: heat maps by attention are undefined"
        )
    return prefix, tuple(grid)
