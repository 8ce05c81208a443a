"""SeeTRUE-Feedback (Gordon et al., Mismatch Quest, ECCV 2024): where caption and picture differ.

Official files: `SeeTRUE_Feedback.csv` (github MismatchQuest/MismatchQuest), or the Hugging Face set
mismatch-quest/SeeTRUE-Feedback, test split: parquet, or a picture folder with `metadata.csv`.
"""

import ast
import csv
import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError, one_line
from .boxes import corner_box
from .files import coco_names, find_file, find_image, frame_of, require_fields

FILES = (
    "SeeTRUE_Feedback.csv",
    "SeeTRUE*.csv",
    "metadata.csv",
    "test*.parquet",
    "*/test*.parquet",
    "*.parquet",
)
TEXTS = (
    "image_caption",
    "image_name",
    "dataset_source",
    "caption_misalignment",
    "visual_misalignment",
    "bbox_GroundingDino",
    "bbox_PaLI",
)
PIECE = re.compile(r"-\d+-of-")
NUMBERS = r"(\d+) (\d+) (\d+) (\d+) "
PALI_BOX = re.compile(NUMBERS + r"(.+)", re.DOTALL)
WORD = re.compile(r"\w+(?:['’-]\w+)*")


def load(path, images=None) -> pd.DataFrame:
    """A pairs frame with one row a caption; every caption of this set is misaligned.

    group: the source; caption_misalignment and visual_misalignment: what the caption says and what
    the picture shows instead; caption_span: where the former stands in the caption, or None (see
    `find_span`); feedback: the annotators' texts; boxes (pixels) and box_labels from GroundingDINO;
    boxes_pali ([x0, y0, x1, y1] on a grid of 0..1000) and labels_pali from PaLI.
    Raises UserError.
    """

    def rows(number, record):
        yield seetrue_row(number, record) | {"image": find_image(images, image_names(record))}

    return frame_of((r for file in files_of(path) for r in read_rows(file)), rows)


def files_of(path) -> list[Path]:
    """The CSV file, or every piece of the parquet file in the folder `path`. Raises UserError."""
    file = find_file(path, *FILES)
    if not Path(path).is_dir():
        return [file]
    return [find_file(one) for one in sorted(file.parent.glob(PIECE.sub("-*-of-", file.name)))]


def read_rows(file: Path) -> list[dict]:
    """The rows of a CSV or parquet file, without the pictures in it. Raises UserError."""
    try:
        rows = read_parquet(file) if file.suffix == ".parquet" else read_csv(file)
    except (OSError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"cannot read {file}: {one_line(error)}") from None
    if rows and "image_caption" not in rows[0]:
        raise UserError(f"{file} has no column 'image_caption': not SeeTRUE-Feedback")
    return rows


def read_csv(file: Path) -> list[dict]:
    """The rows as text; a cell may span lines and be of any length."""
    csv.field_size_limit(2**31 - 1)
    with open(file, newline="", encoding="utf-8-sig") as opened:
        return list(csv.DictReader(opened, strict=True))


def read_parquet(file: Path) -> list[dict]:
    """The rows; of a column `image` of pictures only their names."""
    with pq.ParquetFile(file) as parquet:
        names = ["image.path" if n == "image" else n for n in parquet.schema_arrow.names]
        return parquet.read(names).to_pylist()


def image_names(record: dict) -> list[str]:
    """Names under which the row's picture may lie: its own, a COCO folder, its source's folder."""
    name, source = record["image_name"], record["dataset_source"]
    inside = record["image"].get("path") if isinstance(record.get("image"), dict) else None
    others = [f"images/{name}", f"{source}/{name}", inside, record.get("file_name")]
    return coco_names(name) + [other for other in others if other]


def seetrue_row(number: int, record: dict) -> dict:
    """The row, still without its image. Raises ValueError."""
    require_fields(record, *TEXTS, "human_feedback")
    if None in record:
        raise ValueError("more cells than the header has names")
    if not all(isinstance(record[name], str) for name in TEXTS):
        raise ValueError(f"one of {', '.join(TEXTS)} is not text")
    feedback = record["human_feedback"]
    feedback = json.loads(feedback) if isinstance(feedback, str) else feedback
    if not isinstance(feedback, list):
        raise ValueError("'human_feedback' is not a list")
    boxes, labels = dino_boxes(record["bbox_GroundingDino"])
    boxes_pali, labels_pali = pali_boxes(record["bbox_PaLI"])
    return {
        "pair_id": str(number),
        "caption": record["image_caption"],
        "group": record["dataset_source"],
        "caption_misalignment": record["caption_misalignment"],
        "visual_misalignment": record["visual_misalignment"],
        "caption_span": find_span(record["image_caption"], record["caption_misalignment"]),
        "feedback": feedback,
        "boxes": boxes,
        "box_labels": labels,
        "boxes_pali": boxes_pali,
        "labels_pali": labels_pali,
    }


def dino_boxes(cell: str) -> tuple[list[list[float]], list[str]]:
    """Boxes in pixels and their labels, from a Python dict of boxes by centre, width and height."""
    if not cell.strip():
        return [], []
    try:
        found = ast.literal_eval(cell)
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("'bbox_GroundingDino' is not a Python dict") from None
    require_fields(found, "boxes_in_pixels", "labels")
    boxes = [
        corner_box([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        for x, y, width, height in found["boxes_in_pixels"]
    ]
    return boxes, [str(label) for label in found["labels"]]


def pali_boxes(cell: str) -> tuple[list[list[float]], list[str]]:
    """Boxes on PaLI's grid of 0..1000, and their labels.

    The cell says `ymin xmin ymax xmax label`, more of them after " and "; since a label may hold
    " and " itself, another box begins only where four numbers follow.
    """
    boxes, labels = [], []
    for part in re.split(f" and (?={NUMBERS.replace('(', '(?:')})", cell) if cell.strip() else []:
        found = PALI_BOX.fullmatch(part.strip())
        if not found:
            raise ValueError(f"'bbox_PaLI' is not four numbers and a label: {part[:60]!r}")
        y0, x0, y1, x1 = (float(value) for value in found.groups()[:4])
        boxes.append(corner_box([x0, y0, x1, y1]))
        labels.append(found[5])
    return boxes, labels


def find_span(caption: str, part: str) -> tuple[int, int] | None:
    """Where `part` stands in the caption, as (start, end): `caption[start:end]`.

    As whole words, exactly or else ignoring case; or else inside words; or else the shortest
    stretch that holds all of its words that the caption has, if these are at least half of them.
    """
    part = part.strip()
    if not part:
        return None
    literal = re.escape(part)
    for pattern in (rf"(?<!\w){literal}(?!\w)", literal):
        for flags in (0, re.IGNORECASE):
            if found := re.search(pattern, caption, flags):
                return found.span()
    return shortest_stretch(caption, {word.lower() for word in WORD.findall(part)})


def shortest_stretch(caption: str, wanted: set[str]) -> tuple[int, int] | None:
    """The shortest stretch with every wanted word that the caption has; None if under half."""
    words = [(m[0].lower(), m.start(), m.end()) for m in WORD.finditer(caption)]
    there = {word for word, _, _ in words} & wanted
    if not there or 2 * len(there) < len(wanted):
        return None
    spans, last = [], {}
    for word, start, end in words:
        if word in there:
            last[word] = start
            if len(last) == len(there):
                spans.append((end - min(last.values()), min(last.values()), end))
    return min(spans)[1:]
