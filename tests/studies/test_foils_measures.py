"""What the ablation notebooks measure equals plain loops and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from clip_attribution.metrics.misalignment import f_clip_scores
from clip_attribution.studies.foils import measures as measured
from clip_attribution.studies.foils.table import AblationTable

N, WORDS = 60, 5


@pytest.fixture(scope="module")
def table():
    """60 foil pairs of two types with five words each; the foiled word tends to be lower."""
    rng = np.random.default_rng(0)
    ids = [f"0:{i}:{kind}" for i in range(N) for kind in ("true", "foil")]
    foil = np.tile([False, True], N)
    index = np.where(foil, rng.integers(0, WORDS, 2 * N), np.nan)
    pairs = pd.DataFrame(
        {
            "pair_id": ids,
            "is_foil": foil,
            "foil_type": np.repeat(["noun", "colour"], N),
            "foil_index": index,
            "cosine": rng.normal(0.3, 0.05, 2 * N) - 0.03 * foil,
            "error": None,
        }
    )
    words = pd.DataFrame(
        {
            "pair_id": np.repeat(ids, WORDS),
            "word_index": np.tile(np.arange(WORDS), 2 * N),
            "word": "w",
            "seen": True,
        }
    )
    wrong = words["word_index"].to_numpy() == np.repeat(index, WORDS)
    values = rng.normal(0, 1, (2, 3, len(words))) - 1.5 * wrong * np.array([1, 0.3])[:, None, None]
    heads = rng.normal(0, 1, (3, 2, len(words))) - wrong
    return AblationTable(
        words, pairs, values.astype(np.float32), heads.astype(np.float32), ["signed", "absolute"]
    )


def test_some_variants_and_one_layer_count_are_those_of_the_whole(table):
    whole = measured.scores(table)
    part = measured.scores_at(measured.some(table, ["absolute"]), 2)
    expected = whole[(whole["variant"] == "absolute") & (whole["layers"] == 2)]
    pd.testing.assert_frame_equal(
        part.reset_index(drop=True), expected.reset_index(drop=True), check_like=True
    )
    assert set(whole["measure"]) == {measured.LOCATION, measured.PRECISION}
    assert ((whole["low"] <= whole["value"]) & (whole["value"] <= whole["high"])).all()


def test_layer_count(table):
    counts = [measured.layer_count(table, layers) for layers in (0, -1, -3, -99)]
    assert counts == [3, 1, 3, 3]


def test_differences_are_paired(table):
    found = measured.differences(table, 2).set_index(["measure", "variant", "group"])
    values = measured.scores_at(measured.pooled(table), 2).set_index(["measure", "variant"])
    for measure in (measured.LOCATION, measured.PRECISION):
        cell = found.loc[measure, "absolute", measured.ALL]
        gap = values.loc[(measure, "absolute"), "value"] - values.loc[(measure, "signed"), "value"]
        assert cell["value"] == pytest.approx(gap) and cell["low"] < cell["value"] < cell["high"]
        assert cell["n"] == N and cell["high"] < 0  # the weaker variant loses, and it shows
    assert set(found.index.get_level_values("group")) == {measured.ALL, "noun", "colour"}


def test_a_variant_against_itself_differs_by_nothing(table):
    same = table._replace(values=table.values[[0, 0]])
    found = measured.differences(same, 3)
    assert found[["value", "low", "high"]].eq(0).all(axis=None)


def test_precision_gain_equals_scikit_learn(table):
    cell = measured.differences(table, 1)
    cell = cell[(cell["measure"] == measured.PRECISION) & (cell["group"] == "noun")].iloc[0]
    pairs = table.pairs[table.pairs["foil_type"] == "noun"]
    expected = [
        average_precision_score(~pairs["is_foil"], f_clip_scores(table.at(v, 1), pairs, "min"))
        for v in ("absolute", "signed")
    ]
    assert cell["value"] == pytest.approx(expected[0] - expected[1])


def test_share_by_layer_is_the_mean_of_heads(table):
    found = measured.share_by_layer(table)
    assert len(found) == 3 * 2 and found["high"].max() < 0  # every layer objects by construction
    assert found["n"].eq(N / 2).all()


@pytest.fixture
def labelled():
    rng = np.random.default_rng(1)
    n = 300
    foiled = rng.random(n) < 0.3
    values = np.round(rng.normal(0, 1, n) - foiled, 1)  # rounded, so that there are ties
    return pd.DataFrame(
        {
            "pair_id": rng.integers(0, 60, n),
            "foiled": foiled,
            "attribution": values,
            "pos": rng.choice(["NOUN", "ADJ"], n),
        }
    )


def test_separation_equals_scikit_learn(labelled):
    found = measured.separation_by_pos(labelled).set_index("pos")
    for tag, own in labelled.groupby("pos"):
        expected = roc_auc_score(own["foiled"], -own["attribution"])
        assert found.loc[tag, "value"] == pytest.approx(expected)
        assert found.loc[tag, "low"] < expected < found.loc[tag, "high"]
        assert found.loc[tag, "n"] == own["foiled"].sum()


def test_blind_picking_by_hand(labelled):
    found = measured.detection_chance(labelled, -0.5).set_index(["pos", "measure"])["chance"]
    own = labelled[labelled["pos"] == "NOUN"]
    picked, foiled = (own["attribution"] < -0.5).mean(), own["foiled"].mean()
    assert found["NOUN", "recall"] == pytest.approx(picked)
    assert found["NOUN", "precision"] == pytest.approx(foiled)
    assert found["NOUN", "F1"] == pytest.approx(2 * picked * foiled / (picked + foiled))


def test_agreement_counts_words_and_names_the_confusion():
    truth = ["NOUN", "NOUN", "ADV", "PUNCT"]
    found = measured.agreement(truth, ["NOUN", "VERB", "VERB", "X"], [1, 1, 2, 2])
    found = found.set_index("pos")
    assert found.loc["all words", "n"] == 3 and found.loc["NOUN", "value"] == 0.5
    assert found.loc["ADV", "value"] == 0 and found.loc["ADV", "said"] == "VERB"
    assert "PUNCT" not in found.index
