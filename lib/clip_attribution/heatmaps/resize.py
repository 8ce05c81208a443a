"""From a map's own resolution to the pixels of the image."""

from typing import Any

import numpy as np
from timm.layers import PatchEmbed

from .pixels import frame_of
from .registry import find_method


def normalised(maps: np.ndarray) -> np.ndarray:
    """Each map [..., rows, cols] less its minimum, then divided by its maximum: 0 to 1.

    A constant map becomes 0. NaN stays NaN, for the whole map.
    """
    maps = np.asarray(maps)
    moved = maps - maps.min((-2, -1), keepdims=True)
    highest = moved.max((-2, -1), keepdims=True)
    return moved / np.where(highest == 0, 1, highest)


def to_picture(
    maps: np.ndarray,
    picture_size: tuple[int, int],
    clip,
    method: str | None = None,
    preprocess: str = "squash",
    relu: bool | None = None,
    clamp: bool = True,
    outside: float = np.nan,
) -> np.ndarray:
    """Lay maps [..., rows, cols] on the pixel grid of an image of (width, height) pixels.

    The steps of Q-GroundCAM as this project fixes them: min-max at the map's own resolution, cubic
    upsampling (kernel a = -0.75), clamp to [0, 1] (clamp=False for the pointing game, which takes
    the maximum before). method, if given, brings its own: Grad-CAM's ReLU before the min-max,
    gScoreCAM's linear upsampling, min-max scaled once more. relu overrides the ReLU.
    preprocess as for `heatmaps`: with "clip" the map covers the part that the model saw, the rest
    of the image is `outside`. Where the patches do not fill the input (size no multiple of the
    patch size) the margin that no patch reads takes the value of its nearest patch.

    Returns float32 [..., height, width].
    """
    own = find_method(method) if method else None
    linear = own is not None and own.upsampling == "linear"
    maps = np.asarray(maps, dtype=np.float32)
    if own is not None and relu is None:
        relu = own.relu
    maps = normalised(np.maximum(maps, 0) if relu else maps)
    columns, rows = _axes(clip, maps.shape[-2:], picture_size, preprocess)
    weights = [_weights(at, n, linear).astype(np.float32) for at, n, _ in (rows, columns)]
    found = weights[0] @ maps @ weights[1].T
    found = normalised(found) if linear else found
    found = found.clip(0, 1) if clamp else found
    seen = np.outer(*[(0 <= place) & (place < 1) for place in (rows[2], columns[2])])
    return np.where(seen, found, np.float32(outside))


def _axes(clip, grid, picture_size, preprocess: str) -> list[tuple]:
    """For columns and rows: positions on the map, its length, and places in the frame (0 to 1)."""
    x0, y0, x1, y1 = frame_of(clip, picture_size, preprocess)
    axes = []
    for side, low, high, n, share in zip(
        picture_size, (x0, y0), (x1, y1), grid[::-1], _share(clip, grid)[::-1], strict=True
    ):
        place = (np.arange(side) + 0.5 - low) / (high - low)
        axes.append((place / share * n - 0.5, n, place))
    return axes


def _share(clip, grid) -> tuple[float, float]:
    """The share of the input's height and width that the patches fill."""
    visual = getattr(clip.model, "visual", None)  # BLIP has none, and patches that fill its input
    embed: Any = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    plain = type(embed) is PatchEmbed and tuple(embed.grid_size or ()) == tuple(grid)
    patch = embed.patch_size if plain else getattr(visual, "patch_size", None)
    if patch is None:
        return 1.0, 1.0
    return tuple(n * p / side for n, p, side in zip(grid, patch, clip.image_size, strict=True))


def _weights(positions: np.ndarray, n: int, linear: bool) -> np.ndarray:
    """Interpolation weights [pixels, n]; beyond its ends a map goes on with its end values."""
    first = np.floor(positions).astype(int)
    matrix, pixels = np.zeros((len(positions), n)), np.arange(len(positions))
    for tap in (0, 1) if linear else (-1, 0, 1, 2):
        distance = np.abs(positions - first - tap)
        weight = 1 - distance if linear else _cubic(distance)
        np.add.at(matrix, (pixels, (first + tap).clip(0, n - 1)), weight)
    return matrix


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Keys' cubic convolution kernel (1981), with the parameter that torch and OpenCV use."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
