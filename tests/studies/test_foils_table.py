"""The one table behind the ablations equals separate runs, and its reductions equal plain loops."""

import numpy as np
import pandas as pd
import pytest
import tiny
from sklearn.metrics import average_precision_score

from clip_attribution.attribution import attribute
from clip_attribution.metrics.misalignment import f_clip_score
from clip_attribution.models.clip import load_clip
from clip_attribution.scenes import scene_pairs
from clip_attribution.studies.foils import table as ablations

CONFIG = tiny.config(2, 3, patch=16)


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=CONFIG)


@pytest.fixture(scope="module")
def pairs():
    return scene_pairs(40, seed=3, foils=("noun", "colour"))


@pytest.fixture(scope="module")
def table(clip, pairs):
    return ablations.ablation_table(clip, pairs)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("variant", ["signed", "negative_heads", "negative_layers_gradient"])
def test_every_setting_equals_a_run_of_its_own(clip, pairs, table, variant, layers):
    words, _ = attribute(clip, pairs, layers=-layers, relu=variant)
    both = table.at(variant, layers)
    np.testing.assert_allclose(both["attribution"], words["attribution"], atol=1e-6)
    assert both["word"].tolist() == words["word"].tolist()


def test_heads_average_to_the_signed_attribution(table):
    np.testing.assert_allclose(table.heads.mean((0, 1)), table.values[0, -1], atol=1e-7)


def test_the_cache_gives_the_same_table_and_is_not_computed_twice(clip, pairs, table, tmp_path):
    first = ablations.ablation_table(clip, pairs, cache=tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = ablations.ablation_table(clip, pairs, cache=tmp_path)
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} and len(stamps) == 2
    for one in (first, again):
        np.testing.assert_array_equal(one.values, table.values)
        np.testing.assert_array_equal(one.heads, table.heads)
        assert one.variants == table.variants
        pd.testing.assert_frame_equal(one.words, table.words, check_dtype=False)
        assert one.pairs["cosine"].tolist() == table.pairs["cosine"].tolist()
    ablations.ablation_table(clip, pairs.head(10), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_location_equals_a_plain_loop(table):
    found = ablations.location_by_layers(table).set_index(["variant", "layers", "foil_type"])
    words = table.at("signed", 2)
    hits = []
    pairs = table.pairs
    for row in pairs[pairs["is_foil"] & (pairs["foil_type"] == "noun")].itertuples():
        own = words[words["pair_id"] == row.pair_id]
        hits.append(int(own["attribution"].to_numpy().argmin() == row.foil_index))
    cell = found.loc["signed", 2, "noun"]
    assert cell["value"] == pytest.approx(np.mean(hits)) and cell["n"] == len(hits) == 20
    assert 0 < cell["chance"] < 0.5


def test_the_control_is_the_same_place_in_the_true_caption(table):
    pairs = table.pairs.set_index("pair_id")
    twins = ablations.twins(table)
    assert len(twins) == 40 and twins.notna().all()
    found = ablations.location_by_layers(table).set_index(["variant", "layers", "foil_type"])
    words, net = table.at("signed", 2), []
    for foil, true in twins.items():
        assert not pairs["is_foil"][true] and pairs["image"][true] == pairs["image"][foil]
        if pairs["foil_type"][foil] == "colour":
            lowest = [
                words.loc[words["pair_id"] == one, "attribution"].to_numpy().argmin()
                == pairs["foil_index"][foil]
                for one in (foil, true)
            ]
            net.append(lowest)
    cell, net = found.loc["signed", 2, "colour"], np.array(net, float)
    assert cell["control"] == pytest.approx(net[:, 1].mean())
    assert cell["net"] == pytest.approx(np.subtract(*net.T).mean())
    assert cell["net_low"] <= cell["net"] <= cell["net_high"]


def test_without_true_captions_there_is_no_control(table):
    foils = table.pairs[table.pairs["is_foil"]]
    alone = table._replace(pairs=foils)
    assert ablations.twins(alone).isna().all()
    for rows in (ablations.location_by_layers(alone), ablations.contribution_by_head(alone)):
        assert rows["value"].notna().all() and rows[["control", "net"]].isna().to_numpy().all()


def test_a_longer_caption_is_no_twin_and_one_may_serve_two_foils(table):
    ids = table.pairs["pair_id"].tolist()
    extra = table.pairs.iloc[[1]].assign(pair_id="another:foil")
    scene = table.pairs["pair_id"].iloc[0].rsplit(":", 1)[0]
    both = table._replace(
        pairs=pd.concat([table.pairs, extra.assign(pair_id=f"{scene}:second")]),
        words=pd.concat(
            [
                table.words,
                table.words[table.words["pair_id"] == ids[1]].assign(pair_id=f"{scene}:second"),
            ]
        ),
    )
    found = ablations.twins(both)
    assert found[f"{scene}:second"] == found[ids[1]] == ids[0]
    first = table.words.index[table.words["pair_id"] == ids[0]][0]
    shorter = table._replace(words=table.words.drop(index=first))
    assert pd.isna(ablations.twins(shorter)[ids[1]])


def test_precision_equals_scikit_learn(table):
    found = ablations.precision_by_layers(table).set_index(["variant", "layers", "foil_type"])
    words, pairs = table.at("signed", 1), table.pairs[table.pairs["foil_type"] == "colour"]
    scores = []
    for row in pairs.itertuples():
        own = words[words["pair_id"] == row.pair_id]
        scores.append(f_clip_score(row.cosine, own["attribution"], own["word"], "min"))
    expected = average_precision_score(~pairs["is_foil"].astype(bool), scores)
    assert found.loc["signed", 1, "colour"]["value"] == pytest.approx(expected, abs=1e-12)
    assert found["chance"].eq(0.5).all()


def test_contribution_equals_a_plain_loop(table):
    found = ablations.contribution_by_head(table).set_index(["layer", "head"])
    gaps = []
    for row in table.pairs[table.pairs["is_foil"]].itertuples():
        own = (table.words["pair_id"] == row.pair_id).to_numpy()
        values = table.heads[1, 0, own].astype(float)
        gaps.append(values[int(row.foil_index)] - np.delete(values, int(row.foil_index)).mean())
    assert found.loc[(1, 0), "value"] == pytest.approx(np.mean(gaps), abs=1e-12)
    assert found.loc[(1, 0), "n"] == len(gaps)
    controls = []
    for foil, true in ablations.twins(table).items():
        place = int(table.pairs.set_index("pair_id")["foil_index"][foil])
        values = table.heads[1, 0, (table.words["pair_id"] == true).to_numpy()].astype(float)
        controls.append(values[place] - np.delete(values, place).mean())
    assert found.loc[(1, 0), "control"] == pytest.approx(np.mean(controls), abs=1e-12)
    assert found.loc[(1, 0), "net"] == pytest.approx(np.mean(gaps) - np.mean(controls), abs=1e-12)


def test_detection_by_hand():
    words = pd.DataFrame(
        {
            "pair_id": [1, 1, 1, 2, 2, 3, 3],
            "pos": ["NOUN", "ADJ", "NOUN", "NOUN", "PUNCT", "NOUN", "ADJ"],
            "attribution": [-1.0, -1.0, 0.5, 0.5, -9.0, -1.0, 0.0],
            "foiled": [True, False, False, True, False, False, True],
        }
    )
    found = ablations.detection_by_pos(words).set_index(["pos", "measure"])
    assert found.loc[("NOUN", "precision"), "value"] == 0.5  # one hit, one false alarm
    assert found.loc[("NOUN", "recall"), "value"] == 0.5  # one of two foiled nouns
    assert found.loc[("NOUN", "F1"), "value"] == 0.5
    assert found.loc[("ADJ", "recall"), "value"] == 0 and found.loc[("ADJ", "recall"), "n"] == 1
    assert "PUNCT" not in found.index.get_level_values(0)


def test_labels_mark_the_foiled_word_of_foils_only(table):
    labelled = ablations.label_words(table.at(), table.pairs)
    assert labelled.groupby("pair_id")["foiled"].sum().eq(1).all()
    assert labelled["pair_id"].nunique() == int(table.pairs["is_foil"].sum())
    for row in labelled[labelled["foiled"]].merge(table.pairs, on="pair_id").itertuples():
        assert row.word == row.foil_word
