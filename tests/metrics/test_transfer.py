"""Macro-F1 as scikit-learn's, its interval, and the scores made of it."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from clip_attribution.metrics.transfer import (
    _weighted_f1,
    chance_f1,
    macro_f1,
    recovery,
    trade_off,
    transfer_score,
)


@pytest.fixture
def answers():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 300)
    return labels, np.where(rng.random(300) < 0.6, labels, rng.integers(0, 9, 300))


def test_macro_f1_is_that_of_scikit_learn(answers):
    labels, found = answers
    estimate = macro_f1(labels, found)
    assert estimate.value == f1_score(labels, found, average="macro") and estimate.n == 300
    assert estimate.low < estimate.value < estimate.high
    names = np.array(list("abcdefghi"))
    assert macro_f1(names[labels], names[found]).value == estimate.value


def test_a_resample_is_scored_as_scikit_learn_scores_it(answers):
    labels, found = answers
    drawn = np.random.default_rng(2).integers(0, 300, 40)
    weights = np.bincount(drawn, minlength=300)[None].astype(float)
    eye = np.eye(9)
    got = _weighted_f1(weights, eye[labels], eye[found], (labels == found).astype(float))
    assert np.isclose(got[0], f1_score(labels[drawn], found[drawn], average="macro"))


def sparse(rng):
    """Few true classes, wrong answers scattered over many: most classes occur once, and wrongly."""
    labels = rng.integers(0, 40, 300)
    return labels, np.where(rng.random(300) < 0.8, labels, rng.integers(0, 272, 300))


def test_the_interval_of_sparse_classes_holds_the_value_and_covers_the_mean():
    rng = np.random.default_rng(0)
    mean = np.mean([f1_score(*sparse(rng), average="macro") for _ in range(200)])
    found = [macro_f1(*sparse(rng), seed) for seed in range(30)]
    assert all(estimate.low < estimate.value < estimate.high for estimate in found)
    assert sum(estimate.low <= mean <= estimate.high for estimate in found) >= 25


def test_one_image_has_no_spread():
    assert macro_f1([1], [1]) == (1, 1, 1, 1)


def test_chance_and_nothing(answers):
    labels, found = answers
    assert 0.05 < chance_f1(labels, found) < 0.2 < macro_f1(labels, found).low
    assert np.isnan(macro_f1([], []).value)


def test_the_published_numbers_make_a_transfer_score():
    pretrained = [0.764, 0.536, 0.615]
    assert recovery(0.422, 0.536) == 0.422 / 0.536
    assert transfer_score(pretrained, pretrained) == 1
    assert np.isclose(transfer_score([0.382, 0.536, 0.615], pretrained), (0.5 + 1 + 1) / 3)
    assert np.isclose(trade_off(0.866, 0.82), 0.9 * 0.866 + 0.1 * 0.82)
    with pytest.raises(ValueError):
        transfer_score([0.5], pretrained)
