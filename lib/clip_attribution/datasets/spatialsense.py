"""SpatialSense: spatial relations between two boxed objects, many of them hard on purpose.

Yang, Russakovsky, Deng 2019 (ICCV); `annotations.json` (its README also says `annotation.json`).
The three settings are those of Q-GroundCAM (methods sheet 6.4).
"""

from collections import Counter
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pandas as pd

from ..errors import UserError, one_line
from ..scenes.clauses import scenes
from ..scenes.vocabulary import OPPOSITE, plural
from .boxes import corner_box, four_numbers, grounding_frame
from .files import find_file, find_image, load_json, require_fields
from .registry import GROUNDING, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .scene_samples import picture_id, pixel_boxes

SETTINGS = {"triplet": "subject", "subject": "subject", "object": "object"}  # whose box
RELATIONS = dict(left="to the left of", right="to the right of", above="above", below="under")


def load(
    path, images=None, split: str | None = "test", setting: str = "triplet", only_true: bool = True
) -> pd.DataFrame:
    """A grounding frame (see `boxes`), one row a relation; `type` is the predicate.

    Args:
        path: the annotations file or its folder.
        images: the folder that has `flickr/` and `nyu/`, the one above it, or one with all photos.
        split: train, valid or test; None for all.
        setting: "triplet": the phrase is "subject predicate object", the target the SUBJECT's box
            (role relation); "subject" or "object": that name and its box (role object). It
            becomes `group`. The caption is always the whole triplet.
        only_true: leave out relations labelled false; attrs["left_out"] counts them.

    Boxes are stored as y0, y1, x0, x1 and given as everywhere else; the enlarging of small boxes
    in the authors' baselines is not done. `label` says whether the relation holds.
    Raises UserError: no such file, not a list, unknown setting or split.
    """
    if setting not in SETTINGS:
        raise UserError(f"no setting {setting!r}; there are {', '.join(SETTINGS)}")
    file = find_file(path, "annotations.json", "annotation.json")
    records = load_json(file)
    if not isinstance(records, list):
        raise UserError(f"{file} holds no list of images")
    splits = {str(one.get("split")) for one in records if isinstance(one, dict)}
    if split is not None and split not in splits:
        raise UserError(f"no split {split!r} in {file}; there are {', '.join(sorted(splits))}")
    left_out: Counter = Counter(false=0)

    def rows(number, record):
        require_fields(record, "split", "url", "annotations")
        if split is not None and record["split"] != split:
            return
        facts = {
            "image": find_image(images, _places(record["url"])),
            "width": record.get("width"),
            "height": record.get("height"),
            "group": setting,
        }
        for place, relation in enumerate(record["annotations"]):
            if only_true and isinstance(relation, dict) and relation.get("label") in (False,):
                left_out["false"] += 1
            else:
                yield _row(relation, f"{number}:{place}", setting, facts)

    return grounding_frame(records, rows, left_out)


def _places(url: str) -> list[str]:
    """Where the photo may lie: Flickr photos have an address, those of NYU only a path."""
    if not isinstance(url, str):
        raise ValueError(f"the url is no text: {url!r}")
    parts = urlsplit(url)
    folder, name = "flickr" if parts.netloc else "nyu", PurePosixPath(parts.path).name
    if not name:
        raise ValueError(f"no file name in the url {url!r}")
    own = [] if parts.netloc else [parts.path.lstrip("/")]
    return [f"{folder}/{name}", f"images/{folder}/{name}", name, *own]


def _row(relation, place: str, setting: str, facts: dict) -> dict:
    try:
        require_fields(relation, "subject", "predicate", "object", "label")
        sides = [relation[side] for side in ("subject", "object")]
        for side in sides:
            require_fields(side, "name", "bbox")
        subject, name = (str(side["name"]) for side in sides)
        caption = f"{subject} {relation['predicate']} {name}"
        y0, y1, x0, x1 = four_numbers(relation[SETTINGS[setting]]["bbox"])
        box = corner_box([x0, y0, x1, y1], facts["width"], facts["height"])
    except (TypeError, ValueError) as error:
        known = relation.get("_id") if isinstance(relation, dict) else None
        return {"pair_id": known or place} | facts | {"error": f"{place}: {one_line(error)}"}
    phrase = {"triplet": caption, "subject": subject, "object": name}[setting]
    start = len(caption) - len(name) if setting == "object" else 0
    return facts | {
        "pair_id": relation.get("_id") or place,
        "caption": caption,
        "phrase": phrase,
        "start": start,
        "end": start + len(phrase),
        "boxes": [box],
        "role": "relation" if setting == "triplet" else "object",
        "type": relation["predicate"],
        "label": relation["label"],
    }


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """annotations.json and images/flickr/, every fourth image in images/nyu/; all in "test".

    An image has one relation that holds and its opposite, labelled false.
    """
    records = []
    for number, (index, scene) in enumerate(scenes(n, seed, lambda s: len(s.entities) == 2)):
        place, name = ("nyu", "flickr")[number % 4 > 0], f"{picture_id(seed, index)}.jpg"
        url = f"nyu/{name}" if place == "nyu" else f"https://example.org/{seed}/{name}"
        save_picture(scene, folder / "images" / place / name, size)
        sides = [_side(*one) for one in zip(scene.entities, pixel_boxes(scene, size), strict=True)]
        facts = [(scene.position, True), (OPPOSITE[scene.position], False)]
        record = {
            "url": url,
            "height": size,
            "width": size,
            "split": "test",
            "annotations": [
                {
                    "_id": f"{picture_id(seed, index):023x}{int(label)}",
                    "predicate": RELATIONS[where],
                    "object": sides[1],
                    "subject": sides[0],
                    "label": label,
                }
                for where, label in facts
            ],
        }
        records.append(record | ({"nsid": "0@N00"} if place == "flickr" else {}))
    write_json(records, folder / "annotations.json")


def _side(entity, boxes) -> dict:
    """A thing by its name and box, a group by the box around it; x, y are a point on it."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    name = entity.noun if entity.count == 1 else plural(entity.noun)
    return {
        "y": (y0[0] + y1[0]) // 2,
        "x": (x0[0] + x1[0]) // 2,
        "name": name,
        "bbox": [min(y0), max(y1), min(x0), max(x1)],
    }


BENCHMARKS = [
    Benchmark(
        "spatialsense",
        GROUNDING,
        "SpatialSense",
        "where is the subject of a spatial relation?",
        load,
        write,
        published=("qgroundcam", "SpatialSense triplet"),
        place=4,
    ),
]
