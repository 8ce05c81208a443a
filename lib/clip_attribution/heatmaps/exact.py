"""The exact form of word x region interactions: derivatives in the pooled rows of attention.

Formulas in `interactions`. Both sides work with the unit feature of the other tower as a direction.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..attribution.view import View
from ..models.arithmetic import exact
from ..trace.hooks import HALF_SCALE, count_layers, trace
from ..trace.inputs import text_features, watched_embeddings
from ..trace.pooling import text_rows
from ..trace.reading import widen
from ..trace.rows import can_run_image_row, can_run_rows, run_image_row, run_rows
from ..trace.sites import find_sites
from .attention import first_block, view_of
from .patches import repeated
from .tower import Tower


@exact()
@torch.enable_grad()
def text_side(model, ids: Tensor, images: Tensor, layers: list[int]):
    """dt/da of every token, [B, n, D], and the cosines [B]; images: unit features [B, D], a leaf.

    dS/da is linear in the image's feature, so its derivative there is dt/da: one pass back a token.
    """
    rows = text_rows(model, ids)
    if can_run_rows(model):
        tables, cosines = run_rows(model, ids, rows, images, layers, True, create_graph=True)
        slopes = sum((a.detach() * g).sum(1) for a, g in tables.values())
    else:
        with watched_embeddings(model, True), trace(model, "text", layers[0], True) as traced:
            cosines = (text_features(model, ids) * images).sum(-1)
            traced.backward(cosines.sum())
            view = View(traced, rows, layers)
            slopes = sum((view.attention(k).detach() * view.gradient(k)).sum(1) for k in layers)
    n = slopes.shape[1]
    each = torch.eye(n).to(slopes)[:, None].expand(n, len(ids), n)
    (found,) = torch.autograd.grad(slopes, images, each, is_grads_batched=True)
    return found.transpose(0, 1).detach(), cosines.detach()


@exact()
@torch.enable_grad()
def image_side(
    model, pixels: Tensor, image_of: Tensor, tower: Tower, layers: list[int]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Unit image features [B, D] of B pairs, and the function that pulls directions [B, m, D] back
    to < dv/db_p , direction > of every position, [B, m, n]. pixels: distinct images.
    """
    n_layers = count_layers(model, "image")
    if can_run_image_row(model) and layers == [n_layers - 1]:
        features, attention = run_image_row(model, pixels, image_of)
        images = normalize(widen(features), dim=-1)

        @torch.enable_grad()
        def pull(directions: Tensor) -> Tensor:
            each = directions.transpose(0, 1) * HALF_SCALE
            (found,) = torch.autograd.grad(
                images, attention, each, retain_graph=True, is_grads_batched=True
            )
            return (attention.detach() * found).sum(2).transpose(0, 1) / HALF_SCALE

        return images, pull
    start, rows = first_block(layers, n_layers), torch.zeros_like(image_of)
    block = find_sites(model, "image")[start].block
    with repeated(block, image_of), trace(model, "image", start=start) as traced:
        images = normalize(widen(model.encode_image(pixels, normalize=False)), dim=-1)

    @torch.enable_grad()
    def pull_traced(directions: Tensor) -> Tensor:
        maps = []
        for direction in directions.unbind(1):
            traced.backward((images * direction).sum(), retain_graph=True)
            view = view_of(tower, n_layers)(traced, rows, layers)
            maps.append(sum((view.attention(k) * view.gradient(k)).sum(1) for k in layers))
        return torch.stack(maps, 1)

    return images, pull_traced
