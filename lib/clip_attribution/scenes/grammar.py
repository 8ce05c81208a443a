"""Captions of a scene, with the part of speech, role and fact of every word known.

Two registers: `describe` says what is seen; `about` says what the image is about, as the caption
under an image in a newspaper would, and names nothing that can be pointed at but the sign.
"""

from dataclasses import dataclass, replace

import numpy as np

from .vocabulary import COUNTS, THEME_OF, plural
from .world import SIDE, Box, Scene, pick

WHOLE: Box = (0, 0, SIDE, SIDE)
VOWELS = tuple("aeiou")
NUMERALS = {number: word for word, number in COUNTS.items()}
ROLE_OF_KIND = {
    "noun": "object",
    "ground": "object",
    "name": "object",
    "colour": "attribute",
    "size": "attribute",
    "count": "attribute",
    "position": "relation",
    "state": "relation",
}


@dataclass(frozen=True)
class Word:
    """One word of a caption. `start`, `end`: character offsets; `kind`: the fact, or None."""

    text: str
    pos: str  # Universal Dependencies tag
    role: str | None = None  # object, attribute, relation
    kind: str | None = None  # one of vocabulary.KINDS
    entity: int | None = None
    phrase: int = -1  # index into Caption.phrases
    start: int = -1
    end: int = -1


@dataclass(frozen=True)
class Phrase:
    """A stretch of a caption that can be pointed at. `boxes` in sixty-fourths of the side."""

    start: int
    end: int
    role: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Caption:
    """A caption and everything known about it."""

    text: str
    words: tuple[Word, ...]
    phrases: tuple[Phrase, ...]


def describe(scene: Scene, rng: np.random.Generator, mention: tuple[str, ...] = ()) -> Caption:
    """What is seen. `mention` lists kinds that the caption has to state (where the scene has
    them); everything else is left to chance. The same stream gives the same sentence for any
    scene with the same kinds of facts, so two scenes that differ in one fact get captions that
    differ in its word.
    """
    dice = rng.random(12).tolist()
    words = _predicate(scene, dice, mention)
    if "ground" in mention or dice[0] < 0.5:
        words += [Word("on", "ADP", "relation", phrase=3)]
        words += [Word("the", "DET", phrase=3)] * (dice[1] < 0.5)
        words += [_fact(scene.ground, "NOUN", "ground", phrase=3)]
    if scene.name and ("name" in mention or dice[2] < 0.6):
        words += _sign(scene.name, dice[3])
    return _assemble(words, scene, capital=dice[4] < 0.5, stop=dice[5] < 0.5)


def describe_entity(
    scene: Scene, index: int, rng: np.random.Generator, mention: tuple[str, ...] = ()
) -> Caption:
    """Only the phrase of one entity, for instance "a small red star"."""
    dice = rng.random(4).tolist()
    words = _noun_phrase(scene, index, dice[0], mention)
    return _assemble(words, scene, capital=dice[1] < 0.3, stop=dice[2] < 0.3)


def _fact(text, pos, kind, entity=None, phrase=-1) -> Word:
    return Word(text, pos, ROLE_OF_KIND[kind], kind, entity, phrase)


def _predicate(scene: Scene, dice, mention) -> list[Word]:
    nouns = [_noun_phrase(scene, i, dice[6 + i], mention) for i in range(len(scene.entities))]
    many = scene.entities[0].count > 1
    be = Word("are" if many else "is", "AUX")
    there = [Word("there", "PRON"), be]
    if len(nouns) == 1:
        return (there if dice[8] < 0.4 else []) + nouns[0]
    relation = _relation(scene, dice[9], mention)
    if not relation:
        return (there if dice[8] < 0.3 else []) + nouns[0] + [Word("and", "CCONJ")] + nouns[1]
    if dice[8] < 0.3:
        return there + nouns[0] + relation + nouns[1]
    return nouns[0] + [be] * (dice[8] < 0.65) + relation + nouns[1]


def _noun_phrase(scene: Scene, index: int, dice: float, mention) -> list[Word]:
    entity, result = scene.entities[index], []
    if entity.count > 1:
        result.append(_fact(NUMERALS[entity.count], "NUM", "count", index, index))
    if entity.size and ("size" in mention or dice < 0.4):
        result.append(_fact(entity.size, "ADJ", "size", index, index))
    if "colour" in mention or (dice * 10) % 1 < 0.8:
        result.append(_fact(entity.colour, "ADJ", "colour", index, index))
    name = entity.noun if entity.count == 1 else plural(entity.noun)
    result.append(_fact(name, "NOUN", "noun", index, index))
    if entity.count == 1:
        article = "an" if result[0].text.startswith(VOWELS) else "a"
        result.insert(0, Word(article, "DET", phrase=index))
    return result


def _relation(scene: Scene, dice: float, mention) -> list[Word]:
    state = scene.state and "position" not in mention and ("state" in mention or dice < 0.4)
    if state:
        return [_fact(scene.state, "VERB", "state", phrase=2)]
    if "position" not in mention and dice > 0.75:
        return []
    if scene.position in ("above", "below"):
        return [_fact(scene.position, "ADP", "position", phrase=2)]
    side = _fact(scene.position, "NOUN", "position", phrase=2)
    before, after = [("to", "ADP"), ("the", "DET")], [("of", "ADP")]
    if (dice * 10) % 1 < 0.3:
        before, side = [], replace(side, pos="ADV")
    make = [Word(t, p, "relation", phrase=2) for t, p in before]
    return make + [side] + [Word(t, p, "relation", phrase=2) for t, p in after]


def _sign(name: str, dice: float) -> list[Word]:
    link = Word("near" if dice < 0.5 else "with", "ADP", "relation")
    sign = [Word("a", "DET", phrase=4), Word("sign", "NOUN", "object", phrase=4)]
    says = (dice * 10) % 1 < 0.5
    that = [Word("that", "PRON", phrase=4)] * says
    verb = Word("says" if says else "reading", "VERB", "relation", phrase=4)
    return [link] + sign + that + [verb] + [_fact(name, "PROPN", "name", phrase=4)]


def _assemble(words: list[Word], scene: Scene | None, capital: bool, stop: bool) -> Caption:
    """Join the words by spaces, give each its offsets, and collect the phrases."""
    placed, at = [], 0
    for i, word in enumerate(words):
        text = word.text[0].upper() + word.text[1:] if capital and i == 0 else word.text
        placed.append(replace(word, text=text, start=at, end=at + len(text)))
        at += len(text) + 1
    text = " ".join(w.text for w in placed)
    if stop:
        placed.append(Word(".", "PUNCT", start=len(text), end=len(text) + 1))
        text += "."
    numbers = sorted({w.phrase for w in placed if w.phrase >= 0})
    phrases = []
    for number in numbers:
        own = [w for w in placed if w.phrase == number]
        role = "relation" if number == 2 else "object"
        phrases.append(Phrase(own[0].start, own[-1].end, role, _boxes(scene, number)))
    placed = [replace(w, phrase=numbers.index(w.phrase) if w.phrase >= 0 else -1) for w in placed]
    return Caption(text, tuple(placed), tuple(phrases))


def _boxes(scene: Scene, number: int) -> tuple[Box, ...]:
    """The boxes of the phrase slot: 0, 1 entities; 2 relation (both); 3 ground; 4 sign."""
    if number < 2:
        return scene.entities[number].boxes
    if number == 2:
        return tuple(box for entity in scene.entities for box in entity.boxes)
    return (WHOLE,) if number == 3 else (scene.sign_box,)


ABOUT = (
    "an afternoon of {theme}",
    "a story about {theme}",
    "the history of {theme}",
    "the annual {theme} festival",
    "the museum of {theme}",
    "a guide to {theme}",
)


def about(scene: Scene, rng: np.random.Generator) -> Caption:
    """What the image is about: the themes of its things, and the place on its sign."""
    themes = list(dict.fromkeys(THEME_OF[e.noun] for e in scene.entities))
    text = pick(rng, ABOUT).format(theme=" and ".join(themes))
    words = [Word(t, _about_pos(t)) for t in text.split()]
    if scene.name:
        words += [Word("in", "ADP"), _fact(scene.name, "PROPN", "name", phrase=4)]
    return _assemble(words, scene, capital=rng.random() < 0.5, stop=rng.random() < 0.5)


def _about_pos(word: str) -> str:
    known = {
        "an": "DET",
        "a": "DET",
        "the": "DET",
        "of": "ADP",
        "about": "ADP",
        "to": "ADP",
        "and": "CCONJ",
        "annual": "ADJ",
    }
    return known.get(word, "NOUN")
