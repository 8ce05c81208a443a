"""The words of a caption, and the mean over each word's tokens.

The rules are those of the public CLIP4DM code (Nam et al., AAAI 2025): a word ends at a space, and
'.' and ',' are words of their own. Tokens are given to words by character offset, which equals the
public rule wherever that does not drift; `public_words` reproduces its drift.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import UserError
from ..io.read import is_missing, utf8
from .tokens import encode, token_spans

ALIGNMENTS = ("offsets", "public_words", "rich_hf_tokens")
_RULES = {
    "clip4dm": re.compile(r"[.,]|[^ .,]+"),
    "whitespace": re.compile(r"\S+"),
    "rich_hf": re.compile(r'[^,.?!":; ]+'),
}


class Word(NamedTuple):
    """A word and its half-open character range in the caption: `caption[start:end] == text`."""

    text: str
    start: int
    end: int


def split_words(caption, rule="clip4dm"):
    """Split a caption into a list of Word.

    `clip4dm`: a space ends a word; '.' and ',' end a word and are words of their own; every other
    character, tabs and newlines included, belongs to the current word. `whitespace`: white space
    ends a word and punctuation stays on it. `rich_hf`: the tokens of Rich-HF-18K, split at a space
    and at any of , . ? ! " : ; none of which is a word. White space alone is never a word.
    """
    if rule not in _RULES:
        raise UserError(f"unknown word rule {rule!r}: choose from {', '.join(_RULES)}")
    found = _RULES[rule].finditer(caption)
    return [Word(m.group(), m.start(), m.end()) for m in found if not m.group().isspace()]


def caption_fault(caption) -> str | None:
    """Why a cell of the caption column is no caption, or None."""
    if not isinstance(caption, str):
        return "the caption is missing" if is_missing(caption) else "the caption is not text"
    if "\0" in caption:
        return "the caption contains a null byte"
    if not utf8(caption):
        return "the caption contains half a character (a lone surrogate)"
    return None if caption.strip() else "the caption is empty"


def words_for(caption, alignment):
    """The words that an alignment gives tokens to: Rich-HF's own, or those of the public rule."""
    return split_words(caption, "rich_hf" if alignment == "rich_hf_tokens" else "clip4dm")


def word_of_token(tokens, words, offset=0):
    """Index of the word in which each token starts, as an int array [n_tokens]; -1 for none.

    `tokens` is a TokenSpans of a text whose caption begins at character `offset`; `words` are in
    order and in the caption's own characters. Tokens of a template get -1.
    """
    at = np.asarray(tokens.owner, dtype=int) - offset
    if not words:
        return np.full(len(at), -1)
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    index = np.searchsorted(starts, at, side="right") - 1
    return np.where((index >= 0) & (at < ends[index]), index, -1)


def public_word_of_token(tokenizer, words, n_tokens, template=""):
    """The public code's alignment, as `word_of_token` gives it.

    Every word is encoded alone, those of the template too; its number of ids says how many of the
    text's tokens are its own, in order. Runs of punctuation that BPE merges across words shift all
    later words.
    """
    lead = sum(_length(tokenizer, word.text) for word in split_words(template))
    counts = [_length(tokenizer, word.text) for word in words]
    index = np.concatenate([np.full(lead, -1), np.repeat(np.arange(len(words)), counts)])
    spare = np.full(max(0, n_tokens - len(index)), -1)
    return np.concatenate([index, spare])[:n_tokens].astype(int)


@lru_cache(maxsize=65536)
def _length(tokenizer, word):
    return len(encode(tokenizer, word))


def align(tokenizer, caption, words, *, template="", context_length=None, alignment="offsets"):
    """Tokenise template + caption and give each token its word.

    Returns (TokenSpans of template + caption, int array [n_tokens] as `word_of_token`).
    `alignment` is one of ALIGNMENTS, UserError for anything else: `offsets`; `rich_hf_tokens`,
    offsets too but for words of that rule (see `words_for`); `public_words`.
    """
    if alignment not in ALIGNMENTS:
        raise UserError(f"unknown alignment {alignment!r}: choose from {', '.join(ALIGNMENTS)}")
    tokens = token_spans(tokenizer, template + caption, context_length)
    if alignment != "public_words":
        return tokens, word_of_token(tokens, words, len(template))
    return tokens, public_word_of_token(tokenizer, words, len(tokens.spans), template)


def merge(values, word_index, n_words, reduce="mean"):
    """Merge token values [..., n_tokens] to word values [..., n_words], array or tensor.

    The mean (or `reduce="sum"`) over the tokens of each word; NaN for a word with no token, which
    CLIP has not seen.
    """
    word_index = np.asarray(word_index, dtype=int)
    inside = np.flatnonzero(word_index >= 0)
    counts = np.bincount(word_index[inside], minlength=n_words)
    if torch.is_tensor(values):
        return _merge_tensor(values, word_index, inside, counts, reduce)
    values = np.asarray(values)
    out = np.zeros((*values.shape[:-1], n_words), np.result_type(values, np.float32))
    place: Any = (..., word_index[inside])  # numpy's types leave out the ellipsis
    np.add.at(out, place, values[..., inside])
    return np.where(counts > 0, out / _divisor(counts, reduce).astype(out.dtype), np.nan)


def _merge_tensor(values, word_index, inside, counts, reduce):
    index, kept = (torch.as_tensor(i, device=values.device) for i in (word_index[inside], inside))
    out = values.new_zeros((*values.shape[:-1], len(counts)))
    out = out.index_add(-1, index, values.index_select(-1, kept))
    divisor = torch.as_tensor(_divisor(counts, reduce)).to(out)
    unseen = torch.as_tensor(counts == 0, device=values.device)
    return (out / divisor).masked_fill(unseen, float("nan"))


def _divisor(counts, reduce):
    if reduce not in ("mean", "sum"):
        raise UserError(f"unknown reduction {reduce!r}: choose mean or sum")
    return np.maximum(counts, 1) if reduce == "mean" else np.ones_like(counts)
