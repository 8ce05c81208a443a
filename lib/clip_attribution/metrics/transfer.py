"""What a tuned model keeps of the pretrained one: zero-shot macro-F1, recovery and trade-off.

Of arXiv 2406.09458: transfer score = mean over tasks of F1 / F1 of the pretrained model; a training
step is chosen by 0.9 · (description over caption) + 0.1 · (transfer score), both as fractions.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from sklearn.metrics import f1_score

from .intervals import Estimate, interval, resampled

WEIGHT = 0.9  # of the preference in the trade-off


def macro_f1(labels, predictions, seed: int = 0) -> Estimate:
    """Macro-F1 of predicted classes [n], with an interval over images.

    The mean of the F1 of all classes that occur in labels or predictions, as scikit-learn's
    `f1_score(average="macro")`. labels, predictions [n]: numbers or names of classes.

    Where a class has few images a resample lacks many classes, and the F1 of the others is another
    mean: the percentiles are moved by that bias, the mean of the resamples less the value (Efron
    and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 10).
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if not len(labels):
        return Estimate(np.nan, np.nan, np.nan, 0)
    names, codes = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    true, found = codes[: len(labels)], codes[len(labels) :]
    rows, shape = np.arange(len(labels)), (len(labels), len(names))
    sides = [
        coo_matrix((np.ones(len(rows)), (rows, side)), shape).tocsr() for side in (true, found)
    ]
    samples = resampled(_weighted_f1, (*sides, (true == found).astype(float)), seed=seed)[1:]
    value = float(f1_score(labels, predictions, average="macro"))
    low, high = np.clip(interval(samples) - (samples.mean() - value), 0, 1)
    return Estimate(value, float(low), float(high), len(labels))


def _weighted_f1(weights, true, found, hit) -> np.ndarray:
    """Macro-F1 of images counted `weights` [r, n] times; true, found: indicators [n, classes]."""
    both = (weights * hit) @ true
    total = weights @ true + weights @ found
    there = total > 0
    shares = np.divide(2 * both, total, out=np.zeros_like(total), where=there)
    return shares.sum(1) / there.sum(1)


def chance_f1(labels, predictions, seed: int = 0, draws: int = 20) -> float:
    """Macro-F1 of the same predictions handed to random images: the mean of `draws` orders."""
    rng = np.random.default_rng(seed)
    found = [
        f1_score(labels, rng.permutation(np.asarray(predictions)), average="macro")
        for _ in range(draws)
    ]
    return float(np.mean(found))


def recovery(f1: float, pretrained: float) -> float:
    """What is left of the pretrained model's macro-F1, as a fraction."""
    return f1 / pretrained


def transfer_score(f1s: Sequence[float], pretrained: Sequence[float]) -> float:
    """Mean recovery over tasks, as a fraction; both in the same order of tasks."""
    return float(np.mean([recovery(*pair) for pair in zip(f1s, pretrained, strict=True)]))


def trade_off(preference: float, transfer: float, weight: float = WEIGHT) -> float:
    """0.9 · (description over caption) + 0.1 · (transfer score), both as fractions.

    Examples
    --------
    >>> round(trade_off(0.9, transfer_score([0.3, 0.4], [0.6, 0.5])), 3)
    0.875
    """
    return weight * preference + (1 - weight) * transfer
