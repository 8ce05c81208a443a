"""Sentences about single facts of a scene, and scenes with one fact changed, for the exporters."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from .grammar import NUMERALS, VOWELS, describe
from .vocabulary import COLOURS, NOUNS, OPPOSITE, is_held_out, plural
from .world import Entity, Scene, generator, lay_out, pick, sample_scene

PHRASING, LAYOUT, CHANGE = 8, 9, 10  # third key of the random streams, after those of the others
RELATIONS = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}
TRIES = 40


def scenes(n: int, seed: int, wanted: Callable = lambda scene: True) -> Iterator:
    """(index, scene) of the first n scenes of this seed that are wanted."""
    index = found = 0
    while found < n:
        scene = sample_scene(generator(seed, index))
        if wanted(scene):
            yield index, scene
            found += 1
        index += 1


def is_pair(scene: Scene) -> bool:
    """Two things whose relation is nothing but their position."""
    return len(scene.entities) == 2 and scene.state is None


def noun(entity: Entity) -> str:
    """The noun as its number asks for: "star", "stars"."""
    return entity.noun if entity.count == 1 else plural(entity.noun)


def be(entity: Entity) -> str:
    return "is" if entity.count == 1 else "are"


def bare(entity: Entity, colour: bool = True, size: bool = False) -> str:
    """The thing without its article: "small red star"."""
    words = [entity.size if size and entity.size else "", entity.colour if colour else ""]
    return " ".join(word for word in [*words, noun(entity)] if word)


def thing(entity: Entity, colour: bool = True, size: bool = False) -> str:
    """The thing with article or number: "a small red star", "two red stars"."""
    words = bare(entity, colour, size)
    if entity.count > 1:
        return f"{NUMERALS[entity.count]} {words}"
    return f"{'an' if words.startswith(VOWELS) else 'a'} {words}"


def clause(first: str, verb: str, relation: str, second: str) -> str:
    return f"{first} {verb} {relation} {second}"


def descriptions(scene: Scene, seed: int, index: int, n: int, mention=()) -> list[str]:
    """n true captions of a scene, different from each other as far as it has facts enough."""
    found, spare = {}, []
    for number in range(TRIES * n):
        text = describe(scene, generator(seed, index, PHRASING, number), mention).text
        if text.lower().rstrip(".") in found:
            spare.append(text)
        found.setdefault(text.lower().rstrip("."), text)
        if len(found) == n:
            break
    return (list(found.values()) + spare)[:n]


def other_noun(scene: Scene, entity: Entity, rng: np.random.Generator) -> str:
    """A noun of nothing in the scene, in a combination with the entity's colour known to training.

    It begins with a vowel where the entity's own does, so that an article before it stays.
    """
    taken = {e.noun for e in scene.entities}
    vowel = entity.noun.startswith(VOWELS)
    return pick(
        rng,
        [
            w
            for w in NOUNS
            if w not in taken
            and not is_held_out(w, entity.colour)
            and w.startswith(VOWELS) == vowel
        ],
    )


def other_colour(scene: Scene, entity: Entity, rng: np.random.Generator) -> str:
    """A colour of nothing in the scene, in a combination known to training."""
    taken = {e.colour for e in scene.entities}
    return pick(rng, [c for c in COLOURS if c not in taken and not is_held_out(entity.noun, c)])


def with_entity(scene: Scene, place: int, **facts) -> Scene:
    """The scene with facts of one entity changed; not laid out."""
    entities = list(scene.entities)
    entities[place] = replace(entities[place], **facts)
    return replace(scene, entities=tuple(entities))


def swapped(scene: Scene, fact: str) -> Scene:
    """The scene with a fact of both entities ("noun", "colour") exchanged; not laid out."""
    first, second = scene.entities
    return replace(
        scene,
        entities=(
            replace(first, **{fact: getattr(second, fact)}),
            replace(second, **{fact: getattr(first, fact)}),
        ),
    )


def turned(scene: Scene) -> Scene:
    """The scene with the two things on each other's side; not laid out."""
    return replace(scene, position=OPPOSITE[scene.position])


def placed(scene: Scene, seed: int, index: int) -> Scene:
    """The scene laid out, always in the same way for the same seed and index."""
    return lay_out(scene, generator(seed, index, LAYOUT))


def is_known(scene: Scene) -> bool:
    """Whether training showed every (noun, colour) pair of the scene."""
    return not any(is_held_out(e.noun, e.colour) for e in scene.entities)
