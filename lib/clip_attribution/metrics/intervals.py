"""Estimates with their uncertainty: every number comes with an interval and its n.

There is one bootstrap, `resampled`: units that belong together (the captions of an image, a
caption and its foil) are drawn whole, with replacement, and a statistic is a function of how often
each row was drawn. Intervals are 95 % percentile intervals, but that of an average precision, whose
percentiles cover too seldom: it is made on the logit scale (`logit_interval`).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import pearsonr, spearmanr
from scipy.stats import t as student

from ..errors import UserError
from .weighted import WEIGHTED, weighted_ap, weighted_ratio

RESAMPLES = 2000
LEVELS = (2.5, 97.5)  # percent: the ends of every interval
CORRELATIONS = {"pearson": pearsonr, "spearman": spearmanr}
_CELLS = 1 << 18  # resampled numbers held at a time: bounds memory, and fits the cache


class Estimate(NamedTuple):
    """A mean with its 95 % bootstrap interval and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{in_words(self)}, n = {self.n}"


def in_words(estimate, form: str = ".3f", names=("value", "low", "high")) -> str:
    """An estimate with its interval: "0.305 [0.240, 0.370]".

    estimate: an `Estimate`, or a row that has it in the columns `names`.
    """
    if isinstance(estimate, Estimate):
        estimate = estimate._asdict()
    value, low, high = (format(estimate[name], form) for name in names)
    return f"{value} [{low}, {high}]"


def resampled(statistic: Callable, columns, units=None, seed: int = 0) -> np.ndarray:
    """A statistic of the rows as they are, then of `RESAMPLES` bootstrap samples.

    Parameters
    ----------
    statistic
        Function of (weights, *columns) with weights float [r, n], how often each row counts in each
        of r samples; returns one value or more a sample, [r, ...].
    columns
        Arrays or sparse matrices of n >= 1 rows.
    units
        What belongs together and is drawn whole, [n]; each row alone by default.
    seed
        A seed and a number of units give one set of samples, whatever the statistic.

    Returns
    -------
    ndarray [1 + RESAMPLES, ...]
    """
    rows = columns[0].shape[0]
    codes = None if units is None else pd.factorize(np.asarray(units))[0]
    n = rows if codes is None else int(codes.max()) + 1
    rng, size = np.random.default_rng(seed), max(1, _CELLS // rows)
    found = [statistic(np.ones((1, rows)), *columns)]
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        drawn = rng.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(float)
        found.append(statistic(weights if codes is None else weights[:, codes], *columns))
    return np.concatenate(found)


def interval(samples) -> np.ndarray:
    """The ends [2, ...] of the interval of samples [r, ...]; NaN samples are left out."""
    samples = np.asarray(samples, float)
    empty = np.isnan(samples).all(0)
    ends = np.nanpercentile(np.where(empty, 0, samples), LEVELS, axis=0)
    return np.where(empty, np.nan, ends)


def logit_interval(value: float, samples, n: int) -> tuple[float, float]:
    """The ends of an interval of a value from 0 to 1 from its bootstrap samples [r].

    On the logit scale: the value less the bias of its samples, and Student's quantile times their
    standard error, of n units (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
    chapters 10 and 12). What is nearer to 0 or 1 than a hundredth of a unit counts as this near.
    """
    near = 0.01 / n
    own, points = (logit(np.clip(x, near, 1 - near)) for x in (value, samples))
    reach = student.ppf(LEVELS[1] / 100, n - 1) * points.std() * np.sqrt(n / (n - 1))
    low, high = expit(2 * own - points.mean() + np.array([-reach, reach]))
    return min(value, low), max(value, high)


def bootstrap(statistic: Callable, columns, units=None, seed: int = 0) -> Estimate:
    """The `Estimate` of a statistic of one value; arguments as of `resampled`.

    The estimate's n is the number of units. With fewer than two the interval is the value itself.

    Examples
    --------
    >>> def share(weights, hits):
    ...     return (weights * hits).sum(1) / weights.sum(1)
    >>> captions = [0, 0, 1, 1, 2, 2, 3, 3]  # two words of each are drawn together
    >>> print(bootstrap(share, (np.array([1, 1, 0, 1, 0, 0, 1, 1]),), captions))
    0.625 [0.250, 1.000], n = 4
    """
    rows = columns[0].shape[0]
    n = rows if units is None else len(pd.unique(np.asarray(units)))
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    if n == 1:
        value = float(statistic(np.ones((1, rows)), *columns)[0])
        return Estimate(value, value, value, 1)
    value, *samples = resampled(statistic, columns, units, seed)
    low, high = interval(samples)
    return Estimate(float(value), float(low), float(high), n)


def mean_estimate(values, seed: int = 0) -> Estimate:
    """Mean of independent values [n]; NaN values are left out and not counted.

    Examples
    --------
    >>> print(mean_estimate([1, 1, 0, 1, 0, 1, 1, 1]))
    0.750 [0.375, 1.000], n = 8
    """
    return ratio_estimate(values, seed=seed)


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

    Examples
    --------
    >>> round(average_precision([True, False, True, False], [0.9, 0.8, 0.7, 0.1]).value, 3)
    0.833
    """
    positive, score = np.asarray(positive, bool), np.asarray(score, float)
    groups = np.arange(len(score)) if groups is None else np.asarray(groups)
    keep = ~np.isnan(score)
    positive, score, groups = positive[keep], score[keep], groups[keep]
    n = len(pd.unique(groups))
    if not positive.any() or n < 2:
        return Estimate(np.nan, np.nan, np.nan, n)
    value, *samples = resampled(weighted_ap, (positive, score), groups, seed)
    low, high = logit_interval(value, samples, n)
    return Estimate(float(value), float(low), float(high), n)


def gain_estimate(statistic: Callable, fixed, one, other, groups=None, seed: int = 0) -> Estimate:
    """How much a statistic of one score lies above another's, both seeing the same draws.

    statistic: `weighted_ap`, `weighted_pearson` or `weighted_spearman`; fixed, one, other [n]: its
    first column and the two scores; groups as of `ratio_estimate`. Rows with a NaN are left out.
    """
    fixed, one, other = (np.asarray(column) for column in (fixed, one, other))
    codes, n = _codes(groups, keep := ~np.isnan(one + other + fixed))

    def gain(weights, fixed, one, other):
        return statistic(weights, fixed, one) - statistic(weights, fixed, other)

    if n < 2:
        return Estimate(np.nan, np.nan, np.nan, n)
    return bootstrap(gain, tuple(c[keep] for c in (fixed, one, other)), codes, seed)


def ratio_estimate(numerator, denominator=None, groups=None, seed: int = 0) -> Estimate:
    """Σ numerator / Σ denominator of n rows, with a bootstrap interval over groups of rows.

    numerator, denominator [n]: for instance a hit and 1 (a share, the default), or TP and TP + FP
    of each caption (micro precision); groups [n]: rows resampled together, each alone by default.
    Rows with a NaN are left out; NaN where the denominators sum to 0. The estimate's n is the
    number of groups.

    Examples
    --------
    >>> ratio_estimate([1, 2], [2, 4]).value
    0.5
    """
    top = np.asarray(numerator, float)
    bottom = np.ones(len(top)) if denominator is None else np.asarray(denominator, float)
    codes, n = _codes(groups, keep := ~np.isnan(top + bottom))
    top, bottom = (np.bincount(codes, values[keep], n) for values in (top, bottom))
    if bottom.sum() == 0:
        return Estimate(np.nan, np.nan, np.nan, n)
    return bootstrap(weighted_ratio, (top, bottom), seed=seed)


def _codes(groups, keep) -> tuple[np.ndarray, int]:
    """The kept rows' groups numbered from 0, and how many there are."""
    groups = np.arange(len(keep)) if groups is None else np.asarray(groups)
    codes, names = pd.factorize(groups[keep])
    return codes, len(names)


def correlation_estimate(x, y, kind: str = "pearson", groups=None, seed: int = 0) -> Estimate:
    """Pearson's or Spearman's correlation of x [n] and y [n], with an interval over groups of rows.

    kind: "pearson" or "spearman", UserError for anything else. Rows with a NaN are left out. NaN
    for fewer than three rows, and where x or y is constant. The estimate's n counts the groups.
    """
    if kind not in CORRELATIONS:
        raise UserError(f"unknown correlation {kind!r}: choose from {', '.join(CORRELATIONS)}")
    x, y = np.asarray(x, float), np.asarray(y, float)
    codes, n = _codes(groups, keep := ~np.isnan(x + y))
    x, y = x[keep], y[keep]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(np.nan, np.nan, np.nan, n)
    found = bootstrap(WEIGHTED[kind], (x, y), codes, seed)
    return found._replace(value=float(CORRELATIONS[kind](x, y).statistic))
