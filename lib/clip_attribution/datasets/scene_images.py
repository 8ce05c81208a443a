"""Images of scenes as files, each counted by the progress bar of the export that writes them."""

import io
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tqdm.auto import tqdm

from ..io.tables import atomic_path
from ..scenes.render import render
from ..scenes.world import SIDE, Scene

# Close to lossless, since an image of 64 pixels suffers from what a photo hides.
FORMATS = {
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".png": {"format": "PNG", "compress_level": 6},
}
_bar = ContextVar("bar", default=None)


def encode_picture(scene: Scene, size: int = SIDE, suffix: str = ".jpg") -> bytes:
    """The image of a scene, size x size pixels, as the bytes of a .jpg or .png file."""
    buffer = io.BytesIO()
    render(scene, size).save(buffer, **FORMATS[suffix])
    return buffer.getvalue()


def save_picture(scene: Scene, path: Path, size: int = SIDE) -> None:
    """Write the image of a scene to `path` (.jpg or .png), with the folders above it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(scene, size, path.suffix))
    count_picture()


@contextmanager
def picture_bar(total: int | None, quiet: bool):
    """A bar on stderr that counts every image saved inside the `with` block."""
    interval = 0.1 if sys.stderr.isatty() else 30
    with tqdm(total=total, unit="image", disable=quiet, mininterval=interval) as bar:
        token = _bar.set(bar)
        try:
            yield
        finally:
            _bar.reset(token)


def count_picture() -> None:
    """Advance the bar, if there is one, by an image."""
    bar = _bar.get()
    if bar is not None:
        bar.update()


def expect_pictures(total: int) -> None:
    """Tell the bar, if there is one, how many images there will be."""
    bar = _bar.get()
    if bar is not None:
        bar.reset(total)


def write_once(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, atomically."""
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
