"""The calls: heat maps of (image, phrase) pairs, in one array or batch by batch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from ..errors import UserError
from ..models.arithmetic import exact
from ..models.locks import lock_of, locked
from ..text.words import caption_fault
from ..trace.features import distinct
from ..trace.pooling import can_trim, encode_text, known_tower, text_rows
from .batch import Batch
from .pixels import read_pixels, transform_of
from .registry import prepare
from .tower import check_model, find_tower

TEXTS = 256  # phrases encoded at a time


def heatmaps(clip, images: list, texts: list[str], method: str = "gae_image", **options):
    """Where in each image a phrase is seen: raw maps, float32 [n, rows, cols].

    Arguments as for `heatmap_rows`. Raises UserError also for an image or phrase that cannot be
    used; `heatmap_rows` gives the reason of such a row and goes on.

    Examples
    --------
    >>> from clip_attribution import load_clip
    >>> maps = heatmaps(load_clip(), ["scene:1:3", "scene:1:3"], ["a sun", "grass"], "gradcam")
    >>> maps.shape
    (2, 8, 8)
    """
    with known_tower(clip.model):
        maps = np.zeros((len(images), *find_tower(clip.model).grid), np.float32)
    for rows, found, reasons in heatmap_rows(clip, images, texts, method, **options):
        bad = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]
        if bad:
            raise UserError("row {}: {}".format(*min(bad)))
        maps[rows] = found
    return maps


@exact()
def heatmap_rows(
    clip,
    images: list,
    texts: list[str],
    method: str = "gae_image",
    layers: int | str | list[int] | None = None,
    batch_size: int = 32,
    image_root=None,
    preprocess: str = "squash",
    progress: bool = False,
    **options,
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str | None]]]:
    """Heat maps of pairs in batches, so that memory does not grow with their number.

    images: paths, PIL images or "scene:SEED:INDEX"; texts: as many phrases, read as they are.
    method: a name in METHODS; layers and options are the method's own. batch_size: pairs at a time.
    preprocess: "squash" (the whole image resized to the input) or "clip" (the model's own, as a
    rule a central crop). Pairs of one image are brought together: it is read and its forward pass
    below the method's layer runs once for all its phrases (once a batch if they fill several).

    Yields (rows [b] of the input, maps float32 [b, rows, cols], reasons): raw maps on the method's
    own scale, sign kept, row 0 at the top; a row with a reason has a map of NaN and no effect on
    the others. Every row comes once, not in order. Raises UserError at the call for bad arguments
    and for towers where the method is undefined.
    """
    images, texts = list(images), [texts] if isinstance(texts, str) else list(texts)
    if len(images) != len(texts):
        raise UserError(f"{len(images)} images with {len(texts)} texts: give one text an image")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise UserError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    check_model(clip.model)
    with known_tower(clip.model):
        compute = prepare(clip, method, layers, options)
    read = partial(read_pixels, root=image_root, transform=transform_of(clip, preprocess))
    return _run(clip, images, texts, compute, read, batch_size, progress)


def _run(clip, images, texts, compute: Callable, read: Callable, batch_size: int, progress: bool):
    faults, grid = [caption_fault(text) for text in texts], find_tower(clip.model).grid
    with exact():
        features = text_features(
            clip, [t for t, fault in zip(texts, faults, strict=True) if not fault]
        )
    bar = tqdm(total=len(texts), desc="maps", unit="map", disable=not progress)
    with ThreadPoolExecutor(2) as pool, bar:
        for rows in batches(images, batch_size):
            reasons = [faults[row] for row in rows]
            good = [row for row in rows if not faults[row]]
            refs, image_of = distinct([images[row] for row in good])
            with exact():
                pixels = list(pool.map(read, refs))
            reason_of = {row: pixels[i] for row, i in zip(good, image_of, strict=True)}
            reasons = [_reason(r, reason_of.get(row)) for r, row in zip(reasons, rows, strict=True)]
            maps = np.full((len(rows), *grid), np.nan, np.float32)
            used = [i for i, reason in enumerate(reasons) if reason is None]
            if used:
                refs, image_of = distinct([images[rows[i]] for i in used])
                kept = [p for p in pixels if not isinstance(p, str)]
                with lock_of(clip), exact(), known_tower(clip.model):
                    constants = torch.stack([features[texts[rows[i]]] for i in used])
                    found = compute(_batch(clip, kept, constants, image_of))
                    maps[used] = found.cpu().numpy()
            bar.update(len(rows))
            yield np.array(rows), maps, reasons


def _reason(fault: str | None, pixels) -> str | None:
    return fault or (pixels if isinstance(pixels, str) else None)


def _batch(clip, pixels: list[Tensor], texts: Tensor, image_of: list[int]) -> Batch:
    stacked = torch.stack(pixels).to(clip.device, clip.dtype)
    return Batch(stacked, texts.to(clip.device), torch.tensor(image_of, device=clip.device))


def batches(images: list, size: int) -> Iterator[list[int]]:
    """Rows in batches of at most `size`, the rows of one image together where they fit."""
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(distinct(images)[1]):
        rows_of.setdefault(number, []).append(row)
    batch: list[int] = []
    for rows in rows_of.values():
        if batch and len(batch) + len(rows) > size:
            yield batch
            batch = []
        batch += rows
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch


@locked
def text_features(clip, texts: list[str]) -> dict[str, Tensor]:
    """Unit features [D], float32 on the CPU, of each distinct text; over-long texts are cut."""
    found: dict[str, Tensor] = {}
    ordered = sorted(set(texts), key=len)
    for start in range(0, len(ordered), TEXTS):
        part = ordered[start : start + TEXTS]
        with torch.no_grad():
            features = encode_text(clip.model, _ids(clip, part)).float()
        found |= zip(part, normalize(features, dim=-1).cpu(), strict=True)
    return found


def _ids(clip, texts: list[str]) -> Tensor:
    ids = clip.tokenizer(texts).to(clip.device)
    if can_trim(clip.model):  # no position up to the pooled one sees a later one
        ids = ids[:, : int(text_rows(clip.model, ids).max()) + 1]
    return ids
