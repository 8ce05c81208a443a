"""SVO-Probes: one sentence, a fitting and an unfitting image (Hendricks and Nematzadeh 2021)."""

from pathlib import Path, PurePosixPath

import pandas as pd

from .accuracies import pooled_accuracy
from .choices import choice, choice_frame
from .files import find_file, find_image, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_cases import triplets, write_csv
from .tabular import read_records

PARTS = {"subj_neg": "subject", "verb_neg": "verb", "obj_neg": "object"}
FIELDS = ("sentence", "pos_triplet", "neg_triplet", "pos_image_id", "neg_image_id")
SVO = (
    "sentence",
    "pos_triplet",
    "neg_triplet",
    "pos_url",
    "neg_url",
    "pos_image_id",
    "neg_image_id",
    "subj_neg",
    "verb_neg",
    "obj_neg",
)


def load(path, images=None) -> pd.DataFrame:
    """A choice frame of SVO-Probes: the images are [positive, negative], truth is 0.

    path: svo_probes.csv or its folder. images: the folder with what could be downloaded, as
    ID.jpg, images/ID.jpg, or under the last part of the address; many addresses are dead, so
    scoring reports the rows without an image. group is the part that the negative image has
    wrong. Raises UserError when there is no such file.
    """
    return choice_frame(read_records(find_file(path, "svo_probes.csv")), _rows(images))


def _rows(images):
    def rows(number, record):
        require_fields(record, *FIELDS)
        found = [
            find_image(images, _names(record[f"{side}_image_id"], record.get(f"{side}_url")))
            for side in ("pos", "neg")
        ]
        wrong = [part for name, part in PARTS.items() if _is_true(record.get(name))]
        return [
            choice(
                number,
                found,
                [record["sentence"]],
                kind="image",
                group=" and ".join(wrong),
                pos_triplet=record["pos_triplet"],
                neg_triplet=record["neg_triplet"],
            )
        ]

    return rows


def _is_true(text) -> bool:
    return str(text).strip().lower() == "true"


def _names(number: str, address) -> list[str]:
    number = number.strip()
    if not number.isdecimal():
        raise ValueError(f"the image id {number!r} is no number")
    last = PurePosixPath((address or "").split("?")[0]).name
    return [f"{number}.jpg", f"images/{number}.jpg"] + ([last, f"images/{last}"] if last else [])


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """SVO-Probes: svo_probes.csv, image_urls.txt, images/; subject, verb, object in turn."""
    rows, addresses = [], []
    for case in triplets(folder / "images", n, seed, size):
        urls = [
            f"https://example.org/scenes/{case[key]}.jpg"
            for key in ("pos_image_id", "neg_image_id")
        ]
        case |= {"pos_url": urls[0], "neg_url": urls[1]}
        case |= {column: part == case["neg_value"] for column, part in PARTS.items()}
        case |= {key: ",".join(case[key]) for key in ("pos_triplet", "neg_triplet")}
        rows.append(case)
        addresses += [url + "\n" for url in urls]
    write_csv(rows, SVO, folder / "svo_probes.csv")
    (folder / "image_urls.txt").write_text("".join(addresses), "utf-8")


BENCHMARKS = [
    Benchmark(
        "svo-probes",
        COMPOSITION,
        "SVO-Probes",
        "which image: subject, verb or object differs",
        load,
        write,
        summarise=pooled_accuracy,
        published=("cae", "SVO-Probes"),
        place=8,
    ),
]
