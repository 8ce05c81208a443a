"""Reliability, partial correlation and paired differences, against slow forms."""

import numpy as np
import pytest

from clip_attribution.metrics.intervals import gain_estimate
from clip_attribution.metrics.ratings import partial_estimate, reliability
from clip_attribution.metrics.weighted import weighted_pearson


@pytest.fixture
def rated():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    return truth, [t + rng.normal(size=rng.integers(3, 7)) for t in truth]


def test_reliability_of_unequal_numbers_of_raters(rated):
    """The classical value for k raters of noise 1: k / (k + 1); halves of 3 to 6 come near it."""
    _, cells = rated
    assert abs(reliability(cells, draws=200) - np.mean([k / (k + 1) for k in (3, 4, 5, 6)])) < 0.03
    assert reliability(cells) == reliability(cells) != reliability(cells, seed=1)


def test_reliability_against_a_loop(rated):
    _, cells = rated
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        mixed = [rng.permutation(cell) for cell in cells]
        left = [cell[: len(cell) // 2].mean() for cell in mixed]
        right = [cell[len(cell) // 2 :].mean() for cell in mixed]
        r = np.corrcoef(left, right)[0, 1]
        found.append(2 * r / (1 + r))
    assert abs(np.mean(found) - reliability(cells, draws=200)) < 0.005


def test_noise_has_none_and_single_raters_take_no_part(rated):
    rng = np.random.default_rng(1)
    noise = [rng.normal(size=4) for _ in range(500)]
    assert abs(reliability(noise, draws=100)) < 0.15
    _, cells = rated
    assert reliability([*cells, [5.0]], draws=50) == reliability(cells, draws=50)


def test_partial_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(2)
    rival = rng.normal(size=80)
    x, y = (rival + rng.normal(size=80) for _ in range(2))
    found = partial_estimate(x, y, rival, np.arange(80) // 4)
    residuals = [v - np.polyval(np.polyfit(rival, v, 1), rival) for v in (x, y)]
    assert np.isclose(found.value, np.corrcoef(residuals)[0, 1]) and found.n == 20
    assert found.low < found.value < found.high
    assert abs(found.value) < 0.25 < np.corrcoef(x, y)[0, 1]


def test_a_paired_difference_is_narrower_than_both_correlations():
    rng = np.random.default_rng(4)
    y = rng.normal(size=60)
    x = y + rng.normal(size=60)
    other = x + 0.1 * rng.normal(size=60)
    found = gain_estimate(weighted_pearson, y, x, other)
    wanted = np.corrcoef(x, y)[0, 1] - np.corrcoef(other, y)[0, 1]
    assert np.isclose(found.value, wanted) and found.high - found.low < 0.1
    same = gain_estimate(weighted_pearson, y, x, x)
    assert same.value == same.low == same.high == 0
