"""The concepts of a caption and what may stand in their place, for attribution by perturbation.

A concept is a span of the caption that is replaced as a whole: an object, an attribute word, a
relation phrase; (start, end, role) in characters, or anything with those attributes.
"""

from typing import NamedTuple
from zlib import crc32

import numpy as np

from ..errors import UserError
from .words import caption_fault, split_words


class Span(NamedTuple):
    """A concept: half-open character range of the caption, and its role."""

    start: int
    end: int
    role: str


def read_concepts(caption: str, found) -> list[Span]:
    """The concepts of one caption. Raises UserError for spans that are not in it."""
    try:
        parts = [(c.start, c.end, c.role) if hasattr(c, "role") else tuple(c) for c in found]
        spans = [Span(int(start), int(end), str(role)) for start, end, role in parts]
    except (TypeError, ValueError) as reason:
        raise UserError("the concepts are not a list of (start, end, role)") from reason
    for span in spans:
        if not 0 <= span.start < span.end <= len(caption):
            raise UserError(f"the concept {tuple(span)} does not lie in the caption")
    return spans


def word_concepts(caption: str, tags: list[str] | None = None) -> list[Span]:
    """Every word with a letter or digit as a concept, less the punctuation around it.

    Its role is its tag (of each word of `split_words`), or "word" for all without tags.
    """
    spans = []
    for number, word in enumerate(split_words(caption)):
        spoken = [i for i, letter in enumerate(word.text, word.start) if letter.isalnum()]
        if spoken:
            role = "word" if tags is None else tags[number]
            spans.append(Span(spoken[0], spoken[-1] + 1, role))
    return spans


def concepts_of_table(pairs, tagger=None) -> tuple[list[list[Span]], dict[int, str]]:
    """The concepts of each pair: of its column `concepts`, else word by word; {row: fault}."""
    captions = [None if caption_fault(caption) else caption for caption in pairs["caption"]]
    if "concepts" not in pairs:
        tags = tags_of(captions, tagger)
        return [word_concepts(c or "", t) for c, t in zip(captions, tags, strict=True)], {}
    spans, faults = [], {}
    for row, (caption, found) in enumerate(zip(captions, pairs["concepts"], strict=True)):
        try:
            spans.append([] if caption is None else read_concepts(caption, found))
        except UserError as error:
            spans.append([])
            faults[row] = str(error)
    return spans, faults


def tags_of(captions: list[str | None], tagger) -> list[list[str] | None]:
    """Universal POS tags of the words of each caption; None for all without a tagger."""
    if tagger is None:
        return [None] * len(captions)
    from .pos import tag_many  # spaCy takes seconds to import and is often not needed

    texts = [caption or "" for caption in captions]
    return tag_many(tagger, texts, [split_words(text) for text in texts])


def phrase(caption: str, span: Span) -> str:
    """What two concepts are compared by: their text in lower case."""
    return caption[span.start : span.end].lower()


def gather_candidates(captions: list, concepts: list[list[Span]]) -> dict[str, list[str]]:
    """The distinct phrases of each role in a table, lower-cased, in alphabetic order."""
    found: dict[str, set[str]] = {}
    for caption, spans in zip(captions, concepts, strict=True):
        for span in spans:
            found.setdefault(span.role, set()).add(phrase(caption, span))
    return {role: sorted(phrases) for role, phrases in sorted(found.items())}


def draw(caption: str, spans: list[Span], candidates: dict, k: int, seed: int) -> list[list[str]]:
    """For each concept k captions (fewer where there are no more) that hold another in its place.

    Drawn without replacement, uniformly from the candidates of its role less all concepts of the
    caption, so that k at or above their number is the exhaustive replacement. The draw depends on
    the seed, the caption and the span alone. The text around is left as it is.
    """
    taken = {phrase(caption, span) for span in spans}
    drawn = []
    for span in spans:
        pool = candidates.get(span.role, [])
        rng = np.random.default_rng([seed, crc32(caption.encode()), span.start, span.end])
        order = rng.choice(len(pool), min(len(pool), k + len(taken)), replace=False)
        new = [pool[i] for i in order if pool[i].lower() not in taken][:k]
        drawn.append([caption[: span.start] + text + caption[span.end :] for text in new])
    return drawn


def concept_of_token(starts: np.ndarray, spans: list[Span]) -> np.ndarray:
    """Number of the concept in which each token starts, -1 for none; the first of several."""
    found = np.full(len(starts), -1)
    for number in reversed(range(len(spans))):
        found[(spans[number].start <= starts) & (starts < spans[number].end)] = number
    return found
