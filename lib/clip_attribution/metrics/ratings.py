"""What ratings can tell of a score: their reliability, and what is left beside a rival such as
the length of the text."""

from collections.abc import Sequence

import numpy as np

from .intervals import Estimate, bootstrap
from .weighted import weighted_pearson

DRAWS = 1000


def reliability(ratings: Sequence[Sequence[float]], seed: int = 0, draws: int = DRAWS) -> float:
    """Reliability of the mean rating of n texts: random halves, stepped up by Spearman-Brown.

    ratings: of each text, those of its raters. In every draw each text's raters fall into two
    halves at random; r is the correlation of the halves' means, and 2 r / (1 + r) what it is for
    all raters together. The mean over draws. Its root is the highest correlation that anything
    can be expected to have with the mean rating. Texts with one rater take no part.

    Examples
    --------
    >>> round(reliability([[1, 1, 1, 1], [3, 3, 3, 3], [4, 4, 4, 4]]), 6)
    1.0
    """
    cells = [cell for cell in ratings if len(cell) > 1]
    counts = np.array([len(cell) for cell in cells])[:, None]
    table = np.zeros((len(cells), counts.max()))
    held = np.arange(table.shape[1]) < counts
    table[held] = np.concatenate(cells)
    # Raters of a text in a random order; places without one come last.
    dice = np.where(held, np.random.default_rng(seed).random((draws, *table.shape)), np.inf)
    first = dice.argsort(-1).argsort(-1) < counts // 2
    halves = [(table * half).sum(-1) / half.sum(-1) for half in (first, held & ~first)]
    spread = [half - half.mean(1, keepdims=True) for half in halves]
    with np.errstate(invalid="ignore"):
        r = (spread[0] * spread[1]).sum(1) / np.prod([(x**2).sum(1) ** 0.5 for x in spread], axis=0)
    return float(np.mean(2 * r / (1 + r)))


def partial_estimate(x, y, rival, units=None, seed: int = 0) -> Estimate:
    """Pearson's correlation of x and y [n] given a third value of each row, with an interval."""

    def statistic(weights, x, y, rival):
        xy, xz, yz = (weighted_pearson(weights, *p) for p in ((x, y), (x, rival), (y, rival)))
        spread = np.sqrt((1 - xz**2) * (1 - yz**2))
        return np.divide(xy - xz * yz, spread, out=np.full(len(xy), np.nan), where=spread > 0)

    columns = tuple(np.asarray(values, float) for values in (x, y, rival))
    return bootstrap(statistic, columns, units, seed)
