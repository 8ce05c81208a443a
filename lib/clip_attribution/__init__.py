"""Which words of a caption CLIP believes, rejects and ignores, and where in the image it looks.

from clip_attribution import load_clip, attribute, explain
clip = load_clip()
words, pairs = attribute(clip, [{"image": "scene:0:0", "caption": "a red star"}])
"""

from . import moved
from .lazy import attach

__all__ = [
    "UserError",
    "attribute",
    "attribute_all_variants",
    "contrast",
    "explain",
    "explorer",
    "image_attribution",
    "interactions",
    "load_clip",
]

moved.install()

# A room is imported when its first name is asked for, so that importing the package is cheap.
__getattr__, __dir__ = attach(
    __name__,
    {
        ".errors": "UserError",
        ".attribution": "attribute attribute_all_variants contrast",
        ".display": "explain",
        ".explore": "explorer",
        ".heatmaps": "image_attribution interactions",
        ".models": "load_clip",
    },
)
