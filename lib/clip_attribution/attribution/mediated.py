"""Integrated gradients through, around and beside a part of the pooled position's state.

At every point of the path of `integrated_gradients` the gradient splits at a block's output h:

    through = (dh[e]/dx)ᵀ P g[e]      around = (dh[e]/dx)ᵀ (1 - P) g[e]      g = dS/dh
    rest = sum over i ≠ e of (dh[i]/dx)ᵀ g[i]      whole = through + around + rest

e is the pooled position, P the projection onto the span of the first k columns of a rotation W (an
`interchange.Alignment`: site, size k, rotation W), and each part is integrated like the whole. Zur
et al., arXiv 2406.09458; S on the logit scale. Their "around" is the complement inside h[e]: what
reaches the score by other positions is in neither, hence the rest. The columns `completeness_gap`
and `share_of_rest` of the pairs say how far the three sum to S(x) - S(x'), and how much of their
absolute values is the rest's.

Options: path (whole, through, around, rest), alignment (default: the first half of the coordinates
after the last but one block, unrotated), n_steps, rule (of `path_points`: gauss, as in the public
code, or panels, which is nearer to the integral where the path is rough).

Sign: above zero the token raises the score by this path, below zero it lowers it.

Known weakness: a random subspace has a part as well; see what it gives before a part is read.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UserError
from ..interchange import FEATURES, Alignment, site_width
from ..interchange.engine import find_site, replaced
from ..trace.inputs import embedding_layer, frozen, given_embeddings
from ..trace.pooling import encode_text, text_rows
from ..trace.reading import widen
from .batch import run
from .integrated_gradients import baseline, integrated_gradients, score_change
from .path_points import AT_ONCE, path_points
from .registry import get_method, method

PATHS = ("whole", "through", "around", "rest")


@method(
    "mediated",
    signed=True,
    paper="arXiv 2406.09458",
    layers=None,
    towers=("text",),
    score="logit",
    reads="input",
    options=("path", "alignment", "n_steps", "rule"),
)
def mediated(view, path="through", alignment=None, n_steps: int = 50, rule: str = "gauss"):
    """Values a token, [B, 1, n], on the logit scale; notes the gap and the share of rest [B]."""
    if path not in PATHS:
        raise UserError(f"unknown path {path!r}: choose from {', '.join(PATHS)}")
    if path == "whole" and rule == "gauss":
        return integrated_gradients(view, n_steps)
    return parts(view, alignment, n_steps, rule)[:, PATHS.index(path), None]


def parts(view, alignment=None, n_steps: int = 50, rule: str = "gauss") -> Tensor:
    """The values of all `PATHS` in one pass, float32 [B, 4, n]; notes as of `mediated`.

    Raises UserError on points that `path_points` refuses, and on a site or size that the tower
    lacks.
    """
    site, columns = subspace(view.clip, alignment)
    base = baseline(view)
    with torch.no_grad():
        start, stop = (embedding_layer(view.model)(ids) for ids in (base, view.ids))
    points, weights = path_points(view, start, stop, n_steps, rule)
    at_once = max(1, AT_ONCE // len(view.ids))
    total = torch.zeros(3, *view.ids.shape, device=view.ids.device)
    for first in range(0, n_steps, at_once):
        times = torch.from_numpy(points[first : first + at_once]).to(start)[..., None, None]
        x = (start + times * (stop - start)).flatten(0, 1)
        found = gradients(view, x, site, columns).unflatten(1, times.shape[:2])  # [3, k, B, n, d]
        share = torch.from_numpy(weights[first : first + at_once]).to(found)
        total += torch.einsum("pkbnd,bnd,kb->pbn", found, widen(stop - start), share)
    whole = total.sum(0)
    view.notes["completeness_gap"] = whole.sum(-1) - score_change(view, base)
    view.notes["share_of_rest"] = total[2].abs().sum(-1) / total.abs().sum((0, 2))
    return torch.cat([whole[None], total]).transpose(0, 1).float()


def subspace(clip, alignment) -> tuple[int | str, Tensor]:
    """The site of an alignment, and the columns [d, k] that span its part of the state there.

    None is `Alignment.half`. Raises UserError on what is no alignment, on a site that the tower has
    not, and on a size or a rotation of another width.
    """
    alignment = Alignment.half(clip) if alignment is None else alignment
    if not isinstance(alignment, Alignment):
        kind = type(alignment).__name__
        raise UserError(
            f"alignment must be an Alignment of clip_attribution.interchange, not {kind}"
        )
    return alignment.site, alignment.basis(site_width(clip, alignment.site))


def gradients(view, x: Tensor, site, columns: Tensor) -> Tensor:
    """dS/dx through, around and beside the part, [3, m, n, d], of m points x [m, n, d] of paths.

    The graph is cut at the site, so that one pass forward serves the gradient there and then the
    three products with it.
    """
    times, model = len(x) // len(view.ids), view.model
    ids, images = view.ids.repeat(times, 1), view.images.repeat(times, 1)
    x = x.requires_grad_(True)
    block, cut = find_site(model, site), list[Tensor]()  # the output, and the leaf in its place
    watched = replaced(block, partial(keep, cut)) if block else nullcontext()
    with frozen(model), given_embeddings(model, x), watched, torch.enable_grad():
        features = encode_text(model, ids)
        features = features if block else keep(cut, features)
        score = (normalize(widen(features), dim=-1) * images).sum() * view.scale
        below, above = cut
        (g,) = torch.autograd.grad(score, above)
        split = divided(g, site, text_rows(model, ids), columns.to(g.device))
        found = [torch.autograd.grad(below, x, one, retain_graph=True)[0] for one in split]
    return widen(torch.stack(found))


def divided(g: Tensor, site, rows: Tensor, columns: Tensor) -> list[Tensor]:
    """The gradient g at the site as that of the part, of its complement, and of the rest."""
    if site == FEATURES:
        part = (widen(g) @ columns @ columns.T).to(g.dtype)
        return [part, g - part, torch.zeros_like(g)]
    at = torch.arange(len(g), device=g.device), rows
    part, around, rest = torch.zeros_like(g), torch.zeros_like(g), g.clone()
    part[at] = (widen(g[at]) @ columns @ columns.T).to(g.dtype)
    around[at], rest[at] = g[at] - part[at], 0
    return [part, around, rest]


def keep(cut: list[Tensor], out: Tensor) -> Tensor:
    """A new leaf equal to `out`; both are put into `cut`."""
    cut[:] = out, out.detach().requires_grad_(True)
    return cut[1]


def attribute_paths(clip, pairs, alignment=None, n_steps: int = 50, rule="gauss", **options):
    """The words by every path in one pass: whole, through, around and rest.

    options: those of `attribute` that are no method's (template, batch_size, image_root, level
    "word" or "token", ...). Returns (words, pairs) as `attribute` does, with a column a path in
    place of the attribution. Raises UserError.
    """

    def channels(view):
        return parts(view, alignment, n_steps, rule)

    words, pairs, values = run(clip, pairs, channels, range(3), get_method("mediated"), **options)
    words[list(PATHS)] = values.astype(np.float64)
    return words, pairs
