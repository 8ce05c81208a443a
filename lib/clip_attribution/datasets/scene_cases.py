"""Benchmarks of many subsets: which scene each record is about, and what is made of it."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..scenes.clauses import CHANGE
from ..scenes.foils import make_foil, possible
from ..scenes.world import Scene, generator, pick, sample_scene

Maker = tuple[Callable, Callable]  # can it be made of this scene?; make it of (scene, rng)


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
