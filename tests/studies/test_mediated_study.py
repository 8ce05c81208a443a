"""The study of mediated attributions: the truth of words, controls, intervals, figures, norms."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from figure_checks import assert_tidy

from clip_attribution import load_clip, plots
from clip_attribution.interchange import Alignment
from clip_attribution.scenes import scene_caption
from clip_attribution.studies import mediated
from clip_attribution.studies.mediated.runs import (
    IDENTITY,
    RANDOM,
    TRAINED,
    Tuned,
    random_subspaces,
)
from clip_attribution.studies.mediated.tables import visible
from clip_attribution.training.checkpoint import save_final

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
HALF = Alignment(4, 64)


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def models(clip):
    plain = Tuned("plain", 0, clip, HALF, IDENTITY)
    trained = [Tuned("other", start, clip, HALF) for start in range(2)]
    return mediated.with_controls([plain, *trained], 2)


@pytest.fixture(scope="module")
def measured(models):
    return mediated.truth_correlations(models, mediated.scene_rows(8, seed=33), n_steps=3)


def test_the_truth_of_words():
    known = {}
    for index in range(60):
        for register in ("seen", "about"):
            for word in scene_caption(3, index, register=register)[1].words:
                known.setdefault(visible(word, register), set()).add(word.text.lower())
    assert {"sign", "red", "two", "left", "small"} <= known[1.0]
    assert {"history", "festival", "annual"} <= known[0.0]
    assert {"a", "the", "of", "is", "to"} <= known[None]
    assert not known[1.0] & known[0.0] and not known[None] & known[1.0]


def test_rows_are_two_texts_a_scene():
    rows = mediated.scene_rows(5, seed=4)
    assert len(rows) == 10 and rows["register"].tolist()[:2] == ["seen", "about"]
    assert rows["image"][2] == "scene:4:1"
    assert mediated.rows_facts(rows, 4)["n"] == 10


def test_controls_are_random_subspaces_of_the_first_trained_start(clip, models):
    assert [(m.subspace, m.start) for m in models] == [
        (IDENTITY, 0),
        (TRAINED, 0),
        (TRAINED, 1),
        (RANDOM, 0),
        (RANDOM, 1),
        (RANDOM, 0),
        (RANDOM, 1),
    ]
    assert [m.name for m in models[3:]] == ["plain", "plain", "other", "other"]
    first, second = (m.alignment.rotation for m in models[3:5])
    assert torch.allclose(first @ first.T, torch.eye(128), atol=1e-5)
    assert not torch.allclose(first, second) and models[3].alignment.size == 64
    (again, _) = random_subspaces(clip, HALF, 2)
    assert torch.equal(again.rotation, first)


def test_without_tuned_runs_the_model_itself_is_explained(clip, tmp_path):
    (only,) = mediated.tuned_models(clip, str(tmp_path))
    assert only.clip is clip and only.subspace == IDENTITY
    assert (only.alignment.site, only.alignment.size, only.alignment.rotation) == (4, 64, None)
    controls = mediated.with_controls([only], 2)[1:]
    assert [one.subspace for one in controls] == [RANDOM] * 2
    assert all(one.alignment.site == 4 and one.alignment.size == 64 for one in controls)


def test_a_run_is_read_from_its_folder(clip, tmp_path):
    facts = {"objective": "behavioural", "adapters": "lora", "seed": 3}
    (tmp_path / "run3").mkdir()
    save_final(tmp_path / "run3", "key", clip, facts, [])
    (only,) = mediated.tuned_models(clip, str(tmp_path))
    assert (only.name, only.start, only.subspace) == ("behavioural lora", 3, IDENTITY)
    assert only.clip.weights_hash == clip.weights_hash and only.clip is not clip


def test_r_runs_over_word_types_of_known_truth(measured):
    correlations, words, gaps = measured
    assert len(correlations) == 7 * 4 and correlations["n"].eq(8).all()
    own = words[words["subspace"].eq(IDENTITY) & words["truth"].notna()]
    means = own.groupby("word")[["through", "truth"]].mean()
    wanted = np.corrcoef(means["through"], means["truth"])[0, 1]
    row = correlations[(correlations["subspace"] == IDENTITY) & (correlations["path"] == "through")]
    assert np.isclose(row["value"].iloc[0], wanted) and row["types"].iloc[0] == len(means)
    whole = words[["through", "around", "rest"]].sum(axis=1)
    np.testing.assert_allclose(words["whole"], whole, atol=1e-4)
    assert gaps["share_of_rest"].between(0.01, 0.9).all() and len(gaps) == 7
    assert ((gaps["largest"] < 1e-3) <= (gaps["complete"] == 1)).all()
    assert "neither through nor around" in mediated.finding_gaps(gaps, 3)
    plain = correlations[correlations["subspace"] == IDENTITY]["value"].to_numpy()
    same = correlations[correlations["subspace"] == TRAINED]["value"].to_numpy()
    np.testing.assert_allclose(same, np.tile(plain, 2), atol=1e-5)


def test_intervals_over_starts():
    rows = [
        {"model": "m", "subspace": TRAINED, "start": k, "path": path, "value": value + k / 10}
        | {"low": -9.0, "high": 9.0}
        for k in range(3)
        for path, value in (("through", 0.4), ("around", 0.1 - 2 * k / 10))
    ]
    table = mediated.over_starts(pd.DataFrame(rows)).set_index("path")
    through = table.loc["through"]
    assert np.isclose(through["value"], 0.5) and through["n"] == 3
    assert np.isclose(through["high"] - through["value"], 4.3027 * 0.1 / 3**0.5, atol=1e-4)
    split = table.loc["through − around"]
    assert np.isclose(split["value"], 0.5) and split["low"] < 0.5 < split["high"]
    one = mediated.over_starts(pd.DataFrame(rows[:2])).set_index("path")
    assert one.loc["through", "low"] == -9 and np.isnan(one.loc["through − around", "low"])
    said = mediated.finding_split(table.reset_index())
    assert "over 3 starts" in said and said.count("\n") == 0


def test_figures_are_tidy(measured):
    plots.use_style()
    correlations, words, _ = measured
    assert_tidy(mediated.path_dots(mediated.over_starts(correlations), correlations))
    own = words[
        (words["model"] == "other") & (words["subspace"] == TRAINED) & (words["start"] == 0)
    ]
    figure = mediated.text_panels(own, mediated.best_image(own))
    assert len(figure.axes) == 4
    means = mediated.name_means(words)
    assert set(means["register"]) <= {"caption", "description"} and len(means) >= 2
    assert "names on signs have" in mediated.finding_names(means)


def test_without_both_folders_there_are_no_norms(models):
    assert mediated.with_norms(models, "norms", "", "val") is None


@pytest.mark.skipif(not (ROOT / "norms").is_dir(), reason="needs norms/ and concadia/")
def test_with_the_real_norms():
    small = load_clip("tiny", model_config=tiny.config(context=77))
    folders = str(ROOT / "norms"), str(ROOT / "concadia")
    table = mediated.with_norms(mediated.tuned_models(small), *folders, "val", n_steps=1)
    assert len(table) == 2 * 4 * 2 and table["n"].max() == 100
    both = table[table["both_lists"]]
    assert both["types"].nunique() == 1 and table["types"].nunique() == 3
