"""Images from anywhere, as RGB: files under an image root, PIL images, the embedded world.

Whatever is wrong with an image becomes one `ImageError` with a one-line reason, so that a row
of a table can carry it.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError, one_line

__all__ = ["ImageError", "open_image"]

# Without formats that run another program on the file (EPS) or are no photographs.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000", "ICO")


def open_image(ref, root: str | os.PathLike | None = None) -> Image.Image:
    """The image `ref` as an upright RGB image: a path, a PIL image, or "scene:SEED:INDEX".

    A path is relative to `root` and, symbolic links followed, has to stay inside it; without a
    root any path will do. Transparency is laid over white, an animation gives its first frame,
    16-bit grey is scaled to 8 bits, and the EXIF orientation is applied.
    Raises ImageError with a one-line reason for everything that cannot be used.
    """
    if isinstance(ref, Image.Image):
        return _decode(ref, "the image")
    if not isinstance(ref, str | os.PathLike) or not os.fspath(ref):
        raise ImageError(f"no image given: expected a path or a PIL image, not {_shown(ref)}")
    text = os.fsdecode(ref)
    if text.startswith("scene:"):
        return _scene(text)
    return _read(locate(text, root), text)


def _scene(text: str) -> Image.Image:
    from ..scenes import render_ref  # draws with matplotlib's fonts: slow to import

    try:
        return render_ref(text)
    except ValueError:
        raise ImageError(f"not a scene (scene:SEED:INDEX[:SIZE]): {_shown(text)}") from None


def locate(text: str, root=None) -> Path:
    """The file of a path under an image root (see `open_image`). Raises ImageError."""
    if not text.strip():
        raise ImageError(f"no image given: {_shown(text)}")
    if "\0" in text:
        raise ImageError(f"null byte in the path: {_shown(text)}")
    try:
        path = Path(text).resolve() if root is None else (Path(root) / text).resolve()
        if root is not None and not path.is_relative_to(Path(root).resolve()):
            raise ImageError(f"path leaves the image root: {_shown(text)}")
        if not path.exists():
            raise ImageError(f"no such file: {_shown(text)}")
        if not path.is_file():
            raise ImageError(f"not a file: {_shown(text)}")
    except (OSError, RuntimeError, UnicodeError) as reason:  # too long, a loop of links, not text
        raise ImageError(f"unusable path: {_shown(text)} ({one_line(reason)})") from reason
    return path


def _read(path: Path, text: str) -> Image.Image:
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(path, formats=known) as image:
            return _decode(image, _shown(text))
    except ImageError:
        raise
    except Exception as reason:  # Pillow's readers raise anything on hostile bytes
        raise ImageError(f"cannot read {_shown(text)}: {one_line(reason)}") from reason


def _decode(image: Image.Image, shown: str) -> Image.Image:
    try:
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            raise Image.DecompressionBombError(f"too many pixels ({image.width}x{image.height})")
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as reason:  # as above: truncated or malformed data is met only here
        raise ImageError(f"cannot decode {shown}: {one_line(reason)}") from reason


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_to_grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey to 8 bits; Pillow's own conversion would clip at 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "F":
        values = values * 255 if values.max() <= 1 else values
    else:
        values = values / (257 if values.max() <= 65535 else 2**31 / 255)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _shown(ref) -> str:
    text = repr(ref if not isinstance(ref, os.PathLike) else os.fspath(ref))
    return text if len(text) <= 120 else text[:117] + "..."
