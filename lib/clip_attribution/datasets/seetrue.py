"""SeeTRUE-Feedback (Gordon et al., Mismatch Quest, ECCV 2024): where caption and image differ.

Official files: `SeeTRUE_Feedback.csv` (github MismatchQuest/MismatchQuest), or the Hugging Face set
mismatch-quest/SeeTRUE-Feedback, test split: parquet, or an image folder with `metadata.csv`.
"""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError, one_line
from ..io.read import parse_json
from ..scenes.foils import TYPES
from ..scenes.grammar import Caption
from ..scenes.world import SIDE
from . import protocols
from .boxes import dino_boxes, pali_boxes
from .files import coco_names, find_file, find_image, frame_of, require_fields
from .registry import MISALIGNMENT, Benchmark
from .scene_images import save_picture
from .scene_samples import (
    Sample,
    check_foils,
    coco_name,
    false_phrases,
    false_places,
    foil_samples,
    in_shares,
    misaligned_boxes,
    unique_id,
)

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
WORD = re.compile(r"\w+(?:['’-]\w+)*")
SOURCES = {"cococon": 713, "pickapicon": 635, "drawbench": 404, "coco_t2i": 256}


def load(path, images=None) -> pd.DataFrame:
    """A pairs frame with one row a caption; every caption of this set is misaligned.

    group: the source; caption_misalignment and visual_misalignment: what the caption says and what
    the image shows instead; caption_span: where the former stands in the caption, or None (see
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
    """The rows of a CSV or parquet file, without the images in it. Raises UserError."""
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
    """The rows; of a column `image` of images only their names."""
    with pq.ParquetFile(file) as parquet:
        names = ["image.path" if n == "image" else n for n in parquet.schema_arrow.names]
        return parquet.read(names).to_pylist()


def image_names(record: dict) -> list[str]:
    """Names under which the row's image may lie: its own, a COCO folder, its source's folder."""
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
    feedback = parse_json(feedback, "human_feedback") if isinstance(feedback, str) else feedback
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


def write(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """SeeTRUE-Feedback: n false captions with what people say, the wrong phrase and its boxes.

    Files: SeeTRUE_Feedback.csv, images/. Raises UserError on unknown foil types.
    """
    sources, rows = in_shares(SOURCES, n), []
    for number, sample in enumerate(foil_samples(n, seed, check_foils(foils, TYPES))):
        row = _name_columns(sources[number], sample.index, number, seed)
        row["image_url"] = f"scene:{seed}:{sample.index}:{size}"
        row |= {"": number, "image_caption": sample.foil.foil.text} | _feedback(sample, size)
        save_picture(sample.scene, folder / "images" / row["image_name"], size)
        rows.append(row)
    with open(folder / "SeeTRUE_Feedback.csv", "w", encoding="utf-8", newline="") as file:
        names = [
            "",
            "image_caption",
            "image_name",
            "dataset_source",
            "id_in_source_dataset",
            "image_url",
            "human_feedback",
            "feedback",
            "feedback_clean",
            "caption_misalignment",
            "visual_misalignment",
            "bbox_GroundingDino",
            "bbox_PaLI",
        ]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _name_columns(source: str, index: int, number: int, seed: int) -> dict:
    """The columns that say where a row came from, in the style of each source."""
    name, key = {
        "cococon": (coco_name(index), f"{index + 1}.0"),
        "pickapicon": (f"{unique_id('seetrue', seed, index)}.png", f"{number}"),
        "drawbench": (f"id_{index}_Reddit_sd_1_4_1.png", f"text_{index}_image_{number}"),
        "coco_t2i": (f"id_{index}_sd_2_1_3.png", f"text_{index}_image_{number}"),
    }[source]
    return {"image_name": name, "dataset_source": source, "id_in_source_dataset": key}


def _feedback(sample: Sample, size: int) -> dict:
    """The columns that say what is wrong in the caption, and where the image differs."""
    places = false_places(sample.foil)
    said, seen = _clause(sample.foil.foil, places), _clause(sample.foil.caption, places)
    bare_said, bare_seen = (re.sub("^(a|an|the) ", "", text) for text in (said, seen))
    said, seen = (re.sub(" (is|are) ", " ", text) for text in (said, seen))
    people = [
        f"This is {seen}, not {said}.",
        f"One sees {seen} instead of {said}.",
        f"The caption says {said} where it should say {seen}.",
    ]
    return {
        "human_feedback": json.dumps(people),
        "feedback": f"This is {seen} (CONTRADICTION: {bare_seen}), not {said} "
        f"(CAPTION: {bare_said})",
        "feedback_clean": f"This is {seen}, not {said}",
        "caption_misalignment": bare_said,
        "visual_misalignment": bare_seen,
    } | _boxes(sample, places, bare_seen, size)


def _clause(caption: Caption, places: list[int]) -> str:
    """The stretch from the first to the last phrase with a false word, as inside a sentence."""
    phrases = false_phrases(caption, places)
    text = caption.text[min(p.start for p in phrases) : max(p.end for p in phrases)]
    return text[0].lower() + text[1:]


def _boxes(sample: Sample, places: list[int], label: str, size: int) -> dict:
    """Both box columns: centre, width and height of shares and pixels; and a grid of 1000."""
    boxes = [[c / SIDE for c in box] for box in misaligned_boxes(sample.foil.caption, places)]
    centred = [[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes]
    dino = {
        "boxes": centred,
        "boxes_in_pixels": [[c * size for c in box] for box in centred],
        "size": [size, size],
        "labels": [f"{label}(1.00)"] * len(boxes),
    }
    grid = [[round(1000 * c) for c in (y0, x0, y1, x1)] for x0, y0, x1, y1 in boxes]
    pali = " and ".join(f"{' '.join(map(str, box))} {label}" for box in grid)
    return {"bbox_GroundingDino": repr(dino), "bbox_PaLI": pali}


BENCHMARKS = [
    Benchmark(
        "seetrue",
        MISALIGNMENT,
        "SeeTRUE-Feedback",
        "which part of the caption is wrong?",
        load,
        write,
        summarise=protocols.seetrue,
        published=("clip4dm", "SeeTRUE-Feedback"),
        measures="NLI (ours: F1)",
        place=4,
    ),
]
