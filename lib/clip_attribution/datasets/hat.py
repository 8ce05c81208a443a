"""HAT (Petryk et al., ALOHa, NAACL 2024): machine captions of COCO with hallucinated words marked.

Official file `hat-trainval.json` (github DavidMChan/aloha), a list of records; photos of COCO.
"""

from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..scenes.foils import TYPES
from . import protocols
from .files import coco_names, find_file, find_image, frame_of, load_json, require_fields
from .registry import MISALIGNMENT, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .scene_samples import (
    Sample,
    check_foils,
    coco_name,
    false_places,
    foil_samples,
    in_shares,
    opaque,
    references,
    token_flags,
    trailing,
    unique_id,
)

FILES = ("hat-trainval.json", "hat*.json")
HALLUCINATED = {True: 135, False: 265}


def load(path, images=None) -> pd.DataFrame:
    """A pairs frame with one row a caption.

    is_foil: whether it holds a hallucination; hallucinated: the marked words in their order, with
    the punctuation that sticks to them; references; sample_id; group "".
    A record whose words are not those of its caption, or whose marks contradict
    `contains_hallucination`, carries an error. Raises UserError.
    """
    file = find_file(path, *FILES)
    content = load_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file} is not a list of records: expected {FILES[0]}")

    def rows(number, record):
        yield hat_row(number, record) | {
            "image": find_image(images, coco_names(record["image_path"]))
        }

    return frame_of(content, rows)


def hat_row(number: int, record: dict) -> dict:
    """The record's row, still without its image. Raises ValueError."""
    require_fields(record, "caption", "grounding", "contains_hallucination", "image_path")
    caption, references = record["caption"], record.get("references") or []
    if not all(isinstance(text, str) for text in [caption, *references]):
        raise ValueError("caption and references must be text")
    words = [word for word, _ in record["grounding"]]
    marked = [word for word, flag in record["grounding"] if flag]
    if words != caption.split():
        raise ValueError("the words of 'grounding' are not those of the caption")
    if bool(marked) != record["contains_hallucination"]:
        raise ValueError("'contains_hallucination' contradicts the flags of 'grounding'")
    return {
        "pair_id": str(number),
        "caption": caption,
        "group": "",
        "is_foil": bool(marked),
        "hallucinated": marked,
        "references": references,
        "sample_id": record.get("sample_id"),
    }


def write(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """HAT: n captions, 135 of 400 with the hallucinated words marked; 5 references each.

    True captions are written in the same way as those that a foil was made of.
    Files: hat-trainval.json, val2014/COCO_val2014_*.jpg. Raises UserError on unknown foil types.
    """
    labels = in_shares(HALLUCINATED, n)
    records = []
    samples = foil_samples(n, seed, check_foils(foils, TYPES))
    for number, (sample, false) in enumerate(zip(samples, labels, strict=True)):
        records.append(_hat_record(sample, seed, false, trailing(number)))
        save_picture(sample.scene, folder / "val2014" / coco_name(sample.index), size)
    write_json(records, folder / "hat-trainval.json")


def _hat_record(sample: Sample, seed: int, false: bool, end: str) -> dict:
    caption = sample.foil.foil if false else sample.foil.caption
    grounding = token_flags(caption, false_places(sample.foil) if false else [])
    return {
        "sample_id": unique_id("hat", seed, sample.index),
        "caption": caption.text + end,
        "grounding": grounding,
        "contains_hallucination": false,
        "image_path": coco_name(sample.index),
        "session_id": opaque("session", seed, sample.index)[:24],
        "references": references(sample, seed, 5),
        "is_gold": False,
        "is_positive": True,
        "is_machine_generated": True,
    }


BENCHMARKS = [
    Benchmark(
        "hat",
        MISALIGNMENT,
        "HAT",
        "what does the caption hallucinate; does it?",
        load,
        write,
        summarise=protocols.hat,
        published=("clip4dm", "HAT"),
        measures="LA, AP",
        place=3,
    ),
]
