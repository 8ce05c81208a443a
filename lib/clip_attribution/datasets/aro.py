"""ARO: attribution, relation and order (Yuksekgonul et al. 2023), and NegCLIP's hard negatives."""

import ast
import csv
import re
from math import isfinite
from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line
from . import aro_order
from .choices import choice, choice_frame
from .files import coco_names, find_file, find_image, frame_of, load_json, require_fields
from .tabular import read_records

TASKS = ("relation", "attribute", "coco-order", "flickr30k-order")
BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
NAMES = {
    "relation": "visual_genome_relation.json",
    "attribute": "visual_genome_attribution.json",
    "coco-order": "coco_karpathy_{split}.json",
    "flickr30k-order": "flickr30k_{split}.json",
}
EXCLUDED = (
    "excluded_relations.json",
    "excluded_relations.txt",
    "Replicate ARO*.ipynb",
    "notebooks/Replicate ARO*.ipynb",
)


def load(path, images=None, task="relation", split="test", seed=0, tagger=None) -> pd.DataFrame:
    """A choice frame of one of ARO's four tasks.

    task "relation" or "attribute": captions [false, true], truth 1, crop the box of the pair (the
    model sees only that); group is the relation's name, or the two attributes joined by "_".
    "coco-order" or "flickr30k-order": captions [true, shuffled...], truth 0; see
    `aro_order.order_choices` for seed and tagger. path: the json file or its folder. images: the
    folder of the photos. split: val or test, of the order tasks. Raises UserError.
    """
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}: there are {', '.join(TASKS)}")
    file = find_file(path, NAMES[task].format(split=split))
    if task.endswith("order"):
        return aro_order.order_choices(file, images, seed, tagger)
    return choice_frame(load_json(file), _pair_rows(images, task))


def _pair_rows(images, task: str):
    def rows(number, record):
        require_fields(record, "image_path", "true_caption", "false_caption", *BOX)
        name = record["image_path"]
        image = find_image(images, [name, f"images/{name}"])
        captions = [record["false_caption"], record["true_caption"]]
        return [choice(number, [image], captions, 1, "text", _group(record, task), _crop(record))]

    return rows


def _group(record: dict, task: str) -> str:
    if task == "relation":
        require_fields(record, "relation_name")
        return str(record["relation_name"])
    require_fields(record, "attributes")
    first, second = record["attributes"]
    return f"{first}_{second}"


def _crop(record: dict) -> list[float]:
    """[x, y, w, h]. Raises ValueError when that is no box."""
    x, y, w, h = (float(record[name]) for name in BOX)
    if not all(map(isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise ValueError(f"no box: {[x, y, w, h]}")
    return [x, y, w, h]


def excluded_relations(path) -> list[str]:
    """The relation names that ARO leaves out of its macro mean, from the repository's notebook.

    path: "Replicate ARO! VG-Relation, VG-Attribution.ipynb", whose code assigns the list to
    `symmetric`; or a JSON list of names; or a .txt file with one name a line. Raises UserError
    when there is no such list.
    """
    content = _lines(path) if str(path).endswith(".txt") else load_json(path)
    if isinstance(content, dict):
        cells = [c.get("source", "") for c in content.get("cells", []) if isinstance(c, dict)]
        code = "\n".join("".join(source) for source in cells)
        match = re.search(r"^symmetric\s*=\s*(\[[^\]]*\])", code, re.MULTILINE)
        content = _literal(match[1]) if match else None
    names = content if isinstance(content, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} has no list of relation names")
    return names


def find_excluded(data) -> list[str] | None:
    """The list of `excluded_relations` that lies beside the data file, in this order: EXCLUDED.

    data: the data file or its folder. None where there is none of them. Raises UserError when the
    one found holds no list.
    """
    folder = Path(data) if Path(data).is_dir() else Path(data).parent
    found = next((file for name in EXCLUDED for file in sorted(folder.glob(name))), None)
    return None if found is None else excluded_relations(found)


def counting_options(benchmark: str, at_least: int | None = None, exclude=None) -> dict:
    """What counts in ARO's means, as options of `composition_scores.summarise`.

    at_least: the smallest number of cases of a relation or attribute pair. exclude: a file for
    `excluded_relations`. Neither: no option. Raises UserError, also on another benchmark.
    """
    if at_least and benchmark not in ("aro-relation", "aro-attribute"):
        raise UserError("at_least is for aro-relation and aro-attribute alone")
    if exclude and benchmark != "aro-relation":
        raise UserError("exclude is for aro-relation alone")
    options = {"at_least": at_least} if at_least else {}
    return options | ({"exclude": excluded_relations(exclude)} if exclude else {})


def _lines(path) -> list[str]:
    """The lines of a text file that are not blank. Raises UserError."""
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None
    return [line.strip() for line in lines if line.strip()]


def load_negclip(path, images=None) -> pd.DataFrame:
    """A pairs frame of NegCLIP's training or validation file: captions with hard negatives.

    path: the .tsv file or its folder (the validation file). Columns: pair_id (the file's row
    number), image, caption, negatives (list of str, may be empty), neg_image (list of row numbers
    of the full file: pictures like this one), group (empty), error. Raises UserError.
    """
    file = find_file(path, "valid_neg_clip.tsv", "train_neg_clip.tsv", "*neg_clip*.tsv")
    return frame_of(read_records(file, "\t", csv.QUOTE_MINIMAL), _negclip_rows(images))


def _negclip_rows(images):
    def rows(number, record):
        require_fields(record, "title", "filepath", "neg_caption", "neg_image")
        negatives, neighbours = _literal(record["neg_caption"]), _literal(record["neg_image"])
        if not all(isinstance(text, str) for text in negatives):
            raise ValueError("neg_caption is no list of texts")
        return [
            {
                "pair_id": record.get("", number),
                "caption": record["title"],
                "group": "",
                "image": find_image(images, coco_names(record["filepath"])),
                "negatives": list(negatives),
                "neg_image": [int(n) for n in neighbours],
            }
        ]

    return rows


def _literal(text: str) -> list:
    """The list that Python would print so. Raises ValueError."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise ValueError(f"no list: {text[:60]!r}")
    return value
