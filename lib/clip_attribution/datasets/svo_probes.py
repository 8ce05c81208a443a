"""SVO-Probes: one sentence, a fitting and an unfitting image (Hendricks and Nematzadeh 2021)."""

from pathlib import PurePosixPath

import pandas as pd

from .choices import choice, choice_frame
from .files import find_file, find_image, require_fields
from .tabular import read_records

PARTS = {"subj_neg": "subject", "verb_neg": "verb", "obj_neg": "object"}
FIELDS = ("sentence", "pos_triplet", "neg_triplet", "pos_image_id", "neg_image_id")


def load(path, images=None) -> pd.DataFrame:
    """A choice frame of SVO-Probes: the images are [positive, negative], truth is 0.

    path: svo_probes.csv or its folder. images: the folder with what could be downloaded, as
    ID.jpg, images/ID.jpg, or under the last part of the address; many addresses are dead, so
    scoring reports the rows without a picture. group is the part that the negative image has
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
