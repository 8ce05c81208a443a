"""VALSE: a caption and its foil, in eleven tests of six phenomena (Parcalabescu et al. 2022)."""

import pandas as pd

from .choices import choice, choice_frame, join, keyed_records, subset_files
from .files import coco_names, find_image, load_json, require_fields

SUBSETS = (
    "existence",
    "plurals",
    "counting-hard",
    "counting-small-quant",
    "counting-adversarial",
    "relations",
    "action-replacement",
    "actant-swap",
    "coreference-standard",
    "coreference-hard",
    "foil-it",
)
VOTES = 2  # of three annotators who chose the caption and not the foil


def load(path, images=None, valid_only: bool = True) -> pd.DataFrame:
    """A choice frame of VALSE: the captions are [caption, foil], truth is 0.

    valid_only keeps what at least two of three annotators confirmed, as all published numbers do.
    path: the folder with the eleven files (or its parent), or one of them. images: the folder with
    the photos, COCO's under any year's name. case_id is file:id, because ids repeat between files.
    Further columns: target_word and foil_word (`classes`, `classes_foil` as text; missing where
    the release has no word there), votes, and only_caption (coreference: the caption without
    question and answer). Raises UserError when there is no such file.
    """
    frame = join([_load_subset(name, file, images) for name, file in subset_files(path, SUBSETS)])
    if valid_only:
        frame = frame[frame["error"].notna() | (frame["votes"] >= VOTES)].reset_index(drop=True)
    return frame


def _load_subset(name: str, file, images) -> pd.DataFrame:
    def rows(_, item):
        key, record = item
        require_fields(record, "image_file", "caption", "foil", "mturk")
        require_fields(record["mturk"], "caption")
        image = find_image(images, _image_names(record["image_file"]))
        return [
            choice(
                f"{name}:{key}",
                [image],
                [record["caption"], record["foil"]],
                group=name,
                target_word=_word(record.get("classes")),
                foil_word=_word(record.get("classes_foil")),
                votes=int(record["mturk"]["caption"]),
                only_caption=record.get("only_caption"),
            )
        ]

    return choice_frame(keyed_records(load_json(file)), rows, prefix=f"{name}: ")


def _word(value) -> str | None:
    """A word or number as text; existence has lists and plurals a stray bool, which are none."""
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if plain else None


def _image_names(name: str) -> list[str]:
    """Where the picture may lie: visual7w's v7w_17.jpg is Visual Genome's 17.jpg."""
    if name.startswith("v7w_"):
        number = name.removeprefix("v7w_")
        return [name, f"images/{name}", f"VG_100K/{number}", f"VG_100K_2/{number}", number]
    folder = "SWiG" if "_" in name and not name.startswith(("COCO_", "Visual")) else "visdial"
    return [*coco_names(name), f"images/{name}", f"{folder}/{name}"]
