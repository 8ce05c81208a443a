"""NegCLIP: captions and their hard negatives (Yuksekgonul et al. 2023)."""

import ast
import csv

import pandas as pd

from .files import coco_names, find_file, find_image, frame_of, require_fields
from .tabular import read_records


def load_negclip(path, images=None) -> pd.DataFrame:
    """A pairs frame of NegCLIP's training or validation file: captions with hard negatives.

    path: the .tsv file or its folder (the validation file). Columns: pair_id (the file's row
    number), image, caption, negatives (list of str, may be empty), neg_image (list of row numbers
    of the full file: images like this one), group (empty), error. Raises UserError.
    """
    file = find_file(path, "valid_neg_clip.tsv", "train_neg_clip.tsv", "*neg_clip*.tsv")
    return frame_of(read_records(file, "\t", csv.QUOTE_MINIMAL), _negclip_rows(images))


def _negclip_rows(images):
    def rows(number, record):
        require_fields(record, "title", "filepath", "neg_caption", "neg_image")
        negatives, neighbours = _literal(record["neg_caption"]), _literal(record["neg_image"])
        if not all(isinstance(text, str) for text in negatives):
            raise ValueError("neg_caption is no list of texts")
        return [
            {
                "pair_id": record.get("", number),
                "caption": record["title"],
                "group": "",
                "image": find_image(images, coco_names(record["filepath"])),
                "negatives": list(negatives),
                "neg_image": [int(n) for n in neighbours],
            }
        ]

    return rows


def _literal(text: str) -> list:
    """The list that Python would print so. Raises ValueError."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise ValueError(f"no list: {text[:60]!r}")
    return value
