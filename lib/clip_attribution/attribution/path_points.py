"""Points and weights of the integral along a path of embeddings, for each text of a batch.

gauss    Gauss-Legendre on [0, 1], the same points for every text: captum's default, and so that of
         the public code of arXiv 2406.09458.
panels   ours: [0, 1] is cut into panels in which the text's features move about equally far, and
         each panel has five Gauss-Legendre points.

Gauss-Legendre is exact for polynomials and very good on smooth paths. Where attention switches
within a short part of the path its points are too far apart; the panels are short there.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UserError
from ..trace.inputs import given_embeddings
from ..trace.pooling import encode_text
from ..trace.reading import widen

RULES = ("gauss", "panels")
PER_PANEL = 5  # points of a panel
GRID = 64  # steps at which the movement of the features is looked at, forward only
AT_ONCE = 64  # points of paths in one pass: bounds memory


def path_points(view, start: Tensor, stop: Tensor, n_steps: int, rule: str = "gauss"):
    """(times, weights), float64 [n_steps, B] each, of the integral from start to stop [B, n, d].

    Raises UserError on an unknown rule, on a number of steps below 1, and for panels on one that
    is no multiple of five.
    """
    if rule not in RULES:
        raise UserError(f"unknown rule {rule!r}: choose from {', '.join(RULES)}")
    if not isinstance(n_steps, int) or n_steps < 1:
        raise UserError(f"n_steps must be a whole number of at least 1, not {n_steps!r}")
    if rule == "gauss":
        edges = np.repeat([[0.0], [1.0]], len(view.ids), axis=1)
        return points_between(edges, n_steps)
    if n_steps % PER_PANEL:
        raise UserError(f"rule 'panels' takes n_steps in multiples of {PER_PANEL}, not {n_steps}")
    return points_between(even_panels(movement(view, start, stop), n_steps // PER_PANEL), PER_PANEL)


def points_between(edges: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n Gauss-Legendre points and weights in each panel of edges [panels + 1, B]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    panels = list(pairwise(edges))
    times = [low + (high - low) * (nodes[:, None] + 1) / 2 for low, high in panels]
    return np.concatenate(times), np.concatenate(
        [(high - low) * weights[:, None] / 2 for low, high in panels]
    )


def even_panels(moved: np.ndarray, panels: int) -> np.ndarray:
    """Edges [panels + 1, B] of panels with equal shares of the movement [GRID, B].

    Half of the mean movement is added everywhere, so that no panel grows too long.
    """
    density = moved + moved.mean(0) / 2 + np.finfo(float).tiny
    share = np.cumsum(np.vstack([np.zeros(density.shape[1]), density]), 0)
    grid, wanted = np.linspace(0, 1, len(share)), np.linspace(0, 1, panels + 1)
    columns = [np.interp(wanted, own / own[-1], grid) for own in share.T]
    return np.stack(columns, 1)


@torch.no_grad()
def movement(view, start: Tensor, stop: Tensor) -> np.ndarray:
    """How far the unit features of each text move in each of GRID equal steps, [GRID, B]."""
    found = []
    for times in torch.linspace(0, 1, GRID + 1).split(max(1, AT_ONCE // len(view.ids))):
        x = torch.cat([start + float(t) * (stop - start) for t in times])
        with given_embeddings(view.model, x):
            features = encode_text(view.model, view.ids.repeat(len(times), 1))
        found.append(normalize(widen(features), dim=-1).unflatten(0, (len(times), -1)))
    return torch.cat(found).diff(dim=0).norm(dim=-1).double().cpu().numpy()
