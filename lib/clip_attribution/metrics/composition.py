"""The accuracies, recalls and correlations of the composition benchmarks, all in percent.

Every table is tidy: measure, group, value, low, high, n, chance, missing. The measures have the
names of the published tables ("relation accuracy", "I2T R@1", ...), group is "all" for what a
paper prints and a relation, subset or set for its parts, and missing lists the parts that a mean
of parts has to do without ("" when it is complete).

Intervals are 95 % percentile bootstrap intervals over images: decisions about one image are
drawn together. A part that a draw leaves empty takes no part in that draw's mean. chance is what
a random choice among the options gives, averaged as the value is.
"""

from math import comb

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix

from .intervals import RESAMPLES, correlation_estimate, interval, resampled

COLUMNS = ("measure", "group", "value", "low", "high", "n", "chance", "missing")


def resampled_shares(hits, group, unit, n_groups: int, seed: int = 0) -> np.ndarray:
    """Share of hits in each group [1 + RESAMPLES, n_groups]: first as it is, then resampled.

    hits, group, unit [n]: 1.0 or 0.0, number of the group, number of the unit that is drawn with
    replacement, all its rows together. A group without a row in a draw is NaN there.
    """
    if not len(hits):
        return np.full((1 + RESAMPLES, n_groups), np.nan)
    shape = (int(unit.max()) + 1, n_groups)
    count = coo_matrix((np.ones(len(hits)), (unit, group)), shape).tocsr()
    right = coo_matrix((hits, (unit, group)), shape).tocsr()
    with np.errstate(invalid="ignore"):
        return resampled(
            lambda weights, top, bottom: (weights @ top) / (weights @ bottom),
            (right, count),
            seed=seed,
        )


def weighted_mean(shares, weight) -> np.ndarray:
    """Weighted mean of the columns [r, k] that are no NaN, [r]."""
    there = ~np.isnan(shares)
    with np.errstate(invalid="ignore"):
        return np.where(there, shares, 0) @ weight / (there @ weight)


def recall_table(of_text, of_image, owner, seed: int = 0) -> pd.DataFrame:
    """R@1 and R@5 of text-to-image (T2I) and image-to-text (I2T) retrieval from ranks.

    of_text [n], of_image [m], owner [n]: see `composition.retrieval_ranks`. Captions of one image
    are drawn together. Chance is a random order: k/m, and for an image with c of n captions one
    minus the chance that none of them is among the first k.
    """
    rows, m, n = [], len(of_image), len(of_text)
    own = np.bincount(owner, minlength=m)
    for name, ranks, unit in (("I2T", of_image, np.arange(m)), ("T2I", of_text, owner)):
        for k in (1, 5):
            none = [comb(n - c, k) / comb(n, k) if n >= k else 0.0 for c in own]
            chance = 100 * (1 - np.mean(none) if name == "I2T" else min(k / m, 1)) if m else np.nan
            hits = (ranks < k).astype(float)
            shares = 100 * resampled_shares(hits, np.zeros(len(hits), int), unit, 1, seed)[:, 0]
            low, high = interval(shares[1:])
            rows.append((f"{name} R@{k}", "all", shares[0], low, high, len(hits), chance, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


def correlation_table(cosine, score, seed: int = 0) -> pd.DataFrame:
    """Spearman and Pearson correlation times 100 of [n] and [n], resampled by pairs.

    NaN where there are fewer than three pairs or one side has no spread.
    """
    rows = []
    for kind in ("spearman", "pearson"):
        value, low, high, _ = correlation_estimate(cosine, score, kind, seed=seed)
        scaled = (100 * value, 100 * low, 100 * high)
        rows.append((kind.capitalize(), "all", *scaled, len(cosine), 0.0, ""))
    return pd.DataFrame(rows, columns=COLUMNS)
