"""What training on descriptions reads: the features of images, the ids of both texts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...datasets import load_benchmark
from ...errors import UserError
from ...io.tables import read_table
from ...text.words import caption_fault
from ...trace.encode import encode_views

COLUMNS = ("image", "caption", "description", "split")
TRAIN, VAL, TEST = "train", "val", "test"
IDENTICAL = "caption and description are the same tokens, which no objective can tell apart"


class Texts(NamedTuple):
    """N triplets of one split. images: unit features [N, D]; captions, descriptions: ids
    [N, context]; rows: (image, caption, description) as the table has them.
    """

    images: Tensor
    captions: Tensor
    descriptions: Tensor
    rows: list[tuple[str, str, str]]

    def take(self, rows) -> "Texts":
        """The triplets of these rows, in this order."""
        rows = np.asarray(rows)
        own = [tensor[torch.from_numpy(rows)] for tensor in self[:3]]
        return Texts(*own, [self.rows[row] for row in rows])


class Task(NamedTuple):
    """Zero-shot classification. images: unit features [N, D]; labels [N]: numbers of classes;
    prompts: ids [P, context]; classes [P]: the class of each prompt.
    """

    name: str
    images: Tensor
    labels: Tensor
    prompts: Tensor
    classes: Tensor


def read_frame(data, images=None) -> pd.DataFrame:
    """The triplets of a table of one's own, or of Concadia's official files."""
    if Path(data).suffix in (".csv", ".jsonl", ".parquet"):
        return read_table(data).to_pandas()
    return load_benchmark("concadia", data, images, split=None, keep_identical=True)


def read_texts(
    clip, frame: pd.DataFrame, root=None, keep_identical=False, keep=None, progress=False
) -> tuple[dict[str, Texts], pd.DataFrame]:
    """Read and tokenise a table of images with a caption and a description each.

    Parameters
    ----------
    clip
        From `load_clip`.
    frame
        Columns image (a path, or a scene's name), caption, description, split (train, val, test),
        and perhaps error; as the loader of Concadia gives it.
    root
        Folder that the images' paths start at.
    keep_identical
        Keep training rows whose texts are the same tokens. In val and test they stay, as ties.
    keep
        Folder in which the images' features are kept, so that a stopped run goes on.

    Returns
    -------
    tuple
        {split: Texts}, and the rows that were left out with their `error`.

    Raises
    ------
    UserError
        A column is missing, or no row can be used.
    """
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise UserError(f"the table has no column {missing[0]!r}: it needs {', '.join(COLUMNS)}")
    frame = frame.reset_index(drop=True)
    errors = pd.Series([row_fault(row) for row in frame.to_dict("records")], dtype=object)
    views = dict.fromkeys((image, None) for image in frame["image"][errors.isna()])
    features, reasons = encode_views(clip, views, root, progress=progress, keep=keep)
    errors = errors.where(errors.notna(), [reasons.get((i, None)) for i in frame["image"]])
    good = frame[errors.isna()]
    ids = [clip.tokenizer(list(good[name]), clip.context_length) for name in COLUMNS[1:3]]
    same = pd.Series((ids[0] == ids[1]).all(1).numpy(), good.index) & good["split"].eq(TRAIN)
    if not keep_identical:
        errors[same[same].index] = IDENTICAL
    used = errors[good.index].isna().to_numpy()
    if not used.any():
        raise UserError(f"no row to train on (the first: {errors.iloc[0] if len(errors) else ''})")
    images = torch.stack([features[image, None] for image in good["image"]])
    rows = list(good[list(COLUMNS[:3])].itertuples(index=False, name=None))
    whole, split = Texts(images, *ids, rows), good["split"].to_numpy()
    found = {
        str(name): whole.take(np.flatnonzero(used & (split == name)))
        for name in dict.fromkeys(split[used])
    }
    return found, frame.assign(error=errors)[errors.notna()]


def row_fault(row: dict) -> str | None:
    """Why a row cannot be used, its image apart."""
    if isinstance(row.get("error"), str) and row["error"]:
        return row["error"]
    if not isinstance(row["image"], str) or not row["image"]:
        return "no image"
    for name in ("caption", "description"):
        if fault := caption_fault(row[name]):
            return fault.replace("caption", name, 1)
    return None
