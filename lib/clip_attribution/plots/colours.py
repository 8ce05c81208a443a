"""The one diverging scale of all displays and figures, centred on 0.

vlag of seaborn: blue speaks against the match, red for it, near-white is 0; it survives the common
colour blindnesses. Limits are symmetric, so that a colour has the same meaning on both sides.
"""

import numpy as np
import seaborn as sns
from matplotlib.colors import Normalize
from PIL import Image

PALETTE = "vlag"
SCALE = sns.color_palette(PALETTE, as_cmap=True)
DRAWN = 256  # pixels: smaller images are enlarged before a map is laid over them


def symmetric_limit(values) -> float:
    """The largest |value|, the end of a scale centred on 0; 1 where there is nothing but 0."""
    values = np.abs(np.asarray(values, dtype=float)).ravel()
    return float(values[~np.isnan(values)].max(initial=0.0)) or 1.0


def colours(values, limit: float) -> np.ndarray:
    """RGB in 0..1, [..., 3], of values [...] on the scale from -limit to limit."""
    return np.asarray(SCALE(Normalize(-limit, limit)(np.asarray(values, dtype=float))))[..., :3]


def text_colour(background) -> str:
    """Black or white, whichever stands out more from an RGB in 0..1 (WCAG's luminance)."""
    rgb = np.asarray(background)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"


def number(value: float, limit: float) -> str:
    """A signed number with as many decimals as three digits of `limit` need; "no value" for NaN."""
    decimals = max(0, 2 - int(np.floor(np.log10(limit))))
    return "no value" if np.isnan(value) else f"{value:+.{decimals}f}"


def layers_in_words(layers) -> str:
    """The argument `layers` for a reader: "last 3 layers", "all layers"."""
    if layers is None:
        return "default layers"
    if isinstance(layers, int):
        return f"last {-layers} layers" if layers < 0 else "all layers"
    return "all layers" if layers == "all" else f"layers {', '.join(map(str, layers))}"


def overlay(picture: Image.Image, data, limit: float | None = None) -> Image.Image:
    """The image in pale grey under its map [rows, cols], which covers all of it (see `cells`)."""
    base, colour = pale(picture), cells(data, limit)
    colour = colour.resize(base.size, Image.Resampling.NEAREST)
    return Image.composite(colour.convert("RGB"), base, colour.getchannel("A"))


def pale(picture: Image.Image) -> Image.Image:
    """The image in pale grey, enlarged where it is small."""
    scale = max(1, min(-(-DRAWN // min(picture.size)), 4 * DRAWN // max(picture.size)))
    size = (picture.width * scale, picture.height * scale)
    grey = picture.convert("L").resize(size, Image.Resampling.BICUBIC).convert("RGB")
    return Image.blend(grey, Image.new("RGB", size, "white"), 0.45)


def cells(data, limit: float | None = None) -> Image.Image:
    """A map [rows, cols] as an image of one pixel a cell: colour is the sign, opacity the size.

    The opacity is the square root of |value| / limit, times 0.85.
    """
    data = np.nan_to_num(np.asarray(data, dtype=float))
    limit = limit or symmetric_limit(data)
    opacity = 0.85 * np.sqrt(np.clip(np.abs(data) / limit, 0, 1))
    hue = colours(np.where(data < 0, -limit, limit), limit)
    pixels = np.concatenate([hue, opacity[..., None]], -1)
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8), "RGBA")
