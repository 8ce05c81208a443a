"""What the exporters draw from the embedded world: pairs of captions, references, names."""

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import UserError
from ..scenes import FOIL
from ..scenes.foils import SWAPS, TYPES, Foil, make_foil, possible
from ..scenes.grammar import Caption, Phrase, describe
from ..scenes.vocabulary import KINDS, is_held_out
from ..scenes.world import SIDE, Box, Scene, generator, sample_scene

REFERENCE = 4  # third key of the random streams of references (1 to 3: see the package)
TRIES = 40  # a scene of few facts cannot be described in many different ways
ONE_WORD = KINDS + SWAPS[2:]  # a turned relation changes one word, the other swaps change two


class Sample(NamedTuple):
    """One scene with a true caption and its false twin."""

    index: int
    scene: Scene
    foil: Foil


def check_foils(foils: Sequence[str] | None, allowed: Sequence[str]) -> Sequence[str]:
    """The foil types to use: `allowed` unless some are given. Raises UserError on any other."""
    for kind in foils or ():
        if kind not in allowed:
            raise UserError(
                f"foils of type {kind!r} do not fit here: choose from {', '.join(allowed)}"
            )
    return tuple(foils or allowed)


def foil_samples(
    n: int, seed: int, kinds: Sequence[str], combinations: Sequence[str] | None = None
) -> Iterator[Sample]:
    """n samples whose foil types go through `kinds` in turn, each of a scene of its own.

    combinations: for each sample "seen", "novel" or "any" (noun, colour) pairs; default "seen".
    They are the pairs that `scene_pairs` gives for the same seed and kinds; among its "novel"
    scenes are a few with a pair that the model has seen (a thing that has to face something may
    have no novel colour), which are left out here.
    """
    index = -1
    for number in range(n):
        kind = kinds[number % len(kinds)]
        chosen = combinations[number] if combinations else "seen"
        while True:
            index += 1
            scene = sample_scene(generator(seed, index), chosen)
            if possible(scene, kind) and (chosen != "novel" or _all_novel(scene)):
                break
        rng = generator(seed, index, FOIL, TYPES.index(kind))
        yield Sample(index, scene, make_foil(scene, kind, rng))


def _all_novel(scene: Scene) -> bool:
    return all(is_held_out(entity.noun, entity.colour) for entity in scene.entities)


def in_shares(shares: dict, n: int) -> list:
    """n labels, each as often as its share asks for, well mixed: the most overdue comes next."""
    total, counts, labels = sum(shares.values()), dict.fromkeys(shares, 0), []
    for number in range(1, n + 1):
        label = max(shares, key=lambda name: shares[name] * number / total - counts[name])
        counts[label] += 1
        labels.append(label)
    return labels


def false_places(foil: Foil) -> list[int]:
    """Which words of the foil state something false; an article that only agrees does not."""
    return [place for place in foil.indices if foil.foil.words[place].kind]


def references(sample: Sample, seed: int, n: int) -> list[str]:
    """n other true captions of the scene, different from the sample's and from each other.

    A scene of few facts may not have so many: then the last ones repeat earlier ones.
    """
    found, spare = [], []
    taken = {_bare(sample.foil.caption.text), _bare(sample.foil.foil.text)}
    for number in range(TRIES * n):
        text = describe(sample.scene, generator(seed, sample.index, REFERENCE, number)).text
        (spare if _bare(text) in taken else found).append(text)
        taken.add(_bare(text))
        if len(found) == n:
            break
    return (found + spare)[:n]


def _bare(text: str) -> str:
    return text.lower().rstrip(".")


def token_flags(caption: Caption, places: Sequence[int]) -> list[tuple[str, bool]]:
    """(token, whether it covers one of the words `places`) for each of caption.text.split()."""
    spans = [(caption.words[place].start, caption.words[place].end) for place in places]
    return [
        (token[0], any(token.start() < end and start < token.end() for start, end in spans))
        for token in re.finditer(r"\S+", caption.text)
    ]


def false_phrases(caption: Caption, places: Sequence[int]) -> list[Phrase]:
    """The phrases that hold the words `places`; a relation brings along the things it relates."""
    numbers = {caption.words[place].phrase for place in places}
    if any(caption.phrases[number].role == "relation" for number in numbers):
        numbers |= {0, 1}
    return [caption.phrases[number] for number in sorted(numbers)]


def trailing(number: int) -> str:
    """The blank that annotators leave at the end of every fifth caption."""
    return " " if number % 5 == 3 else ""


def opaque(*keys) -> str:
    """32 hex digits that stand for these keys and tell nothing."""
    return hashlib.sha256(":".join(map(str, keys)).encode()).hexdigest()[:32]


def unique_id(*keys) -> str:
    """The same in the form of a UUID."""
    return str(uuid.UUID(opaque(*keys)))


def coco_name(index: int) -> str:
    """The name of a COCO photo of 2014 for scene `index`; COCO counts from 1."""
    return f"COCO_val2014_{index + 1:012d}.jpg"


def replaced_words(foil: Foil) -> tuple[str, str]:
    """(true word, false word) as written in the captions."""
    (place,) = false_places(foil)
    return foil.caption.words[place].text, foil.foil.words[place].text


def misaligned_boxes(caption: Caption, places: list[int]) -> list[Box]:
    """Where the image differs from what the words `places` say, in sixty-fourths of its side."""
    phrases = false_phrases(caption, places)
    return list(dict.fromkeys(box for phrase in phrases for box in phrase.boxes))


def pixel_boxes(scene: Scene, size: int) -> list[list[list[int]]]:
    """For every entity its boxes in pixels."""
    unit = size // SIDE
    return [[[unit * c for c in box] for box in entity.boxes] for entity in scene.entities]


def picture_id(seed: int, index: int) -> int:
    return (seed + 1) * 1_000_000 + index
