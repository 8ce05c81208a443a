"""Sentence pairs with a graded similarity: SICK (Marelli et al. 2014), STS-B (Cer et al. 2017)."""

import csv
from math import isfinite
from pathlib import Path

import pandas as pd

from ..errors import UserError
from .files import find_file, frame_of, require_fields
from .tabular import named, read_cells

FILES = {
    "sick-r": {
        "train": ("SICK_train.txt",),
        "dev": ("SICK_trial.txt",),
        "test": ("SICK_test_annotated.txt", "SICK_test.txt"),
    },
    "sts-b": {
        split: (f"sts-{split}.csv", f"stsb-en-{split}.csv", f"{split}.tsv")
        for split in ("train", "dev", "test")
    },
}
SICK = ["pair_ID", "sentence_A", "sentence_B", "relatedness_score", "entailment_judgment"]
OFFICIAL = ["genre", "file", "year", "id", "score", "sentence1", "sentence2"]
PLAIN = ["sentence1", "sentence2", "score"]
OURS = {
    "sentence_A": "sentence1",
    "sentence_B": "sentence2",
    "relatedness_score": "score",
    "entailment_judgment": "group",
    "entailment_label": "group",
    "genre": "group",
    "pair_ID": "id",
    "index": "id",
}


def load(path, images=None, benchmark: str | None = None, split: str = "test") -> pd.DataFrame:
    """A frame of sentence pairs: pair_id, sentence1, sentence2, score, group, error.

    path: a file, or a folder in which `split` (train, dev or test) of `benchmark` ("sts-b",
    "sick-r"; None: whichever is there) is looked for. Read are SICK's tab-separated files with
    and without header; STS-B's official tab-separated files, its GLUE version with header, and
    comma-separated files of sentence1, sentence2, score. score is as stored: 1..5 for SICK, 0..5
    for STS-B. group is SICK's entailment judgment or STS-B's genre. Tab-separated files know no
    quotes: a stray one is part of the sentence. images is not used: there are none. Raises
    UserError.
    """
    if benchmark not in (None, *FILES) or split not in ("train", "dev", "test"):
        raise UserError(
            f"unknown benchmark {benchmark!r} or split {split!r}: there are "
            f"{', '.join(FILES)} and train, dev, test"
        )
    kinds = FILES if benchmark is None else {benchmark: FILES[benchmark]}
    file = find_file(path, *(name for kind in kinds.values() for name in kind[split]))
    return frame_of(_records(file), _rows).drop(columns=["image", "caption"])


def _records(file: Path) -> list[dict]:
    with open(file, encoding="utf-8-sig", errors="replace") as opened:
        first = opened.readline()
    tabs = "\t" in first
    cells = read_cells(file, "\t", csv.QUOTE_NONE) if tabs else read_cells(file)
    if not cells:
        return []
    if {"sentence_A", "sentence1"} & set(cells[0]):
        names, cells = cells[0], cells[1:]
        if not {"relatedness_score", "score"} & set(names):
            raise UserError(f"{file} has no scores: take another split")
    elif not tabs:
        names = PLAIN
    else:
        names = {len(SICK): SICK, len(PLAIN): PLAIN}.get(len(cells[0]), OFFICIAL)
    return [
        {OURS.get(name, name): cell for name, cell in record.items()}
        for record in named(cells, names)
    ]


def _rows(number: int, record: dict) -> list[dict]:
    require_fields(record, "sentence1", "sentence2", "score")
    for name in ("sentence1", "sentence2"):
        if not record[name].strip():
            raise ValueError(f"{name} is empty")
    score = float(record["score"])
    if not isfinite(score):
        raise ValueError(f"the score {record['score']!r} is no number")
    return [
        {
            "pair_id": str(number),
            "sentence1": record["sentence1"],
            "score": score,
            "sentence2": record["sentence2"],
            "group": record.get("group", ""),
        }
    ]
