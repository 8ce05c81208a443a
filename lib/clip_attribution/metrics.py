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
