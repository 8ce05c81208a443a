"""Which words contradict the picture, and the scores built on them.

Decisions and F-CLIPScore of CLIP4DM (Nam et al., AAAI 2025) in the paper's form and in each form
of its public code; CLIPScore and RefCLIPScore of Hessel et al. (EMNLP 2021). Attributions keep
their sign: below zero speaks against the match. NaN is a word that CLIP has not seen.

One caption is three equally long lists or a frame with the columns `word, attribution`; many
captions are a words frame (`pair_id, word, attribution`, in caption order) and a pairs frame
(`pair_id, cosine`).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from clip_attribution.errors import UserError

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
    words = pd.DataFrame({"word": words["word"], "attribution": words["attribution"]})
    found = find(words.assign(pair_id=0), decision, epsilon, merge_adjacent)
    return [Finding(f.text, f.attribution, f.rows) for f in found.itertuples()]


def predict(words, decision="most_negative", epsilon=EPSILON, merge_adjacent=False):
    """The most negative Finding of one caption, or None where there is none."""
    return next(iter(decide(words, decision, epsilon, merge_adjacent)), None)


def find(words, decision="threshold", epsilon=EPSILON, merge_adjacent=False):
    """`decide` for every caption of a words frame.

    Returns a frame `pair_id, text, attribution, rows`: captions in the order in which they first
    appear, their findings most negative first; `rows` count the caption's words from 0.
    """
    if decision not in DECISIONS:
        raise UserError(f"unknown decision {decision!r}: choose from {', '.join(DECISIONS)}")
    table = _table(words)
    if decision == "most_negative":
        lowest = table.sort_values("attribution", kind="stable").drop_duplicates("pair")
        kept = lowest.assign(segment=range(len(lowest)))
    else:
        kept = _below(table, epsilon, merge_adjacent)
    segments = kept.groupby("segment", sort=False).agg(
        pair=("pair", "first"), pair_id=("pair_id", "first"), text=("word", " ".join),
        attribution=("attribution", "mean"), rows=("row", tuple),
    )  # fmt: skip
    segments = segments.sort_values(["pair", "attribution"], kind="stable", ignore_index=True)
    return segments.drop(columns="pair")


def _table(words):
    """The seen words: number of the pair, row within it, word, attribution as float64."""
    table = pd.DataFrame(
        {
            "pair_id": np.asarray(words["pair_id"]),
            "pair": pd.factorize(words["pair_id"])[0],
            "word": np.asarray(words["word"], dtype=object),
            "attribution": np.asarray(words["attribution"], dtype=float),
        }
    )
    table["row"] = table.groupby("pair").cumcount()
    return table[table["attribution"].notna()].sort_values(["pair", "row"], kind="stable")


def _below(table, epsilon, merge_adjacent):
    """Words below epsilon; `segment` numbers what belongs together."""
    spoken = table[[word not in PUNCTUATION for word in table["word"]]]
    number = np.arange(len(spoken))
    low = (spoken["attribution"] < epsilon).to_numpy()
    kept, number = spoken[low], number[low]
    pair = kept["pair"].to_numpy()
    follows = (np.diff(number, prepend=-2) == 1) & (np.diff(pair, prepend=-1) == 0)
    starts = ~follows if merge_adjacent else np.ones(len(kept), bool)
    return kept.assign(segment=np.cumsum(starts))


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
    frame = pd.DataFrame({"pair_id": 0, "word": list(words), "attribution": list(attributions)})
    pairs = pd.DataFrame({"pair_id": [0], "cosine": [cosine]})
    return float(f_clip_scores(frame, pairs, variant, epsilon)[0])


def f_clip_scores(words, pairs, variant="paper", epsilon=EPSILON):
    """`f_clip_score` of every row of a pairs frame, as a float array [n_pairs]."""
    if variant not in VARIANTS:
        raise UserError(f"unknown F-CLIPScore {variant!r}: choose from {', '.join(VARIANTS)}")
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
        low &= [word not in PUNCTUATION for word in table["word"]]
    return table[low].groupby("pair_id")["attribution"].sum()


def score_pairs(
    words, pairs, decision="threshold", epsilon=EPSILON, variant="paper", merge_adjacent=False
):
    """Score every pair: the pairs frame with `clip_score, f_clip_score, misaligned` added.

    `misaligned` lists the misaligned words (or segments, with `merge_adjacent`), most negative
    first. A pair without a cosine, one that could not be computed, has NaN, NaN and None.
    """
    found = find(words, decision, epsilon, merge_adjacent)
    lists = found.groupby("pair_id")["text"].agg(list).to_dict()
    cosine = pairs["cosine"].to_numpy(dtype=float)
    misaligned = [
        None if np.isnan(c) else lists.get(pair_id, [])
        for pair_id, c in zip(pairs["pair_id"], cosine, strict=True)
    ]
    return pairs.assign(
        clip_score=clip_score(cosine),
        f_clip_score=f_clip_scores(words, pairs, variant, epsilon),
        misaligned=pd.Series(misaligned, index=pairs.index, dtype=object),
    )
