"""What fine-tuning reads of a table of pairs: ids, roles of tokens, images, hard negatives."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..attribution.captions import read_caption
from ..errors import UserError
from ..io.read import is_missing
from ..text.concepts import gather_candidates
from ..text.pos import load_tagger
from ..text.roles import parse_captions
from ..trace.features import image_key, read_pixels
from .attributions import role_masks
from .hard_negatives import hard_negative

IN_MEMORY = 2**30  # bytes of preprocessed images that are kept rather than read again
AT_ONCE = 64  # images or captions between two movements of a progress bar

TRUTH = dict.fromkeys(("true", "1", "1.0"), True) | dict.fromkeys(("", "false", "0", "0.0"), False)


class Pictures:
    """The images of a table, each tried at the start; kept in memory where all of them fit.

    faults: {key of a picture that cannot be read: reason}.
    """

    def __init__(self, clip, refs: list, root=None, progress: bool = False):
        self.root, self.read = root, partial(read_pixels, clip, root=root)
        self.kept, self.faults = {}, {}
        distinct = list({image_key(ref): ref for ref in refs}.values())
        height, width = clip.image_size
        keep = len(distinct) * 12 * height * width <= IN_MEMORY
        parts = [distinct[i : i + AT_ONCE] for i in range(0, len(distinct), AT_ONCE)]
        for part in tqdm(parts, "images", unit="batch", disable=not progress):
            found = self.load(part)
            self.faults |= {key: one for key, one in found.items() if isinstance(one, str)}
            self.kept |= found if keep else {}

    def load(self, refs: list) -> dict:
        """Pixels [3, s, s], or the reason why there are none, by key."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return dict(zip(map(image_key, refs), pool.map(self.read, refs), strict=True))

    def batch(self, refs: list) -> Tensor:
        """Pixels [B, 3, s, s]. Raises UserError naming an image that has become unreadable."""
        new = self.load([ref for ref in refs if image_key(ref) not in self.kept])
        keys = [image_key(ref) for ref in refs]
        found = [self.kept[key] if key in self.kept else new[key] for key in keys]
        fault = next((pixels for pixels in found if isinstance(pixels, str)), None)
        if fault:
            raise UserError(f"{fault}: take the row out of the training table")
        return torch.stack(found)


class Examples(NamedTuple):
    """N training pairs. ids [N, context]; objects, composition [N, context], bool: which positions
    are tokens of objects, and of relations and attributes; candidates: {role: phrases}.
    """

    images: list
    captions: list[str]
    concepts: list
    candidates: dict
    ids: Tensor
    objects: Tensor
    composition: Tensor
    pictures: Pictures


def read_examples(clip, pairs, image_root=None, nlp=None, numerals=False, progress=False):
    """Read, parse and tokenise a table with the columns image and caption.

    Every image is opened once, so that a broken one does not stop a run after hours. Returns
    (Examples, frame of the rows that were left out with their `error`): no usable caption or
    image, a foil (`is_foil` true or 1, also as text) or neither true nor false, an error that
    the table itself states. numerals: count "two" among the attributes. Raises UserError for a
    table without these columns and when nothing is left.
    """
    missing = [name for name in ("image", "caption") if name not in pairs]
    if missing:
        raise UserError(f"the training table has no column {missing[0]!r}")
    faults = [row_fault(clip, row) for row in pairs.to_dict("records")]
    read = [ref for ref, fault in zip(pairs["image"], faults, strict=True) if fault is None]
    pictures = Pictures(clip, read, image_root, progress)
    faults = pd.Series(
        [
            fault or pictures.faults.get(image_key(ref))
            for ref, fault in zip(pairs["image"], faults, strict=True)
        ],
        pairs.index,
        dtype=object,
    )
    good, left_out = pairs[faults.isna()], pairs.assign(error=faults)[faults.notna()]
    if not len(good):
        why = f" (the first row: {faults.iloc[0]})" if len(faults) else ""
        raise UserError(f"no pair to train on{why}")
    captions, images = good["caption"].tolist(), good["image"].tolist()
    return parsed(clip, captions, images, pictures, nlp, numerals, progress), left_out


def row_fault(clip, row: dict) -> str | None:
    """Why a row cannot be trained on, the image apart."""
    if isinstance(row.get("error"), str) and row["error"]:
        return row["error"]
    foil = truth(row.get("is_foil"))
    if foil is not False:
        said = str(row["is_foil"])[:40]
        return "a false caption" if foil else f"is_foil must be true or false, not {said!r}"
    read = read_caption(clip, 0, row["caption"], "", "offsets")
    return read if isinstance(read, str) else None


def truth(value) -> bool | None:
    """What a cell says, as CSV, JSON or Parquet give it; a missing one False, another text None."""
    if is_missing(value):
        return False
    return TRUTH.get(str(value).strip().lower())


def parsed(clip, captions, images, pictures, nlp, numerals, progress) -> Examples:
    """Examples of captions and images that can be read."""
    nlp, concepts = nlp or load_tagger(), []
    starts = range(0, len(captions), 4 * AT_ONCE)
    for start in tqdm(starts, "captions", unit="batch", disable=not progress):
        part = captions[start : start + 4 * AT_ONCE]
        concepts += parse_captions(part, nlp, numerals=numerals)
    ids = clip.tokenizer(captions, clip.context_length)
    objects, composition = (mask.cpu() for mask in role_masks(clip, captions, concepts))
    candidates = gather_candidates(captions, concepts)
    return Examples(images, captions, concepts, candidates, ids, objects, composition, pictures)


def negatives_of(examples: Examples, rows, seed: int) -> list[str]:
    """Hard negatives of the rows that have one, drawn anew for another seed."""
    drawn = [
        hard_negative(examples.captions[i], examples.concepts[i], examples.candidates, [seed, i])
        for i in rows
    ]
    return [text for text in drawn if text is not None]
