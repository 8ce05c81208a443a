"""Benchmarks of many subsets: which scene each record is about, and what is made of it."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..scenes.clauses import (
    CHANGE,
    RELATIONS,
    be,
    clause,
    is_pair,
    noun,
    other_noun,
    placed,
    scenes,
    thing,
    turned,
    with_entity,
)
from ..scenes.foils import make_foil, possible
from ..scenes.world import Scene, generator, pick, sample_scene
from .scene_images import expect_pictures, save_picture

Maker = tuple[Callable, Callable]  # can it be made of this scene?; make it of (scene, rng)
PARTS = ("subject", "verb", "object")


def cases(n: int, seed: int, makers: dict[str, Maker]) -> Iterator:
    """(number, subset, index, scene, what its maker made) of n records, subsets in turn.

    Every record has a scene of its own.
    """
    names, index = list(makers), 0
    for number in range(n):
        name = names[number % len(names)]
        wanted, make = makers[name]
        while not wanted(scene := sample_scene(generator(seed, index))):
            index += 1
        yield number, name, index, scene, make(scene, generator(seed, index, CHANGE))
        index += 1


def foil_texts(kind: str) -> Maker:
    """Makes (caption, foil), one fact of this kind replaced or exchanged (`foils.TYPES`)."""

    def make(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
        foil = make_foil(scene, kind, rng)
        return foil.caption.text, foil.foil.text

    return lambda scene: possible(scene, kind), make


def always(scene: Scene) -> bool:
    return True


def single(scene: Scene) -> bool:
    """The first thing is one, not a group."""
    return scene.entities[0].count == 1


def other_of(options: Sequence, current, rng: np.random.Generator):
    """One of the options that is not the current one."""
    return pick(rng, [option for option in options if option != current])


def write_json(value, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def triplets(images: Path, n: int, seed: int, size: int):
    """n cases of a sentence, its image, and that of a scene in which one part is another."""
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


def write_csv(rows: list[dict], names, path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
