"""ComVG: one sentence, a fitting and an unfitting Visual Genome image (Jiang et al., ComCLIP)."""

import re
from pathlib import Path

import pandas as pd

from .accuracies import pooled_accuracy
from .choices import choice, choice_frame
from .files import find_file, find_image, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_cases import triplets, write_csv
from .tabular import read_records

PARTS = ("subject", "verb", "object")
COMVG = (
    "id",
    "sentence",
    "pos_triplet",
    "neg_triplet",
    "pos_image_id",
    "neg_image_id",
    "neg_value",
)


def load(path, images=None) -> pd.DataFrame:
    """A choice frame of ComVG: the images are [positive, negative], truth is 0.

    path: ComVG.csv or its folder. images: the folder with ID.jpg, or with Visual Genome's own
    VG_100K and VG_100K_2. group is the part that the negative image has wrong: `neg_value` of the
    file, or else where the two triplets differ. Raises UserError when there is no such file.
    """
    return choice_frame(read_records(find_file(path, "ComVG.csv")), _rows(images))


def _rows(images):
    def rows(number, record):
        require_fields(record, "sentence", "pos_image_id", "neg_image_id")
        found = [find_image(images, _names(record[f"{side}_image_id"])) for side in ("pos", "neg")]
        triplets = [triplet(record.get(f"{side}_triplet")) for side in ("pos", "neg")]
        differ = [name for name, a, b in zip(PARTS, *triplets, strict=False) if a != b]
        return [
            choice(
                number,
                found,
                [record["sentence"]],
                kind="image",
                group=record.get("neg_value") or " and ".join(differ),
                pos_triplet=",".join(triplets[0]),
                neg_triplet=",".join(triplets[1]),
            )
        ]

    return rows


def triplet(text: str | None) -> list[str]:
    """The parts of "man,sit,table", "(man,sit,table)" or "('man', 'sit', 'table')"."""
    parts = re.sub(r"[()\[\]'\"]", "", text or "").split(",")
    return [part.strip() for part in parts if part.strip()]


def _names(number: str) -> list[str]:
    number = number.strip().removesuffix(".0")  # a column with gaps comes out of pandas as floats
    if not number.isdecimal():
        raise ValueError(f"the image id {number!r} is no number")
    return [f"{folder}{number}.jpg" for folder in ("", "images/", "VG_100K/", "VG_100K_2/")]


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """ComVG: ComVG.csv and ID.jpg in images/; subject, verb, object in turn."""
    rows = []
    for number, case in enumerate(triplets(folder / "images", n, seed, size), start=1):
        texts = {"pos_triplet": ",".join(case["pos_triplet"]), "neg_triplet": case["neg_triplet"]}
        rows.append(case | texts | {"id": number})
    write_csv(rows, COMVG, folder / "ComVG.csv")


BENCHMARKS = [
    Benchmark(
        "comvg",
        COMPOSITION,
        "ComVG",
        "which image: subject, verb or object differs",
        load,
        write,
        summarise=pooled_accuracy,
        published=("cae", "ComVG"),
        place=9,
    ),
]
