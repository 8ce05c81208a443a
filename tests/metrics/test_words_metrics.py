"""Token matching by hand and against scikit-learn; chance levels against simulation."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support
from word_tables import tokens_of, words_of

from clip_attribution.metrics.words import (
    bare_words,
    detection_chance,
    detection_estimates,
    fits,
    has_public_words,
    overlap_counts,
    public_index_counts,
    sign_agreement,
    spans_of,
    token_attributions,
    token_counts,
    token_table,
)


def test_a_span_takes_the_mean_of_the_seen_words_that_start_in_it():
    words = words_of({"x": ("one two three four", [1.0, 2.0, np.nan, 4.0])})
    found = token_attributions(words, [(0, 7), (8, 13), (13, 14), (14, 18)])
    np.testing.assert_equal(found, [1.5, np.nan, np.nan, 4.0])
    assert token_attributions(words, [(1, 3), (5, 18)]).tolist()[1] == 4.0  # "two" starts before
    assert token_attributions(words, []).shape == (0,)


def test_on_the_ground_truths_own_tokens_a_token_has_its_words_own_value():
    text = 'a cat!, the "dog": sits'
    tokens = tokens_of(text)
    values = np.arange(len(tokens)) - 2.0
    words = words_of({"x": (text, values)}, "rich_hf")
    pairs = pd.DataFrame(
        {
            "pair_id": ["x"],
            "caption": [text],
            "tokens": [tokens],
            "labels": [[True, False, True, False, True]],
        }
    )
    table = token_table(words, pairs)
    assert table["token"].tolist() == ["a", "cat", "the", "dog", "sits"]
    assert table["attribution"].tolist() == values.tolist()
    assert token_counts(table, -0.5).loc["x"].to_dict() == {
        "tp": 1,
        "fp": 1,
        "fn": 1,
        "wrong": 2,
        "size": 5,
    }


def test_the_same_word_elsewhere_is_no_hit():
    words = words_of({"x": ("a cat and a cat", [0, 0, 0, 0, -1.0])})
    pairs = pd.DataFrame(
        {
            "pair_id": ["x"],
            "caption": ["a cat and a cat"],
            "tokens": [["a", "cat", "and", "a", "cat"]],
            "labels": [[1, 0, 1, 1, 1]],
        }
    )
    counts = token_counts(token_table(words, pairs)).loc["x"]
    assert counts[["tp", "fp", "fn"]].tolist() == [0, 1, 1]


def test_the_longer_of_tokens_and_labels_is_cut_and_an_absent_caption_finds_nothing():
    pairs = pd.DataFrame(
        {
            "pair_id": ["x", "y", "z"],
            "caption": ["a b c", "a b", "a"],
            "tokens": [["a", "b", "c"], ["a", "b"], ["a"]],
            "labels": [[False], [True, False, False], []],
        }
    )
    words = words_of({"x": ("a b c", [-1, -1, -1])})
    counts = token_counts(token_table(words, pairs))
    assert counts.loc["x"].to_dict() == {"tp": 1, "fp": 0, "fn": 0, "wrong": 1, "size": 1}
    assert counts.loc["y"].to_dict() == {"tp": 0, "fp": 0, "fn": 1, "wrong": 1, "size": 2}
    assert "z" not in counts.index and len(token_table(words, pairs[:0])) == 0


def test_tokens_are_found_in_order_and_misfits_are_told():
    assert spans_of("a cat a", ["a", "cat", "a"]) == [(0, 1), (2, 5), (6, 7)]
    assert spans_of("a cat", ["a", "dog", "cat"]) == [(0, 1)]
    assert fits("a cat", ["a", "cat"], [True, True]) and fits("a", np.array(["a"]), (1,))
    for cells in (
        ("a cat", ["dog"], [True]),
        ("a", None, [True]),
        ("a", ["a"], np.nan),
        (None, ["a"], [True]),
    ):
        assert not fits(*cells)


def test_micro_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, found = rng.random(900) < 0.3, rng.random(900) < 0.4
    table = pd.DataFrame(
        {
            "pair_id": np.repeat(np.arange(90), 10),
            "misaligned": truth,
            "attribution": np.where(found, -1.0, 1.0),
        }
    )
    table.loc[5, "attribution"] = np.nan  # not seen: not found
    expected = precision_recall_fscore_support(
        truth, table["attribution"] < 0, average="binary", pos_label=True
    )
    estimates = detection_estimates(token_counts(table))
    for estimate, value in zip(estimates.values(), expected[:3], strict=True):
        assert estimate.value == pytest.approx(value, abs=1e-12)
        assert estimate.low < estimate.value < estimate.high and estimate.n == 90


def test_scores_of_nothing_are_missing():
    counts = pd.DataFrame({"tp": [0, 0], "fp": [0, 0], "fn": [1, 2]})
    found = detection_estimates(counts)
    assert np.isnan(found["precision"].value) and found["recall"].value == found["F1"].value == 0
    assert np.isnan(detection_chance(counts, [1, 2], [0, 0])["recall"])


def test_chance_is_what_blind_picking_gives():
    rng = np.random.default_rng(1)
    wrong = rng.random(400) < 0.25
    counts = pd.DataFrame({"tp": [60], "fp": [40], "fn": [wrong.sum() - 60]})
    chance = detection_chance(counts, wrong.sum(), 400)
    hits = np.mean([wrong[rng.permutation(400)[:100]].sum() for _ in range(4000)])
    expected = {
        "precision": hits / 100,
        "recall": hits / wrong.sum(),
        "F1": 2 * hits / (100 + wrong.sum()),
    }
    assert chance == pytest.approx(expected, rel=0.01)


def test_public_index_words_shift_and_keep_punctuation():
    text = "a cat!, red:blue dog"
    words = words_of({"x": (text, [-1.0, -1, -1, -1, -1])})  # a, cat!, ",", red:blue, dog
    pairs = pd.DataFrame(
        {
            "pair_id": ["x"],
            "caption": [text],
            "tokens": [tokens_of(text)],
            "labels": [[False, False, True, True, False]],
        }
    )
    # predicted 0_a 1_cat! 2_red:blue 3_dog; truth 0_a 1_cat 4_dog
    assert public_index_counts(words, pairs, -0.5).loc["x"].tolist() == [1, 3, 2]
    assert token_counts(token_table(words, pairs), -0.5).loc["x", "tp"] == 3
    assert has_public_words(words, pairs)
    assert not has_public_words(words_of({"x": (text, range(5))}, "rich_hf"), pairs)


def test_bags_of_words():
    found = bare_words('A "blue" Cat, a (small) dog . !')
    assert found == ["a", "blue", "cat", "a", "small", "dog"]
    assert overlap_counts(["a", "a", "cat"], ["a", "dog", "cat", "cat"]) == {
        "tp": 2,
        "fp": 1,
        "fn": 2,
    }
    assert overlap_counts([], ["a"]) == {"tp": 0, "fp": 0, "fn": 1}


def test_signs_agree_by_hand():
    words = pd.DataFrame(
        {
            "pair_id": list("aaabb"),
            "word_index": [0, 1, 2, 0, 1],
            "attribution": [0.1, -0.2, 0.3, -0.1, np.nan],
        }
    )
    other = words.assign(attribution=[1.0, 2.0, 0.0, -5.0, 1.0])  # 0 has no sign
    found = sign_agreement(words, other.sample(frac=1, random_state=0))
    assert found.value == pytest.approx(2 / 3) and found.n == 2  # two captions are the units
    assert sign_agreement(words, words).value == 1
    assert sign_agreement(words, words.assign(attribution=np.nan)).n == 0
