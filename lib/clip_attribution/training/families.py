"""Training batches from the embedded world: families of scenes that differ in one stated fact.

A batch of unrelated scenes teaches a contrastive model only what is needed to tell unrelated
scenes apart. Here each scene comes with siblings that differ from it in one fact which every
caption of the family states, so that nouns, colours, sizes, counts, grounds and names have to be
read. Positions and states are varied seldom or never (`weights`): relations are learned hardly
better than unrelated scenes teach them, which is the weakness that the composition notebooks are
about.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..scenes.grammar import Caption, about, describe, describe_entity
from ..scenes.render import render_array
from ..scenes.vocabulary import (
    COLOURS,
    COUNTS,
    DIRECTIONS,
    GROUNDS,
    NAMES,
    NOUNS,
    OPPOSITE,
    SIZES,
    is_held_out,
)
from ..scenes.world import SIDE, Scene, generator, lay_out, pick, sample_scene

FAMILY = 4  # scenes that differ from the first in one fact each, the first included
ENTITY_KINDS = ("noun", "colour", "size", "count")
KIND_WEIGHTS = {"noun": 5, "colour": 2, "size": 1, "count": 3, "ground": 1, "name": 2}
RELATIONS = ("position", "state")  # a caption states one of them
GAPS = ("touching", "overlapping")  # the states that any two things can be in
PATCHES = 8  # the embedded model sees SIDE pixels in an 8 x 8 grid


@dataclass(frozen=True)
class Example:
    """One training pair: the scene, its caption's text, and what lies where."""

    scene: Scene
    text: str


def batch_examples(
    seed: int,
    step: int,
    size: int,
    template: str,
    weights: dict | None = None,
    any_relation: bool = False,
) -> list[Example]:
    """The examples of one step: families, and one in sixteen about what the image is about.

    weights: how often each kind of fact is varied, by default `KIND_WEIGHTS`. any_relation:
    captions state relations at random (`with_any_relation`). The same arguments give the same
    examples, so an interrupted run can go on.
    """
    rng = generator(seed, step)
    examples: list[Example] = []
    while len(examples) < size - size // 16:
        examples += family(rng, weights or KIND_WEIGHTS, any_relation)
    examples = examples[: size - size // 16]
    while len(examples) < size:
        scene = sample_scene(rng)
        examples.append(Example(scene, about(scene, rng).text))
    return [replace(e, text=template + e.text) if rng.random() < 0.35 else e for e in examples]


def family(
    rng: np.random.Generator, weights: dict = KIND_WEIGHTS, any_relation: bool = False
) -> list[Example]:
    """A scene and its siblings, captioned by one sentence frame that states what varies."""
    scene = sample_scene(rng)
    entity = int(rng.random() * len(scene.entities))
    alone = rng.random() < 0.2  # captions that name one thing only
    kinds = [k for k in weights if _varies(scene, k, entity) and (not alone or k in ENTITY_KINDS)]
    scenes, varied = [scene], []
    for _ in range(FAMILY - 1):
        edges = np.cumsum([weights[k] for k in kinds])
        kind = kinds[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
        scenes.append(vary(scene, kind, entity, rng))
        varied.append(kind)
        if kind in RELATIONS:
            kinds = [k for k in kinds if k == kind or k not in RELATIONS]
    frame = int(rng.random() * 2**31)
    told = [with_any_relation(s, rng) for s in scenes] if any_relation else scenes
    return [
        Example(s, _caption(t, frame, tuple(varied), entity if alone else None).text)
        for s, t in zip(scenes, told, strict=True)
    ]


def with_any_relation(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with each of its relations changed or not, by the toss of a coin.

    A caption of it says nothing about the relations of the scene itself.
    """
    for kind in RELATIONS:
        if _varies(scene, kind, 0) and rng.random() < 0.5:
            scene = vary(scene, kind, 0, rng)
    return scene


def _caption(scene: Scene, frame: int, mention, entity: int | None) -> Caption:
    rng = generator(frame, 0)
    if entity is None:
        return describe(scene, rng, mention)
    return describe_entity(scene, entity, rng, mention)


def _varies(scene: Scene, kind: str, entity: int) -> bool:
    subject = scene.entities[entity]
    return {
        "size": subject.count == 1,
        "count": subject.count > 1,
        "name": scene.name is not None,
        "position": scene.position is not None,
        "state": scene.state in GAPS,
    }.get(kind, True)


def vary(scene: Scene, kind: str, entity: int, rng: np.random.Generator) -> Scene:
    """The scene with one fact changed, laid out anew; every other fact stays."""
    if kind == "ground":
        return lay_out(replace(scene, ground=_other(rng, GROUNDS, scene.ground)), rng)
    if kind == "name":
        return lay_out(replace(scene, name=_other(rng, NAMES, scene.name)), rng)
    if kind == "position":
        return lay_out(replace(scene, position=OPPOSITE[scene.position]), rng)
    if kind == "state":
        return lay_out(replace(scene, state=_other(rng, GAPS, scene.state)), rng)
    old, taken = scene.entities[entity], {e.noun for e in scene.entities}
    taken_colours = {e.colour for e in scene.entities}
    if kind == "noun":
        directed = scene.state == "facing" and entity == 0
        options = [
            n
            for n in NOUNS
            if n not in taken
            and not is_held_out(n, old.colour)
            and (not directed or n in DIRECTIONS)
        ]
        new = replace(old, noun=pick(rng, options)) if options else old
    elif kind == "colour":
        options = [c for c in COLOURS if c not in taken_colours and not is_held_out(old.noun, c)]
        new = replace(old, colour=pick(rng, options))
    elif kind == "size":
        new = replace(old, size=_other(rng, SIZES, old.size))
    else:
        new = replace(old, count=_other(rng, COUNTS.values(), old.count))
    entities = tuple(new if i == entity else e for i, e in enumerate(scene.entities))
    return lay_out(replace(scene, entities=entities), rng)


def _other(rng, options, current):
    return pick(rng, [o for o in options if o != current])


def patch_labels(scene: Scene) -> np.ndarray:
    """int64 [5, 8, 8]: noun, colour, size, count and name of the thing that each patch touches.

    0 where nothing lies or the thing has no such fact; all count from 1. The sign is the last noun.
    """
    labels = np.zeros((5, PATCHES, PATCHES), np.int64)
    things = [(box, _facts(e)) for e in reversed(scene.entities) for box in e.boxes]
    if scene.sign_box:
        sign = (len(NOUNS) + 1, 0, 0, 0, NAMES.index(scene.name) + 1)
        things.append((scene.sign_box, sign))
    low = np.arange(PATCHES) * (SIDE // PATCHES)
    high = low + SIDE // PATCHES
    for (x0, y0, x1, y1), facts in things:  # a patch counts from three pixels of overlap on
        rows, columns = (high > y0 + 2) & (low < y1 - 2), (high > x0 + 2) & (low < x1 - 2)
        labels[:, np.outer(rows, columns)] = np.array(facts)[:, None]
    return labels


def _facts(entity) -> tuple[int, ...]:
    size = list(SIZES).index(entity.size) + 1 if entity.size else 0
    noun, colour = list(NOUNS).index(entity.noun) + 1, list(COLOURS).index(entity.colour) + 1
    return noun, colour, size, entity.count, 0


def pixels(scenes: list[Scene], mean, std) -> torch.Tensor:
    """float32 [n, 3, 64, 64], normalised as the embedded model's preprocessing does it."""
    raw = np.stack([render_array(s) for s in scenes])
    tensor = torch.from_numpy(raw).permute(0, 3, 1, 2).float() / 255
    return (tensor - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
