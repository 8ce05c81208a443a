"""Precision, recall and F1 of misaligned words: by index on the ground truth's own tokens, or by
the words of a phrase. Counts are per caption and summed over the set (micro), as CLIP4DM does.
"""

from collections import Counter

import numpy as np
import pandas as pd

from ..text.words import merge, split_words
from .intervals import Estimate, ratio_estimate
from .misalignment import EPSILON, PUNCTUATION

MEASURES = ("precision", "recall", "F1")
TOKEN_COLUMNS = ("pair_id", "token_index", "token", "misaligned", "attribution")


def token_attributions(words: pd.DataFrame, spans) -> np.ndarray:
    """Attribution of each span of a caption: the mean of its seen words that start in it.

    words: the caption's rows of a words frame. spans: (start, end) in order, not overlapping. Where
    the words are the spans themselves (alignment `rich_hf_tokens`) that is the word's own value.
    Returns float64 [n_spans], NaN where no seen word starts.
    """
    if not len(spans):
        return np.zeros(0)
    starts, ends = np.asarray(spans, dtype=int).reshape(-1, 2).T
    values = words["attribution"].to_numpy(float)
    at = words["start"].to_numpy(int)
    index = np.searchsorted(starts, at, side="right") - 1
    inside = (index >= 0) & (at < ends[index]) & ~np.isnan(values)
    return merge(values, np.where(inside, index, -1), len(starts))


def spans_of(caption: str, tokens) -> list[tuple[int, int]]:
    """(start, end) of tokens in their caption; the list ends before one that is not there."""
    spans, end = [], 0
    for token in tokens:
        start = caption.find(token, end)
        if start < 0:
            break
        end = start + len(token)
        spans.append((start, end))
    return spans


def fits(caption, tokens, labels) -> bool:
    """Whether tokens and labels are lists, and the tokens stand in the caption in their order."""
    listed = all(isinstance(own, list | tuple | np.ndarray) for own in (tokens, labels))
    known = listed and isinstance(caption, str)
    return known and len(spans_of(caption, tokens)) == len(tokens)


def token_table(words: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The ground truth's tokens of every caption, with what the words frame says of each.

    pairs: pair_id, caption, tokens, labels (True = aligned); the longer of the two lists is cut.
    Returns pair_id, token_index, token, misaligned, attribution (NaN: not seen).
    """
    own = dict(tuple(words.groupby("pair_id", sort=False)))
    table: dict[str, list] = {name: [] for name in TOKEN_COLUMNS}
    columns = (pairs[name] for name in ("pair_id", "caption", "tokens", "labels"))
    for pair_id, caption, tokens, labels in zip(*columns, strict=True):
        n = min(len(tokens), len(labels))
        values = token_attributions(own.get(pair_id, words[:0]), spans_of(caption, tokens[:n]))
        wrong = ~np.asarray(labels[:n], dtype=bool)
        for name, cells in zip(
            TOKEN_COLUMNS, ([pair_id] * n, range(n), tokens[:n], wrong, values), strict=True
        ):
            table[name].extend(cells)
    return pd.DataFrame(table).astype({"misaligned": bool, "attribution": float})


def token_counts(table: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """tp, fp, fn, wrong and size of each caption of a `token_table`, by pair_id.

    A token is predicted when its attribution is below `epsilon`, and a hit when the very same token
    is marked. wrong: the tokens that are marked; size: all of them.
    """
    found, wrong = table["attribution"] < epsilon, table["misaligned"]
    counts = {"tp": found & wrong, "fp": found & ~wrong, "fn": ~found & wrong, "wrong": wrong}
    return pd.DataFrame(counts).assign(size=1).groupby(table["pair_id"], sort=False).sum()


def public_index_counts(words: pd.DataFrame, pairs: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """tp, fp, fn of each caption as the public code counts them, by pair_id.

    The prediction's words, split only at space, '.' and ',', are numbered after punctuation is
    removed; (number, word) must equal the ground truth's. So `cat!` is never `cat`, and `a:b`
    shifts whatever follows it. words: of alignment `public_words` (or `offsets`).
    """
    spoken = np.array([word not in PUNCTUATION for word in words["word"]], dtype=bool)
    kept = words[words["attribution"].notna() & spoken]
    number = kept.groupby("pair_id", sort=False).cumcount()
    low = kept["attribution"] < epsilon
    found: dict[object, set[tuple]] = {pair_id: set() for pair_id in pairs["pair_id"]}
    for pair_id, *named in zip(kept["pair_id"][low], number[low], kept["word"][low], strict=True):
        found.setdefault(pair_id, set()).add(tuple(named))
    rows = []
    for pair_id, tokens, labels in zip(
        pairs["pair_id"], pairs["tokens"], pairs["labels"], strict=True
    ):
        both = enumerate(zip(tokens, labels, strict=False))
        marked = {(number, token) for number, (token, aligned) in both if not aligned}
        rows.append(_counts(len(found[pair_id] & marked), len(found[pair_id]), len(marked)))
    return pd.DataFrame(rows, index=pairs["pair_id"], columns=["tp", "fp", "fn"])


def has_public_words(words: pd.DataFrame, pairs: pd.DataFrame) -> bool:
    """Whether every caption's words are those of the public splitting rule."""
    own = words.groupby("pair_id", sort=False)["word"].agg(list)
    captions = pairs.set_index("pair_id")["caption"].reindex(own.index).dropna()
    return all(own[i] == [w.text for w in split_words(text)] for i, text in captions.items())


def overlap_counts(found: list[str], wanted: list[str]) -> dict:
    """tp, fp, fn of two bags of words: a word counts as often as it stands in both."""
    both = Counter(found) & Counter(wanted)
    return _counts(both.total(), len(found), len(wanted))


def _counts(hits: int, found: int, wanted: int) -> dict:
    return {"tp": hits, "fp": found - hits, "fn": wanted - hits}


def bare_words(text: str) -> list[str]:
    """The words of a text in lower case, without the punctuation around them."""
    words = (word.text.lower().strip(PUNCTUATION + "'()") for word in split_words(text))
    return [word for word in words if word]


def detection_estimates(counts: pd.DataFrame, groups=None, seed: int = 0) -> dict[str, Estimate]:
    """Micro precision, recall and F1 of the captions' counts `tp, fp, fn`, each with its interval.

    groups [n]: captions resampled together. Precision is NaN where nothing was predicted, recall
    where nothing was to be found. Each estimate's n is the number of groups.
    """
    tp, fp, fn = (counts[name].to_numpy(float) for name in ("tp", "fp", "fn"))
    parts = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "F1": (2 * tp, 2 * tp + fp + fn)}
    return {name: ratio_estimate(*both, groups, seed) for name, both in parts.items()}


def detection_chance(counts: pd.DataFrame, reachable, size) -> dict[str, float]:
    """What picking as many words blindly would give on average: precision, recall and F1.

    counts: tp, fp, fn; reachable: the true positives of predicting every word; size: all words.
    """
    total = counts[["tp", "fp", "fn"]].sum().astype(float)
    size, found, wanted = float(np.sum(size)), total["tp"] + total["fp"], total["tp"] + total["fn"]
    hits = found * float(np.sum(reachable)) / size if size else np.nan
    parts = (hits, found), (hits, wanted), (2 * hits, found + wanted)
    return {
        name: top / bottom if bottom else np.nan
        for name, (top, bottom) in zip(MEASURES, parts, strict=True)
    }


def sign_agreement(words: pd.DataFrame, other: pd.DataFrame, seed: int = 0) -> Estimate:
    """Share of the words to which two methods give the same sign, with an interval over captions.

    words, other: words frames of the same captions. Words that either has not seen, or gives 0, are
    left out; chance is 0.5 where signs are evenly split.
    """
    keys = ["pair_id", "word_index"]
    both = words.merge(other, on=keys, suffixes=("", "_other"))
    signs = np.sign(both[["attribution", "attribution_other"]].replace(0, np.nan)).dropna()
    same = (signs["attribution"] == signs["attribution_other"]).astype(float)
    return ratio_estimate(same, None, both.loc[same.index, "pair_id"], seed)
