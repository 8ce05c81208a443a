"""COCO instances: the name of a category as the phrase, all its boxes in an image as the target.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; `annotations/instances_<split>.json`.
"""

from functools import lru_cache
from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line
from ..scenes.clauses import scenes
from ..scenes.vocabulary import NOUNS
from .boxes import grounding_frame, sized_box
from .files import coco_names, find_file, find_image, load_json, require_fields
from .registry import GROUNDING, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .scene_samples import picture_id, pixel_boxes

CATEGORY_IDS = {noun: number for number, noun in enumerate(NOUNS, start=1)}


def load(
    path, images=None, split: str = "val2017", prompt: str = "{}", per: str = "category"
) -> pd.DataFrame:
    """A grounding frame (see `boxes`); `type` is the category, `group` the split.

    Args:
        path: the instances file, or the folder that has it or its `annotations/`.
        images: the folder with `val2017/` and so on, or with the photos themselves.
        split: names the file.
        prompt: the phrase, with {} for the category's name. By default the bare name, since the
            phrases of the other benchmarks are bare and methods may add a template of their own.
        per: "category": one row an image and category with all its boxes; "box": one row a box.

    Crowd regions are left out, since their box is no object's, and counted in attrs["left_out"].
    A malformed box makes a row of its own with the reason in `error`; the good boxes of the same
    category keep their row. So does a category of an unknown image, or an unknown category.
    Raises UserError: no such file, or one without COCO's lists; no {} in `prompt`; unknown `per`.
    """
    if "{}" not in prompt:
        raise UserError(f"the prompt needs {{}} where the category's name goes: {prompt!r}")
    if per not in ("category", "box"):
        raise UserError(f"per is 'category' or 'box', not {per!r}")
    name = f"instances_{split}.json"
    annotations, pictures, names = read_instances(find_file(path, name, f"annotations/{name}"))
    crowd = [isinstance(one, dict) and bool(one.get("iscrowd")) for one in annotations]
    single = [one for one, left in zip(annotations, crowd, strict=True) if not left]
    locate = lru_cache(None)(lambda file: find_image(images, coco_names(file)))

    def rows(number, group):
        picture, category = _facts(group[0], pictures, names)
        phrase = prompt.replace("{}", category)
        row = {
            "pair_id": f"{picture['id']}:{group[0]['category_id']}",
            "image": locate(picture["file_name"]),
            "caption": phrase,
            "phrase": phrase,
            "start": 0,
            "end": len(phrase),
            "width": picture.get("width"),
            "height": picture.get("height"),
            "role": "object",
            "type": category,
            "group": split,
        }
        good = []
        for one in group:
            own = {"pair_id": f"{row['pair_id']}:{one.get('id')}"}
            try:
                good.append(sized_box(one.get("bbox"), row["width"], row["height"]))
            except ValueError as error:
                yield row | own | {"error": f"annotation {one.get('id')}: {one_line(error)}"}
        if good:
            yield row | (own if per == "box" else {}) | {"boxes": good}

    return grounding_frame(_groups(single, per), rows, {"crowd": sum(crowd)})


def read_instances(file) -> tuple[list, dict, dict]:
    """(annotations, image records by id, category names by id) of a COCO instances file.

    Raises UserError when it is not of that form.
    """
    content = load_json(file)
    lists = [
        content.get(n) if isinstance(content, dict) else None
        for n in ("annotations", "images", "categories")
    ]
    if not all(isinstance(one, list) for one in lists):
        raise UserError(
            f"{file} has no lists annotations, images and categories: not an instances file"
        )
    known = [[one for one in some if isinstance(one, dict) and "id" in one] for some in lists[1:]]
    pictures = {str(one["id"]): one for one in known[0]}
    return lists[0], pictures, {str(one["id"]): one.get("name") for one in known[1]}


def _facts(annotation, pictures: dict, names: dict) -> tuple[dict, str]:
    """(record of the image, name of the category). Raises ValueError for what is unknown."""
    require_fields(annotation, "image_id", "category_id")
    picture = pictures.get(str(annotation["image_id"]))
    if picture is None:
        raise ValueError(f"unknown image {annotation['image_id']}")
    require_fields(picture, "file_name")
    category = names.get(str(annotation["category_id"]))
    if not category:
        raise ValueError(f"unknown category {annotation['category_id']}")
    return picture, category


def _groups(annotations: list, per: str) -> list[list]:
    """The annotations of each image and category together, or each alone."""
    groups: dict = {}
    for number, one in enumerate(annotations):
        key: object = number
        if per == "category" and isinstance(one, dict):
            key = (str(one.get("image_id")), str(one.get("category_id")))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def instances_of(scenes, name: str, seed: int, size: int) -> dict:
    """A COCO instances file of (number, scene): one annotation a glyph, the sign without one."""
    images: list[dict] = []
    annotations: list[dict] = []
    for index, scene in scenes:
        image = picture_id(seed, index)
        images.append(
            {
                "license": 1,
                "file_name": name.format(image),
                "coco_url": "",
                "height": size,
                "width": size,
                "date_captured": "2013-11-14 17:02:52",
                "flickr_url": "",
                "id": image,
            }
        )
        for entity, boxes in zip(scene.entities, pixel_boxes(scene, size), strict=True):
            for x0, y0, x1, y1 in boxes:
                annotations.append(
                    {
                        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                        "area": float((x1 - x0) * (y1 - y0)),
                        "iscrowd": 0,
                        "image_id": image,
                        "bbox": [float(v) for v in (x0, y0, x1 - x0, y1 - y0)],
                        "category_id": CATEGORY_IDS[entity.noun],
                        "id": len(annotations) + 1,
                    }
                )
    return {
        "info": {"description": "the embedded world", "version": "1.0", "year": 2017},
        "licenses": [{"url": "", "id": 1, "name": "Apache-2.0"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": "symbol", "id": i, "name": n} for n, i in CATEGORY_IDS.items()
        ],
    }


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """annotations/instances_val2017.json and val2017/."""
    drawn = list(scenes(n, seed))
    content = instances_of(drawn, "{:012d}.jpg", seed, size)
    write_json(content, folder / "annotations" / "instances_val2017.json")
    for image, (_, scene) in zip(content["images"], drawn, strict=True):
        save_picture(scene, folder / "val2017" / image["file_name"], size)


BENCHMARKS = [
    Benchmark(
        "coco", GROUNDING, "COCO", "where are the things of a category?", load, write, place=5
    ),
]
