"""ARO: attribution, relation and order (Yuksekgonul et al. 2023), and NegCLIP's hard negatives."""

import re
from functools import partial
from math import isfinite
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..io.read import read_text, text_lines
from ..scenes.clauses import RELATIONS, be, clause, is_pair, noun, scenes
from ..scenes.world import SIDE, Scene
from . import aro_order
from .accuracies import macro_mean, order_accuracy
from .choices import choice, choice_frame
from .files import find_file, find_image, load_json, require_fields
from .negclip import _literal
from .registry import COMPOSITION, Benchmark
from .retrieval import write_coco, write_flickr30k
from .scene_cases import write_json
from .scene_images import save_picture

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


def _lines(path) -> list[str]:
    """The lines of a text file that are not blank. Raises UserError."""
    return [line.strip() for line in text_lines(read_text(path)) if line.strip()]


def write_relation(folder: Path, n: int, seed: int, size: int) -> None:
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


def write_attribute(folder: Path, n: int, seed: int, size: int) -> None:
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


LEAST = 25  # cases that an attribute pair needs in ARO


def aro_relation(scored, exclude=None, at_least=None, cases=None, seed=0) -> pd.DataFrame:
    """Macro mean over VG-Relation's relations.

    exclude: relations to leave out; `excluded_relations` reads ARO's own 157 from its
    notebook. Without it the relations with fewer than 25 cases are left out, our choice, as ARO
    does with attribute pairs; at_least sets another number. cases: of each relation in the whole
    file, where scored is a sample of it; those that count and have none here are named in missing.
    """
    least = at_least or (LEAST if exclude is None else 1)
    return macro_mean(scored, "relation accuracy", set(exclude or ()), least, cases, seed)


def aro_attribute(scored, at_least=None, cases=None, seed=0) -> pd.DataFrame:
    """Macro mean over VG-Attribution's attribute pairs with at least 25 cases, as in ARO.

    at_least, cases: as for `aro_relation`.
    """
    return macro_mean(scored, "attribute accuracy", set(), at_least or LEAST, cases, seed)


def rule_of(
    whole, data, exclude=None, at_least=None, embedded=None, *, parts: str, listed: bool
) -> tuple[dict, str]:
    """(options for the summary, the same in words): which groups of an ARO file count.

    whole: the frame of the whole file, before a sample is drawn of it, so that the rule is the same
    for a sample. data: the file or its folder, where ARO's list is looked for if exclude is None
    (`find_excluded`). embedded: whether the file is an export of the embedded world; where that is
    told, every group counts in an export and in files whose groups are all small. parts: what a
    group is; listed: whether ARO has a list of groups that do not count. Raises UserError when
    that is no list.
    """
    cases = whole["group"][whole["error"].isna()].astype(str).value_counts()
    options = {"at_least": at_least, "cases": cases}
    known = "; ARO asks for 25" if at_least not in (None, LEAST) else ""
    if listed:
        exclude = find_excluded(data) if exclude is None else list(exclude)
        options["exclude"] = exclude
        known = "; ARO's own list was not given"
        if exclude is not None:
            known = f", less the {len(exclude)} of the given list"
    if embedded is not None and (embedded or not (exclude or (cases >= LEAST).any())):
        listless = "; ARO's own list was not given" if listed else ""
        reason = "the embedded world has few" if embedded else f"none has {LEAST}{listless}"
        rule = f"all {parts}, however few their cases: {reason}"
        return {"at_least": 1, "cases": cases}, rule
    least = at_least or (LEAST if exclude is None else 1)
    said = f" with >= {least} case{'s' * (least > 1)}" if least > 1 or exclude is None else ""
    return options, parts + said + known


BENCHMARKS = [
    Benchmark(
        "aro-relation",
        COMPOSITION,
        "ARO relation",
        "which caption: the nouns exchanged",
        partial(load, task="relation"),
        write_relation,
        summarise=aro_relation,
        published=("cae", "ARO", "relation accuracy"),
        options=("at_least", "exclude"),
        rule=partial(rule_of, parts="relations", listed=True),
        place=1,
    ),
    Benchmark(
        "aro-attribute",
        COMPOSITION,
        "ARO attribute",
        "which caption: the attributes exchanged",
        partial(load, task="attribute"),
        write_attribute,
        summarise=aro_attribute,
        published=("cae", "ARO", "attribute accuracy"),
        options=("at_least",),
        rule=partial(rule_of, parts="attribute pairs", listed=False),
        place=2,
    ),
    Benchmark(
        "coco-order",
        COMPOSITION,
        "COCO order",
        "the caption or four shuffles of its words",
        partial(load, task="coco-order"),
        write_coco,
        summarise=order_accuracy,
        rows=5,
        place=3,
    ),
    Benchmark(
        "flickr30k-order",
        COMPOSITION,
        "Flickr30k order",
        "the caption or four shuffles of its words",
        partial(load, task="flickr30k-order"),
        write_flickr30k,
        summarise=order_accuracy,
        rows=5,
        place=4,
    ),
]
