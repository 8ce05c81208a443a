"""What notebooks 09 and 10 call: phrases, kept maps, comparisons, sentences and figures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clip_attribution import load_clip
from clip_attribution.datasets.export import export
from clip_attribution.errors import UserError
from clip_attribution.evaluation.grounding import HEADLINES, estimates, ground
from clip_attribution.io.parts import kept
from clip_attribution.metrics.summary import METRICS
from clip_attribution.plots import style as plots
from clip_attribution.studies.grounding.comparisons import (
    GRADED,
    against_baselines,
    against_blind,
    correlations,
    disagreements,
    pointing_correlations,
    sweep_all,
)
from clip_attribution.studies.grounding.figures import (
    correlation_map,
    example_panels,
    in_order,
    metric_distributions,
    role_dots,
    task_distributions,
    uncertainty_curves,
)
from clip_attribution.studies.grounding.findings import (
    finding_areas,
    finding_baselines,
    finding_blind,
    finding_correlations,
    finding_examples,
    finding_foil,
    finding_roles,
    finding_sanity,
    finding_uncertainty,
    headline_table,
    published_table,
    report_phrases,
)
from clip_attribution.studies.grounding.tables import (
    Maps,
    all_maps,
    as_maps,
    as_table,
    load_captions,
    load_phrases,
    measure_all,
    phrase_facts,
    with_sizes,
)
from clip_attribution.studies.heatmaps import curve_panels, map_panels, sanity_panels

METHODS = ["gae_image", "clip4dm_image", "rollout"]


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def phrases():
    return load_phrases(n_pictures=5, seed=2)


@pytest.fixture(scope="module")
def maps(clip, phrases):
    return all_maps(clip, phrases, METHODS)


@pytest.fixture(scope="module")
def measured(maps, phrases):
    return measure_all(maps, phrases, relative=True, delta=0.08)


# --- phrases, maps, measures ---


def test_scenes_are_of_seen_and_of_novel_combinations(phrases):
    assert phrases["pair_id"].is_unique and phrases["error"].isna().all()
    pictures = phrases.groupby("group")["image"].nunique()
    assert pictures.to_dict() == {"novel": 5, "seen": 5}
    assert set(phrases["task"]) <= {"object", "attribute", "relation"}
    assert set(phrases["size"]) == {(64, 64)}
    facts = phrase_facts(phrases, "scenes")
    assert facts["n"] == len(phrases) and facts["pictures"] == 10
    assert phrase_facts(phrases.iloc[1:], "scenes")["hash"] != facts["hash"]
    assert f"{len(phrases)} phrases" in report_phrases(phrases)


def test_a_benchmark_is_read_from_its_official_files(clip, tmp_path):
    export("refcoco", tmp_path, n=6, seed=1)
    found = load_phrases("refcoco", str(tmp_path), str(tmp_path), n_pictures=3, seed=0)
    assert found["image"].nunique() == 3 and set(found["task"]) == {"phrase"}
    measured = measure_all(all_maps(clip, found, ["rollout"], str(tmp_path)), found)
    assert measured["rollout"]["error"].isna().all()


def test_measures_equal_those_of_the_streaming_evaluation(clip, phrases, measured):
    for method in METHODS:
        streamed = ground(
            clip, phrases.drop(columns="size"), method, measures={"relative": True, "delta": 0.08}
        )
        for name in METRICS:
            assert np.allclose(streamed[name], measured[method][name], equal_nan=True, atol=1e-5)


def test_kept_maps_are_read_and_equal(clip, phrases, maps, tmp_path, monkeypatch):
    first = all_maps(clip, phrases, METHODS, cache=str(tmp_path))

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("clip_attribution.studies.grounding.tables.row_maps", never)
    again = all_maps(clip, phrases, METHODS, cache=str(tmp_path))
    for method in METHODS:
        for found in (first, again):
            assert np.array_equal(found[method].maps, maps[method].maps)
            assert found[method].errors == maps[method].errors
            assert found[method].upsampling == "cubic"


def test_a_bad_picture_is_the_error_of_its_rows_alone(clip, phrases, tmp_path):
    Image.new("RGB", (20, 30), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = phrases.iloc[:3].assign(image=["good.png", "bad.png", "good.png"], role=None)
    rows["boxes"] = [[[0, 0, 9, 9]], [[0, 0, 9, 9]], [[5.0, 5.0, 2.0, 2.0]]]
    rows = with_sizes(rows.reset_index(drop=True), str(tmp_path))
    assert rows["size"][0] == (30, 20) and "cannot read" in rows["error"][1]
    assert "1 left out" in report_phrases(rows)
    found = measure_all(all_maps(clip, rows, ["rollout"], str(tmp_path)), rows)["rollout"]
    assert found["error"].isna().tolist() == [True, False, False]
    assert found["io_ratio"].isna().tolist() == [False, True, True]
    assert "cannot read" in found["error"][1] and "\n" not in found["error"][2]


@pytest.mark.parametrize(
    "given", [{"dataset": "imagenet"}, {"dataset": "refcoco"}, {"dataset": "coco", "data": "gone"}]
)
def test_unusable_datasets_are_one_line(given):
    with pytest.raises(UserError) as caught:
        load_phrases(**given)
    assert "\n" not in str(caught.value)


def test_nothing_usable_is_one_line_with_the_reason(clip, phrases):
    with pytest.raises(UserError, match="not one of 2 phrases"):
        with_sizes(phrases.iloc[:2].assign(image="gone.png"))
    with pytest.raises(UserError, match="rollout: not one of 2 maps"):
        all_maps(clip, phrases.iloc[:2].assign(phrase="", error=None), ["rollout"])
    with pytest.raises(UserError, match="unknown heat-map method"):
        all_maps(clip, phrases, ["gradcan"])


def test_captions_are_true_ones(tmp_path):
    scenes = load_captions(n_pairs=4, seed=1)
    assert len(scenes) == 4 and scenes["pair_id"].is_unique
    table = pd.DataFrame(
        {"image": list("abc"), "caption": ["x", "y", "z"], "foil_word": ["", "y", "ORIG"]}
    )
    table.to_csv(tmp_path / "pairs.csv", index=False)
    assert list(load_captions(str(tmp_path / "pairs.csv"), 9)["caption"]) == ["x", "z"]
    table.drop(columns="foil_word").to_csv(tmp_path / "plain.csv", index=False)
    assert len(load_captions(str(tmp_path / "plain.csv"), 2, seed=1)) == 2


# --- comparisons, on frames made by hand ---


def frame(hits, ratios, **more):
    rows = pd.DataFrame({"pg_hit": hits, "io_ratio": ratios}, dtype=float)
    rows["image"] = [f"p{n}" for n in range(len(rows))]
    rows["boxes"] = [[[0, 0, 2, 2]]] * len(rows)
    rows["size"] = [(4, 4)] * len(rows)
    return rows.assign(**{"error": None, "task": "object", **more})


def test_differences_to_the_baselines_by_hand():
    found = against_baselines({"m": frame([1, 1, 0, 0], [0.5, 0.25, 0.0, 1.0])})
    found = found.set_index(["metric", "baseline"])["value"]
    # a quarter of the image is in the box, 1 of 16 pixels strictly inside, the centre is not
    assert found["pg_hit", "centre point"] == 0.5
    assert found["io_ratio", "centre point"] == pytest.approx(0.4375)
    assert found["pg_hit", "uniform map"] == pytest.approx(0.5 - 1 / 16)
    assert found["io_ratio", "uniform map"] == pytest.approx(0.4375 - 0.25)


def test_differences_to_a_blind_method_are_paired_and_by_task():
    tasks = {"task": ["object", "object", "attribute", "attribute"]}
    both = {
        "m": frame([1, 1, 0, 0], [0] * 4, **tasks),
        "rollout": frame([1, 0, 0, 1], [0] * 4, **tasks),
    }
    found = against_blind(both).set_index("task")
    assert found["value"].to_dict() == {"object": 0.5, "attribute": -0.5}
    assert set(found["method"]) == {"m"} and against_blind({"m": both["m"]}).empty
    assert "ignores the phrase" in finding_blind(against_blind({"m": both["m"]}))


def test_correlations_are_within_methods(measured):
    matrix = correlations(measured)
    assert np.allclose(np.diag(matrix)[:-1], 1) and np.allclose(matrix, matrix.T, equal_nan=True)
    assert matrix.loc["iou_soft", "dice_soft"] == pytest.approx(1)  # one is monotone in the other
    one = measured["gae_image"]
    alone = correlations({"gae_image": one})
    by_pandas = one["io_ratio"].rank().corr(one["wdp_soft"].rank())
    assert alone.loc["io_ratio", "wdp_soft"] == pytest.approx(by_pandas)
    shifted = {"a": one, "b": one.assign(**{name: one[name] + 5 for name in GRADED})}
    pd.testing.assert_frame_equal(correlations(shifted), alone)


def test_delta_changes_no_uncertainty_as_stated_and_the_chosen_values_are_swept(maps, phrases):
    swept = sweep_all(maps, phrases, tau=0.6, delta=0.1)
    stated = swept[swept["measure"] == "uncertain"]
    assert (stated.groupby("method")["value"].nunique() == 1).all()
    for along, at in (("tau", 0.6), ("delta", 0.1)):
        assert at in set(swept[swept["along"] == along]["at"])
    crossing = swept[
        ((swept["along"] == "tau") & (swept["at"] == 0.6))
        | ((swept["along"] == "delta") & (swept["at"] == 0.1))
    ]
    assert (crossing.groupby(["method", "measure"])["value"].nunique() == 1).all()


def test_disagreements_are_hits_with_least_and_misses_with_most_heat_inside():
    both = {
        "a": frame([1, 1, 0, 0], [0.9, 0.1, 0.8, 0.2]),
        "b": frame([1, 0, 1, 0], [0.05, 0.3, 0.4, 0.95]),
    }
    for name, rows in both.items():
        rows["method"] = name
    found = disagreements(both, n=2)
    assert found["method"].tolist() == ["b", "a", "b", "a"]
    assert found["io_ratio"].tolist() == [0.05, 0.1, 0.95, 0.8]
    assert found["row"].tolist() == [0, 1, 3, 2]


# --- sentences and figures ---


def test_a_method_that_is_not_above_a_baseline_is_named():
    rows = [
        ("good", "pg_hit", "centre point", 0.3, 0.1, 0.5),
        ("good", "pg_hit", "uniform map", 0.3, 0.1, 0.5),
        ("poor", "pg_hit", "centre point", 0.1, -0.1, 0.3),
        ("poor", "pg_hit", "uniform map", 0.3, 0.1, 0.5),
    ]
    columns = ["method", "metric", "baseline", "value", "low", "high"]
    said = finding_baselines(pd.DataFrame(rows, columns=columns))
    assert said == (
        "PG accuracy: above centre point and uniform map: good. Not so: poor not above the centre "
        "point (+0.10 [-0.10, +0.30])."
    )


def test_sentences_about_tasks_and_depths_follow_the_intervals():
    columns = ["scorer", "task", "group", "metric", "value", "low", "high", "n"]
    rows = [
        ("m", "object", "seen", "pg_hit", 0.8, 0.7, 0.9, 50),
        ("m", "object", "novel", "pg_hit", 0.5, 0.4, 0.6, 50),
        ("m", "relation", "seen", "pg_hit", 0.0, 0.0, 0.0, 3),
    ]
    said = finding_roles(pd.DataFrame(rows, columns=columns))
    assert "part in 1 of 1 comparisons: m on object phrases." in said and "relation" not in said
    steps = pd.DataFrame(
        {
            "method": "m",
            "step": [-1, 0, 1, 2],
            "depth": ["other image", "given", "head", "block 0"],
            "value": [0.1, 1, 0.6, 0.1],
            "low": [0, 1, 0.5, 0],
            "high": [0.2, 1, 0.7, 0.3],
        }
    )
    said = finding_sanity(steps, True)
    assert "first not distinguishable from another image's map at block 0." in said
    assert said.endswith("The given model is unchanged.")
    assert "HAS CHANGED" in finding_sanity(steps, False)


def test_equal_maps_of_phrase_and_foil_are_called_the_same():
    one, other = np.arange(4.0).reshape(2, 2), np.array([[3.0, 1], [2, 0]])
    said = finding_foil({"a": one, "b": one}, {"a": one * 2, "b": other})
    assert said.startswith("The very same map for phrase and foil: a.") and "b -0.80" in said


def test_the_published_table_is_as_printed():
    table = published_table()
    assert table.shape == (24, 9)
    row = table.loc[("Flickr30K Entities test", "BLIP base")]
    assert row["PG accuracy (%)"] == "60.08" and row["PG uncertainty (count)"] == "317"


def texts_of(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


def test_every_figure_of_the_first_notebook_draws(clip, maps, measured, phrases):
    plots.use_style()
    table, grouped = estimates(measured), estimates(measured, ["task", "group"])
    wide = headline_table(table, HEADLINES)
    assert list(wide.index) == [*METHODS, "centre point", "uniform map"]
    assert wide.loc["centre point", "IoU, soft"] == "" and "[" in wide.loc["rollout", "IO ratio"]
    matrix, swept = correlations(measured), sweep_all(maps, phrases)
    figures = [
        metric_distributions(measured, table),
        task_distributions(measured),
        role_dots(grouped),
        correlation_map(matrix),
        uncertainty_curves(swept, 0.7, 0.08),
        example_panels(disagreements(measured), maps),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        assert abs(figure.get_figwidth() - plots.COLUMN) < 1e-9
    assert {"PG accuracy", *METHODS} <= set(texts_of(figures[0]))
    said = [
        finding_correlations(matrix, pointing_correlations(measured)),
        finding_uncertainty(swept),
        finding_examples(measured),
    ]
    assert all(said) and "nan" not in " ".join(said)


def test_tasks_are_in_one_order():
    assert in_order(["relation", "phrase", "object", "object"]) == ["object", "relation", "phrase"]


def test_a_distribution_ends_at_the_whole(measured):
    figure = metric_distributions(measured, estimates(measured))
    lines = [line for ax in figure.axes[:8] for line in ax.lines]
    assert len(lines) == 8 * len(METHODS)
    for line in lines:
        assert line.get_ydata()[-1] == 1 and (np.diff(line.get_ydata()) >= 0).all()


def test_figures_of_the_second_notebook_draw(maps):
    plots.use_style()
    raw = {name: own.maps[0] for name, own in maps.items()}
    shown = map_panels(Image.new("RGB", (64, 64)), raw)
    assert sum(bool(ax.images) for ax in shown.axes) == 1 + len(METHODS)
    rows = [
        {
            "method": m,
            "kind": k,
            "share": x,
            "value": 1 - x,
            "low": 0.9 - x,
            "high": 1.1 - x,
            "n": 3,
        }
        for m in ("m", "random order")
        for k in ("deletion", "insertion")
        for x in (0, 0.5, 1)
    ]
    gains = pd.DataFrame(
        [
            ("m", "deletion", 0.3),
            ("m", "insertion", 0.3),
            ("random order", "deletion", 0),
            ("random order", "insertion", 0),
        ],
        columns=["method", "kind", "gain"],
    )
    gains = gains.assign(gain_low=gains["gain"] - 0.1, gain_high=gains["gain"] + 0.1, n=3)
    curves = curve_panels(pd.DataFrame(rows), gains, "patches")
    assert "patches taken away (share)" in texts_of(curves)
    said = finding_areas(gains, "random order")
    assert said.count("better than a random order: m") == 2
    depths = pd.DataFrame(
        {
            "method": "m",
            "step": [-1, 0, 1],
            "value": [0.1, 1, 0.5],
            "depth": ["other image", "given", "head"],
            "low": [0, 1, 0.4],
            "high": [0.2, 1, 0.6],
        }
    )
    for figure in (shown, curves, sanity_panels(depths)):
        figure.draw_without_rendering()


def test_kept_errors_come_back(tmp_path):
    maps = Maps(np.ones((2, 3, 3), np.float32), [None, "no such file"], "linear")
    path = tmp_path / "folder" / "0123456789abcdef.parquet"
    for compute in (lambda: as_table(maps), None):
        again = as_maps(kept(path, compute), "linear")
        assert again.errors == maps.errors and np.array_equal(again.maps, maps.maps)
