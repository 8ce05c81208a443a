"""COCO instances: the name of a category as the phrase, all its boxes in a picture as the target.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; `annotations/instances_<split>.json`.
"""

from functools import lru_cache

import pandas as pd

from ..errors import UserError, one_line
from .boxes import grounding_frame, sized_box
from .files import coco_names, find_file, find_image, load_json, require_fields


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
        per: "category": one row a picture and category with all its boxes; "box": one row a box.

    Crowd regions are left out, since their box is no object's, and counted in attrs["left_out"].
    A malformed box makes a row of its own with the reason in `error`; the good boxes of the same
    category keep their row. So does a category of an unknown picture, or an unknown category.
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
    """(annotations, picture records by id, category names by id) of a COCO instances file.

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
    """(record of the picture, name of the category). Raises ValueError for what is unknown."""
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
    """The annotations of each picture and category together, or each alone."""
    groups: dict = {}
    for number, one in enumerate(annotations):
        key: object = number
        if per == "category" and isinstance(one, dict):
            key = (str(one.get("image_id")), str(one.get("category_id")))
        groups.setdefault(key, []).append(one)
    return list(groups.values())
