"""Baselines and plain scores by hand; nothing leaks into the answer of a row."""

import numpy as np
import pandas as pd
import pytest
from word_tables import words_of

from clip_attribution.errors import UserError
from clip_attribution.metrics.baselines import (
    caption_scores,
    frequent_words,
    halves,
    public_ref_clip_score,
    random_words,
    seen_words,
    share,
    shuffled,
    spoken_words,
)

WORDS = words_of(
    {
        "x": ("A cat , Sits", [0.1, -2e-4, -5e-4, -1e-4]),
        "y": ("unseen Dog", [np.nan, 0.2]),
        "z": (".", [-0.1]),
    }
)


def test_seen_and_spoken_words():
    assert seen_words(WORDS).to_dict() == {"x": ["a", "cat", ",", "sits"], "y": ["dog"], "z": ["."]}
    assert seen_words(WORDS, spoken=True).to_dict() == {"x": ["a", "cat", "sits"], "y": ["dog"]}
    assert spoken_words(WORDS).tolist() == [True, True, False, True, False, True, False]


def test_the_share_of_hits_is_what_random_words_reach():
    assert share(["a", "b", "a", "c"], lambda word: word == "a") == 0.5
    assert share([], lambda word: True) == 0
    drawn = [random_words(WORDS, seed) for seed in range(300)]
    assert all(set(found.index) == {"x", "y"} and found["y"] == "Dog" for found in drawn)
    counts = pd.Series([found["x"] for found in drawn]).value_counts()
    assert counts.to_dict() == pytest.approx({"A": 100, "cat": 100, "Sits": 100}, abs=30)


def test_halves_keep_groups_together():
    groups = np.repeat(list("abcdefg"), 3)
    first = halves(groups, 1)
    assert first.sum() == 12
    assert all(len(set(first[groups == g])) == 1 for g in set(groups))
    assert (halves(groups, 1) == first).all() and (halves(groups, 2) != first).any()


def test_the_most_frequent_word_never_comes_from_the_rows_own_half():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 2)
    wanted = pd.Series([list(rng.choice(list("abc"), 2)) for _ in groups])
    side, found = halves(groups, 3), frequent_words(wanted, groups, 3)
    for row in wanted.index:
        other = [w for own in wanted[side != side[row]] for w in own]
        best = max(other.count(w) for w in "abc")
        assert found[row] == min(w for w in "abc" if other.count(w) == best)


def test_a_word_that_only_one_row_wants_is_not_told_to_that_row():
    assert frequent_words(pd.Series([["a"], ["b"]]), ["p", "q"]).tolist() == ["b", "a"]
    assert frequent_words(pd.Series([["a"], ["b"]]), ["p", "p"]).isna().all()
    assert len(frequent_words(pd.Series([], dtype=object), [])) == 0


def test_caption_scores_by_hand():
    pairs = pd.DataFrame(
        {
            "pair_id": ["x", "y", "w"],
            "cosine": [0.2, -0.1, np.nan],
            "ref_clip_score": [0.3, np.nan, np.nan],
            "ref_cosines": [[0.4, 0.9], [], None],
        }
    )
    scores = caption_scores(WORDS, pairs, -5e-5, "segment", public=True)
    assert list(scores) == [
        "F-CLIPScore",
        "F-CLIPScore public_segment",
        "CLIPScore",
        "RefCLIPScore",
        "RefCLIPScore public_reference",
    ]
    assert scores["F-CLIPScore"][:2] == pytest.approx([0.8 * -8e-4, 0])
    assert scores["F-CLIPScore public_segment"][:2] == pytest.approx([0.8 * -1.5e-4, 0])
    assert scores["CLIPScore"][:2] == pytest.approx([0.5, 0])
    harmonic = 2 / (1 / 0.5 + 1 / (2.5 * 0.4))
    assert scores["RefCLIPScore public_reference"][0] == pytest.approx(harmonic)
    assert scores["RefCLIPScore"][0] == 0.3
    assert all(np.isnan(score[2]) for score in scores.values())
    least = caption_scores(WORDS, pairs, -5e-5, "min")["F-CLIPScore public_min"]
    assert least[:2] == pytest.approx([0.8 * -5e-4, 0.2])
    assert "RefCLIPScore" not in caption_scores(WORDS, pairs[["pair_id", "cosine"]], -5e-5, "min")


def test_the_public_reference_score_is_missing_without_references():
    found = public_ref_clip_score([0.2, 0.2, 0.2], [[-0.3, 0.9], None, np.nan])
    assert found[0] == 0 and np.isnan(found[1:]).all()


def test_shuffling_leaves_no_picture_with_its_captions():
    pairs = pd.DataFrame(
        {
            "image": np.repeat([f"{i}.png" for i in range(7)], 2),
            "caption": [f"c{i}" for i in range(14)],
            "error": None,
        }
    )
    pairs.loc[3, "error"] = "the caption is missing"
    for seed in range(20):
        found = shuffled(pairs, seed)
        good = pairs["error"].isna()
        assert (found["image"] != pairs["image"])[good].all() and found.loc[3, "image"] == "1.png"
        assert set(found["image"][good]) == set(pairs["image"])
        same = found[good].groupby(pairs["image"])["image"].nunique()
        assert (same == 1).all() and (found["caption"] == pairs["caption"]).all()
    assert pairs.loc[0, "image"] == "0.png"
    assert len({tuple(shuffled(pairs, s)["image"]) for s in range(20)}) > 15
    with pytest.raises(UserError, match="two different images"):
        shuffled(pairs[:2])
