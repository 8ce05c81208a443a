"""Decisions and scores over word attributions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_attribution.errors import UserError
from clip_attribution.metrics.misalignment import (
    EPSILON,
    PUNCTUATION,
    clip_score,
    decide,
    f_clip_score,
    f_clip_scores,
    find,
    predict,
    ref_clip_score,
    score_pairs,
)

# The public example of CLIP4DM (infer.py): ViT-H/14, a cup of coffee.
COKE = [-3.6835670471191406e-05, 0.0002104043960571289, 5.716085433959961e-05]
COKE += [-0.0004444122314453125]
COFFEE = [-3.0338764190673828e-05, 4.750490188598633e-05, 1.7285346984863281e-06]
COFFEE += [0.00013780593872070312]


def caption(words, attributions):
    return pd.DataFrame({"word": words, "attribution": attributions})


def texts(found):
    return [finding.text for finding in found]


def test_the_public_example():
    coke, coffee = "a cup of coke".split(), "a cup of coffee".split()
    assert clip_score(0.2098388671875) == 0.52459716796875
    assert clip_score(0.275390625) == 0.6884765625
    assert texts(decide(caption(coke, COKE))) == ["coke"] and not decide(caption(coffee, COFFEE))
    score = f_clip_score(0.2098388671875, COKE, coke)
    assert score == pytest.approx(-3.5116e-4, abs=5e-9)
    assert score == (1 - 0.2098388671875) * COKE[3]
    for variant in ("threshold", "min", "segment"):
        assert f_clip_score(0.2098388671875, COKE, coke, variant) == score
    assert f_clip_score(0.275390625, COFFEE, coffee) == 0
    assert predict(caption(coke, COKE)).text == "coke" == predict(caption(coke, COKE)).text
    assert predict(caption(coffee, COFFEE)).text == "a"


WORDS = ["a", "red", ",", "hot", "cat", '".', "!", "sits", "cat!"]
VALUES = np.array([1, -2, -9, -4, 3, -8, -7, -3, -1.0]) * 1e-4


def test_threshold():
    found = decide(caption(WORDS, VALUES))
    assert texts(found) == ['".', "hot", "sits", "red", "cat!"]
    assert [f.rows for f in found] == [(5,), (3,), (7,), (1,), (8,)]
    assert [f.attribution for f in found] == pytest.approx([-8e-4, -4e-4, -3e-4, -2e-4, -1e-4])
    assert texts(decide(caption(WORDS, VALUES), epsilon=VALUES[3])) == ['".']
    assert not decide(caption(["a"], [EPSILON]))  # only below epsilon


def test_punctuation_is_what_occurs_in_the_nine_characters():
    assert len(PUNCTUATION) == 9
    words = [".", ",!", '"?', ';:"', '".', "'", "..", "()", ""]
    assert texts(decide(caption(words, [-1.0] * 9))) == ['".', "'", "..", "()"]


def test_merging_numbers_words_after_punctuation_is_gone():
    found = decide(caption(WORDS, VALUES), merge_adjacent=True)
    assert texts(found) == ['". sits cat!', "red hot"]  # over the comma and over the !
    assert [f.rows for f in found] == [(5, 7, 8), (1, 3)]
    assert [f.attribution for f in found] == pytest.approx([-4e-4, -3e-4])


def test_most_negative():
    assert texts(decide(caption(WORDS, VALUES), "most_negative")) == [","]
    assert texts(decide(caption(list("abc"), [2.0, 1.0, 1.0]), "most_negative")) == ["b"]
    assert predict(caption(list("abc"), [np.nan, 5.0, np.nan])).text == "b"
    assert predict(caption(["a"], [np.nan])) is None and predict(caption([], [])) is None
    assert predict(caption(["a"], [0.0]), "threshold") is None


def test_unseen_words_are_not_there():
    frame = caption(list("abcd"), [-1.0, np.nan, -3.0, np.nan])
    assert texts(decide(frame, merge_adjacent=True)) == ["a c"]
    assert f_clip_score(0.5, frame["attribution"], frame["word"]) == -2
    assert np.isnan(f_clip_score(0.5, [np.nan], ["a"], "min"))
    assert f_clip_score(0.5, [], [], "paper") == f_clip_score(0.5, [], [], "segment") == 0


def test_variants():
    low = VALUES[VALUES < EPSILON]
    spoken = np.array([-2, -4, -8, -3, -1]) * 1e-4
    assert '".' not in PUNCTUATION  # so it counts as a word

    def score(cosine, variant):
        return f_clip_score(cosine, VALUES, WORDS, variant)

    assert score(0.2, "paper") == pytest.approx(0.8 * low.sum())
    assert score(-0.2, "paper") == pytest.approx(1.2 * low.sum())
    assert score(0.2, "threshold") == pytest.approx(0.8 * spoken.sum())
    assert score(-0.2, "threshold") == pytest.approx(spoken.sum())
    assert score(0.2, "min") == pytest.approx(0.8 * -9e-4)
    assert f_clip_score(0.2, [3.0, 2.0], ["a", "b"], "min") == pytest.approx(0.8 * 2)
    assert score(-0.2, "segment") == pytest.approx(-4e-4)


def test_clip_score():
    np.testing.assert_allclose(clip_score(np.array([-0.1, 0.0, 0.3])), [0, 0, 0.75])


def test_ref_clip_score():
    assert ref_clip_score(0.3, [0.5, 0.75, -1]) == pytest.approx(0.75)
    assert ref_clip_score(0.3, [0.25]) == pytest.approx(2 * 0.75 * 0.25)
    assert ref_clip_score(-0.1, [0.8]) == ref_clip_score(0.3, [-0.2]) == 0
    assert ref_clip_score(-0.1, [-0.2]) == 0 and np.isnan(ref_clip_score(0.3, []))
    many = ref_clip_score([0.3, -0.1, 0.3], [[0.75], [0.1, 0.2], []])
    np.testing.assert_allclose(many, [0.75, 0, np.nan])
    np.testing.assert_allclose(
        ref_clip_score([0.3, 0.3], np.array([[0.5, 0.75], [0.75, 0.1]])), [0.75, 0.75]
    )


def test_bad_names():
    frame = caption(["a"], [0.0])
    with pytest.raises(UserError, match="choose from threshold, most_negative"):
        decide(frame, "lowest")
    with pytest.raises(UserError, match="choose from paper"):
        f_clip_score(0.5, [0.0], ["a"], "code")


VALUE = st.one_of(st.integers(-3, 3).map(float), st.just(np.nan))
WORD = st.sampled_from(["cat", "a", ".", ",", '".', "red!", "\0", "🦜"])
CAPTIONS = st.lists(st.lists(st.tuples(WORD, VALUE), max_size=8), min_size=1, max_size=5)


@given(CAPTIONS, st.booleans(), st.sampled_from([-1.0, 0.0, 1.5]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_frames_equal_single_captions(captions, merge_adjacent, epsilon):
    ids = [f"p{i}" for i in range(len(captions))][::-1]
    rows = [(i, w, v) for i, c in zip(ids, captions, strict=True) for w, v in c]
    words = pd.DataFrame(rows, columns=["pair_id", "word", "attribution"])
    cosines = np.linspace(-0.5, 0.9, len(ids))
    pairs = pd.DataFrame({"pair_id": ids, "cosine": cosines}).sample(frac=1, random_state=0)
    content = {
        i: tuple(zip(*c, strict=True)) or ((), ()) for i, c in zip(ids, captions, strict=True)
    }
    for decision in ("threshold", "most_negative"):
        found = find(words, decision, epsilon, merge_adjacent)
        for pair_id, both in content.items():
            mine = found[found["pair_id"] == pair_id].drop(columns="pair_id")
            one = decide(caption(*both), decision, epsilon, merge_adjacent)
            assert list(mine.itertuples(index=False, name=None)) == one
    for variant in ("paper", "threshold", "min", "segment"):
        singles = [
            f_clip_score(c, *content[i][::-1], variant, epsilon)
            for i, c in zip(pairs["pair_id"], pairs["cosine"], strict=True)
        ]
        np.testing.assert_allclose(f_clip_scores(words, pairs, variant, epsilon), singles)


def test_score_pairs():
    words = pd.DataFrame(
        {
            "pair_id": [7, 7, 7, 3, 3],
            "word": ["a", "cat", ".", "a", "dog"],
            "attribution": [-1e-4, -3e-4, -9e-4, 1e-4, 2e-4],
        }
    )
    pairs = pd.DataFrame(
        {"pair_id": [3, 5, 7, 9], "cosine": [0.4, np.nan, -0.2, 0.5], "extra": list("abcd")},
        index=[10, 11, 12, 13],
    )
    scored = score_pairs(words, pairs)
    assert scored.index.tolist() == [10, 11, 12, 13] and scored["extra"].tolist() == list("abcd")
    assert scored["misaligned"].tolist() == [[], None, ["cat", "a"], []]
    np.testing.assert_allclose(scored["clip_score"], [1.0, np.nan, 0.0, 1.25])
    np.testing.assert_allclose(scored["f_clip_score"], [0, np.nan, 1.2 * -13e-4, 0])
    lowest = score_pairs(words, pairs, "most_negative", variant="min")
    assert lowest["misaligned"].tolist() == [["a"], None, ["."], []]
    np.testing.assert_allclose(lowest["f_clip_score"], [0.6e-4, np.nan, -9e-4, np.nan])
    assert score_pairs(words, pairs, merge_adjacent=True)["misaligned"][12] == ["a cat"]
    assert "misaligned" not in pairs
    empty = score_pairs(words[:0], pairs[:0])
    assert len(empty) == 0 and {"clip_score", "f_clip_score", "misaligned"} <= set(empty)


def test_a_pair_among_thousands_is_scored_as_it_is_alone():
    rng = np.random.default_rng(0)
    n, each = 5000, 12
    words = pd.DataFrame(
        {
            "pair_id": np.repeat(np.arange(n), each),
            "word": rng.choice(["a", "cat", ",", "red", "sits"], n * each),
            "attribution": rng.normal(0, 1e-4, n * each),
        }
    )
    pairs = pd.DataFrame({"pair_id": np.arange(n), "cosine": rng.normal(0.2, 0.1, n)})
    for options in ({}, {"decision": "most_negative"}, {"variant": "segment"}):
        found = score_pairs(words, pairs, **options)
        for i in rng.integers(n, size=20):
            alone = score_pairs(words[words["pair_id"] == i], pairs[i : i + 1], **options)
            pd.testing.assert_frame_equal(
                found[i : i + 1].reset_index(drop=True), alone.reset_index(drop=True)
            )
