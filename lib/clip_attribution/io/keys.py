"""One key for everything that is kept: it holds all that decides a value, and nothing else.

    run = run_key(__file__, [clip], method=method, template=template)   # what all rows share
    key = rows_key(run, rows, images, root)                             # one table, or one chunk

Code enters by the source files that the caller's module imports, models by their weights and by
what they make of a probe, images by their content: a file under another name or of another time is
the same image, and another file under the same name, size and time is not.
"""

import hashlib
import os
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from ..dependencies import PACKAGE, library_files
from ..errors import ImageError
from ..versions import package_version
from .images import locate, open_image
from .tables import digest

VERSIONS = ("torch", "torchvision", "open_clip_torch", "timm", "transformers", "numpy", "pillow")
ALWAYS = "CLIP_ATTRIBUTION_ALWAYS_HASH"  # set: no file's hash is remembered within a process


def run_key(source: str, models=(), **options) -> str:
    """The key of what all rows of a run share.

    source: `__file__` of the caller, whose code and imports count. models: each with
    `fingerprint()`, or None. options: whatever else decides the values. Raises TypeError for an
    option that has no form but its address in memory.
    """
    versions = [package_version(name) for name in VERSIONS]
    known = [model and model.fingerprint() for model in models]
    return digest(code_key(source), versions, stable(known), stable(options))


def rows_key(run: str, rows, images=(), root=None) -> str:
    """The key of rows (lists, dicts, arrays) with their images, in a run of `run_key`."""
    return digest(run, stable(rows), [content(image, root) for image in images])


@cache
def code_key(source: str) -> str:
    """Key of a module and of every file of the library that it imports, directly or not."""
    files = {Path(source).resolve(), *library_files(Path(source))}
    named = sorted((os.path.relpath(file, PACKAGE), file.read_bytes()) for file in files)
    return digest(named)


def content(image, root=None) -> str:
    """What an image shows: a scene's name, a file's hash, a PIL image's pixels; else its fault."""
    try:
        if not isinstance(image, str | os.PathLike):
            pixels = open_image(image)
            return digest(pixels.size, pixels.tobytes())
        text = os.fsdecode(image)
        return text if text.startswith("scene:") else file_key(locate(text, root))
    except ImageError as fault:
        return str(fault)
    except OSError as fault:  # the row's own error will say so
        return str(fault.strerror)


def file_key(path: Path) -> str:
    """SHA-256 of a file, remembered for its path, inode, size and times."""
    stat = path.stat()
    times = stat.st_mtime_ns, stat.st_ctime_ns  # the second is not a user's to set
    known = _file_key.__wrapped__ if os.environ.get(ALWAYS) else _file_key
    return known(path, stat.st_dev, stat.st_ino, stat.st_size, *times)


@lru_cache(2**17)
def _file_key(path: Path, *_) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stable(value):
    """A value as nested tuples and texts whose form is the same in every process."""
    if isinstance(value, dict):
        return "dict", sorted((str(name), stable(own)) for name, own in value.items())
    if isinstance(value, set | frozenset):
        return "set", sorted(map(repr, map(stable, value)))
    if isinstance(value, list | tuple):
        return [stable(own) for own in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__") and not hasattr(value, "tobytes"):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        own = stable(value.tolist()) if value.dtype == object else value.tobytes()
        return str(value.dtype), value.shape, own
    if hasattr(value, "tobytes"):
        return content(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(value):
        value = f"{value.__module__}.{value.__qualname__}"
    if " at 0x" in repr(value) and not isinstance(value, str | bytes):
        raise TypeError(f"a {type(value).__name__} has no stable form: it cannot be part of a key")
    return value
