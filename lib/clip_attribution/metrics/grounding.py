"""Q-GroundCAM's measures of how well a heat map finds the boxes of a phrase.

    frame = grounding_metrics(maps, boxes, sizes)     # one row an instance, reasons in `error`
    summarise(frame.assign(method="gae"), by="method")

Maps are normalised and upsampled to the image (grounding_maps.prepare) and compared with the
union of the phrase's boxes: overlap and distance in grounding_overlap, the pointing game in
grounding_pointing. Mirroring maps and boxes changes nothing, with two exceptions that come with
AMC's pointing game: of several equal maxima of the unclipped map the first counts, and a box's
first row and column do not (pg_hit with tolerance=0 has the first exception only). Boxes must then
have whole-pixel borders: of a fractional one, x0 <= j < x1 holds other pixels after mirroring.
"""

from functools import partial

import numpy as np
import pandas as pd

from ..errors import UserError
from .maps import INTERPOLATIONS, distance_maps, normalise, prepare, resize
from .overlap import WDP_FORMS, overlap
from .pointing import SWEPT, pointing_hits, sweep, sweep_frame, uncertainty
from .rows import over_chunks
from .summary import METRICS, baseline_maps, baseline_metrics, summarise

__all__ = [
    "METRICS",
    "baseline_maps",
    "baseline_metrics",
    "grounding_metrics",
    "prepare",
    "stream_metrics",
    "summarise",
    "uncertainty_sweep",
]


def grounding_metrics(
    maps,
    boxes,
    sizes,
    *,
    tau: float = 0.7,
    delta: float = 50.0,
    relative: bool = False,
    ties: str = "keep",
    tolerance: float | None = None,
    interpolation: str = "cubic",
    wdp: str = "share",
    threads: int | None = None,
) -> pd.DataFrame:
    """Every measure of a batch of maps, one row a map, in order.

    maps [n, h, w]: heat >= 0 on any grid (of a signed map, its positive part); boxes: n times
    [[x0, y0, x1, y1], ...] or one such box, pixels of the image, x1 and y1 excluded, several
    meaning their union; sizes: n times (height, width), or one for all. delta: in pixels, or with
    relative=True a share of the diagonal (0.08 is 50 pixels of a 500 x 375 image). tau and ties:
    see grounding_pointing.uncertainty; tolerance: pointing_hits; interpolation: prepare; wdp:
    grounding_overlap.wdp.

    Returns the columns METRICS and `error`. pg_hit, pg_uncertain and covers (the boxes cover the
    whole image) are 0 or 1. A row that cannot be used has its reason in `error` and NaN
    elsewhere. A constant map has no heat: IO ratio 0, a miss, WDP and uncertainty NaN.
    Raises UserError on bad options and on lists of different lengths.
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    check_choice("wdp", wdp, WDP_FORMS)
    check_choice("ties", ties, ("keep", "merge"))
    check_ranges(tau, delta)
    action = partial(
        measure,
        interpolation,
        wdp,
        tolerance,
        {"tau": tau, "delta": delta, "relative": relative, "ties": ties},
    )
    found, errors = over_chunks(maps, boxes, sizes, action, threads)
    columns = {name: found.get(name, np.full(len(errors), np.nan)) for name in METRICS}
    return pd.DataFrame(columns | {"error": pd.Series(errors, dtype=object)})


def stream_metrics(batches, **options) -> pd.DataFrame:
    """grounding_metrics over an iterable of (maps, boxes, sizes), one batch in memory at a time.

    Batches may differ in the shape of their maps. Returns their rows one after the other.
    """
    frames = [grounding_metrics(*batch, **options) for batch in batches]
    empty = grounding_metrics(np.zeros((0, 1, 1)), [], (1, 1), **options)
    return pd.concat(frames or [empty], ignore_index=True)


def uncertainty_sweep(
    maps, boxes, sizes, taus, deltas, *, relative=False, interpolation="cubic", threads=None
) -> pd.DataFrame:
    """PG uncertainty at every tau and delta; the maxima of a map are searched once.

    maps, boxes, sizes: as for grounding_metrics; deltas in pixels, or with relative=True as shares
    of the diagonal. One row for each (row, tau, delta):

        uncertain         as stated: equal tops neither all inside nor all outside. Since only a
                          larger maximum drops another, delta cannot change it, and tau only where
                          it exceeds the top
        uncertain_merged  equal tops within delta of one another count as one place
        contested         all maxima left, not only the equal tops, are mixed
        maxima            number of maxima left
        error             the reason, for a row that cannot be used; constant maps are NaN
    """
    taus, deltas = np.atleast_1d(taus).astype(float), np.atleast_1d(deltas).astype(float)
    check_ranges(taus, deltas)
    action = partial(swept, taus, deltas, relative, interpolation)
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    found, errors = over_chunks(maps, boxes, sizes, action, threads)
    empty = np.full((len(errors), len(taus), len(deltas)), np.nan)
    return sweep_frame({name: found.get(name, empty) for name in SWEPT}, taus, deltas, errors)


# ---------------------------------------------------------------- one chunk of one image size


def measure(interpolation, wdp, tolerance, options, maps, boxes, size) -> dict:
    """Every measure of good maps [n, h, w] for images of one size, each [n]."""
    heat = resize(normalise(maps), size, interpolation)
    distance = distance_maps(boxes, size)
    hits = pointing_hits(heat, boxes, distance, tolerance)
    np.clip(heat, 0, 1, out=heat)
    found = overlap(heat, distance, wdp) | uncertainty(heat, distance, **options)
    return found | {"pg_hit": hits}


def swept(taus, deltas, relative, interpolation, maps, boxes, size) -> dict:
    """The sweep of good maps [n, h, w] for images of one size."""
    heat = np.clip(resize(normalise(maps), size, interpolation), 0, 1)
    distance = distance_maps(boxes, size)
    return sweep(heat, distance, taus, deltas, relative)


def check_choice(option: str, value, allowed) -> None:
    if value not in allowed:
        raise UserError(f"{option} {value!r}: use one of {', '.join(allowed)}")


def check_ranges(taus, deltas) -> None:
    taus, deltas = np.ravel(taus), np.ravel(deltas)
    if taus.size == 0 or not ((taus >= 0) & (taus <= 1)).all():
        raise UserError("tau must lie in [0, 1], as the maps do")
    if deltas.size == 0 or not (deltas >= 0).all():
        raise UserError("delta must be a distance, 0 or more")
