"""Estimates with their uncertainty: every number comes with an interval and its n."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean with its 95 % bootstrap interval and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


def mean_estimate(values, seed: int = 0, confidence: float = 0.95) -> Estimate:
    """Mean of independent values [n], with its percentile bootstrap interval.

    NaN values are left out and not counted. With fewer than two values, or no spread, the interval
    is the value itself (n tells how little that is worth).
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    if len(values) < 2 or np.ptp(values) == 0:
        return Estimate(mean, mean, mean, len(values))
    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=confidence,
        method="percentile", vectorized=True, batch=100, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Estimate(mean, float(found.low), float(found.high), len(values))


def foil_wins(cosine, is_foil, pair) -> pd.Series:
    """For each pair of a true caption and its foil: 1 if the true one scores higher, else 0.

    cosine, is_foil, pair: one entry a row; `pair` names what belongs together. A tie counts as
    wrong; a pair with a missing score is NaN.
    """
    frame = pd.DataFrame({"cosine": cosine, "is_foil": np.asarray(is_foil, bool), "pair": pair})
    table = frame.pivot(index="pair", columns="is_foil", values="cosine")
    wins = (table[False] > table[True]).astype(float)
    return wins.mask(table.isna().any(axis=1))


def located(words: pd.DataFrame, column: str = "attribution") -> pd.Series:
    """Index of the most negative word of each caption: CLIP4DM's prediction, first on a tie.

    words: a words frame. Returns word_index by pair_id; words not seen are never chosen, and a
    caption without any seen word is left out.
    """
    seen = words.dropna(subset=[column])
    return seen.loc[seen.groupby("pair_id", sort=False)[column].idxmin()].set_index("pair_id")[
        "word_index"
    ]


def location_hits(words: pd.DataFrame, foil_index: pd.Series, column: str = "attribution"):
    """1 where the most negative word is the foiled one, else 0 (location accuracy, CLIP4DM 2.7).

    foil_index: by pair_id, the index of the wrong word. Returns a float Series by pair_id.
    """
    predicted = located(words, column).reindex(foil_index.index)
    return (predicted == foil_index).astype(float)


def location_chance(words: pd.DataFrame, pair_ids) -> pd.Series:
    """Chance that a uniformly random seen word is the foiled one: 1 / number of seen words."""
    counts = words.dropna(subset=["attribution"]).groupby("pair_id").size()
    return 1 / counts.reindex(pair_ids)


def average_precision(positive, score, groups=None, seed: int = 0) -> Estimate:
    """Average precision with a bootstrap interval over groups of rows that belong together.

    positive [n]: True for the class to be found; score [n]: larger means more positive; groups
    [n]: rows resampled together (a caption and its foil), each row alone by default. Equal scores
    count as one threshold, as in scikit-learn. The estimate's n is the number of groups.
    """
    positive, score = np.asarray(positive, bool), np.asarray(score, float)
    groups = np.arange(len(score)) if groups is None else pd.factorize(np.asarray(groups))[0]
    keep = ~np.isnan(score)
    positive, score, groups = positive[keep], score[keep], pd.factorize(groups[keep])[0]
    n = int(groups.max()) + 1 if len(groups) else 0
    if not positive.any() or n < 2:
        return Estimate(np.nan, np.nan, np.nan, n)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES // 2)[:, groups]
    low, high = np.nanpercentile(weighted_ap(positive, score, weights), [2.5, 97.5])
    value = weighted_ap(positive, score, np.ones((1, len(score))))[0]
    return Estimate(float(value), float(low), float(high), n)


def weighted_ap(positive, score, weights) -> np.ndarray:
    """Average precision of rows counted `weights` [r, n] times each, [r]."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    weights = weights[:, order].astype(float)
    found = np.cumsum(weights * positive[order], axis=1)[:, last_of_tie]
    taken = np.cumsum(weights, axis=1)[:, last_of_tie]
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    gained = np.diff(found, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return (precision * gained).sum(1) / found[:, -1]
