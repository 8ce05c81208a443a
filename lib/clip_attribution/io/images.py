"""Images from anywhere, as RGB: files under an image root, PIL images, the embedded world.

Whatever is wrong with an image becomes one `ImageError` with a one-line reason, so that a row
of a table can carry it.
"""

import os
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError, one_line

__all__ = ["ImageError", "open_image"]

ORIENTATION = 0x0112
TURNS = {  # EXIF orientation: what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FULL_SCALE = (255, 1023, 4095, 16383, 65535, 2**31 - 1)
STRIP = 1 << 20  # pixels converted at a time
# Without formats that run another program on the file (EPS) or are no photographs.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000", "ICO")


def open_image(ref, root: str | os.PathLike | None = None) -> Image.Image:
    """The image `ref` as an upright RGB image: a path, a PIL image, or "scene:SEED:INDEX".

    An array or tensor is taken too: see `_from_array`. A path is relative to `root` and, symbolic
    links followed, has to stay inside it; without a root any path will do. Transparency is laid
    over white, an animation gives its first frame, deep grey is scaled to 8 bits, and the EXIF
    orientation is applied.
    Raises ImageError with a one-line reason for everything that cannot be used.
    """
    if isinstance(ref, Image.Image):
        return _decode(ref, "the image")
    if hasattr(ref, "shape") and hasattr(ref, "dtype"):
        return _from_array(ref)
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
        places = [Path(root or "", form) for form in forms(text)]
        path = next((place for place in places if place.exists()), places[0]).resolve()
        if root is not None and not path.is_relative_to(Path(root).resolve()):
            raise ImageError(f"path leaves the image root: {_shown(text)}")
        if not path.exists():
            raise ImageError(f"no such file: {_shown(text)}")
        if not path.is_file():
            raise ImageError(f"not a file: {_shown(text)}")
    except (OSError, RuntimeError, UnicodeError) as reason:  # too long, a loop of links, not text
        raise ImageError(f"unusable path: {_shown(text)} ({one_line(reason)})") from reason
    return path


def forms(text: str) -> list[str]:
    """A name, and its two normal forms: an accent may be a character or a mark of its own."""
    return list(dict.fromkeys([text, *(unicodedata.normalize(f, text) for f in ("NFC", "NFD"))]))


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
        if not image.width * image.height:
            raise ValueError(f"it has no area ({image.width}x{image.height})")
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            raise Image.DecompressionBombError(f"too many pixels ({image.width}x{image.height})")
        image.load()
        turn = TURNS.get(_orientation(image))
        return _to_rgb(image if turn is None else image.transpose(turn))
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


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation alone, 1 where it cannot be read: other tags may be of any form."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # no EXIF at all, or a damaged one: the image is as good as without
        return 1
    return value if type(value) is int else 1


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits to 8; Pillow's own conversion would clip at 255.

    The range is the file's own: the fewest bits, of FULL_SCALE, that hold its largest value, or
    from 0 to 1 where no number of a float image is above 2. In strips, so that memory stays.
    """
    values = np.asarray(image)
    strips = range(0, len(values), max(1, STRIP // image.width))
    high = max(_largest(values[start : start + strips.step]) for start in strips)
    full = next((level for level in FULL_SCALE if high <= level), high)
    full = 1 if image.mode == "F" and high <= 2 else full
    grey = np.empty(values.shape, np.uint8)
    for start in strips:
        part = values[start : start + strips.step]
        if image.mode == "F":
            part = np.nan_to_num(part * np.float32(255 / full), posinf=255.0, neginf=0.0).round()
        else:  # the highest 8 bits
            part = part.astype(np.int64) * 256 // (int(full) + 1)
        grey[start : start + strips.step] = part.clip(0, 255)
    return Image.fromarray(grey)


def _largest(values: np.ndarray) -> float:
    """The largest finite number, at least 0."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return max(0.0, float(values.max())) if values.size else 0.0


def _from_array(values) -> Image.Image:
    """An array or tensor [h, w], [h, w, 3 or 4] or [3, h, w]: bytes, or floats from 0 to 1."""
    values = values.detach().cpu().float().numpy() if hasattr(values, "detach") else values
    values = np.asarray(values)
    if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    numbers = values.dtype.kind in "bui" or (values.dtype.kind == "f" and np.isfinite(values).all())
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if not (numbers and fits and values.size):
        raise ImageError(
            f"an array of shape {values.shape} and type {values.dtype} is no image: pass "
            "[h, w, 3], bytes or numbers from 0 to 1, or a PIL image"
        )
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise ImageError(
            f"an array from {low:.4g} to {high:.4g} is no image (preprocessed?): pass bytes, or "
            "numbers from 0 to 1, or a PIL image"
        )
    scale = 255 if values.dtype.kind == "b" or (values.dtype.kind == "f" and high <= 1) else 1
    return _decode(Image.fromarray(np.rint(values * scale).astype(np.uint8)), "the image")


def _shown(ref) -> str:
    text = repr(ref if not isinstance(ref, os.PathLike) else os.fspath(ref))
    return text if len(text) <= 120 else text[:117] + "..."
