"""VALSE: a caption and its foil, in eleven tests of six phenomena (Parcalabescu et al. 2022)."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..scenes.clauses import bare, be, clause, other_noun, thing
from ..scenes.foils import make_foil, possible
from ..scenes.grammar import NUMERALS
from ..scenes.vocabulary import COLOURS, SIZES, plural
from ..scenes.world import Scene
from .accuracies import accuracies
from .choices import choice, choice_frame, join, keyed_records, subset_files
from .files import coco_names, find_image, load_json, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_cases import Maker, always, cases, other_of, single, write_json
from .scene_images import save_picture
from .scene_samples import coco_name, false_places

SUBSETS = (
    "existence",
    "plurals",
    "counting-hard",
    "counting-small-quant",
    "counting-adversarial",
    "relations",
    "action-replacement",
    "actant-swap",
    "coreference-standard",
    "coreference-hard",
    "foil-it",
)
VOTES = 2  # of three annotators who chose the caption and not the foil
COUNTING = tuple(NUMERALS)
ONE, MANY = "exactly one {}", "a number of {}"
ONE, MANY = "exactly one {}", "a number of {}"


MEANS = {
    False: ["actant-swap", "action-replacement", "relations"],
    True: [["actant-swap", "action-replacement"], "relations"],
}


def load(path, images=None, valid_only: bool = True) -> pd.DataFrame:
    """A choice frame of VALSE: the captions are [caption, foil], truth is 0.

    valid_only keeps what at least two of three annotators confirmed, as all published numbers do.
    path: the folder with the eleven files (or its parent), or one of them. images: the folder with
    the photos, COCO's under any year's name. case_id is file:id, because ids repeat between files.
    Further columns: target_word and foil_word (`classes`, `classes_foil` as text; missing where
    the release has no word there), votes, and only_caption (coreference: the caption without
    question and answer). Raises UserError when there is no such file.
    """
    frame = join([_load_subset(name, file, images) for name, file in subset_files(path, SUBSETS)])
    if valid_only:
        frame = frame[frame["error"].notna() | (frame["votes"] >= VOTES)].reset_index(drop=True)
    return frame


def _load_subset(name: str, file, images) -> pd.DataFrame:
    def rows(_, item):
        key, record = item
        require_fields(record, "image_file", "caption", "foil", "mturk")
        require_fields(record["mturk"], "caption")
        image = find_image(images, _image_names(record["image_file"]))
        return [
            choice(
                f"{name}:{key}",
                [image],
                [record["caption"], record["foil"]],
                group=name,
                target_word=_word(record.get("classes")),
                foil_word=_word(record.get("classes_foil")),
                votes=int(record["mturk"]["caption"]),
                only_caption=record.get("only_caption"),
            )
        ]

    return choice_frame(keyed_records(load_json(file)), rows, prefix=f"{name}: ")


def _word(value) -> str | None:
    """A word or number as text; existence has lists and plurals a stray bool, which are none."""
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if plain else None


def _image_names(name: str) -> list[str]:
    """Where the picture may lie: visual7w's v7w_17.jpg is Visual Genome's 17.jpg."""
    if name.startswith("v7w_"):
        number = name.removeprefix("v7w_")
        return [name, f"images/{name}", f"VG_100K/{number}", f"VG_100K_2/{number}", number]
    folder = "SWiG" if "_" in name and not name.startswith(("COCO_", "Visual")) else "visdial"
    return [*coco_names(name), f"images/{name}", f"{folder}/{name}"]


def _foil(kind: str) -> Maker:
    """One word replaced, which `classes` and `classes_foil` name."""

    def make(scene: Scene, rng) -> dict:
        foil = make_foil(scene, kind, rng)
        (place,) = false_places(foil)
        words = (caption.words[place].text for caption in (foil.caption, foil.foil))
        return _record(foil.caption.text, foil.foil.text, *words)

    return lambda scene: possible(scene, kind), make


def _record(caption: str, foil: str, word, foil_word, **more) -> dict:
    texts = {"caption": caption, "foil": foil}
    return texts | {"classes": word, "classes_foil": foil_word} | more


def _existence(scene: Scene, rng) -> dict:
    """Half of the captions deny what is not there, half state what is."""
    first = scene.entities[0]
    there = rng.random() < 0.5
    name = plural(first.noun if there else other_noun(scene, first, rng))
    some, no = f"There are {name} in the picture.", f"There are no {name} in the picture."
    if there:
        return _record(some, no, first.count, [0])
    return _record(no, some, 0, [1 + int(rng.random() * 4)])


def _plurals(scene: Scene, rng) -> dict:
    first = scene.entities[0]
    one = ONE.format(bare(replace(first, count=1)))
    many = MANY.format(bare(replace(first, count=2)))
    texts, names = (one, many), (first.noun, plural(first.noun))
    if not single(scene):
        texts, names = texts[::-1], names[::-1]
    return _record(*(f"{text} on {scene.ground}" for text in texts), *names)


def _counting(wrong_counts) -> Maker:
    def make(scene: Scene, rng) -> dict:
        first = scene.entities[0]
        wrong = other_of(wrong_counts, first.count, rng)
        texts = (
            f"There are exactly {_numeral(count)} {bare(replace(first, count=2))}."
            for count in (first.count, wrong)
        )
        return _record(*texts, first.count, wrong, answer=first.count)

    return lambda scene: not single(scene), make


def _numeral(count: int) -> str:
    return NUMERALS.get(count, str(count))


def _actant_swap(scene: Scene, rng) -> dict:
    first, second = scene.entities
    texts = (
        clause(thing(a), be(a), "facing", thing(b)) for a, b in ((first, second), (second, first))
    )
    return _record(*texts, first.noun, second.noun)


def _question(fact: str, options) -> Maker:
    """A caption, a question about what it speaks of, and the answer: half of them yes."""

    def make(scene: Scene, rng) -> dict:
        first = scene.entities[0]
        true = getattr(first, fact)
        asked = true if rng.random() < 0.5 else other_of(list(options), true, rng)
        answers = ("yes", "no") if asked == true else ("no", "yes")
        told = f"{thing(first, colour=False)} on {scene.ground}"
        texts = (f"{told}. is it {asked}? {answer}." for answer in answers)
        return _record(*texts, *answers, only_caption=told)

    return single, make


# test: (dataset, phenomenon, maker)
MAKERS = {
    "existence": ("visual7w", "existence", (always, _existence)),
    "plurals": ("coco2017", "plurals", (always, _plurals)),
    "counting-hard": ("visual7w", "counting", _counting(COUNTING)),
    "counting-small-quant": ("visual7w", "counting", _counting((2, 3))),
    "counting-adversarial": ("visual7w", "counting", _counting((0,))),
    "relations": ("coco_2017", "relations", _foil("position")),
    "action-replacement": ("SWiG", "actions", _foil("state")),
    "actant-swap": ("SWiG", "actions", (lambda s: s.state == "facing", _actant_swap)),
    "coreference-standard": ("VisDial_v1.0", "coreference", _question("colour", COLOURS)),
    "coreference-hard": ("VisDial_v1.0", "coreference", _question("size", SIZES)),
    "foil-it": ("FOIL dataset", "noun phrases", _foil("noun")),
}
NAMES = {
    "visual7w": "v7w_{}.jpg",
    "coco2017": "{:012d}.jpg",
    "coco_2017": "{:012d}.jpg",
    "SWiG": "placing_{}.jpg",
    "VisDial_v1.0": "VisualDialog_val2018_{:012d}.jpg",
}


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """data/{existence, ...}.json and images/. All are valid: the world needs no annotators."""
    files = {name: {} for name in MAKERS}
    for number, name, index, scene, made in cases(n, seed, {k: v[2] for k, v in MAKERS.items()}):
        dataset, phenomenon, _ = MAKERS[name]
        image = NAMES[dataset].format(index + 1) if dataset in NAMES else coco_name(index)
        save_picture(scene, folder / "images" / image, size)
        files[name][f"{phenomenon.split()[0]}_test_{number}"] = {
            "dataset": dataset,
            "original_split": "test",
            "dataset_idx": index,
            "image_file": image,
            "linguistic_phenomena": phenomenon,
            "mturk": {"foil": 0, "caption": 3, "other": 0},
            **made,
        }
    for name, records in files.items():
        write_json(records, folder / "data" / f"{name}.json")


def summarise(scored, nested: bool = False, seed=0) -> pd.DataFrame:
    """Relation: plain mean of VALSE's three sets; nested averages the two action sets first."""
    return accuracies(scored, {"relation accuracy": MEANS[bool(nested)]}, seed)


BENCHMARKS = [
    Benchmark(
        "valse",
        COMPOSITION,
        "VALSE",
        "which caption: a fact of one of 11 kinds changed",
        load,
        write,
        summarise=summarise,
        published=("cae", "VALSE"),
        place=7,
    ),
]
