"""Attribution methods behind one registry; `attribute` for the words of a caption.

Add a method by one file with one decorated function; see `registry`.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):  # a method registers itself when its file is imported
    import_module(f".{_file.name}", __name__)

# after the loop, so that METHODS keeps the order of the files
from .contrasts import contrast  # noqa: E402
from .engine import Ablation, attribute, attribute_all_variants  # noqa: E402
from .registry import (  # noqa: E402
    METHODS,
    RELU_VARIANTS,
    get_method,
    layered_methods,
    resolve_layers,
)

__all__ = [
    "METHODS",
    "RELU_VARIANTS",
    "Ablation",
    "attribute",
    "attribute_all_variants",
    "contrast",
    "get_method",
    "layered_methods",
    "resolve_layers",
]
