"""Follow every character of a caption through a tokenizer's text cleaning.

open_clip's tokenizers do not read a caption as it stands: they repair mojibake, quotes and
ligatures (ftfy), resolve HTML entities twice, collapse white space, and mostly lower the case.
The functions here do the same steps one at a time and keep, for each cleaned character, the range
of original characters that it came from.

A step is a function `text -> pairs`, where the left sides of the pairs joined are the text before
it and the right sides joined are the text after it. So a step is its own map.
"""

import difflib
import html
import re
import string
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import ftfy
import numpy as np
import regex
from open_clip.tokenizer import _clean_whitespace

# What ftfy may change without looking further around: an entity, a terminal escape, a character
# with its combining marks. Plain ASCII between them is never changed.
_CLUSTERS = regex.compile(r"&[#\w]{1,32};|\x1b\[[\d;]*[a-zA-Z]|[ -%'-~\n]+(?!\p{M})|\X")
_ENTITIES = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
_WORDS = re.compile(r"\s+|\S+")
_PLAIN = re.compile(r"[ -%'-~\n\t]*")  # what ftfy never changes
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_WORDS = 500  # compared closely; a context of 77 tokens ends long before


class Cleaned(NamedTuple):
    """A cleaned caption; character i came from the original characters `starts[i]:ends[i]`."""

    text: str
    starts: np.ndarray
    ends: np.ndarray


def clean(text, clean_fn=None):
    """Clean a caption and keep where each character came from.

    `clean_fn` is the tokenizer's own cleaning function, or None where it has none. The result's
    text is exactly `clean_fn(text)`; a function that is not one of open_clip's three is aligned by
    comparing its output with its input.
    """
    done = _identity(text)
    if clean_fn is None:
        return done
    if clean_fn.__name__ not in _STEPS:
        return _apply(done, _compare(text, clean_fn(text)))
    for step in _STEPS[clean_fn.__name__]:
        done = _apply(done, step(done.text))
    return done


def readable(text: str, longest: int) -> Cleaned:
    """A caption as a parser shall read it: repaired as CLIP's tokenizers do, its case kept.

    Half surrogates become U+FFFD, since no parser takes them. longest: characters at most.
    """
    return clean(_SURROGATE.sub("\ufffd", text)[:longest], _clean_whitespace)


def origin(cleaned: Cleaned, start: int, end: int) -> tuple[int, int]:
    """The characters of the original caption behind cleaned.text[start:end], not empty."""
    return int(cleaned.starts[start]), int(cleaned.ends[end - 1])


def _identity(text):
    return Cleaned(text, np.arange(len(text)), np.arange(1, len(text) + 1))


def _same(text):
    return [(text, text)]


def _apply(before, pairs):
    """Compose the map so far with a step's pairs. An unchanged text needs no new map."""
    after = "".join(new for _, new in pairs)
    if after == before.text:
        return before
    if not before.text:
        return Cleaned(after, np.zeros(len(after), int), np.zeros(len(after), int))
    first, last = _ranges(pairs, len(before.text) - 1)
    return Cleaned(after, before.starts[first], before.ends[last])


def _ranges(pairs, end):
    """First and last source index of each target character; a block is shared out evenly."""
    first: list[int] = []
    last: list[int] = []
    at = 0
    for old, new in pairs:
        n, m = len(old), len(new)
        cuts = range(at, at + n) if n == m else [min(at + j * n // m, end) for j in range(m)]
        stops = cuts if n == m else [max(c, at + (j + 1) * n // m - 1) for j, c in enumerate(cuts)]
        first.extend(cuts)
        last.extend(stops)
        at += n
    return np.array(first, dtype=int), np.array(last, dtype=int)


@lru_cache(maxsize=65536)
def _fix(piece):
    return piece if _PLAIN.fullmatch(piece) else ftfy.fix_text(piece)


def _repair(text):
    """ftfy, as open_clip calls it."""
    return _same(text) if _PLAIN.fullmatch(text) else _refine(text, ftfy.fix_text(text), _compare)


def _refine(old, new, otherwise):
    """Pair old with new cluster by cluster where that explains the whole change."""
    if old == new:
        return _same(old)
    pieces = _CLUSTERS.findall(old)
    fixed = [_fix(piece) for piece in pieces]
    if "".join(fixed) == new:
        return list(zip(pieces, fixed, strict=True))
    return otherwise(old, new)


def _compare(old, new):
    """Pair old with new word by word, for changes that depend on the text around them."""
    a, b = _WORDS.findall(old), _WORDS.findall(new)
    near_a, near_b = a[:_MOST_WORDS], b[:_MOST_WORDS]
    pairs: list[tuple[str, str]] = []
    both: Iterable[tuple[str, str]]
    for tag, i, i_end, j, j_end in _opcodes(near_a, near_b):
        if tag == "replace" and i_end - i == j_end - j:
            both = zip(near_a[i:i_end], near_b[j:j_end], strict=True)
        else:
            both = [("".join(near_a[i:i_end]), "".join(near_b[j:j_end]))]
        pairs += [pair for x, y in both for pair in _refine(x, y, _trim)]
    return pairs + [("".join(a[_MOST_WORDS:]), "".join(b[_MOST_WORDS:]))]


def _opcodes(a, b):
    return difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()


def _trim(old, new):
    """Common beginning, changed middle, common end. The middle of old swallows a neighbour
    rather than vanish: of two mojibake characters that became one, both are its source."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    if head + tail == len(new) < len(old) and new:
        head, tail = (head - 1, tail) if head else (head, tail - 1)
    i, j = len(old) - tail, len(new) - tail
    return [(old[:head], new[:head]), *_middle(old[head:i], new[head:j]), (old[i:], new[j:])]


def _middle(old, new):
    """Blocks between the characters that a short old and new still have in common."""
    if min(len(old), len(new)) < 2 or len(old) * len(new) > 10_000:
        return [(old, new)]
    pairs: list[tuple[str, str]] = []
    for tag, i, i_end, j, j_end in _opcodes(old, new):
        x, y = old[i:i_end], new[j:j_end]
        if tag in ("insert", "delete") and pairs:
            x, y = pairs[-1][0] + x, pairs.pop()[1] + y
        pairs.append((x, y))
    return pairs


def _common(a, b):
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def _unescape(text):
    """HTML entities. What follows one that needs no semicolon (`&notit;`) stays as it is."""
    if "&" not in text:
        return _same(text)
    pairs, at = [], 0
    for match in _ENTITIES.finditer(text):
        pairs += _same(text[at : match.start()])
        pairs += _trim(match.group(), html.unescape(match.group()))
        at = match.end()
    return pairs + _same(text[at:])


def _collapse(text):
    """White space: none at the ends, one space between words."""
    if text == " ".join(text.split()):
        return _same(text)
    words = list(re.finditer(r"\S+", text))
    if not words:
        return [(text, "")]
    pairs = [(text[: words[0].start()], "")]
    for word, following in zip(words, words[1:] + [None], strict=True):
        pairs.append((word.group(), word.group()))
        if following is not None:
            pairs.append((text[word.end() : following.start()], " "))
    return pairs + [(text[words[-1].end() :], "")]


def _lower(text):
    """Lower case; a capital with a dot above becomes two characters."""
    lower = text.lower()
    if len(lower) == len(text):
        return [(text, lower)]
    ends = np.cumsum([len(c.lower()) for c in text])
    return [(c, lower[end - len(c.lower()) : end]) for c, end in zip(text, ends, strict=True)]


def _underscores(text):
    return [(text, text.replace("_", " "))]


def _unpunctuate(text):
    return [(c, "" if c in string.punctuation else c) for c in text]


_BASIC = (_repair, _unescape, _unescape)
_STEPS = {
    "_clean_lower": _BASIC + (_collapse, _lower),
    "_clean_whitespace": _BASIC + (_collapse,),
    "_clean_canonicalize": _BASIC + (_underscores, _unpunctuate, _lower, _collapse),
}
