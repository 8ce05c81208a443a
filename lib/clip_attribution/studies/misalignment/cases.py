"""Single captions of a misalignment benchmark: hits, misses, quarrels with CLIPScore; and epsilon.

What is false in a caption is read from the dataset's own columns (`with_foils`).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ...datasets import get_benchmark
from ...metrics.baselines import spoken_words
from ...metrics.conformal import (
    PAPER,
    conformal_epsilon,
    epsilon_sweep,
    epsilon_table,
    foiled_words,
    split_half,
)
from ...metrics.words import MEASURES, bare_words

RATES = (0.01, 0.05, 0.1, 0.2)  # accepted false alarms
SPLITS = 20
BEST, WORST, QUARREL = "found most clearly", "missed most clearly", "found, CLIPScore fooled"


def with_foils(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs of any misalignment benchmark with `is_foil` and `foil_word`, its false words.

    Several false words stand in one text. Rows that could not be read have neither.
    """
    good = pairs["error"].isna()
    if "caption_misalignment" in pairs:
        wrong = pairs["caption_misalignment"].where(good)
    elif "hallucinated" in pairs:
        wrong = [joined(own) for own in pairs["hallucinated"]]
    elif "labels" in pairs:
        both = zip(pairs["tokens"], pairs["labels"], good, strict=True)
        wrong = [
            joined(np.asarray(own)[~np.asarray(true, bool)]) if fine else None
            for own, true, fine in both
        ]
    else:
        return pairs
    texts = pd.Series(wrong, index=pairs.index, dtype=object)
    texts = texts.where(texts.notna() & texts.ne(""), None)
    return pairs.assign(is_foil=texts.notna(), foil_word=texts)


def joined(words) -> str | None:
    """The words in one text, without the punctuation that sticks to them; None for no list."""
    listed = isinstance(words, list | tuple | np.ndarray)
    return " ".join(bare_words(" ".join(words))) if listed else None


# ---------------------------------------------------------------- examples


class Example(NamedTuple):
    """One caption to show: why, its row of the pairs frame, its words (`misaligned`: the false)."""

    kind: str
    pair: dict
    words: pd.DataFrame
    predicted: str


def judged(words: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The foils whose false words CLIP has seen, as rows of `pairs`, with two more columns.

    margin: the lowest attribution of its other words less that of its false ones: above 0, the most
    negative word is a false one. fooled: its CLIPScore less that of its true caption (of the same
    `pair`), or of true captions on average, or, where there are none, of all captions: above 0,
    CLIPScore prefers the foil.
    """
    pairs = with_foils(pairs)
    low = words.assign(wrong=foiled_words(words, pairs)).groupby(["pair_id", "wrong"])
    low = low["attribution"].min().unstack().reindex(columns=[False, True])
    foils = pairs[pairs["is_foil"].eq(True) & pairs["error"].isna()]
    margin = (low[False] - low[True]).reindex(foils["pair_id"]).to_numpy()
    foils = foils.assign(margin=margin, fooled=foils["clip_score"] - rivals(pairs, foils))
    return foils[foils["margin"].notna()]


def rivals(pairs: pd.DataFrame, foils: pd.DataFrame):
    """The CLIPScore that each foil's is compared with, see `judged`."""
    true = pairs[~pairs["is_foil"].eq(True) & pairs["error"].isna()]
    if "pair" in pairs:
        return foils["pair"].map(true.groupby("pair")["clip_score"].first()).astype(float)
    return (true if len(true) else foils)["clip_score"].mean()


def examples(words: pd.DataFrame, pairs: pd.DataFrame) -> list[Example]:
    """The best hit, the worst miss, and the hit on which CLIPScore is fooled most.

    The first two have the largest margin on either side. A kind without a caption is left out.
    """
    foils = judged(words, pairs)
    hit = foils["margin"] > 0
    order = {
        BEST: foils[hit].sort_values("margin", ascending=False, kind="stable"),
        WORST: foils[foils["margin"] < 0].sort_values("margin", kind="stable"),
        QUARREL: foils[hit & (foils["fooled"] > 0)].sort_values(
            "fooled", ascending=False, kind="stable"
        ),
    }
    shown, found = set(), []
    for kind, rows in order.items():
        rows = rows[~rows["pair_id"].isin(shown)]
        if len(rows):
            shown.add(rows["pair_id"].iloc[0])
            found.append(example(kind, rows.iloc[0].to_dict(), words, pairs))
    return found


def example(kind: str, pair: dict, words, pairs) -> Example:
    """One caption with its words, the false ones marked, and its most negative word."""
    own = words["pair_id"] == pair["pair_id"]
    shown = words[own].assign(misaligned=foiled_words(words[own], with_foils(pairs)))
    return Example(kind, pair, shown, shown.loc[shown["attribution"].idxmin(), "word"])


def agreement(words: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """How many foils the attribution locates, against whether CLIPScore ranks them lower.

    Rows: attribution; columns: CLIPScore; each "right" or "wrong". A tie of CLIPScore is wrong.
    """
    foils = judged(words, pairs)
    foils = foils[foils["fooled"].notna()]
    right = {"attribution": foils["margin"] > 0, "CLIPScore": foils["fooled"] < 0}
    sides = [pd.Series(np.where(own, "right", "wrong"), name=name) for name, own in right.items()]
    table = pd.crosstab(*sides)
    return table.reindex(index=["right", "wrong"], columns=["right", "wrong"], fill_value=0)


# ---------------------------------------------------------------- epsilon


def first_marked(names) -> str | None:
    """The first of these benchmarks on which epsilon can be calibrated and tested, or None."""
    return next((name for name in names if "LA" in get_benchmark(name).measures), None)


def sweep(words: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0, steps: int = 40):
    """(curve, marks): precision and recall of finding false words, on a held-out half.

    curve: one row an epsilon, from the lowest attribution to 0, with epsilon, precision, recall
    and F1; marks: the same for the paper's two and for the conformal ones of the other half, with
    `rule` and `rate`; of an infinite one, which flags nothing, precision is undefined.
    """
    pairs = with_foils(pairs)
    calibration, test = split_half(pairs, seed)
    own = words.loc[spoken_words(words) & words["pair_id"].isin(test["pair_id"]), "attribution"]
    epsilons = np.append(np.quantile(own[own < 0], np.linspace(0, 1, steps) ** 3), 0.0)
    marks = [{"rule": "paper", "rate": np.nan, "epsilon": epsilon} for epsilon in PAPER]
    found = {rate: conformal_epsilon(words, calibration, rate) for rate in RATES}
    marks += [{"rule": "conformal", "rate": rate, "epsilon": own} for rate, own in found.items()]
    marks = pd.DataFrame(marks)
    known = wide(words, test, marks["epsilon"].unique(), seed)
    return wide(words, test, epsilons, seed), marks.merge(known, on="epsilon")


def wide(words, pairs, epsilons, seed: int) -> pd.DataFrame:
    """`epsilon_sweep`, a row an epsilon."""
    table = epsilon_sweep(words, pairs, epsilons, seed)
    values = table.pivot(index="epsilon", columns="measure", values="value")[list(MEASURES)]
    return values.assign(
        chance=foiled_words(words[words["pair_id"].isin(pairs["pair_id"])], pairs).mean()
    ).reset_index()


def alarm_table(words: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Each rule for epsilon on held-out halves of `SPLITS` random splits, one row a rule.

    rule, rate (the target), epsilon (median), false_alarms with low, high and standard_error (mean,
    least and greatest of the splits), expected_low and expected_high (95 % of single splits),
    inside (share of splits within), found (mean share of false words below epsilon), n (captions
    a split).
    """
    table = epsilon_table(words, with_foils(pairs), RATES, range(seed, seed + SPLITS))
    table["fixed"] = table["epsilon"].where(table["rule"] == "paper")
    alarms = table["false_alarms"]
    inside = alarms.between(table["expected_low"], table["expected_high"]).astype(float)
    table["inside"] = inside.where(table["rule"] == "conformal")
    groups = table.groupby(["rule", "rate", "fixed"], dropna=False, sort=False)
    return (
        groups.agg(
            epsilon=("epsilon", "median"),
            false_alarms=("false_alarms", "mean"),
            low=("false_alarms", "min"),
            high=("false_alarms", "max"),
            standard_error=("false_alarms", "sem"),
            expected_low=("expected_low", "mean"),
            expected_high=("expected_high", "mean"),
            inside=("inside", "mean"),
            found=("found", "mean"),
            n=("n", "first"),
        )
        .reset_index()
        .drop(columns="fixed")
    )
