"""SpatialSense: spatial relations between two boxed objects, many of them hard on purpose.

Yang, Russakovsky, Deng 2019 (ICCV); `annotations.json` (its README also says `annotation.json`).
The three settings are those of Q-GroundCAM (methods sheet 6.4).
"""

from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pandas as pd

from ..errors import UserError, one_line
from .boxes import corner_box, four_numbers, grounding_frame
from .files import find_file, find_image, load_json, require_fields

SETTINGS = {"triplet": "subject", "subject": "subject", "object": "object"}  # whose box


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
