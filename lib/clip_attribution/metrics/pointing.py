"""The pointing game: does the hottest pixel lie in the box, and is the answer unique?

Accuracy follows the public code of AMC, uncertainty the text of Q-GroundCAM: local maxima above
tau, those within delta of a larger one dropped, and the instance uncertain when the equal top
values left are neither all inside the boxes nor all outside.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

EQUAL = 1e-6


def pointing_hits(heat: np.ndarray, boxes: list, distance, tolerance=None) -> np.ndarray:
    """1 where the largest value lies in any of the boxes, else 0, [n]; a constant map misses.

    heat [n, H, W]: unclipped, so that overshoot is not a tie; the first maximum in row-major order
    counts. boxes: n arrays [k, 4] from check_boxes; distance [n, H, W]: their distance maps.
    tolerance None: x0 < x < x1 and y0 < y < y1, all strict, as AMC. As x is a pixel's index, the
    first row and column of a box never count, even with a box that covers the image. A number:
    within that many pixels of the mask (15: gScoreCAM, TorchRay; 0: the mask itself).
    """
    n, _, width = heat.shape
    flat = heat.reshape(n, -1)
    at = flat.argmax(1)
    top = flat[np.arange(n), at]
    if tolerance is None:
        points = zip(at // width, at % width, boxes, strict=True)
        found = np.array([strictly_inside(y, x, box) for y, x, box in points], dtype=bool)
    else:
        found = distance.reshape(n, -1)[np.arange(n), at] <= tolerance
    return (found & (top > 0)).astype(float)


def strictly_inside(y, x, boxes: np.ndarray) -> bool:
    x0, y0, x1, y1 = boxes.T
    return bool(((x0 < x) & (x < x1) & (y0 < y) & (y < y1)).any())


# ---------------------------------------------------------------- local maxima


class Maxima(NamedTuple):
    """The local maxima of a batch, one entry each, by row."""

    row: np.ndarray
    y: np.ndarray
    x: np.ndarray
    value: np.ndarray
    inside: np.ndarray

    def of(self, keep) -> "Maxima":
        return Maxima(*(column[keep] for column in self))


def local_maxima(heat: np.ndarray, distance: np.ndarray, tau: float, top_only=False) -> Maxima:
    """Local maxima above tau of maps in [0, 1] [n, H, W]; distance [n, H, W] is 0 in the boxes.

    A maximum is a connected group of equal pixels (8 neighbours) with no larger pixel beside it,
    and stands at the pixel nearest to its centroid, so that the order of scanning does not matter;
    of pixels equally near, one inside a box comes first. Values are compared in steps of 1e-6:
    rounding then neither splits a plateau nor makes one. top_only: leave out what is too low to
    equal the largest value of its map, which is much faster.
    """
    level = np.full(np.add(heat.shape, (0, 2, 2)), -1.0)  # a border lower than anything
    within = level[:, 1:-1, 1:-1]
    np.rint(np.divide(heat, EQUAL, out=within), out=within)
    floor = np.full(len(heat), levels(tau) + 1)
    if top_only:
        floor = np.maximum(floor, level.max(axis=(1, 2)) - 2)
    at, equal = candidates(level, floor)
    group, whole = plateaus(at, equal, level.size)
    row, y, x = np.unravel_index(at, level.shape)
    y, x = y - 1, x - 1
    inside = distance[row, y, x] == 0
    order = np.lexsort((~inside, off_centre(group, y, x), group))
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    value = np.maximum.reduceat(heat[row, y, x][order], first) if len(first) else np.zeros(0)
    chosen = order[first]
    return Maxima(row[chosen], y[chosen], x[chosen], value, inside[chosen]).of(whole)


def levels(values) -> np.ndarray:
    """Values in whole steps of 1e-6."""
    return np.rint(np.divide(values, EQUAL))


def candidates(level: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of at least `floor` [n] and not lower than any of their 8 neighbours.

    level: [n, H + 2, W + 2] with a border below every value. Returns their flat indices [k], in
    order, and those of their neighbours, [k, 8], with -1 for a neighbour that is lower.
    """
    width, flat = level.shape[2], level.reshape(-1)
    steps = [dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    at = np.flatnonzero(level >= floor[:, None, None])
    for step in steps:  # each leaves fewer to look at
        at = at[flat[at] >= flat[at + step]]
    near = at[:, None] + steps
    return at, np.where(flat[near] == flat[at][:, None], near, -1)


def plateaus(at: np.ndarray, equal: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Group of each candidate pixel, numbered from 0, and for each group whether it is a maximum.

    at: flat indices of the candidates [k], below size; equal: as `candidates` returns it. A group
    that touches an equal pixel which is no candidate is a step of a slope: something larger lies at
    its other end.
    """
    number = np.full(size + 1, -1, np.int32)  # one more, which index -1 finds
    number[at] = np.arange(len(at))
    other = number[equal]
    _, group = np.unique(connected(other), return_inverse=True)
    whole = np.ones(len(at), bool)
    whole[group[((equal >= 0) & (other < 0)).any(1)]] = False
    return group, whole[: group.max(initial=-1) + 1]


def connected(links: np.ndarray) -> np.ndarray:
    """The smallest index in the component of each of k nodes; links [k, m]: -1 is none.

    Each round takes the least label among a node's neighbours, then that label's own: chains
    halve, so that a plateau of any size needs few rounds.
    """
    label = np.arange(len(links))
    links = np.where(links >= 0, links, label[:, None])
    while True:
        least = np.minimum(label, label[links].min(1))
        least = least[least]
        if np.array_equal(least, label):
            return label
        label = least


def off_centre(group, y, x) -> np.ndarray:
    """Squared distance of each pixel to its group's centroid, rounded so that ties are ties."""
    size = np.bincount(group)
    centre = (np.bincount(group, along)[group] / size[group] for along in (y, x))
    return sum((along - mid) ** 2 for along, mid in zip((y, x), centre, strict=True)).round(6)


# ---------------------------------------------------------------- uncertainty


def exceeds(one, other):
    """one > other by more than 1e-6; the rounding keeps 1 - 0.999999 at 1e-6."""
    return np.round(one - other, 9) > EQUAL


def top_ties(maxima: Maxima, n: int) -> Maxima:
    """Those of the maxima of n maps that equal the largest of their map."""
    top = np.full(n, -np.inf)
    np.maximum.at(top, maxima.row, maxima.value)
    return maxima.of(~exceeds(top[maxima.row], maxima.value))


def count_mixed(maxima: Maxima, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of maxima of each map, and whether some lie inside the boxes and some outside."""
    count = np.bincount(maxima.row, minlength=n)
    inside = np.bincount(maxima.row, maxima.inside, minlength=n)
    return count, (0 < inside) & (inside < count)


def spread(maxima: Maxima, n: int) -> np.ndarray:
    """Largest distance from a maximum inside to one outside, [n]; -inf where there is no such."""
    found = np.full(n, -np.inf)
    for row in np.flatnonzero(count_mixed(maxima, n)[1]):
        here = maxima.of(maxima.row == row)
        points = np.stack([here.y, here.x], 1)
        found[row] = cdist(points[here.inside], points[~here.inside]).max()
    return found


def uncertainty(
    heat, distance, tau: float = 0.7, delta: float = 50.0, relative=False, ties: str = "keep"
) -> dict[str, np.ndarray]:
    """pg_uncertain (0 or 1) and pg_ties of maps [n, H, W]; both NaN for an all-zero map.

    delta: in pixels, or with relative=True a share of the image's diagonal.

    ties "keep": only a larger maximum drops another, as stated; equal ones all stay, so delta has
    no bearing on the result. "merge": equal maxima within delta of one another count as one place,
    so that one inside and one outside must lie more than delta apart.
    """
    delta = delta * np.hypot(*heat.shape[1:]) if relative else delta
    n, flat = len(heat), ~heat.any(axis=(1, 2))
    tied = top_ties(local_maxima(heat, distance, tau, top_only=True), n)
    count, mixed = count_mixed(tied, n)
    uncertain = mixed if ties == "keep" else spread(tied, n) > delta
    return {
        "pg_uncertain": np.where(flat, np.nan, uncertain.astype(float)),
        "pg_ties": np.where(flat, np.nan, count.astype(float)),
    }


def isolation(maxima: Maxima, block: int = 512) -> np.ndarray:
    """Distance of each maximum to the nearest larger one of its map, inf for the largest.

    A maximum survives the suppression at delta exactly when this exceeds delta, whatever tau is:
    all that is larger than it lies above tau, too.
    """
    found = np.full(len(maxima.row), np.inf)
    for row in np.unique(maxima.row):
        where = np.flatnonzero(maxima.row == row)
        points, value = np.stack([maxima.y[where], maxima.x[where]], 1), maxima.value[where]
        for start in range(0, len(where), block):
            part = slice(start, start + block)
            larger = exceeds(value[None, :], value[part, None])
            apart = np.where(larger, cdist(points[part], points), np.inf)
            found[where[part]] = apart.min(1)
    return found


def sweep(heat, distance, taus, deltas, relative=False) -> dict[str, np.ndarray]:
    """Every (tau, delta) from one search for maxima: each value [n, len(taus), len(deltas)]."""
    deltas = deltas * np.hypot(*heat.shape[1:]) if relative else deltas
    n, maxima = len(heat), local_maxima(heat, distance, min(taus))
    tied = top_ties(maxima, n)
    apart, level, top = isolation(maxima), levels(maxima.value), levels(heat.max(axis=(1, 2)))
    mixed, farthest = count_mixed(tied, n)[1], spread(tied, n)
    found = {name: np.zeros((n, len(taus), len(deltas))) for name in SWEPT}
    for i, tau in enumerate(taus):
        above = (top > levels(tau))[:, None]
        found["uncertain"][:, i] = mixed[:, None] & above
        found["uncertain_merged"][:, i] = (farthest[:, None] > deltas) & above
        for j, delta in enumerate(deltas):
            left = maxima.of((level > levels(tau)) & (apart > delta))
            found["maxima"][:, i, j], found["contested"][:, i, j] = count_mixed(left, n)
    found["maxima"][~heat.any(axis=(1, 2))] = np.nan
    return {name: np.where(np.isnan(found["maxima"]), np.nan, found[name]) for name in SWEPT}


SWEPT = ("uncertain", "uncertain_merged", "contested", "maxima")


def sweep_frame(found: dict[str, np.ndarray], taus, deltas, errors: list) -> pd.DataFrame:
    """One row for each instance, tau and delta."""
    n, cells = len(errors), len(taus) * len(deltas)
    frame = pd.DataFrame(
        {
            "row": np.repeat(np.arange(n), cells),
            "tau": np.tile(np.repeat(taus, len(deltas)), n),
            "delta": np.tile(deltas, n * len(taus)),
        }
    )
    for name in SWEPT:
        frame[name] = found[name].reshape(-1)
    return frame.assign(error=np.repeat(np.array(errors, dtype=object), cells))
