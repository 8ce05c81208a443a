"""RefCOCO, RefCOCO+ and RefCOCOg: an expression that means one object of a COCO photo, and its box.

Kazemzadeh et al. 2014 and Yu et al. 2016 (RefCOCO, RefCOCO+), Mao et al. 2016 (RefCOCOg); files
`<dataset>/refs(<by>).p` and `<dataset>/instances.json` of github lichengunc/refer.
"""

from functools import lru_cache

import pandas as pd

from ..errors import UserError, one_line
from .boxes import grounding_frame, sized_box
from .coco_instances import read_instances
from .files import coco_names, find_file, find_image, require_fields
from .restricted_pickle import load as load_pickle

# RefCOCOg: only the UMD division has a test split, and no photo on both sides.
DIVISIONS = {"refcoco": ("unc",), "refcoco+": ("unc",), "refcocog": ("umd", "google")}


def load(path, images=None, dataset: str = "refcoco", split: str | None = "testA") -> pd.DataFrame:
    """A grounding frame (see `boxes`), one row an expression; `type` is the object's category.

    Args:
        path: the folder of the dataset, the folder above it, or the refs file itself;
            instances.json lies beside the refs file.
        images: the folder with the photos, with `train2014/`, or with `images/mscoco/...`.
        dataset: "refcoco", "refcoco+" or "refcocog".
        split: testA, testB, val, train (refcocog: test, val, train), or None for all.

    The phrase is the cleaned expression (`sent`), which is its own caption; the photo's name comes
    from instances.json, since the refs file's own name does not exist. `group` is the split.
    Raises UserError: a file is missing or not of this form, unknown dataset or split.
    """
    if dataset not in DIVISIONS:
        raise UserError(f"no dataset {dataset!r}; there are {', '.join(DIVISIONS)}")
    names = [f"{folder}refs({by}).p" for by in DIVISIONS[dataset] for folder in ("", f"{dataset}/")]
    file = find_file(path, *names)
    if file.parent.name in DIVISIONS and file.parent.name != dataset:
        raise UserError(f"{file} belongs to {file.parent.name}, not to {dataset}")
    refs = load_pickle(file)
    if not isinstance(refs, list):
        raise UserError(f"{file} holds no list of refs")
    splits = {str(ref.get("split")) for ref in refs if isinstance(ref, dict)}
    if split is not None and split not in splits:
        raise UserError(f"no split {split!r} in {file}; there are {', '.join(sorted(splits))}")
    annotations, pictures, categories = read_instances(file.parent / "instances.json")
    boxes = {str(a.get("id")): a.get("bbox") for a in annotations if isinstance(a, dict)}
    locate = lru_cache(None)(lambda name: find_image(images, _places(name)))

    def rows(number, ref):
        require_fields(ref, "split", "image_id", "sentences")
        if split is None or ref["split"] == split:
            facts = _facts(ref, pictures, boxes, locate)
            facts["type"] = categories.get(str(ref.get("category_id")))
            for place, sentence in enumerate(ref["sentences"]):
                yield _row(ref, place, sentence, facts)

    return grounding_frame(refs, rows, {})


def _places(name: str) -> list[str]:
    return [*coco_names(name), f"images/mscoco/images/train2014/{name}"]


def _facts(ref: dict, pictures: dict, boxes: dict, locate) -> dict:
    """What all expressions of one ref share; `error` says why its box cannot be used."""
    facts = {"group": ref["split"]}
    try:
        picture = pictures.get(str(ref["image_id"]))
        if picture is None:
            raise ValueError(f"unknown image {ref['image_id']}")
        require_fields(picture, "file_name")
        facts |= {name: picture.get(name) for name in ("width", "height")}
        facts["image"] = locate(picture["file_name"])
        if str(ref.get("ann_id")) not in boxes:
            raise ValueError(f"unknown annotation {ref.get('ann_id')}")
        box = sized_box(boxes[str(ref["ann_id"])], facts["width"], facts["height"])
        return facts | {"boxes": [box]}
    except ValueError as error:
        return facts | {"error": f"ref {ref.get('ref_id')}: {one_line(error)}"}


def _row(ref: dict, place: int, sentence, facts: dict) -> dict:
    text = sentence.get("sent") if isinstance(sentence, dict) else None
    row = {"pair_id": f"{ref.get('ref_id')}:{place}"} | facts
    if not isinstance(text, str) or not text.strip():
        return row | {"error": f"ref {ref.get('ref_id')}: sentence {place} has no text"}
    return row | {"caption": text, "phrase": text, "start": 0, "end": len(text)}
