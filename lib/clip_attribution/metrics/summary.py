"""Tables of grounding measures: means with intervals, and what no heat map at all would score."""

import numpy as np
import pandas as pd

from ..errors import UserError
from .intervals import mean_estimate
from .maps import check_boxes, check_size, distance_maps
from .pointing import strictly_inside

METRICS = (
    "iou_soft",
    "iou_binary",
    "dice_soft",
    "dice_binary",
    "wdp_soft",
    "wdp_binary",
    "wdp_norm",
    "io_ratio",
    "pg_hit",
    "pg_uncertain",
    "pg_ties",
    "covers",
)
BASELINES = ("centre", "uniform")


def summarise(frame: pd.DataFrame, by=None, seed: int = 0, metrics=None) -> pd.DataFrame:
    """Mean and 95 % bootstrap interval of every measure, one row each, for every group of `by`.

    frame: from grounding_metrics, with the columns `by` (a name or a list) added; metrics: which
    of METRICS, by default all that the frame has. Returns the columns of `by`, then metric, value,
    low, high, n (instances behind the mean), undefined (instances without a value: WDP and PG
    uncertainty of constant maps) and errors (rows with a reason in `error`). The three counts add
    up to the group's rows; the number of uncertain or covered instances is value * n. Rows are
    resampled one by one: phrases of the same image are not quite independent.
    """
    by = [by] if isinstance(by, str) else list(by or [])
    if missing := [name for name in [*by, *(metrics or []), "error"] if name not in frame]:
        raise UserError(f"no column {', '.join(map(repr, missing))} in the frame")
    names = [name for name in metrics or METRICS if name in frame]
    groups = frame.groupby(by, sort=False, dropna=False) if by else [((), frame)]
    rows = []
    for key, part in groups:
        good = part[part["error"].isna()]
        known = dict(zip(by, key, strict=True))
        for name in names:
            found = mean_estimate(good[name], seed)
            counts = {"undefined": len(good) - found.n, "errors": len(part) - len(good)}
            rows.append(known | {"metric": name} | found._asdict() | counts)
    columns = [*by, "metric", "value", "low", "high", "n", "undefined", "errors"]
    return pd.DataFrame(rows, columns=columns)


def baseline_maps(kind: str, sizes) -> list[np.ndarray]:
    """Maps that know nothing of the image, each [H, W] for sizes [(H, W), ...].

    "centre": all heat on the middle pixel (H // 2, W // 2); "uniform": the same heat everywhere.
    grounding_metrics reads the second as a constant map, hence without heat: for its expected
    scores see baseline_metrics.
    """
    if kind not in BASELINES:
        raise UserError(f"baseline {kind!r}: use one of {', '.join(BASELINES)}")
    maps = [np.full(check_size(size), float(kind == "uniform")) for size in sizes]
    for one in maps:
        one[one.shape[0] // 2, one.shape[1] // 2] = 1
    return maps


def baseline_metrics(boxes, sizes) -> pd.DataFrame:
    """pg_hit and io_ratio without any heat map: one row for each baseline and instance.

    boxes, sizes: as for grounding_metrics, a size for each. "centre": the middle pixel as the
    hottest one, all heat on it. "uniform": the chance that a pixel drawn at random is a hit, and
    the boxes' share of the image. Columns baseline, row, pg_hit, io_ratio, error; summarise them
    by "baseline". Hits are AMC's, strict on both sides, as in grounding_metrics.
    """
    if len(boxes) != len(sizes):
        raise UserError(f"{len(boxes)} boxes with {len(sizes)} sizes: give one each")
    rows = []
    for row, given in enumerate(zip(boxes, sizes, strict=True)):
        try:
            found, reason = chance(*given), None
        except UserError as error:
            found, reason = [(np.nan, np.nan)] * 2, str(error)
        for kind, (hit, io) in zip(BASELINES, found, strict=True):
            rows.append((kind, row, hit, io, reason))
    frame = pd.DataFrame(rows, columns=["baseline", "row", "pg_hit", "io_ratio", "error"])
    return frame.astype({"error": object}).sort_values(["baseline", "row"], ignore_index=True)


def chance(boxes, size) -> list[tuple[float, float]]:
    """(pg_hit, io_ratio) of the centre and of the uniform baseline for one instance."""
    height, width = size = check_size(size)
    boxes = check_boxes(boxes, size)
    inside = distance_maps([boxes], size)[0] == 0
    y, x = height // 2, width // 2
    centre = float(strictly_inside(y, x, boxes)), float(inside[y, x])
    return [centre, (strict_mask(boxes, size).mean(), inside.mean())]


def strict_mask(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels that count as a hit, bool [H, W]: strictly between the borders of any box."""
    y, x = np.ogrid[: size[0], : size[1]]
    masks = [(x0 < x) & (x < x1) & (y0 < y) & (y < y1) for x0, y0, x1, y1 in boxes]
    return np.any(masks, axis=0)
