"""Replacing one word of a caption: which words to suggest, and how they are put in."""

from functools import cache

from ..scenes.vocabulary import (
    COLOURS,
    COUNTS,
    GROUNDS,
    NAMES,
    NOUNS,
    OPPOSITE,
    SIZES,
    STATES,
    plural,
)
from ..text.words import Word, split_words

VOWELS = tuple("aeiouAEIOU")


@cache
def vocabulary() -> dict[str, tuple[str, ...]]:
    """The words of the embedded world, in lower case, each with all that can stand in its place."""
    opposites = [(a, b) for a, b in OPPOSITE.items() if a < b]
    kinds = [tuple(NOUNS), tuple(map(plural, NOUNS)), tuple(COLOURS), tuple(COUNTS), tuple(SIZES)]
    kinds += [STATES, tuple(GROUNDS), NAMES, *opposites]
    return {word.lower(): kind for kind in kinds for word in kind}


def suggestions(word: str) -> list[str]:
    """Words of the same kind of fact; none for a word that the embedded world does not know."""
    kind = vocabulary().get(word.lower(), ())
    return [other for other in kind if other.lower() != word.lower()]


def substitute(caption: str, place: int, new: str) -> str:
    """The caption with word number `place` replaced.

    A capital stays a capital, and "a" or "an" before the word is made to agree.
    """
    words = split_words(caption)
    old, before = words[place], words[place - 1] if place else None
    new = new[:1].upper() + new[1:] if old.text[:1].isupper() else new
    start, lead = old.start, caption[: old.start]
    if before and before.text.lower() in ("a", "an") and new[:1].isalpha():
        article = before.text[0] + ("n" if new.startswith(VOWELS) else "")
        lead = caption[: before.start] + article + caption[before.end : start]
    return lead + new + caption[old.end :]


def follow(before: list[Word], place: int | None, after: list[Word]) -> int | None:
    """Where the chosen word is after an edit: its new place, or None when it is gone.

    The words that the edit left alone at both ends stay what they are; a word that was rewritten
    in its place stays chosen.
    """
    if place is None:
        return None
    old, new = [word.text for word in before], [word.text for word in after]
    if old[: place + 1] == new[: place + 1]:
        return place
    from_end = len(old) - place
    if from_end <= len(new) and old[place:] == new[len(new) - from_end :]:
        return len(new) - from_end
    return place if len(old) == len(new) else None
