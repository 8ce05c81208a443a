"""Captions that are false in exactly one fact, with the replaced word known; and swaps."""

from dataclasses import dataclass, replace

import numpy as np

from .grammar import VOWELS, Caption, Word, describe
from .vocabulary import (
    COLOURS,
    COUNTS,
    GROUNDS,
    KINDS,
    NAMES,
    NOUNS,
    OPPOSITE,
    SIZES,
    STATES,
    plural,
)
from .world import Scene, pick

SWAPS = ("swap_noun", "swap_colour", "swap_relation")
TYPES = KINDS + SWAPS


@dataclass(frozen=True)
class Foil:
    """A true caption and its false twin. `indices`: the words that differ, in both alike."""

    kind: str
    caption: Caption
    foil: Caption
    indices: tuple[int, ...]


def possible(scene: Scene, kind: str) -> bool:
    """Whether a foil of this type can be made of the scene."""
    pair = len(scene.entities) == 2
    return {
        "size": any(e.size for e in scene.entities),
        "count": any(e.count > 1 for e in scene.entities),
        "position": pair,
        "state": scene.state is not None,
        "name": scene.name is not None,
        "swap_noun": pair and len({e.count > 1 for e in scene.entities}) == 1,
        "swap_colour": pair,
        "swap_relation": pair and scene.position is not None,
    }.get(kind, True)


def make_foil(scene: Scene, kind: str, rng: np.random.Generator) -> Foil:
    """A foil of one of `TYPES`.

    Raises:
        ValueError: the scene has no fact of this kind (see `possible`).
    """
    if not possible(scene, kind):
        raise ValueError(f"this scene cannot make a foil of type {kind!r}")
    mention = {"swap_noun": ("position",), "swap_relation": ("position",)}.get(
        kind, ("colour", "position") if kind == "swap_colour" else (kind,)
    )
    caption = describe(scene, rng, mention)
    change = _swap if kind in SWAPS else _replace
    replacements = change(scene, caption, kind, rng)
    return Foil(kind, caption, _substitute(caption, replacements), tuple(sorted(replacements)))


def alternatives(scene: Scene, word: Word) -> list[str]:
    """Words of the same kind that would make the caption false, agreeing in number."""
    entity = scene.entities[word.entity] if word.entity is not None else None
    if word.kind == "noun":
        present = {e.noun for e in scene.entities}
        names = [n for n in NOUNS if n not in present]
        return names if entity.count == 1 else [plural(n) for n in names]
    if word.kind == "colour":
        return [c for c in COLOURS if c not in {e.colour for e in scene.entities}]
    if word.kind == "count":
        return [c for c, number in COUNTS.items() if number != entity.count]
    if word.kind == "position":
        return [OPPOSITE[scene.position]]
    if word.kind == "state":
        return [s for s in STATES if s != scene.state]
    options = {"size": SIZES, "ground": GROUNDS, "name": NAMES}[word.kind]
    return [o for o in options if o.lower() != word.text.lower()]


def _replace(scene: Scene, caption: Caption, kind: str, rng) -> dict[int, str]:
    places = [i for i, w in enumerate(caption.words) if w.kind == kind]
    place = pick(rng, places)
    options = alternatives(scene, caption.words[place])
    if place and caption.words[place - 1].text.lower() in ("a", "an"):  # the article must agree
        vowel = caption.words[place - 1].text.lower() == "an"
        options = [o for o in options if o.startswith(VOWELS) == vowel]
    return {place: pick(rng, options)}


def _swap(scene: Scene, caption: Caption, kind: str, rng) -> dict[int, str]:
    """Exchange both nouns or both colours, or turn the relation round.

    Articles before a bare noun are exchanged with it, so that the sentence stays grammatical.
    """
    words = caption.words
    if kind == "swap_relation":
        place = next(i for i, w in enumerate(words) if w.kind == "position")
        return {place: OPPOSITE[scene.position]}
    wanted = "noun" if kind == "swap_noun" else "colour"
    first, second = (i for i, w in enumerate(words) if w.kind == wanted)
    result = {first: words[second].text.lower(), second: words[first].text.lower()}
    for place in (first, second):
        before = words[place - 1].text.lower() if place else ""
        article = "an" if result[place].startswith(VOWELS) else "a"
        if before in ("a", "an") and before != article:
            result[place - 1] = article
    return result


def _substitute(caption: Caption, replacements: dict[int, str]) -> Caption:
    """The caption with some words replaced; offsets of words and phrases move along."""
    text, words, shift, moved = caption.text, [], 0, {}
    for i, word in enumerate(caption.words):
        new = replacements.get(i, word.text)
        if i in replacements and word.text[0].isupper():
            new = new[0].upper() + new[1:]
        start = word.start + shift
        text = text[:start] + new + text[start + len(word.text) :]
        moved[word.start], moved[("end", word.end)] = start, start + len(new)
        shift += len(new) - len(word.text)
        words.append(replace(word, text=new, start=start, end=start + len(new)))
    phrases = tuple(
        replace(p, start=moved[p.start], end=moved[("end", p.end)]) for p in caption.phrases
    )
    return Caption(text, tuple(words), phrases)
