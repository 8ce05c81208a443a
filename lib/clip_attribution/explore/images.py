"""The explorer's list of images: scenes with their captions, uploads, files."""

import io

from PIL import Image

from ..errors import ImageError, one_line
from ..io.images import FORMATS, open_image
from ..scenes import scene_caption

SCENES = tuple(f"scene:1:{index}" for index in range(12))


def own_caption(ref) -> str:
    """The true caption of a scene; empty for any other image."""
    scene = ref.split(":")[1:] if isinstance(ref, str) and ref.startswith("scene:") else None
    return scene_caption(*map(int, scene))[1].text if scene else ""


def scene_title(name: str) -> str:
    """An image's entry in the list: a scene's name with its caption, else the name."""
    caption = own_caption(name)
    return f"{name} · {caption}" if caption else name


def unique(title: str, taken) -> str:
    """The title, numbered where another image has it."""
    titles = [title, *(f"{title} ({number})" for number in range(2, len(taken) + 3))]
    return next(one for one in titles if one not in taken)


def decoded(content, name: str) -> Image.Image:
    """An uploaded file's bytes as an RGB image. Raises ImageError, as `open_image` does."""
    Image.init()
    known = [kind for kind in FORMATS if kind in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(content), formats=known)
    except Exception as reason:  # Pillow's readers raise anything on hostile bytes
        raise ImageError(f"cannot read {name!r}: {one_line(reason)}") from reason
    return open_image(image)
