"""Which words contradict the image, and the scores built on them.

Decisions and F-CLIPScore of CLIP4DM (Nam et al., AAAI 2025) in the paper's form and in each form
of its public code; CLIPScore and RefCLIPScore of Hessel et al. (EMNLP 2021). Attributions keep
their sign: below zero speaks against the match. NaN is a word that CLIP has not seen. Another paper
(arXiv 2502.20034) gives the name F-CLIPScore to a different quantity, which is not computed here.

One caption is three equally long lists or a frame with the columns `word, attribution`; many
captions are a words frame (`pair_id, word, attribution`, in caption order) and a pairs frame
(`pair_id, cosine`).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import UserError

EPSILON = -5e-5
DECISIONS = ("threshold", "most_negative")
VARIANTS = ("paper", "threshold", "min", "segment")
PUNCTUATION = '.,!"?;:" '  # a word that is a substring of this is no word to the threshold rule


class Finding(NamedTuple):
    """A misaligned word or segment, and the rows of its words within the caption."""

    text: str
    attribution: float
    rows: tuple


def decide(words, decision="threshold", epsilon=EPSILON, merge_adjacent=False):
    """Misaligned words of one caption: a list of Finding, most negative first.

    threshold      punctuation is removed and the rest numbered; words below `epsilon` are kept.
                   `merge_adjacent` joins kept words with consecutive numbers into one segment,
                   whose attribution is their mean.
    most_negative  the smallest of all words, punctuation included, the first of equals.

    Unseen words are never chosen and are not numbered. The list is empty when nothing is found.
    """
    _check(decision, DECISIONS, "decision")
    check_epsilon(epsilon)
    seen = [(v, i, w) for i, (w, v) in enumerate(_listed(words)) if v == v]
    if decision == "most_negative":
        return [Finding(w, v, (i,)) for v, i, w in sorted(seen, key=lambda s: s[0])[:1]]
    segments: list[list[tuple[float, int, str]]] = []
    before: int | None = None
    for number, one in enumerate(s for s in seen if s[2] not in PUNCTUATION):
        if one[0] < epsilon:
            joins = merge_adjacent and before == number - 1
            segments[-1].append(one) if joins else segments.append([one])
            before = number
    return sorted(map(_join, segments), key=lambda finding: finding.attribution)


def _listed(words):
    """(word, attribution) of each row, as plain values: much faster than rows of a frame."""
    values = np.asarray(words["attribution"], dtype=float).tolist()
    return zip(list(words["word"]), values, strict=True)


def _join(segment):
    values, rows, texts = zip(*segment, strict=True)
    return Finding(" ".join(texts), float(np.mean(values)), rows)


def check_epsilon(epsilon):
    """Raise UserError unless it is a finite number: nothing is below NaN."""
    if not np.isfinite(epsilon):
        raise UserError(f"epsilon must be a finite number, not {epsilon}")


def _check(name, known, what):
    if name not in known:
        raise UserError(f"unknown {what} {name!r}: choose from {', '.join(known)}")


def predict(words, decision="most_negative", epsilon=EPSILON, merge_adjacent=False):
    """The most negative Finding of one caption, or None where there is none."""
    return next(iter(decide(words, decision, epsilon, merge_adjacent)), None)


def find(words, decision="threshold", epsilon=EPSILON, merge_adjacent=False):
    """`decide` for every caption of a words frame.

    Returns a frame `pair_id, text, attribution, rows`: captions in the order in which they first
    appear, their findings most negative first; `rows` count the caption's words from 0.
    """
    _check(decision, DECISIONS, "decision")
    check_epsilon(epsilon)
    table = _table(words)
    if decision == "most_negative":
        kept = table.sort_values("attribution", kind="stable").drop_duplicates("pair")
        starts = np.arange(len(kept))
    else:
        kept, starts = _below(table, epsilon, merge_adjacent)
    return _segments(kept, starts)


def _table(words):
    """The seen words: number of the pair, row within it, word, attribution as float64."""
    pair = pd.factorize(words["pair_id"])[0]
    table = pd.DataFrame(
        {
            "pair_id": words["pair_id"].array,
            "pair": pair,
            "row": pd.Series(pair).groupby(pair).cumcount(),
            "word": words["word"].to_numpy(dtype=object),
            "attribution": words["attribution"].to_numpy(dtype=float),
        }
    )
    table["spoken"] = np.array([w not in PUNCTUATION for w in table["word"]], dtype=bool)
    return table[table["attribution"].notna()].sort_values("pair", kind="stable")


def _below(table, epsilon, merge_adjacent):
    """Words below epsilon, and the positions among them at which a new segment starts."""
    spoken = table[table["spoken"]]
    number = np.flatnonzero(spoken["attribution"].to_numpy() < epsilon)
    kept = spoken.iloc[number]
    follows = (np.diff(number) == 1) & (np.diff(kept["pair"]) == 0) & merge_adjacent
    return kept, np.flatnonzero(np.append(True, ~follows)[: len(kept)])


def _segments(kept, starts):
    """One row for each run of kept words that begins at one of `starts`."""
    ends = [*starts[1:], len(kept)] if len(starts) else []
    runs = list(zip(starts, ends, strict=True))
    words, rows = kept["word"].tolist(), kept["row"].tolist()
    values = kept["attribution"].to_numpy()
    found = kept.iloc[starts][["pair_id", "pair"]].assign(
        text=[" ".join(words[a:b]) for a, b in runs],
        attribution=np.array([values[a:b].mean() for a, b in runs], dtype=float),
        rows=pd.Series([tuple(rows[a:b]) for a, b in runs], kept.index[starts], dtype=object),
    )
    order = ["pair", "attribution"]
    return found.sort_values(order, kind="stable", ignore_index=True).drop(columns="pair")


def clip_score(cosine):
    """CLIPScore = 2.5 max(cos, 0), for a number or an array."""
    return 2.5 * np.maximum(cosine, 0)


def ref_clip_score(cosine, ref_cosine):
    """RefCLIPScore of one caption, or of n.

    The harmonic mean of CLIPScore and max(best reference cosine, 0); only the image term bears
    the factor 2.5, as in jmhessel/clipscore. `ref_cosine` holds the caption's cosine with each of
    its references, [r] or n rows of any lengths; NaN where a caption has none.
    """
    if np.ndim(cosine) == 0:
        return ref_clip_score([cosine], [ref_cosine])[0]
    image = clip_score(np.asarray(cosine, dtype=float))
    best = np.array([np.max(refs) if len(refs) else np.nan for refs in ref_cosine], dtype=float)
    text = np.maximum(best, 0)
    total = image + text
    return np.where(total == 0, 0.0, 2 * image * text / np.where(total == 0, 1, total))


def f_clip_score(cosine, attributions, words, variant="paper", epsilon=EPSILON):
    """F-CLIPScore of one caption; the lower, the more misaligned.

    paper      (1 - cos) Σ w over the words w < epsilon
    threshold  (1 - max(cos, 0)) Σ w over the words w < epsilon that are no punctuation
    min        (1 - max(cos, 0)) min w over all words, no threshold; NaN if none was seen
    segment    (1 - max(cos, 0)) × mean of the most negative merged segment, 0 if there is none
    """
    _check(variant, VARIANTS, "F-CLIPScore")
    words = {"word": words, "attribution": attributions}
    if variant == "segment":
        against = [
            min((f.attribution for f in decide(words, "threshold", epsilon, True)), default=0)
        ]
    elif variant == "min":
        against = [f.attribution for f in decide(words, "most_negative")] or [np.nan]
    else:
        against = [
            v
            for w, v in _listed(words)
            if v < epsilon and (variant == "paper" or w not in PUNCTUATION)
        ]
    return (1 - (cosine if variant == "paper" else max(cosine, 0))) * float(sum(against))


def f_clip_scores(words, pairs, variant="paper", epsilon=EPSILON):
    """`f_clip_score` of every row of a pairs frame, as a float array [n_pairs]."""
    _check(variant, VARIANTS, "F-CLIPScore")
    cosine = pairs["cosine"].to_numpy(dtype=float)
    against = _against(words, variant, epsilon).reindex(pairs["pair_id"])
    if variant != "min":
        against = against.fillna(0.0)
    return (1 - (cosine if variant == "paper" else np.maximum(cosine, 0))) * against.to_numpy()


def _against(words, variant, epsilon):
    """What the words of each pair add up to, by pair_id; a pair without any has no entry."""
    if variant == "segment":
        return find(words, "threshold", epsilon, True).groupby("pair_id")["attribution"].min()
    table = _table(words)
    if variant == "min":
        return table.groupby("pair_id")["attribution"].min()
    low = table["attribution"] < epsilon
    if variant == "threshold":
        low &= table["spoken"]
    return table[low].groupby("pair_id")["attribution"].sum()


def score_pairs(
    words, pairs, decision="threshold", epsilon=EPSILON, variant="paper", merge_adjacent=False
):
    """Score every pair: the pairs frame with `clip_score, f_clip_score, misaligned` added.

    `misaligned` lists the misaligned words (or segments, with `merge_adjacent`), most negative
    first. A pair without a cosine, one that could not be computed, has NaN, NaN and None.
    """
    found = find(words, decision, epsilon, merge_adjacent)
    lists: dict[object, list[str]] = {pair_id: [] for pair_id in pairs["pair_id"]}
    for pair_id, text in zip(found["pair_id"], found["text"], strict=True):
        lists.setdefault(pair_id, []).append(text)
    cosine = pairs["cosine"].to_numpy(dtype=float)
    misaligned = [
        None if np.isnan(c) else lists[pair_id]
        for pair_id, c in zip(pairs["pair_id"], cosine, strict=True)
    ]
    return pairs.assign(
        clip_score=clip_score(cosine),
        f_clip_score=f_clip_scores(words, pairs, variant, epsilon),
        misaligned=pd.Series(misaligned, index=pairs.index, dtype=object),
    )
