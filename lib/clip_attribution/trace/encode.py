"""Unit features of distinct captions and images: pixels live for one batch only.

With `keep`, a folder, every finished chunk lies there as a file named by its key, so that a stopped
run goes on.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tqdm.auto import tqdm

from ..errors import ImageError
from ..io.images import open_image
from ..io.keys import rows_key, run_key
from ..io.parts import kept
from .features import encode_pixels

CHUNK = 2048  # captions or images in a file


def encode_texts(
    clip, texts, template="", batch_size=64, progress=False, keep=None
) -> dict[str, torch.Tensor]:
    """Unit features {text: float32 [D]} of texts, on the CPU."""

    def encode(part):
        features = clip.encode_texts([template + text for text in part]).cpu()
        return dict(zip(part, features, strict=True)), {}

    run = {"batch_size": batch_size, "progress": progress, "keep": keep}
    return in_chunks(clip, "captions", list(texts), encode, template=template, **run)[0]


def encode_views(
    clip, views, root=None, batch_size=64, progress=False, keep=None
) -> tuple[dict, dict]:
    """Unit features {view: float32 [D]} of views (path, crop), and {view: reason} of the others."""
    run = {"batch_size": batch_size, "progress": progress, "keep": keep}
    views = list(views)
    with ThreadPoolExecutor(2) as pool:

        def encode(part):
            read = dict(
                zip(part, pool.map(lambda view: _pixels(clip, view, root), part), strict=True)
            )
            good = {v: p for v, p in read.items() if not isinstance(p, str)}
            features = encode_pixels(clip, list(good.values())) if good else ()
            reasons = {v: p for v, p in read.items() if isinstance(p, str)}
            return dict(zip(good, features, strict=True)), reasons

        return in_chunks(clip, "images", views, encode, root=root, **run)


def in_chunks(
    clip, what: str, items: list, encode, *, template="", root=None, batch_size, progress, keep
) -> tuple[dict, dict]:
    """({item: feature}, {item: reason}) of encode(batch) over all items, chunk by chunk.

    what: "images" for items (path, crop) below root, "captions" for texts behind a template.
    """
    found: dict = {}
    reasons: dict = {}
    run = keep and run_key(__file__, [clip], what=what, template=template, batch_size=batch_size)
    with tqdm(total=len(items), desc=what, unit=what[:-1], disable=not progress) as bar:

        def compute(chunk):
            own: tuple[dict, dict] = ({}, {})
            for at in range(0, len(chunk), batch_size):
                batch = chunk[at : at + batch_size]
                for known, new in zip(own, encode(batch), strict=True):
                    known |= new
                bar.update(len(batch))
            return own

        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            if keep:
                images = [view[0] for view in chunk] if what == "images" else ()
                path = Path(keep) / f"{rows_key(run, chunk, images, root)}.parquet"
                make = partial(feature_table, chunk, compute)
                own = read_features(kept(path, make), chunk)
            else:
                own = compute(chunk)
            found, reasons = found | own[0], reasons | own[1]
            bar.update(min(start + CHUNK, len(items)) - bar.n)
    return found, reasons


def feature_table(chunk: list, compute) -> pa.Table:
    """One chunk: a row an item, in order, with its feature or its reason."""
    features, reasons = compute(chunk)
    values = [features[item].numpy() if item in features else None for item in chunk]
    columns = {
        "feature": pa.array(values, pa.list_(pa.float32())),
        "reason": pa.array([reasons.get(item) for item in chunk], pa.string()),
    }
    return pa.table(columns)


def read_features(table: pa.Table, chunk: list) -> tuple[dict, dict]:
    """({item: feature}, {item: reason}) of a chunk's table."""
    rows = zip(chunk, table["feature"].to_numpy(), table["reason"].to_pylist(), strict=True)
    features, reasons = {}, {}
    for item, values, reason in rows:
        if reason is None:
            features[item] = torch.from_numpy(np.array(values, np.float32))
        else:
            reasons[item] = reason
    return features, reasons


def crop_image(image, crop):
    """The part [x, y, w, h] of an image; what reaches beyond its edge is black, as in ARO.

    Raises ImageError when nothing of the image is in it.
    """
    x, y, w, h = crop
    if x >= image.width or y >= image.height or x + w <= 0 or y + h <= 0:
        raise ImageError(f"the box {list(crop)} lies outside an image of {image.size}")
    return image.crop((x, y, x + w, y + h))


def _pixels(clip, view, root):
    """Preprocessed pixels [3, s, s] of one view, or the reason why there are none."""
    name, crop = view
    try:
        image = open_image(name, root)
        return clip.preprocess(crop_image(image, crop) if crop else image)
    except ImageError as error:
        return str(error)
