"""Winoground: two images and two captions of the same words (Thrush et al. 2022)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ..errors import UserError, one_line
from ..io.read import parse_json, read_text, text_lines
from ..metrics.intervals import mean_estimate
from ..scenes.clauses import (
    RELATIONS,
    be,
    clause,
    is_known,
    is_pair,
    placed,
    scenes,
    swapped,
    thing,
    turned,
)
from ..scenes.world import Scene
from .accuracies import COLUMNS, winoground_correct
from .choices import choice, choice_frame
from .files import find_file, find_image, load_json, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_cases import write_json
from .scene_images import expect_pictures, save_picture, write_once

NAMES = (
    "data/examples.jsonl",
    "examples.jsonl",
    "data/test*.parquet",
    "test*.parquet",
    "*.parquet",
)
TAGS = "new_tag_assignments.json"
TURNS = {
    "noun": ("Noun", "Object"),
    "colour": ("Adjective-Color", "Relation"),
    "relation": ("Noun Phrase", "Object"),
}


CHANCE = {"text": 25.0, "image": 25.0, "group": 100 / 6}


def load(path, images=None, tags=None) -> pd.DataFrame:
    """A choice frame of Winoground, kind "winoground": images[i] goes with captions[i].

    path: examples.jsonl, the parquet file, or their folder. images: the folder that images.zip
    unpacks to; the images inside a parquet file are made files by `unpack`. tags: the file
    new_tag_assignments.json of Diwan et al. 2022, by default the one beside the examples. group is
    collapsed_tag; the column tags holds the list of why a case is hard, empty for a "clean" one,
    missing where no tags are known. Raises UserError when there is no such file.
    """
    file = find_file(path, *NAMES)
    known = load_json(tags) if tags else _tags_beside(file)
    return choice_frame(_read(file), _rows(images, known))


def unpack(path, folder) -> int:
    """Write the images inside a parquet file into `folder`, as they are; returns how many.

    Raises UserError when the file holds none or the folder cannot be written.
    """
    folder, count = Path(folder), 0
    folder.mkdir(parents=True, exist_ok=True)
    for record in _read(find_file(path, *NAMES)):
        for side in (0, 1):
            picture = record.get(f"image_{side}")
            if not isinstance(picture, dict) or not picture.get("bytes"):
                raise UserError(f"{path}: record {record.get('id')} holds no image {side}")
            write_once(folder / _image_name(record, side), picture["bytes"])
            count += 1
    return count


def _read(file: Path) -> list[dict]:
    if file.suffix != ".parquet":
        lines = text_lines(read_text(file))
        return [_json_line(line) for line in lines if line.strip()]
    try:
        return pq.ParquetFile(file).read().to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {one_line(error)}") from None


def _json_line(line: str):
    try:
        return parse_json(line, "line")
    except UserError:
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


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """Winoground: data/examples.jsonl, images/, and new_tag_assignments.json.

    The captions exchange nouns, colours, or both things around the relation, in turn; the second
    image is that of a scene in which the same is exchanged.
    """
    expect_pictures(2 * n)
    lines, tags, kinds = [], {}, list(TURNS)
    for number, (index, scene) in enumerate(scenes(n, seed, _can_turn)):
        kind = kinds[number % 3]
        other = turned(scene) if kind == "relation" else swapped(scene, kind)
        for side, picture in enumerate((scene, placed(other, seed, index))):
            save_picture(picture, folder / "images" / f"ex_{number}_img_{side}.png", size)
        lines.append(json.dumps(_example(number, kind, scene, other)) + "\n")
        small = any(entity.size == "small" for entity in scene.entities)
        tags[str(number)] = ["Visually Difficult"] if small else []
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "examples.jsonl").write_text("".join(lines), "utf-8")
    write_json(tags, folder / "new_tag_assignments.json")


def _can_turn(scene: Scene) -> bool:
    """Both things are one each, so that every exchange makes a sentence of the same words."""
    return (
        is_pair(scene)
        and all(e.count == 1 for e in scene.entities)
        and is_known(swapped(scene, "noun"))
    )


def _example(number: int, kind: str, scene: Scene, other: Scene) -> dict:
    relation, tags = RELATIONS[scene.position], TURNS[kind]
    order = other.entities[::-1] if kind == "relation" else other.entities
    texts = [clause(thing(a), be(a), relation, thing(b)) for a, b in (scene.entities, order)]
    return {
        "id": number,
        "image_0": f"ex_{number}_img_0",
        "image_1": f"ex_{number}_img_1",
        "caption_0": texts[0],
        "caption_1": texts[1],
        "tag": tags[0],
        "secondary_tag": "",
        "num_main_preds": 1,
        "collapsed_tag": tags[1],
    }


def summarise(scored, seed=0) -> pd.DataFrame:
    """Text, image and group score, of all cases, of each group, and of the clean ones.

    Chance is that of four independent scores. Random weights stay far below it, because they give
    all images nearly the same feature: then both images prefer the same caption.
    "clean": the cases without a tag of Diwan et al. 2022 (172 of 400); "clean without 313": the
    171 of MACCO's list. Only where the loader found the tags.
    """
    good = scored[scored["error"].isna()]
    subsets = {"all": good} | {str(name): part for name, part in good.groupby("group") if name}
    if len(good) and good["tags"].notna().all():
        clean = good[good["tags"].map(len) == 0]
        subsets |= {"clean": clean, "clean without 313": clean[clean["case_id"] != "313"]}
    rows = []
    for name, part in subsets.items():
        hits = np.array([winoground_correct(s) for s in part["scores"]], float).reshape(-1, 2)
        hits = np.column_stack([hits, hits.all(1)])
        for measure, values in zip(CHANCE, hits.T, strict=True):
            value, low, high, n = mean_estimate(values, seed)
            chance = CHANCE[measure]
            rows.append((measure, name, 100 * value, 100 * low, 100 * high, n, chance, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


BENCHMARKS = [
    Benchmark(
        "winoground",
        COMPOSITION,
        "Winoground",
        "which of two captions for which of two images",
        load,
        write,
        summarise=summarise,
        published=("cae", "Winoground clean"),
        place=10,
    ),
]
