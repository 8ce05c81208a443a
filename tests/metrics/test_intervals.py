"""Estimates and metrics against scikit-learn, scipy and cases small enough to do by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from clip_attribution.errors import UserError
from clip_attribution.metrics.intervals import (
    average_precision,
    correlation_estimate,
    foil_wins,
    gain_estimate,
    located,
    location_chance,
    location_hits,
    mean_estimate,
    ratio_estimate,
)
from clip_attribution.metrics.weighted import WEIGHTED, weighted_ap


def test_the_interval_of_a_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = mean_estimate(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean()) and found.n == 400
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = [mean_estimate(rng.random(150) < 0.7) for _ in range(120)]
    assert np.mean([e.low <= 0.7 <= e.high for e in hits]) == pytest.approx(0.95, abs=0.06)


def test_a_gain_is_a_difference_on_the_same_draws():
    rng = np.random.default_rng(3)
    positive, one, noise = rng.random(80) < 0.5, rng.normal(size=80), rng.normal(size=80)
    one, other = one + positive, one + noise + positive
    found = gain_estimate(weighted_ap, positive, one, other)
    expected = [average_precision_score(positive, score) for score in (one, other)]
    assert found.value == pytest.approx(expected[0] - expected[1], abs=1e-12) and found.n == 80
    alone = [average_precision(positive, score) for score in (one, other)]
    widths = [estimate.high - estimate.low for estimate in alone]
    assert found.high - found.low < np.hypot(*widths)  # what both share does not count
    assert gain_estimate(weighted_ap, positive, one, one) == (0, 0, 0, 80)
    gone = np.where(np.arange(80) < 20, np.nan, one)
    assert gain_estimate(weighted_ap, positive, gone, other, np.arange(80) // 2).n == 30


def test_degenerate_estimates():
    assert mean_estimate([]).n == 0 and np.isnan(mean_estimate([np.nan]).value)
    assert mean_estimate([2.0]) == (2.0, 2.0, 2.0, 1)
    assert mean_estimate([1, 1, np.nan]) == (1.0, 1.0, 1.0, 2)
    assert "n = 2" in str(mean_estimate([0, 1]))


def test_a_tie_between_caption_and_foil_is_wrong():
    wins = foil_wins([0.3, 0.2, 0.1, 0.1, np.nan, 0.1], [0, 1, 0, 1, 0, 1], list("aabbcc"))
    assert wins["a"] == 1 and wins["b"] == 0 and np.isnan(wins["c"])


WORDS = pd.DataFrame(
    {
        "pair_id": list("xxxyyz"),
        "word_index": [0, 1, 2, 0, 1, 0],
        "attribution": [0.1, -0.2, np.nan, -0.1, -0.1, np.nan],
    }
)


def test_location_by_hand():
    assert located(WORDS).to_dict() == {"x": 1, "y": 0}  # first on a tie, unseen words never
    hits = location_hits(WORDS, pd.Series({"x": 1, "y": 1, "z": 0}))
    assert hits.to_dict() == {"x": 1.0, "y": 0.0, "z": 0.0}
    assert location_chance(WORDS, ["x", "y"]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties):
    rng = np.random.default_rng(2)
    positive, score = rng.random(300) < 0.4, rng.normal(size=300)
    score = np.round(score + positive, 0 if ties else 9)
    found = average_precision(positive, score)
    assert found.value == pytest.approx(average_precision_score(positive, score), abs=1e-12)
    assert found.low < found.value < found.high and found.n == 300
    reversed_ = average_precision(~positive, -score)
    assert reversed_.value == pytest.approx(average_precision_score(~positive, -score), abs=1e-12)


def test_rows_of_a_group_are_resampled_together():
    rng = np.random.default_rng(3)
    score = np.repeat(rng.normal(size=50), 20) + 0.01 * rng.normal(size=1000)
    positive = score + np.repeat(rng.normal(size=50), 20) > 0
    alone = average_precision(positive, score)
    grouped = average_precision(positive, score, groups=np.repeat(np.arange(50), 20))
    assert grouped.n == 50 and grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_average_precision_without_a_positive_is_missing():
    assert np.isnan(average_precision([False, False], [1, 2]).value)


def test_a_ratio_of_sums_by_hand():
    found = ratio_estimate([1, 2, np.nan, 0], [2, 2, 5, 4])
    assert found.value == 3 / 8 and found.n == 3 and found.low < 3 / 8 < found.high
    assert ratio_estimate([1.0, 0, 1, 1]).value == 0.75
    assert ratio_estimate([2.0], [4]) == (0.5, 0.5, 0.5, 1)
    assert np.isnan(ratio_estimate([0, 0], [0, 0]).value) and ratio_estimate([]).n == 0


def test_a_share_has_the_interval_of_a_mean_and_groups_widen_it():
    rng = np.random.default_rng(4)
    hits = (rng.random(500) < 0.6).astype(float)
    plain, mean = ratio_estimate(hits), mean_estimate(hits)
    assert plain.value == pytest.approx(mean.value)
    assert (plain.low, plain.high) == pytest.approx((mean.low, mean.high), abs=0.01)
    copies = ratio_estimate(np.repeat(hits, 9), groups=np.repeat(np.arange(500), 9))
    assert copies == pytest.approx(plain)


def test_the_interval_of_a_ratio_covers_the_truth():
    rng, hits = np.random.default_rng(5), 0
    for _ in range(120):
        size = rng.poisson(3, 100)
        found = ratio_estimate(rng.binomial(size, 0.3), size)
        hits += found.low <= 0.3 <= found.high
    assert hits / 120 == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_correlations_are_scipys(kind, ties):
    rng = np.random.default_rng(6)
    x = rng.normal(size=200)
    y = np.round(0.5 * x + rng.normal(size=200), 0 if ties else 9)
    x[3] = y[4] = np.nan
    known = ~np.isnan(x + y)
    expected = getattr(stats, f"{kind}r")(x[known], y[known])
    found = correlation_estimate(x, y, kind)
    assert found.value == pytest.approx(expected.statistic, abs=1e-12) and found.n == 198
    assert correlation_estimate(x, -y, kind).value == pytest.approx(-found.value)
    half = 1.96 * (1 - found.value**2) / np.sqrt(198)  # large-sample standard error
    assert found.low == pytest.approx(found.value - half, abs=0.05)
    assert found.high == pytest.approx(found.value + half, abs=0.05)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_a_weighted_correlation_is_that_of_repeated_rows(kind):
    rng = np.random.default_rng(7)
    x, y = np.round(rng.normal(size=(2, 30)), 1)
    weights = rng.integers(0, 4, (5, 30))
    expected = [
        getattr(stats, f"{kind}r")(np.repeat(x, w), np.repeat(y, w)).statistic for w in weights
    ]
    assert WEIGHTED[kind](weights, x, y) == pytest.approx(expected, abs=1e-12)
    copies = correlation_estimate(np.repeat(x, 4), np.repeat(y, 4), kind, np.repeat(range(30), 4))
    assert copies == pytest.approx(correlation_estimate(x, y, kind))
    alone = np.eye(30)[:2] * 7  # one row seven times: no correlation
    assert np.isnan(WEIGHTED[kind](alone, x, y)).all()


def test_a_correlation_that_is_not_defined_is_missing():
    assert np.isnan(correlation_estimate([1, 1, 1], [1, 2, 3]).value)
    assert np.isnan(correlation_estimate([1, 2], [2, 1]).value)
    assert correlation_estimate([], []).n == 0
    with pytest.raises(UserError, match="kendall"):
        correlation_estimate([1, 2, 3], [1, 2, 3], "kendall")
