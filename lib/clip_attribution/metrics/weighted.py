"""Statistics of rows counted so many times each: what the bootstrap computes of its samples.

Each takes weights [r, n], how often each of n rows counts in each of r samples, and returns [r].
"""

import numpy as np

_NO_SPREAD = 1e-9  # what rounding leaves of the spread of equal values


def weighted_ap(weights, positive, score) -> np.ndarray:
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


def weighted_ratio(weights, top, bottom) -> np.ndarray:
    """Σ top / Σ bottom of rows counted `weights` [r, n] times each, [r]; NaN over 0."""
    return _divided(weights @ top, weights @ bottom)


def weighted_difference(weights, values, side) -> np.ndarray:
    """Mean of the values on side 1 less that on side 0, of rows counted `weights` times, [r]."""
    return weighted_ratio(weights, values * side, side) - weighted_ratio(
        weights, values * (1 - side), 1 - side
    )


def _divided(top, bottom) -> np.ndarray:
    """top / bottom, NaN where bottom is 0."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom != 0)


def weighted_spearman(weights, x, y) -> np.ndarray:
    """Spearman's correlation of rows counted `weights` [r, n] times each, [r]."""
    return weighted_pearson(weights, weighted_ranks(x, weights), weighted_ranks(y, weights))


def weighted_pearson(weights, x, y) -> np.ndarray:
    """Pearson's correlation of rows counted `weights` [r, n] times each, [r].

    NaN where x or y is constant.
    """
    total = weights.sum(1, keepdims=True)
    x, y = ((v - v.mean(-1, keepdims=True)) / v.std(-1, keepdims=True) for v in (x, y))
    x, y = (v - (weights * v).sum(1, keepdims=True) / total for v in (x, y))
    xy, xx, yy = ((weights * product).sum(1) for product in (x * y, x * x, y * y))
    spread = np.sqrt(xx * yy)
    return np.divide(xy, spread, out=np.full(len(xy), np.nan), where=spread > _NO_SPREAD)


WEIGHTED = {"pearson": weighted_pearson, "spearman": weighted_spearman}


def weighted_ranks(values, weights) -> np.ndarray:
    """Mean ranks, from 1, of values [n] counted `weights` [r, n] times each, [r, n]."""
    order = np.argsort(values, kind="stable")
    new = np.append(True, np.diff(values[order]) != 0)
    tied = np.add.reduceat(weights[:, order], np.flatnonzero(new), axis=1)
    middle = np.cumsum(tied, axis=1) - (tied - 1) / 2
    ranks = np.empty(weights.shape)
    ranks[:, order] = middle[:, np.cumsum(new) - 1]
    return ranks
