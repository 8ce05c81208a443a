"""HAT (Petryk et al., ALOHa, NAACL 2024): machine captions of COCO with hallucinated words marked.

Official file `hat-trainval.json` (github DavidMChan/aloha), a list of records; photos of COCO.
"""

import pandas as pd

from ..errors import UserError
from .files import coco_names, find_file, find_image, frame_of, load_json, require_fields

FILES = ("hat-trainval.json", "hat*.json")


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
