"""SugarCrepe: a caption and its hard negative, in seven subsets (Hsieh et al. 2023)."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..scenes.clauses import other_colour, other_noun, thing
from ..scenes.vocabulary import SIZES
from ..scenes.world import Scene
from .accuracies import accuracies
from .choices import choice, choice_frame, join, keyed_records, subset_files
from .files import coco_names, find_image, load_json, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_cases import Maker, always, cases, foil_texts, other_of, single, write_json
from .scene_images import save_picture

SUBSETS = (
    "add_att",
    "add_obj",
    "replace_att",
    "replace_obj",
    "replace_rel",
    "swap_att",
    "swap_obj",
)


MEANS = {
    "relation accuracy": ["replace_rel"],
    "attribute accuracy": ["add_att", "replace_att", "swap_att"],
    "object accuracy": ["add_obj", "replace_obj", "swap_obj"],
}


def load(path, images=None) -> pd.DataFrame:
    """A choice frame of SugarCrepe: the captions are [caption, negative_caption], truth is 0.

    path: the folder with the seven files (or its parent), or one of them. images: the folder with
    the COCO photos, under any year's name. group is the subset; case_id is subset:key, because the
    keys repeat between subsets. Raises UserError when there is no such file.
    """
    return join([_load_subset(name, file, images) for name, file in subset_files(path, SUBSETS)])


def _load_subset(name: str, file, images) -> pd.DataFrame:
    def rows(_, item):
        key, record = item
        require_fields(record, "filename", "caption", "negative_caption")
        image = find_image(images, coco_names(record["filename"]))
        captions = [record["caption"], record["negative_caption"]]
        return [choice(f"{name}:{key}", [image], captions, group=name)]

    return choice_frame(keyed_records(load_json(file)), rows, prefix=f"{name}: ")


def _add_attribute(scene: Scene, rng) -> tuple[str, str]:
    first, end = scene.entities[0], f"on {scene.ground}"
    wrong = replace(first, size=other_of(SIZES, first.size, rng))
    return f"{thing(first)} {end}", f"{thing(wrong, size=True)} {end}"


def _add_object(scene: Scene, rng) -> tuple[str, str]:
    first, end = scene.entities[0], f"on {scene.ground}"
    absent = replace(first, noun=other_noun(scene, first, rng), count=1)
    absent = replace(absent, colour=other_colour(scene, absent, rng))
    return f"{thing(first)} {end}", f"{thing(first)} and {thing(absent)} {end}"


MAKERS: dict[str, Maker] = {
    "add_att": (single, _add_attribute),
    "add_obj": (always, _add_object),
    "replace_att": foil_texts("colour"),
    "replace_obj": foil_texts("noun"),
    "replace_rel": foil_texts("position"),
    "swap_att": foil_texts("swap_colour"),
    "swap_obj": foil_texts("swap_noun"),
}


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """data/{add_att, ...}.json and val2017/; the keys have gaps, as those of swap_obj have."""
    files = {name: {} for name in MAKERS}
    for number, name, index, scene, texts in cases(n, seed, MAKERS):
        image = f"{index + 1:012d}.jpg"
        save_picture(scene, folder / "val2017" / image, size)
        files[name][str(number)] = {
            "filename": image,
            "caption": texts[0],
            "negative_caption": texts[1],
        }
    for name, records in files.items():
        write_json(records, folder / "data" / f"{name}.json")


def summarise(scored, seed=0) -> pd.DataFrame:
    """Relation, attribute and object: unweighted means of SugarCrepe's subsets."""
    return accuracies(scored, MEANS, seed)


BENCHMARKS = [
    Benchmark(
        "sugarcrepe",
        COMPOSITION,
        "SugarCrepe",
        "which caption: a word replaced, added, exchanged",
        load,
        write,
        summarise=summarise,
        published=("cae", "SugarCrepe"),
        place=5,
    ),
]
