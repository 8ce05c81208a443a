"""The embedded world as the official files of the grounding benchmarks.

Each writer draws n pictures of size x size pixels and writes the benchmark's own file names and
fields around them; every box and every phrase is a fact of the scene. `images` of the loader is
the folder written to.
"""

import json
import pickle
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

from ..scenes.grammar import Caption, describe, describe_entity
from ..scenes.vocabulary import NOUNS, OPPOSITE, plural
from ..scenes.world import SIDE, Scene, generator, sample_scene
from .scene_images import save_picture

SENTENCE, EXPRESSION = 6, 7  # third key of the random streams, after those of `samples`
ANIMALS = ("horse", "mouse", "cow", "cat", "monkey")
RELATIONS = dict(left="to the left of", right="to the right of", above="above", below="under")
CATEGORY_IDS = {noun: number for number, noun in enumerate(NOUNS, start=1)}


def _scenes(n: int, seed: int, wanted=lambda scene: True):
    """(number, scene) of the first n scenes of this seed that are wanted."""
    index = found = 0
    while found < n:
        scene = sample_scene(generator(seed, index))
        if wanted(scene):
            yield index, scene
            found += 1
        index += 1


def _boxes(scene: Scene, size: int) -> list[list[list[int]]]:
    """For every entity its boxes in pixels."""
    unit = size // SIDE
    return [[[unit * c for c in box] for box in entity.boxes] for entity in scene.entities]


def _write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def _picture_id(seed: int, index: int) -> int:
    return (seed + 1) * 1_000_000 + index


def write_flickr30k_entities(folder: Path, n: int, seed: int, size: int) -> None:
    """Sentences/, Annotations/, flickr30k-images/ and the split lists; all photos in test.txt."""
    names = []
    for index, scene in _scenes(n, seed):
        name = str(_picture_id(seed, index))
        streams = [generator(seed, index, SENTENCE, k) for k in range(5)]
        lines = [_bracketed(describe(scene, stream), 4 * index + 1) for stream in streams]
        _write_text(folder / "Sentences" / f"{name}.txt", lines)
        (folder / "Annotations").mkdir(exist_ok=True)
        tree = _annotation(scene, f"{name}.jpg", 4 * index + 1, size)
        tree.write(folder / "Annotations" / f"{name}.xml")
        save_picture(scene, folder / "flickr30k-images" / f"{name}.jpg", size)
        names.append(name)
    for split, some in (("train", []), ("val", []), ("test", names)):
        _write_text(folder / f"{split}.txt", some)
    _write_text(folder / "UNRELATED_CAPTIONS", ["# format: <imageID> <sentence number>"])


def _write_text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _bracketed(caption: Caption, chain: int) -> str:
    """The caption with its phrases in brackets; chains: two things, the ground, the sign."""
    words, marked = [w.text for w in caption.words], {w.phrase for w in caption.words}
    for number in marked - {-1}:
        own = [i for i, w in enumerate(caption.words) if w.phrase == number]
        slot, kind = _slot([caption.words[i] for i in own])
        if slot is not None:
            first = own[1] if slot == 2 else own[0]  # "on [the grass]"
            words[first] = f"[/EN#{chain + slot}/{kind} {words[first]}"
            words[own[-1]] += "]"
    if caption.words[0].text.lower() == "there":
        words[0] = f"[/EN#0/notvisual {words[0]}]"
    return " ".join(words)


def _slot(words) -> tuple[int | None, str]:
    """Which chain of the scene a phrase belongs to (None: no chain), and its type."""
    facts = {word.kind: word for word in words}
    if "noun" in facts:
        noun = facts["noun"]
        return noun.entity, "animals" if _singular(noun.text) in ANIMALS else "other"
    return (2, "scene") if "ground" in facts else (3, "other") if "name" in facts else (None, "")


def _singular(text: str) -> str:
    return next((n for n in NOUNS if text.lower() in (n, plural(n))), text.lower())


def _annotation(scene: Scene, name: str, chain: int, size: int) -> ET.ElementTree:
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = name
    _children(ET.SubElement(root, "size"), width=size, height=size, depth=3)
    sign = [[[c * size // SIDE for c in scene.sign_box]]] if scene.sign_box else []
    slots = dict(enumerate(_boxes(scene, size))) | dict(zip([3], sign, strict=False))
    for slot, boxes in slots.items():
        for x0, y0, x1, y1 in boxes:
            thing = _children(ET.SubElement(root, "object"), name=chain + slot)
            corners = ET.SubElement(thing, "bndbox")
            _children(corners, xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    _children(ET.SubElement(root, "object"), name=chain + 2, scene=1, nobndbox=0)
    ET.indent(root)
    return ET.ElementTree(root)


def _children(element: ET.Element, **values) -> ET.Element:
    for tag, value in values.items():
        ET.SubElement(element, tag).text = str(value)
    return element


def _instances(scenes, name: str, seed: int, size: int) -> dict:
    """A COCO instances file of (number, scene): one annotation a glyph, the sign without one."""
    images: list[dict] = []
    annotations: list[dict] = []
    for index, scene in scenes:
        image = _picture_id(seed, index)
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
        for entity, boxes in zip(scene.entities, _boxes(scene, size), strict=True):
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


def write_coco(folder: Path, n: int, seed: int, size: int) -> None:
    """annotations/instances_val2017.json and val2017/."""
    scenes = list(_scenes(n, seed))
    content = _instances(scenes, "{:012d}.jpg", seed, size)
    _write_json(folder / "annotations" / "instances_val2017.json", content)
    for image, (_, scene) in zip(content["images"], scenes, strict=True):
        save_picture(scene, folder / "val2017" / image["file_name"], size)


def write_refcoco(folder: Path, n: int, seed: int, size: int, dataset: str) -> None:
    """<dataset>/refs(unc).p, <dataset>/instances.json and train2014/.

    Every single thing is a ref with three expressions; RefCOCO's third one tells where it is,
    which RefCOCO+ forbids. Scenes without a single thing are passed over. Pictures are testA and
    testB in turn.
    """
    scenes = list(_scenes(n, seed, lambda s: any(e.count == 1 for e in s.entities)))
    content = _instances(scenes, "COCO_train2014_{:012d}.jpg", seed, size)
    _write_json(folder / dataset / "instances.json", content)
    refs: list[dict] = []
    ann_id = 1
    for number, (index, scene) in enumerate(scenes):
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


def write_spatialsense(folder: Path, n: int, seed: int, size: int) -> None:
    """annotations.json and images/flickr/, every fourth picture in images/nyu/; all in "test".

    A picture has one relation that holds and its opposite, labelled false.
    """
    records = []
    for number, (index, scene) in enumerate(_scenes(n, seed, lambda s: len(s.entities) == 2)):
        place, name = ("nyu", "flickr")[number % 4 > 0], f"{_picture_id(seed, index)}.jpg"
        url = f"nyu/{name}" if place == "nyu" else f"https://example.org/{seed}/{name}"
        save_picture(scene, folder / "images" / place / name, size)
        sides = [_side(*one) for one in zip(scene.entities, _boxes(scene, size), strict=True)]
        facts = [(scene.position, True), (OPPOSITE[scene.position], False)]
        record = {
            "url": url,
            "height": size,
            "width": size,
            "split": "test",
            "annotations": [
                {
                    "_id": f"{_picture_id(seed, index):023x}{int(label)}",
                    "predicate": RELATIONS[where],
                    "object": sides[1],
                    "subject": sides[0],
                    "label": label,
                }
                for where, label in facts
            ],
        }
        records.append(record | ({"nsid": "0@N00"} if place == "flickr" else {}))
    _write_json(folder / "annotations.json", records)


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


EXPORTS = {
    "flickr30k-entities": write_flickr30k_entities,
    "refcoco": partial(write_refcoco, dataset="refcoco"),
    "refcoco+": partial(write_refcoco, dataset="refcoco+"),
    "spatialsense": write_spatialsense,
    "coco": write_coco,
}
