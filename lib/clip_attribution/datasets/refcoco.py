"""RefCOCO, RefCOCO+ and RefCOCOg: an expression that means one object of a COCO photo, and its box.

Kazemzadeh et al. 2014 and Yu et al. 2016 (RefCOCO, RefCOCO+), Mao et al. 2016 (RefCOCOg); files
`<dataset>/refs(<by>).p` and `<dataset>/instances.json` of github lichengunc/refer.
"""

import pickle
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line
from ..scenes.clauses import scenes
from ..scenes.grammar import describe_entity
from ..scenes.vocabulary import OPPOSITE, plural
from ..scenes.world import Scene, generator
from .boxes import grounding_frame, sized_box
from .coco_instances import CATEGORY_IDS, instances_of, read_instances
from .files import coco_names, find_file, find_image, require_fields
from .registry import GROUNDING, Benchmark
from .restricted_pickle import load as load_pickle
from .scene_cases import write_json
from .scene_images import save_picture

# RefCOCOg: only the UMD division has a test split, and no photo on both sides.
DIVISIONS = {"refcoco": ("unc",), "refcoco+": ("unc",), "refcocog": ("umd", "google")}
SENTENCE, EXPRESSION = 6, 7  # third key of the random streams, after those of `samples`


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


def write(folder: Path, n: int, seed: int, size: int, dataset: str) -> None:
    """<dataset>/refs(unc).p, <dataset>/instances.json and train2014/.

    Every single thing is a ref with three expressions; RefCOCO's third one tells where it is,
    which RefCOCO+ forbids. Scenes without a single thing are passed over. Images are testA and
    testB in turn.
    """
    drawn = list(scenes(n, seed, lambda s: any(e.count == 1 for e in s.entities)))
    content = instances_of(drawn, "COCO_train2014_{:012d}.jpg", seed, size)
    write_json(content, folder / dataset / "instances.json")
    refs: list[dict] = []
    ann_id = 1
    for number, (index, scene) in enumerate(drawn):
        image = content["images"][number]
        save_picture(scene, folder / "train2014" / image["file_name"], size)
        for which, entity in enumerate(scene.entities):
            if entity.count == 1:
                texts = _expressions(scene, which, seed, index, dataset == "refcoco")
                split = ("testA", "testB")[number % 2]
                refs.append(_ref(len(refs), ann_id, image, entity.noun, split, texts))
            ann_id += entity.count
    with open(folder / dataset / "refs(unc).p", "wb") as file:
        pickle.dump(refs, file, protocol=0)  # what Python 2 writes when nothing is asked for


def _expressions(scene: Scene, which: int, seed: int, index: int, places: bool) -> list[str]:
    rng = generator(seed, index, EXPRESSION, which)
    texts = [
        describe_entity(scene, which, rng, facts).text
        for facts in (("size", "colour"), ("colour",), ())
    ]
    if places and len(scene.entities) == 2:
        other = scene.entities[1 - which]
        name = other.noun if other.count == 1 else plural(other.noun)
        where = scene.position if which == 0 else OPPOSITE[scene.position]
        side = where if where in ("above", "below") else f"{where} of"
        texts[2] = f"the {scene.entities[which].noun} {side} the {name}"
    return texts


def _ref(ref_id: int, ann_id: int, image: dict, noun: str, split: str, texts: list) -> dict:
    sentences = [
        {
            "tokens": text.lower().rstrip(".").split(),
            "raw": text,
            "sent_id": 3 * ref_id + k,
            "sent": text.lower().rstrip("."),
        }
        for k, text in enumerate(texts)
    ]
    return {
        "sent_ids": [one["sent_id"] for one in sentences],
        "ann_id": ann_id,
        "ref_id": ref_id,
        "file_name": image["file_name"].replace(".jpg", f"_{ann_id}.jpg"),
        "image_id": image["id"],
        "split": split,
        "sentences": sentences,
        "category_id": CATEGORY_IDS[noun],
    }


BENCHMARKS = [
    Benchmark(
        "refcoco",
        GROUNDING,
        "RefCOCO",
        "which object does an expression mean?",
        load,
        partial(write, dataset="refcoco"),
        place=2,
    ),
    Benchmark(
        "refcoco+",
        GROUNDING,
        "RefCOCO+",
        "which object does an expression mean, without places?",
        partial(load, dataset="refcoco+"),
        partial(write, dataset="refcoco+"),
        published=("qgroundcam", "RefCOCO+ testA"),
        place=3,
    ),
]
