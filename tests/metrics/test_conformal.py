"""The conformal epsilon: by hand, by simulation, and on the embedded world."""

from math import inf

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support
from word_tables import words_of

from clip_attribution.errors import UserError
from clip_attribution.metrics.conformal import (
    PAPER,
    alarms,
    conformal_epsilon,
    epsilon_sweep,
    epsilon_table,
    expected_alarms,
    false_alarm_rate,
    foiled_words,
    rank,
    split_half,
    true_scores,
)


def captions(n: int, seed: int = 0, ties: bool = False):
    """n true captions of three words and a full stop, with normal attributions."""
    values = np.random.default_rng(seed).normal(size=(n, 4))
    values = np.round(values) if ties else values
    words = words_of({i: ("a b c.", row) for i, row in enumerate(values)})
    return words, pd.DataFrame({"pair_id": range(n), "error": None}), values


def test_epsilon_is_the_kth_smallest_score_by_hand():
    words = words_of(
        {
            0: ("a b .", [-1.0, 3, -99]),
            1: ("c", [-2.0]),
            2: ("d e", [np.nan, -3.0]),
            3: ("f", [np.nan]),
            4: ("g", [-50.0]),
            5: ("h", [-60.0]),
        }
    )
    pairs = pd.DataFrame(
        {
            "pair_id": range(6),
            "error": [None] * 4 + ["unreadable", None],
            "is_foil": [False] * 5 + [True],
        }
    )
    # foils, errors and punctuation are out: scores -3, -2, -1 and, without a word, inf
    assert true_scores(words, pairs).to_dict() == {0: -1.0, 1: -2.0, 2: -3.0, 3: inf}
    for rate, epsilon in (
        (0, -inf),
        (0.19, -inf),
        (0.2, -3),
        (0.59, -2),
        (0.6, -1),
        (0.8, inf),
        (1, inf),
    ):
        assert conformal_epsilon(words, pairs, rate) == epsilon
    assert false_alarm_rate(words, pairs, -2).value == 0.25  # strictly below
    assert false_alarm_rate(words, pairs, -1.5)[0::3] == (0.5, 4)


def test_the_rank_is_that_of_the_decimal_number_meant():
    assert rank(0.29, 99) == 29  # in floating point 0.29 * 100 < 29
    assert rank(0.05, 19) == 1 and rank(0.05, 18) == 0 and rank(1, 9) == 10


@pytest.mark.parametrize("unit", ["caption", "word"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [7, 40])
def test_the_guarantee_holds_on_average_over_calibration_sets(unit, ties, n):
    rate, alarmed, runs = 0.2, 0, 600
    words, pairs, values = captions(4000, 1, ties)
    scores = true_scores(words, pairs, unit).to_numpy()
    rng = np.random.default_rng(2)
    by_rank = rank(rate, n)
    for _ in range(runs):
        drawn = rng.choice(len(scores), n + 200, replace=False)
        epsilon = np.sort(scores[drawn[:n]])[by_rank - 1]
        alarmed += (scores[drawn[n:]] < epsilon).mean()
    exact, error = by_rank / (n + 1), 4 * np.sqrt(rate * (1 - rate) / n / runs)
    assert alarmed / runs <= exact + error
    if not ties:
        assert alarmed / runs >= exact - error
    one = pairs.iloc[:n]
    expected = np.sort(true_scores(words, one, unit))[by_rank - 1]
    assert conformal_epsilon(words, one, rate, unit) == expected


def test_a_word_is_drawn_from_each_caption():
    words, pairs, values = captions(50)
    drawn = [true_scores(words, pairs, "word", seed) for seed in range(60)]
    assert all((found.to_numpy()[:, None] == values[:, :3]).any(1).all() for found in drawn)
    which = (np.array(drawn)[:, :, None] == values[:, :3]).mean((0, 1))
    assert which == pytest.approx([1 / 3] * 3, abs=0.04)


def test_alarms_have_the_exact_binomial_interval():
    found = alarms(7, 50)
    low, high = stats.beta.ppf([0.025, 0.975], [7, 8], [44, 43])
    assert found == pytest.approx((0.14, low, high, 50))
    assert alarms(0, 10)[:2] == (0, 0) and np.isnan(alarms(0, 0).value)


def test_the_expected_rates_cover_what_is_found():
    rng, inside = np.random.default_rng(3), []
    low, high = expected_alarms(0.1, 60, 80)
    for _ in range(3000):
        scores = rng.normal(size=140)
        epsilon = np.sort(scores[:60])[rank(0.1, 60) - 1]
        inside.append(low <= (scores[60:] < epsilon).mean() <= high)
    assert 0.94 < np.mean(inside) < 0.985
    binomial = stats.binom(80, 0.1).ppf([0.025, 0.975]) / 80
    assert high - low > np.ptp(binomial)
    assert expected_alarms(0.001, 60, 80) == (0, 0) and expected_alarms(1, 60, 80) == (1, 1)


def test_bad_arguments_are_refused():
    words, pairs, _ = captions(3)
    for rate in (-0.1, 1.1, np.nan):
        with pytest.raises(UserError, match="0..1"):
            conformal_epsilon(words, pairs, rate)
    with pytest.raises(UserError, match="true captions"):
        conformal_epsilon(words, pairs.assign(is_foil=True), 0.1)
    with pytest.raises(UserError, match="sentence"):
        conformal_epsilon(words, pairs, 0.1, "sentence")


def test_halves_keep_scenes_together():
    pairs = pd.DataFrame({"pair_id": range(10), "pair": np.repeat(range(5), 2)})
    first, second = split_half(pairs, 3)
    assert len(first) == 6 and len(second) == 4
    assert not set(first["pair"]) & set(second["pair"])
    assert len(split_half(pairs.drop(columns="pair"))[0]) == 5


FOILS = pd.DataFrame(
    {
        "pair_id": ["t", "f", "g"],
        "is_foil": [False, True, True],
        "foil_word": [None, "fire Hydrant", None],
        "error": None,
    }
)
WORDS = words_of(
    {"t": ("a fire .", [-1.0, 1, -9]), "f": ("A Hydrant .", [-2.0, -3, -9]), "g": ("cat", [-4.0])}
)


def test_foiled_words_by_text_or_by_place():
    assert foiled_words(WORDS, FOILS).tolist() == [False] * 4 + [True] + [False] * 2
    placed = FOILS.assign(foil_index=[np.nan, 0, 0])
    assert foiled_words(WORDS, placed).tolist() == [False] * 3 + [True, False, False, True]
    assert not foiled_words(WORDS, FOILS[["pair_id"]]).any()


def test_a_sweep_by_hand():
    sweep = epsilon_sweep(WORDS, FOILS.assign(foil_index=[np.nan, 1, 0]), [-10, -2.5, -1.5, 0])
    found = sweep.pivot(index="epsilon", columns="measure", values="value")
    assert found["recall"].tolist() == [0, 1, 1, 1]
    assert found["precision"].tolist()[1:] == [1, 2 / 3, 2 / 4]
    assert np.isnan(found.loc[-10, "precision"]) and (sweep["n"] == 3).all()


def test_a_sweep_is_scikit_learns_and_its_chance_that_of_blind_flags():
    rng = np.random.default_rng(4)
    words = words_of({i: ("a b c d", rng.normal(size=4)) for i in range(200)})
    pairs = pd.DataFrame(
        {
            "pair_id": range(200),
            "is_foil": True,
            "error": None,
            "foil_index": rng.integers(0, 4, 200),
        }
    )
    truth = foiled_words(words, pairs)
    sweep = epsilon_sweep(words, pairs, [-1, 0.3])
    for epsilon, part in sweep.groupby("epsilon"):
        low = words["attribution"] < epsilon
        expected = precision_recall_fscore_support(truth, low, average="binary")[:3]
        assert part["value"].tolist() == pytest.approx(expected)
        assert (part["low"] < part["value"]).all() and (part["value"] < part["high"]).all()
        assert part["chance"].tolist()[:2] == pytest.approx([0.25, low.mean()])


def test_the_table_of_rules():
    words, pairs, _ = captions(60)
    pairs = pairs.assign(pair=np.repeat(range(30), 2), is_foil=np.tile([False, True], 30))
    pairs["foil_index"] = np.where(pairs["is_foil"], 1, np.nan)
    table = epsilon_table(words, pairs, rates=(0.1, 0.5), seeds=range(3))
    assert len(table) == 3 * 4 and (table["n"] == 15).all()
    paper = table[table["rule"] == "paper"]
    assert paper["epsilon"].tolist() == list(PAPER) * 3 and paper["expected_low"].isna().all()
    row = table[(table["rate"] == 0.5) & (table["seed"] == 2)].iloc[0]
    first, second = split_half(pairs, 2)
    assert row["epsilon"] == conformal_epsilon(words, first, 0.5)
    assert row["false_alarms"] == false_alarm_rate(words, second, row["epsilon"]).value
    foiled = words[words["pair_id"].isin(second["pair_id"]) & foiled_words(words, pairs)]
    assert row["found"] == (foiled["attribution"] < row["epsilon"]).mean()


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["caption", "word"])
def test_the_target_holds_on_twenty_splits_of_two_thousand_scenes(unit, embedded_world):
    words, pairs = embedded_world
    rates = (0.01, 0.05, 0.1, 0.2)
    table = epsilon_table(words, pairs, rates, range(20), unit)
    for rate in rates:
        own = table[table["rate"] == rate]
        assert len(own) == 20 and (own["n"] == 1000).all()
        # on average over the splits the target holds within the binomial interval of one split
        binomial = stats.binom(1000, rate).ppf([0.025, 0.975]) / 1000
        assert binomial[0] <= own["false_alarms"].mean() <= binomial[1]
        # and of the single splits, about as many lie in either interval as theory says: 95 % in
        # that of `expected_alarms`, 83 % in the binomial one, which takes epsilon for known
        expected = own["false_alarms"].between(own["expected_low"], own["expected_high"])
        assert expected.sum() >= 16
        assert own["false_alarms"].between(*binomial).sum() >= 11


@pytest.fixture(scope="module")
def embedded_world():
    from clip_attribution import attribute, load_clip
    from clip_attribution.scenes import scene_pairs

    return attribute(load_clip(), scene_pairs(2000, seed=11, foils=None))
