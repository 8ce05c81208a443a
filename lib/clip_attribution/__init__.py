"""Which words of a caption CLIP believes, rejects and ignores, and where in the image it looks.

from clip_attribution import load_clip, attribute, explain
clip = load_clip()
words, pairs = attribute(clip, [{"image": "scene:0:0", "caption": "a red star"}])
"""

from importlib import import_module

from . import moved

_HOMES = {
    "UserError": "errors",
    "attribute": "attribution",
    "attribute_all_variants": "attribution",
    "contrast": "attribution",
    "explain": "display",
    "explorer": "explore",
    "image_attribution": "heatmaps",
    "interactions": "heatmaps",
    "load_clip": "models",
}

__all__ = list(_HOMES)

moved.install()


def __getattr__(name):
    """Import a room when its first name is asked for, so that importing the package is cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return sorted([*globals(), *__all__])
