"""Estimates and metrics against scikit-learn, scipy and cases small enough to do by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from clip_attribution.metrics import (
    average_precision,
    foil_wins,
    located,
    location_chance,
    location_hits,
    mean_estimate,
)


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
