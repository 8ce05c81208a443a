"""The integrated form of word x region interactions, for comparison: exCLIP's.

    A[i, p] = (x_i - x'_i)  J_t,i^T  J_v,p  (y_p - y'_p)        J = integral of dt/dx from x' to x

x, y: the hidden states that enter one block of the text and of the image tower; J_t, J_v: the
Jacobians of the unit features, each integrated along the straight path from its reference.
Moeller et al., "Explaining Caption-Image Interactions in CLIP Models with Second-Order
Attributions", arXiv 2408.14153, equation for A. With a gate g_i on each token, x' + (s + g_i)(x -
x'), J (x_i - x'_i) is the integral of dt/dg_i over s, so that no Jacobian in x has to be stored.

The authors' code attributes to the input of the last block (number 11 of 12) with 10 steps, and
so do we by default. Ours: the references are the text with EOT in place of every token between BOS
and EOT, at its own positions, and a black image (theirs: BOS, one "!", EOT; and the mean colour);
features have unit length along the whole path (theirs: divided by the lengths at x and y); the
points and weights are Gauss and Legendre's, which need fewer steps than equal ones.

Completeness, as steps grow: over all tokens and positions, BOS, EOT, template and class token
included, A sums to s(x, y) - s(x, y') - s(x', y) + s(x', y'). Sign as for `interactions`.
Known weakness: much of the sum lies on EOT and the class token, which no word and no patch shows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

from ..attribution.captions import Caption
from ..errors import UserError
from ..trace.inputs import text_features
from ..trace.reading import widen
from ..trace.sites import find_sites, held_flags
from .patches import entering


def text_side(model, captions: list[Caption], ids: Tensor, images: Tensor, layer: int, steps: int):
    """J (x_i - x'_i) of every token, [B, n, D], and the cosines [B]. images: as for the exact form.

    layer: number of the block whose input x is.
    """
    reference = reference_ids(captions, ids)
    with differentiable(model, "text", layer) as block:
        x, texts = states(block, lambda: text_features(model, ids))
        start, _ = states(block, lambda: text_features(model, reference))
        each = torch.eye(x.shape[1]).to(images)[:, None].expand(-1, *x.shape[:2])
        total = torch.zeros_like(images).expand(x.shape[1], -1, -1)
        for place, weight in quadrature(steps):
            with moved(block, start, x, place) as gate:
                score = (text_features(model, ids) * images).sum()
            (slope,) = torch.autograd.grad(score, gate, create_graph=True)
            (found,) = torch.autograd.grad(slope, images, each, is_grads_batched=True)
            total = total + weight * found
    return total.transpose(0, 1).detach(), (texts * images).sum(-1).detach()


def image_side(model, pixels: Tensor, black: Tensor, image_of: Tensor, layer: int, steps: int):
    """Unit image features [B, D] of B pairs, and the function that pulls directions [B, m, D] back
    to < J (y_p - y'_p), direction > of every position, [B, m, n].

    pixels: distinct images [b, 3, h, w]; black: the reference [3, h, w].
    """

    def features(batch: Tensor) -> Tensor:
        return normalize(widen(model.encode_image(batch, normalize=False)), dim=-1)

    with differentiable(model, "image", layer) as block:
        y, images = states(block, lambda: features(pixels))
        start, _ = states(block, lambda: features(black[None]))

    def pull(directions: Tensor) -> Tensor:
        total, along = torch.zeros(()), directions.transpose(0, 1)
        with differentiable(model, "image", layer) as block:
            for place, weight in quadrature(steps):
                with moved(block, start, y[image_of], place) as gate:
                    seen = features(black[None])  # the blocks below need not run once a pair
                (found,) = torch.autograd.grad(seen, gate, along, is_grads_batched=True)
                total = total + weight * found
        return total.transpose(0, 1)

    return images[image_of], pull


def check(n_layers: int, steps: int) -> None:
    """Raise UserError for a number of steps that is none, and for an image tower without blocks."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise UserError(f"steps must be a whole number of at least 1, not {steps!r}")
    if not n_layers:
        raise UserError("this image tower has no transformer blocks: use form='exact'")


def reference_ids(captions: list[Caption], ids: Tensor) -> Tensor:
    """Ids [B, n] with EOT in place of every token between BOS and EOT."""
    found = ids.clone()
    for row, caption in enumerate(captions):
        found[row, caption.first : caption.first + len(caption.starts)] = caption.ids[-1]
    return found


def quadrature(steps: int) -> list[tuple[float, float]]:
    """Points in 0..1 and their weights."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    return list(zip(((places + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


@contextmanager
def differentiable(model, tower: str, layer: int) -> Iterator:
    """The block number `layer`, while the tower is frozen and its attention has two derivatives."""
    sites = find_sites(model, tower)[layer:]
    with held_flags(model, sites), sdpa_kernel(SDPBackend.MATH):
        yield sites[0].block


@torch.no_grad()
def states(block, run: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """The hidden states [B, n, d] that enter a block during run(), and what run() returns."""
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with entering(block, keep):
        output = run()
    return kept[0], output


@contextmanager
def moved(block, start: Tensor, end: Tensor, place: float) -> Iterator[Tensor]:
    """Let a block read start + (place + gate) (end - start); gives the gate, zeros [B, n]."""
    gate = end.new_zeros(end.shape[:2]).requires_grad_()
    with torch.enable_grad():
        point = start + (place + gate)[..., None] * (end - start)
        with entering(block, lambda _: point):
            yield gate
