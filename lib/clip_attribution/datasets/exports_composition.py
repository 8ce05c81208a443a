"""The embedded world as the official files of the composition benchmarks.

Every exporter is `write(folder, n, seed, size)`: n decisions (of the retrieval and order tasks n
pictures, of the similarity tasks n pairs of sentences a split) with pictures of size x size pixels.
What is true and what is false follows from the facts of the scenes.
"""

import csv
import json
from pathlib import Path

from ..scenes.clauses import (
    CHANGE,
    RELATIONS,
    be,
    clause,
    descriptions,
    is_known,
    is_pair,
    noun,
    other_noun,
    placed,
    scenes,
    swapped,
    thing,
    turned,
    with_entity,
)
from ..scenes.world import SIDE, Scene, generator
from .exports_similarity import write_sick, write_stsb
from .exports_subsets import write_sugarcrepe, write_vl_checklist
from .exports_valse import write_valse
from .scene_cases import write_json
from .scene_images import expect_pictures, save_picture
from .scene_samples import coco_name

PARTS = ("subject", "verb", "object")
SVO = (
    "sentence",
    "pos_triplet",
    "neg_triplet",
    "pos_url",
    "neg_url",
    "pos_image_id",
    "neg_image_id",
    "subj_neg",
    "verb_neg",
    "obj_neg",
)
COMVG = (
    "id",
    "sentence",
    "pos_triplet",
    "neg_triplet",
    "pos_image_id",
    "neg_image_id",
    "neg_value",
)
TURNS = {
    "noun": ("Noun", "Object"),
    "colour": ("Adjective-Color", "Relation"),
    "relation": ("Noun Phrase", "Object"),
}


def write_aro_relation(folder: Path, n: int, seed: int, size: int) -> None:
    """VG-Relation: visual_genome_relation.json, images/; the false caption exchanges the nouns."""
    records = []
    for index, scene in scenes(n, seed, is_pair):
        relation = RELATIONS[scene.position]
        texts = [
            clause(f"the {noun(a)}", be(a), relation, f"the {noun(b)}")
            for a, b in (scene.entities, scene.entities[::-1])
        ]
        records.append(_aro_record(folder, index, scene, size, texts) | {"relation_name": relation})
    write_json(records, folder / "visual_genome_relation.json")


def write_aro_attribute(folder: Path, n: int, seed: int, size: int) -> None:
    """VG-Attribution: visual_genome_attribution.json, images/; false: the colours exchanged."""
    records = []
    for index, scene in scenes(n, seed, lambda s: len(s.entities) == 2):
        a, b = scene.entities
        texts = [
            f"the {c} {noun(a)} and the {d} {noun(b)}"
            for c, d in ((a.colour, b.colour), (b.colour, a.colour))
        ]
        records.append(
            _aro_record(folder, index, scene, size, texts) | {"attributes": [a.colour, b.colour]}
        )
    write_json(records, folder / "visual_genome_attribution.json")


def _aro_record(folder: Path, index: int, scene: Scene, size: int, texts: list[str]) -> dict:
    name, unit = f"{index + 1}.jpg", size // SIDE
    boxes = [box for entity in scene.entities for box in entity.boxes]
    x0, y0 = (unit * max(min(box[i] for box in boxes), 0) for i in (0, 1))
    x1, y1 = (unit * min(max(box[i] for box in boxes), SIDE) for i in (2, 3))
    save_picture(scene, folder / "images" / name, size)
    return {
        "image_id": index + 1,
        "image_path": name,
        "true_caption": texts[0],
        "false_caption": texts[1],
        "obj1_name": scene.entities[0].noun,
        "obj2_name": scene.entities[1].noun,
        "bbox_x": x0,
        "bbox_y": y0,
        "bbox_w": x1 - x0,
        "bbox_h": y1 - y0,
    }


def write_coco(folder: Path, n: int, seed: int, size: int) -> None:
    """Karpathy's test split of COCO: coco_karpathy_test.json, val2014/; five captions each."""
    records = []
    for index, scene in scenes(n, seed):
        name = f"val2014/{coco_name(index)}"
        save_picture(scene, folder / name, size)
        records.append({"image": name, "caption": descriptions(scene, seed, index, 5)})
    write_json(records, folder / "coco_karpathy_test.json")


def write_flickr30k(folder: Path, n: int, seed: int, size: int) -> None:
    """The test split of Flickr30k: flickr30k_test.json, the same captions in
    results_20130124.token, the ids in test.txt, flickr30k-images/."""
    records, lines, numbers = [], [], []
    for index, scene in scenes(n, seed):
        number = (seed + 1) * 1_000_000 + index
        save_picture(scene, folder / "flickr30k-images" / f"{number}.jpg", size)
        texts = descriptions(scene, seed, index, 5)
        records.append({"image": f"flickr30k-images/{number}.jpg", "caption": texts})
        lines += [f"{number}.jpg#{k}\t{text}\n" for k, text in enumerate(texts)]
        numbers.append(f"{number}\n")
    write_json(records, folder / "flickr30k_test.json")
    (folder / "results_20130124.token").write_text("".join(lines), "utf-8")
    (folder / "test.txt").write_text("".join(numbers), "utf-8")


def write_svo_probes(folder: Path, n: int, seed: int, size: int) -> None:
    """SVO-Probes: svo_probes.csv, image_urls.txt, images/; subject, verb, object in turn."""
    rows, addresses = [], []
    for case in _triplets(folder / "images", n, seed, size):
        urls = [
            f"https://example.org/scenes/{case[key]}.jpg"
            for key in ("pos_image_id", "neg_image_id")
        ]
        case |= {"pos_url": urls[0], "neg_url": urls[1]}
        case |= {
            f"{part[:4] if part != 'object' else 'obj'}_neg": part == case["neg_value"]
            for part in PARTS
        }
        case |= {key: ",".join(case[key]) for key in ("pos_triplet", "neg_triplet")}
        rows.append(case)
        addresses += [url + "\n" for url in urls]
    _write_csv(rows, SVO, folder / "svo_probes.csv")
    (folder / "image_urls.txt").write_text("".join(addresses), "utf-8")


def write_comvg(folder: Path, n: int, seed: int, size: int) -> None:
    """ComVG: ComVG.csv and ID.jpg in images/; subject, verb, object in turn."""
    rows = []
    for number, case in enumerate(_triplets(folder / "images", n, seed, size), start=1):
        texts = {"pos_triplet": ",".join(case["pos_triplet"]), "neg_triplet": case["neg_triplet"]}
        rows.append(case | texts | {"id": number})
    _write_csv(rows, COMVG, folder / "ComVG.csv")


def _triplets(images: Path, n: int, seed: int, size: int):
    """n cases of a sentence, its picture, and that of a scene in which one part is another."""
    expect_pictures(2 * n)
    for number, (index, scene) in enumerate(scenes(n, seed, is_pair)):
        part = PARTS[number % 3]
        other = placed(_with_other(scene, part, generator(seed, index, CHANGE)), seed, index)
        first, second = scene.entities
        relation = RELATIONS[scene.position]
        sentence = clause(thing(first, False), be(first), relation, thing(second, False))
        numbers = [2 * index + 1, 2 * index + 2]
        for picture, name in zip((scene, other), numbers, strict=True):
            save_picture(picture, images / f"{name}.jpg", size)
        yield {
            "sentence": sentence[0].upper() + sentence[1:] + ".",
            "neg_value": part,
            "pos_triplet": _triplet(scene),
            "neg_triplet": _triplet(other),
            "pos_image_id": numbers[0],
            "neg_image_id": numbers[1],
        }


def _with_other(scene: Scene, part: str, rng) -> Scene:
    if part == "verb":
        return turned(scene)
    place = 0 if part == "subject" else 1
    return with_entity(scene, place, noun=other_noun(scene, scene.entities[place], rng))


def _triplet(scene: Scene) -> tuple[str, str, str]:
    return noun(scene.entities[0]), scene.position, noun(scene.entities[1])


def write_winoground(folder: Path, n: int, seed: int, size: int) -> None:
    """Winoground: data/examples.jsonl, images/, and new_tag_assignments.json.

    The captions exchange nouns, colours, or both things around the relation, in turn; the second
    picture is that of a scene in which the same is exchanged.
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


def _write_csv(rows: list[dict], names, path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


EXPORTS = {
    "aro-relation": write_aro_relation,
    "aro-attribute": write_aro_attribute,
    "coco-order": write_coco,
    "flickr30k-order": write_flickr30k,
    "sugarcrepe": write_sugarcrepe,
    "vl-checklist": write_vl_checklist,
    "valse": write_valse,
    "svo-probes": write_svo_probes,
    "comvg": write_comvg,
    "winoground": write_winoground,
    "coco-retrieval": write_coco,
    "flickr30k-retrieval": write_flickr30k,
    "sts-b": write_stsb,
    "sick-r": write_sick,
}
