"""The study of descriptions over captions: its runs, tables, sentences and figures."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import tiny
from scipy.stats import t as student

from clip_attribution import load_clip
from clip_attribution.metrics.intervals import mean_estimate
from clip_attribution.studies import descriptions
from clip_attribution.studies.descriptions.runs import FROZEN, VARIANTS
from clip_attribution.studies.descriptions.tables import (
    BASE,
    GIVEN,
    OTHER,
    PREFERENCE,
    RANDOM,
    TRAINED,
    TRANSFER,
)
from clip_attribution.training.descriptions import text_scores

matplotlib.use("agg")
FAST = {"steps": 4, "rank": 2, "batch": 4}


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=tiny.config(1, 4), device="cpu", seed=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def prepared(clip, cache):
    return descriptions.prepare(clip, cache, n_train=16, n_test=12, steps=2)


@pytest.fixture(scope="module")
def runs(prepared, cache):
    return descriptions.tuned_runs(prepared, cache, starts=(0, 1), **FAST)


@pytest.fixture(scope="module")
def table(prepared, runs):
    return descriptions.outcomes(prepared, runs)


@pytest.fixture(scope="module")
def localised(prepared, runs):
    return descriptions.localisation_of(prepared, runs, 6, 1)


def test_every_way_runs_from_its_starts_and_is_read_back(prepared, cache, runs):
    counts = pd.Series([run.variant for run in runs]).value_counts().to_dict()
    assert counts == {
        "behavioural LoRA": 2,
        "IIT-DAS LoRA": 2,
        "joint LoRA": 1,
        "behavioural full": 1,
        "IIT-DAS full": 1,
        FROZEN: 1,
    }
    times = {run.tuned.folder: (run.tuned.folder / "model.safetensors").stat() for run in runs}
    assert len(times) == len(runs)
    again = descriptions.tuned_runs(prepared, cache, starts=(0, 1), **FAST)
    for run in again:
        assert (run.tuned.folder / "model.safetensors").stat() == times[run.tuned.folder]
    assert set(prepared.texts) == {"train", "val", "test"} and prepared.cost["steps"] == 2


def test_a_model_that_is_even_already_is_its_own_base(clip, cache):
    prepared = descriptions.prepare(clip, cache, n_train=16, n_test=12, even=False)
    assert prepared.base is clip and prepared.cost is None
    table = descriptions.outcomes(prepared, [])
    assert set(table["variant"]) == {BASE}
    assert "The base prefers descriptions on" in descriptions.finding_base(prepared, table)


def test_the_interval_over_starts_is_students():
    values = [0.9, 0.94, 0.95]
    mean, low, high = descriptions.over_starts(values)
    half = student.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert (mean, low, high) == pytest.approx((np.mean(values), mean - half, mean + half))
    assert np.isnan(descriptions.over_starts([0.5])[1:]).all()


def test_outcomes_are_means_over_starts_with_both_intervals(prepared, runs, table):
    own = [run for run in runs if run.variant == "behavioural LoRA"]
    wins = []
    for run in own:
        model, device = run.tuned.clip.model, run.tuned.clip.device
        caption, description = text_scores(model, prepared.texts["test"], device)
        wins.append((description > caption).double().numpy())
    rows = table.set_index(["variant", "measure"])
    row = rows.loc["behavioural LoRA", PREFERENCE]
    expected = mean_estimate(np.mean(wins, 0))
    assert (row["value"], row["low"], row["high"], row["n"]) == pytest.approx(expected)
    assert row["starts"] == 2 and row["start_low"] <= row["value"] <= row["start_high"]
    assert TRANSFER in rows.loc[BASE].index
    assert GIVEN in set(table["variant"]) and FROZEN not in set(table["variant"])


def test_subspaces_stand_beside_their_baselines(localised, runs):
    kinds = localised.groupby("variant")["subspace"].unique().map(set)
    assert kinds["IIT-DAS LoRA"] == {TRAINED, RANDOM, OTHER}
    assert kinds["behavioural LoRA"] == {RANDOM, f"{RANDOM}, another image"}
    assert TRAINED in kinds[FROZEN] and set(localised["direction"]) == {"up", "down", "both"}
    said = descriptions.finding_localisation(localised)
    assert f"{FROZEN}, its own subspace: interchange accuracy" in said


def test_what_is_asked_of_the_gap_is_counted_in_both_directions():
    rows = [
        ("IIT-DAS LoRA", TRAINED, start, measure, direction, value)
        for start, ends in enumerate([(0.95, 1.4), (2.0, 0.89)])
        for measure, direction, value in [
            ("gap moved", "up", ends[0]),
            ("gap moved", "down", ends[1]),
            ("gap", "both", 3.0 + start),
        ]
    ]
    frame = pd.DataFrame(
        rows, columns=["variant", "subspace", "start", "measure", "direction", "value"]
    )
    said = descriptions.finding_gap(frame)
    assert "a gap of 3.0 to 4.0 logits at least 0.9 is moved both ways in 1 of 2 starts" in said
    said = descriptions.finding_gap(frame.assign(subspace=RANDOM))
    assert "at most 0.7 is moved both ways in 0 of 2 starts" in said


def test_published_rows_stand_beside_the_measured_ones_and_are_marked(table):
    shown = descriptions.beside_published(table)
    assert shown.loc[BASE, ("published", "Concadia test")] == "49.4"
    assert shown.loc["IIT-DAS LoRA", ("published", "Concadia test")] == "86.6 ± 0.84"
    assert shown.loc["behavioural full", ("published", "ImageNet")] == "14.6 ± 13.47"
    assert shown.loc["joint LoRA", ("published", "Concadia test")] == ""
    assert "[" in shown.loc[BASE, ("measured", PREFERENCE)]


def test_sentences_say_what_is_in_the_table(prepared, table):
    own = table.copy()
    place = (own["variant"] == BASE) & (own["measure"] == PREFERENCE)
    for value, said in ((0.5, "it is even"), (0.8, "it is NOT even")):
        own.loc[place, "value"] = value
        assert said in descriptions.finding_base(prepared, own)
    place = (own["variant"] == "joint LoRA") & (own["measure"] == TRANSFER)
    own.loc[place, "value"] = 0.25
    assert "joint LoRA 25%" in descriptions.finding_trade_off(own)
    assert "With 12 images a task" in descriptions.finding_trade_off(own)
    lines = descriptions.finding_preference(own).splitlines()
    assert len(lines) == len(VARIANTS) and "over 12 images" in lines[0]
    assert "over 2 starts" in lines[0] and "starts" not in lines[-1]


def test_figures_show_every_way_of_training(prepared, runs, localised):
    logs = descriptions.logs_of(prepared, runs)
    assert {"preference", "transfer", "f1_noun", "step", "start"} <= set(logs)
    curves = descriptions.curves(logs)
    assert len(curves.axes) == 6 and len(curves.axes[0].lines) == len(VARIANTS) + 1
    assert all(np.ptp(ax.get_ylim()) > 0.0999 for ax in curves.axes[1:5])
    dots = descriptions.trade_off_dots(logs)
    shown = sum(len(one.get_offsets()) for one in dots.axes[0].collections)
    frozen = (logs["variant"] == FROZEN) & (logs["step"] > 0)
    assert shown == len(logs) - frozen.sum()
    panels = descriptions.localisation_dots(localised).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [*VARIANTS, FROZEN]
    assert [len(ax.containers) for ax in panels] == [
        14,
        14,
        8,
        8,
    ]  # 2 ways with one kind, 4 with three
    step = descriptions.training_step()
    assert [ax.get_title() for ax in step.axes] == ["behavioural", "interchange (IIT-DAS)"]
