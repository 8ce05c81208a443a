"""Heat maps and boxes on the image's own pixel grid, and which rows cannot be used."""

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import interpolate

from ..errors import UserError

INTERPOLATIONS = ("cubic", "linear", "spline")


def as_batch(maps) -> np.ndarray:
    """maps: one array or tensor [n, h, w], or a list of maps of one shape. Returns an array."""
    if isinstance(maps, torch.Tensor):
        maps = maps.detach().cpu()
        return as_batch((maps.float() if maps.dtype == torch.bfloat16 else maps).numpy())
    if not isinstance(maps, np.ndarray) and len({np.shape(one) for one in maps}) > 1:
        raise UserError("maps of several shapes: give each shape as a batch to stream_metrics")
    maps = np.asarray(maps)
    if maps.ndim != 3 or 0 in maps.shape[1:] or maps.dtype.kind not in "fiub":
        raise UserError(f"maps must be real numbers [n, h, w], not {maps.dtype} {maps.shape}")
    return maps


def map_fault(heat: np.ndarray) -> str | None:
    """Why a map [h, w] cannot be used, in one line, or None."""
    low, high = heat.min(), heat.max()  # NaN wherever the map holds one
    if not (np.isfinite(low) and np.isfinite(high)):
        return "map has NaN or infinite values"
    return "map has negative values: give its positive part" if low < 0 else None


def prepare(maps, size, interpolation: str = "cubic", clip: bool = True) -> np.ndarray:
    """Maps [n, h, w] on the pixel grid of an image of size (H, W): float64 [n, H, W].

    Each map's minimum is subtracted and its maximum divided out at its own resolution; then it is
    resized and clipped to [0, 1]. A constant map (its range within the rounding of its own type)
    becomes 0. clip=False keeps the overshoot of cubic interpolation, which the pointing game needs.

    interpolation: "cubic" (Keys, a = -0.75, torch's bicubic), "spline" (cubic B-spline through the
    values, as scikit-image's order 3), "linear" (gScoreCAM). Pixel centres correspond; no
    smoothing where a map is larger than the image. Raises UserError on a map with NaN, infinite
    or negative values: a signed map has no inside share, so give its positive part.
    """
    maps = as_batch(maps)
    for row, heat in enumerate(maps):
        if fault := map_fault(heat):
            raise UserError(f"row {row}: {fault}")
    height, width = size
    heat = resize(normalise(maps), (int(height), int(width)), interpolation)
    return np.clip(heat, 0, 1, out=heat) if clip else heat


def normalise(maps: np.ndarray) -> np.ndarray:
    """Minimum 0 and maximum 1, each map by itself; constant maps all 0. float64."""
    low, high = (edge(maps, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    noise = np.finfo(maps.dtype).eps if maps.dtype.kind == "f" else 0.0
    low, high = low.astype(float), high.astype(float)
    span = high - low
    flat = span <= 4 * noise * high
    heat = np.subtract(maps, low, dtype=float)
    return np.divide(heat, np.where(flat, np.inf, span), out=heat)


def resize(heat: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Separable interpolation of [n, h, w] to [n, H, W]: one matrix product for each axis."""
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation {interpolation!r}: use one of {', '.join(INTERPOLATIONS)}")
    if heat.shape[1:] == size:
        return heat
    rows, cols = (weights(*pair, interpolation) for pair in zip(heat.shape[1:], size, strict=True))
    return rows @ (heat @ cols.T)


@lru_cache(maxsize=256)
def weights(n_in: int, n_out: int, interpolation: str) -> np.ndarray:
    """Interpolation along one axis as a matrix [n_out, n_in]: what it does to the unit vectors."""
    unit = np.eye(n_in)
    if interpolation == "spline":
        return ndimage.zoom(unit, (n_out / n_in, 1), order=3, mode="mirror", grid_mode=True)
    mode = {"cubic": "bicubic", "linear": "bilinear"}[interpolation]
    size = (n_out, n_in)
    return interpolate(torch.from_numpy(unit)[None, None], size, mode=mode)[0, 0].numpy()


# ---------------------------------------------------------------- boxes


def check_size(size) -> tuple[int, int]:
    """An image's (height, width) as whole numbers. Raises UserError."""
    try:
        height, width = (int(side) for side in size if int(side) == side)
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if height < 1 or width < 1:
        raise UserError("size must be the image's height and width, two whole numbers")
    return height, width


def check_boxes(boxes, size) -> np.ndarray:
    """The boxes of one phrase, clipped to the image: float64 [k, 4].

    boxes: [[x0, y0, x1, y1], ...] or a single [x0, y0, x1, y1], in pixels, x1 and y1 excluded;
    size: (height, width). Raises UserError where there is none, one is not four finite numbers, has
    no area, lies outside the image, or is so thin that it holds no pixel.
    """
    try:
        boxes = np.atleast_2d(np.asarray(boxes, dtype=float))
    except (TypeError, ValueError):
        raise UserError("boxes must be [[x0, y0, x1, y1], ...], all numbers") from None
    if boxes.size == 0:
        raise UserError("no box")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise UserError("boxes must be [[x0, y0, x1, y1], ...], all finite numbers")
    height, width = size
    inside = np.clip(boxes, 0, [width, height, width, height])
    for number, (given, kept, pixels) in enumerate(
        zip(boxes, inside, box_pixels(inside), strict=True)
    ):
        refuse(number, given, "has no area: x1 must exceed x0, and y1 y0")
        refuse(number, kept, "lies outside the image")
        refuse(number, pixels, "is thinner than a pixel and holds none")
    return inside


def refuse(number: int, box, reason: str) -> None:
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise UserError(f"box {number} {reason}")


def box_pixels(boxes: np.ndarray) -> np.ndarray:
    """First pixel and the one after the last, int [k, 4]: pixel j is in when x0 <= j < x1."""
    return np.ceil(boxes).astype(int)


def distance_maps(rows: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Euclidean distance in pixels from each pixel to the nearest pixel of any box, [n, H, W].

    rows: the boxes of each map, as check_boxes returns them. Exactly 0 inside, so `== 0` is the
    mask of the boxes' union. A box is a product of two intervals, which makes this exact and quick.
    """
    found = np.empty((len(rows), *size))
    for boxes, squared in zip(rows, found, strict=True):
        squared.fill(np.inf)
        for x0, y0, x1, y1 in box_pixels(boxes):
            apart = np.add.outer(gap(y0, y1, size[0]) ** 2, gap(x0, x1, size[1]) ** 2)
            np.minimum(squared, apart, out=squared)
    return np.sqrt(found, out=found)


def gap(first: int, end: int, n: int) -> np.ndarray:
    """Distance of the pixels 0..n-1 of one axis to the interval first..end-1."""
    at = np.arange(n, dtype=float)
    return np.maximum(np.maximum(first - at, at - (end - 1)), 0)
