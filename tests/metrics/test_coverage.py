"""How often 95 % intervals hold the true value, by simulation with units of several rows."""

import numpy as np
import pytest
from scipy.stats import norm

from clip_attribution.metrics import intervals
from clip_attribution.metrics.intervals import (
    average_precision,
    correlation_estimate,
    gain_estimate,
    mean_estimate,
    ratio_estimate,
)
from clip_attribution.metrics.weighted import weighted_ap

SAMPLES, DRAWS = 400, 300
MANY = 200_000  # units whose value stands for that of all there are


def clustered(rng, n, rows):
    """Standard normal values [n, rows] that share half of their variance within a unit."""
    return (rng.normal(size=(n, 1)) + rng.normal(size=(n, rows))) / 2**0.5


def units(n, rows):
    return np.repeat(np.arange(n), rows)


def accuracy(rng, n):
    return mean_estimate_of(clustered(rng, n, 3) < norm.ppf(0.8), n)


def mean_estimate_of(hits, n):
    return ratio_estimate(hits.ravel().astype(float), None, units(n, 3))


def mean(rng, n):
    return mean_estimate(rng.normal(size=n))


def pairs(rng, n, gap):
    """Scores of a true and a false caption of each image, and which is true."""
    score = clustered(rng, n, 2) + [gap, 0]
    return np.tile([True, False], n), score.ravel(), units(n, 2)


def precision(gap):
    return lambda rng, n: average_precision(*pairs(rng, n, gap))


def precision_gain(rng, n):
    positive, one, groups = pairs(rng, n, 1.0)
    other = one + rng.normal(size=len(one))
    return gain_estimate(weighted_ap, positive, one, other, groups)


def correlation(kind):
    def estimate(rng, n):
        x = clustered(rng, n, 2)
        y = 0.6 * x + 0.8 * clustered(rng, n, 2)
        return correlation_estimate(x.ravel(), y.ravel(), kind, units(n, 2))

    return estimate


def f1(rng, n):
    often = rng.gamma(3, 1 / 3, size=n)  # some captions have more words of all kinds
    tp, fp, fn = (rng.poisson(rate * often) for rate in (0.6, 0.5, 0.5))
    return ratio_estimate(2.0 * tp, 2.0 * tp + fp + fn)


def truth_of_ap(gap):
    positive, score, _ = pairs(np.random.default_rng(1), MANY, gap)
    return float(weighted_ap(np.ones((1, len(score))), positive, score)[0])


def truth_of_gain():
    rng = np.random.default_rng(1)
    positive, one, _ = pairs(rng, MANY, 1.0)
    other, once = one + rng.normal(size=len(one)), np.ones((1, len(one)))
    return float((weighted_ap(once, positive, one) - weighted_ap(once, positive, other))[0])


CASES = {
    "mean": (mean, lambda: 0.0),
    "accuracy": (accuracy, lambda: 0.8),
    "AP at chance": (precision(0.0), lambda: truth_of_ap(0.0)),
    "AP": (precision(1.0), lambda: truth_of_ap(1.0)),
    "high AP": (precision(3.0), lambda: truth_of_ap(3.0)),
    "difference of APs": (precision_gain, truth_of_gain),
    "Pearson": (correlation("pearson"), lambda: 0.6),
    "Spearman": (correlation("spearman"), lambda: 6 / np.pi * np.arcsin(0.3)),
    "F1": (f1, lambda: 1.2 / 2.2),
}


@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("name", CASES)
def test_intervals_cover_the_true_value(name, n, monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", SAMPLES)
    estimate, truth = CASES[name][0], CASES[name][1]()
    rng = np.random.default_rng([n, 2])
    found = [estimate(rng, n) for _ in range(DRAWS)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert all(one.low <= one.value <= one.high for one in found)
    assert 0.905 <= covered <= 0.985, covered  # .92 to .98 and a standard error
