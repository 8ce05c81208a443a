"""Attention rebuilt from what a module was given: probabilities, values, and their gradients.

With o = A V at every head and y = concat(o) W_oᵀ, dS/do = (dS/dy) W_o cut into heads and
dS/dA = (dS/do) Vᵀ: everything below is that identity, for all query rows or for one row an item.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError


class TraceError(UserError):
    """A tower or a call that cannot be traced exactly; the message names module and cure."""


class Projection(NamedTuple):
    """x [B, n, d_in] projected to heads [B, H, n, dh]; `then` normalises or rotates the heads."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    heads: int
    then: Callable[[Tensor], Tensor] | None = None
    positional: bool = False  # `then` needs every position at once (rotary embedding)


class Reading(NamedTuple):
    """What one attention module was given, and how its head outputs reach the gradient point."""

    query: Projection
    key: Projection
    value: Projection
    scale: float
    mask: Tensor | None  # [1|B, 1|H, 1|nq, nk]: added to the logits, or bool with True = attend
    out_weight: Tensor | None = None
    head_scale: Tensor | None = None  # [H, 1, 1]: factor between a head's output and the point
    arrange: Callable[[Tensor], Tensor] | None = None  # the point's own shape to [B, n, d]


def additive(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))


def widen(x: Tensor) -> Tensor:
    """Half precision to float32; anything wider as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def pick(x: Tensor, rows: Tensor, dim: int = 1) -> Tensor:
    """One position an item along dim, kept as a dimension of length 1; x may be broadcast."""
    if x.shape[dim] == 1:
        return x
    rows = rows.to(x.device)
    items = torch.arange(len(rows), device=x.device) if len(x) > 1 else torch.zeros_like(rows)
    return x.movedim(dim, 1)[items, rows].unsqueeze(1).movedim(1, dim)


def cut(x: Tensor, heads: int) -> Tensor:
    """[B, n, H*dh] to [B, H, n, dh]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def project(part: Projection, rows: Tensor | None = None) -> Tensor:
    """Heads [B, H, n, dh] of a projection, or [B, H, 1, dh] at one position an item."""
    late = rows is not None and part.positional
    x = part.x if rows is None or late else pick(part.x, rows)
    heads = cut(F.linear(x.to(part.weight.dtype), part.weight, part.bias), part.heads)
    heads = heads if part.then is None else part.then(heads)
    return widen(heads if rows is None or not late else pick(heads, rows, dim=2))


def against(vectors: Tensor, part: Projection) -> Tensor:
    """<vectors, heads of the projection>: [B, H, m, dh] with [B, H, n, dh] gives [B, H, m, n].

    For few vectors the weights are moved to their side, vectors W x instead of vectors (W x): the
    same sum, without projecting every position.
    """
    if part.then is not None or vectors.shape[2] * part.heads > part.x.shape[1]:
        return vectors @ project(part).transpose(-1, -2)
    weight = widen(part.weight).unflatten(0, (part.heads, -1))  # [H, dh, d_in]
    moved = torch.einsum("bhmd,hde->bhme", vectors, weight)
    product = moved.flatten(1, 2) @ widen(part.x).transpose(1, 2)  # [B, H*m, n]
    product = product.unflatten(1, vectors.shape[1:3])
    if part.bias is None:
        return product
    bias = widen(part.bias).unflatten(0, (part.heads, -1))[..., None]  # [H, dh, 1]
    return product + vectors @ bias


def probabilities(reading: Reading, rows: Tensor | None = None) -> Tensor:
    """A = softmax(q kᵀ · scale + mask) [B, H, nq, nk], nq = 1 with rows; hidden queries give 0."""
    query = project(reading.query, rows) * reading.scale
    logits, mask = against(query, reading.key), reading.mask
    if mask is None:
        return logits.softmax(-1)
    logits = logits + widen(additive(mask if rows is None else pick(mask, rows, dim=2)))
    hidden = logits.isneginf().all(-1, keepdim=True)
    return logits.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)


def head_gradients(reading: Reading, point_gradient: Tensor) -> Tensor:
    """dS/d(A V) [B, H, n, dh] from the gradient [B, n, d] at the point."""
    heads = reading.value.heads
    if reading.out_weight is not None:
        point_gradient = point_gradient @ widen(reading.out_weight)
    gradient = cut(point_gradient, heads)
    return gradient if reading.head_scale is None else gradient * widen(reading.head_scale)
