"""Masks of glyphs, cut from the font's own outlines at a fixed resolution.

Outlines are rounded to whole pixels of a fine grid before they are filled, so the masks do not
depend on a platform's font rasteriser; smaller masks are box averages of the fine ones.
"""

from functools import lru_cache

import matplotlib
import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from PIL import Image, ImageChops, ImageDraw

from .vocabulary import NOUNS

FINE = 240  # pixels of the longer side of the fine mask


@lru_cache
def _fine_masks(text: str, bold: bool) -> tuple[Image.Image, Image.Image]:
    """(ink, silhouette): what the font paints, and the same with every hole filled."""
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = FontProperties(fname=f"{matplotlib.get_data_path()}/fonts/ttf/{file}")
    polygons = [p for p in TextPath((0, 0), text, size=FINE, prop=font).to_polygons() if len(p) > 2]
    points = np.concatenate(polygons)
    low, span = points.min(0), points.max(0) - points.min(0)
    scale = FINE / span.max()
    width, height = (np.maximum(np.round(span * scale), 1)).astype(int) + 1
    ink = Image.new("1", (int(width), int(height)))
    silhouette = ink.copy()
    for polygon in polygons:
        xy = np.round((polygon - low) * scale).astype(int)
        layer = Image.new("1", ink.size)
        ImageDraw.Draw(layer).polygon([(int(x), int(height - 1 - y)) for x, y in xy], fill=1)
        ink = ImageChops.logical_xor(ink, layer)
        silhouette = ImageChops.logical_or(silhouette, layer)
    return ink.convert("L"), silhouette.convert("L")


def aspect(noun: str) -> float:
    """Height over width of the noun's glyph."""
    width, height = _fine_masks(chr(NOUNS[noun][0]), False)[0].size
    return height / width


@lru_cache(maxsize=4096)
def masks(text: str, width: int, height: int, bold: bool = False, flipped: bool = False):
    """(ink, silhouette) coverage in [0, 1] of `text` squeezed into width x height pixels."""
    result = []
    for mask in _fine_masks(text, bold):
        mask = mask.resize((width, height), Image.Resampling.BOX)
        if flipped:
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        result.append(np.asarray(mask, np.float32)[..., None] / 255)
    return tuple(result)
