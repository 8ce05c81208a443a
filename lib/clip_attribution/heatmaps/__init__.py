"""Heat maps: where in an image a phrase is seen.

    from clip_attribution.heatmaps import METHODS, heatmaps, to_picture

    maps = heatmaps(clip, images, phrases, method="gradcam")         # raw, [n, rows, cols]
    shown = to_picture(maps[0], (width, height), clip, "gradcam")    # 0 to 1, [height, width]

A map is raw and has its sign; normalising and upsampling belong to `to_picture`. All methods
differentiate or compare the score of one image with one phrase and share the image's forward
pass among its phrases. Add a method by one file with one decorated function; see `registry`.
"""

from importlib import import_module
from pkgutil import iter_modules

from .engine import heatmap_rows, heatmaps
from .interactions import interactions
from .patches import image_attribution
from .pixels import transform_of
from .registry import METHODS, Method
from .resize import normalised, to_picture

for _file in iter_modules(__path__):  # a method registers itself when its file is imported
    import_module(f".{_file.name}", __name__)

__all__ = [
    "METHODS",
    "Method",
    "heatmap_rows",
    "heatmaps",
    "image_attribution",
    "interactions",
    "normalised",
    "to_picture",
    "transform_of",
]
