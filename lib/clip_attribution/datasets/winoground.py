"""Winoground: two images and two captions of the same words (Thrush et al. 2022)."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from ..errors import UserError, one_line
from ..io.tables import atomic_path
from .choices import choice, choice_frame
from .files import find_file, find_image, load_json, require_fields

NAMES = (
    "data/examples.jsonl",
    "examples.jsonl",
    "data/test*.parquet",
    "test*.parquet",
    "*.parquet",
)
TAGS = "new_tag_assignments.json"


def load(path, images=None, tags=None) -> pd.DataFrame:
    """A choice frame of Winoground, kind "winoground": images[i] goes with captions[i].

    path: examples.jsonl, the parquet file, or their folder. images: the folder that images.zip
    unpacks to; the pictures inside a parquet file are made files by `unpack`. tags: the file
    new_tag_assignments.json of Diwan et al. 2022, by default the one beside the examples. group is
    collapsed_tag; the column tags holds the list of why a case is hard, empty for a "clean" one,
    missing where no tags are known. Raises UserError when there is no such file.
    """
    file = find_file(path, *NAMES)
    known = load_json(tags) if tags else _tags_beside(file)
    return choice_frame(_read(file), _rows(images, known))


def unpack(path, folder) -> int:
    """Write the pictures inside a parquet file into `folder`, as they are; returns how many.

    Raises UserError when the file holds none or the folder cannot be written.
    """
    folder, count = Path(folder), 0
    folder.mkdir(parents=True, exist_ok=True)
    for record in _read(find_file(path, *NAMES)):
        for side in (0, 1):
            picture = record.get(f"image_{side}")
            if not isinstance(picture, dict) or not picture.get("bytes"):
                raise UserError(f"{path}: record {record.get('id')} holds no picture {side}")
            with atomic_path(folder / _image_name(record, side)) as temporary:
                temporary.write_bytes(picture["bytes"])
            count += 1
    return count


def _read(file: Path) -> list[dict]:
    if file.suffix != ".parquet":
        lines = file.read_text("utf-8-sig").splitlines()
        return [_json_line(line) for line in lines if line.strip()]
    try:
        return pq.ParquetFile(file).read().to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {one_line(error)}") from None


def _json_line(line: str):
    try:
        return json.loads(line)
    except ValueError:
        return line  # no record: reported with its row


def _tags_beside(file: Path) -> dict | None:
    for folder in (file.parent, file.parent.parent):
        if (folder / TAGS).is_file():
            return load_json(folder / TAGS)
    return None


def _rows(images, known: dict | None):
    def rows(number, record):
        require_fields(record, "caption_0", "caption_1", "image_0", "image_1")
        case = str(record.get("id", number))
        found = [find_image(images, _image_names(record, side)) for side in (0, 1)]
        return [
            choice(
                case,
                found,
                [record["caption_0"], record["caption_1"]],
                kind="winoground",
                group=record.get("collapsed_tag") or "",
                tag=record.get("tag"),
                tags=None if known is None else list(known.get(case, [])),
            )
        ]

    return rows


def _image_name(record: dict, side: int) -> str:
    """The file name: as the parquet cell or the examples file gives it, .png where it has none."""
    value = record[f"image_{side}"]
    name = value.get("path") if isinstance(value, dict) else value
    name = Path(name or f"ex_{record.get('id')}_img_{side}").name
    return name if Path(name).suffix else f"{name}.png"


def _image_names(record: dict, side: int) -> list[str]:
    name = _image_name(record, side)
    both = [name, f"{Path(name).stem}.jpg"]
    return [folder + one for one in both for folder in ("", "images/", "data/images/")]
