"""Image features of a table of pairs: each distinct image is read and encoded once.

Pixels live for one batch only; what is kept is one vector an image, so memory does not grow
with the images.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePath

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from ..io.images import ImageError, open_image
from ..models.locks import locked
from .rows import encode_image


def image_key(ref):
    """What makes two entries of the image column the same image: the path, or the object itself."""
    return str(ref) if isinstance(ref, str | PurePath) else id(ref)


def read_pixels(clip, ref, root=None) -> Tensor | str:
    """Preprocessed pixels [3, s, s] of one image, or the reason why there are none."""
    try:
        return clip.preprocess(open_image(ref, root))
    except ImageError as error:
        return str(error)


@locked
def encode_pixels(clip, pixels: list[Tensor]) -> Tensor:
    """Normalised features [n, D], float32 on the CPU, of preprocessed images [3, s, s]."""
    with torch.no_grad():
        batch = torch.stack(pixels).to(clip.device, clip.dtype)
        return normalize(encode_image(clip.model, batch).float(), dim=-1).cpu()


def distinct(refs: list) -> tuple[list, list[int]]:
    """The distinct images in order of appearance, and for each row the number of its image."""
    numbers: dict[str | int, int] = {}
    first: list = []
    for ref in refs:
        if image_key(ref) not in numbers:
            numbers[image_key(ref)] = len(first)
            first.append(ref)
    return first, [numbers[image_key(ref)] for ref in refs]


def image_features(clip, refs: list, root=None, batch_size: int = 32, progress: bool = False):
    """Features of distinct images: for each a vector [D], or the reason (str) why there is none."""
    found = []
    starts = range(0, len(refs), batch_size)
    with ThreadPoolExecutor(2) as pool:
        for start in tqdm(starts, desc="images", unit="batch", disable=not progress):
            part = refs[start : start + batch_size]
            read = pool.map(partial(read_pixels, clip, root=root), part)
            found += _encode_readable(clip, list(read))
    return found


def _encode_readable(clip, read: list[Tensor | str]) -> list[Tensor | str]:
    """Replace the pixels by features; reasons stay where they are."""
    good = {i: pixels for i, pixels in enumerate(read) if not isinstance(pixels, str)}
    if good:
        features = encode_pixels(clip, list(good.values()))
        for i, feature in zip(good, features, strict=True):
            read[i] = feature
    return read
