"""Sentence pairs with a graded similarity: SICK (Marelli et al. 2014), STS-B (Cer et al. 2017)."""

import csv
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..scenes.clauses import CHANGE, other_colour, other_noun, with_entity
from ..scenes.grammar import ROLE_OF_KIND, describe
from ..scenes.vocabulary import GROUNDS
from ..scenes.world import Scene, generator, pick, sample_scene
from .files import find_file, frame_of, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_images import expect_pictures
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
SPLITS = ("train", "dev", "test")
STEPS = 4  # a pair is about one scene, or about scenes that differ in one, two, ... facts


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


def write_stsb(folder: Path, n: int, seed: int, size: int) -> None:
    """STS-B in its official files, sts-{train,dev,test}.csv: tabs, no header, no quotes."""
    expect_pictures(0)
    for number, split in enumerate(SPLITS):
        rows = [
            ["main-captions", "scenes", f"2012{split}", f"{k:04d}", f"{5 * share:.3f}", a, b]
            for k, (share, a, b) in enumerate(_pairs(n, seed, number))
        ]
        _write_rows(rows, folder / f"sts-{split}.csv")


def write_sick(folder: Path, n: int, seed: int, size: int) -> None:
    """SICK with its header: SICK_train.txt, SICK_trial.txt, SICK_test_annotated.txt."""
    expect_pictures(0)
    names = ("SICK_train.txt", "SICK_trial.txt", "SICK_test_annotated.txt")
    for number, name in enumerate(names):
        rows = [
            [str(number * n + k + 1), a, b, f"{1 + 4 * share:.1f}", _judgment(share)]
            for k, (share, a, b) in enumerate(_pairs(n, seed, number))
        ]
        _write_rows([list(SICK), *rows], folder / name)


def _judgment(share: float) -> str:
    return "ENTAILMENT" if share == 1 else "NEUTRAL"


def _write_rows(rows: list[list[str]], path: Path) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")


def _pairs(n: int, seed: int, split: int):
    """(share of facts in common, sentence, sentence) of n pairs; each split has its own scenes."""
    for index in range(split * n, (split + 1) * n):
        scene = other = sample_scene(generator(seed, index))
        rng = generator(seed, index, CHANGE)
        for _ in range(index % STEPS):
            other = _changed(other, rng)
        a = describe(scene, rng)
        b = describe(other, rng)
        yield shared(a, b), a.text, b.text


def _changed(scene: Scene, rng) -> Scene:
    """The scene with one fact changed; only told of, so it is not laid out."""
    kind = pick(rng, ("noun", "colour", "ground"))
    if kind == "ground":
        return replace(scene, ground=pick(rng, [g for g in GROUNDS if g != scene.ground]))
    place = int(rng.random() * len(scene.entities))
    other = other_noun if kind == "noun" else other_colour
    return with_entity(scene, place, **{kind: other(scene, scene.entities[place], rng)})


def facts(caption) -> set[tuple]:
    """What a caption states: (kind, which thing, word)."""
    return {(w.kind, w.entity, w.text.lower()) for w in caption.words if w.kind in ROLE_OF_KIND}


def shared(a, b) -> float:
    """The facts that both captions state, as a share of those that either states (Jaccard)."""
    return len(facts(a) & facts(b)) / len(facts(a) | facts(b))


BENCHMARKS = [
    Benchmark(
        "sts-b",
        COMPOSITION,
        "STS-B",
        "how alike are two sentences",
        partial(load, benchmark="sts-b"),
        write_stsb,
        published=("cae", "STS-B"),
        place=13,
    ),
    Benchmark(
        "sick-r",
        COMPOSITION,
        "SICK-R",
        "how alike are two sentences",
        partial(load, benchmark="sick-r"),
        write_sick,
        published=("cae", "SICK-R"),
        place=14,
    ),
]
