"""The tables, figures and sentences of the misalignment notebook, on frames worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from figure_checks import assert_tidy

from clip_attribution import load_clip
from clip_attribution.datasets.protocol_rows import COLUMNS, GAIN
from clip_attribution.errors import UserError
from clip_attribution.metrics.conformal import split_half
from clip_attribution.plots import footnote
from clip_attribution.plots import style as plots
from clip_attribution.studies.misalignment import figures as benchmark_plots
from clip_attribution.studies.misalignment import findings
from clip_attribution.studies.misalignment import panels as benchmark_panels
from clip_attribution.studies.misalignment.cases import (
    BEST,
    QUARREL,
    WORST,
    agreement,
    alarm_table,
    examples,
    first_marked,
    judged,
    sweep,
    with_foils,
)
from clip_attribution.studies.misalignment.tables import (
    NAMES,
    Measured,
    all_results,
    benchmark_results,
    chosen,
    chosen_foils,
    compared,
    overview,
    throughput,
)
from clip_attribution.text.words import split_words

# caption, its attributions, false word, pair, CLIPScore
CAPTIONS = [
    ("a red cat", (0.1, 0.3, 0.2), None, "0", 2.0),
    ("a red dog", (0.1, 0.3, -0.6), "dog", "0", 1.0),  # found, by 0.7
    ("a big cat", (0.2, 0.1, 0.3), None, "1", 1.5),
    ("a big dog", (-0.4, 0.1, 0.2), "dog", "1", 1.2),  # missed, by 0.6
    ("two hats .", (0.1, 0.2, 0.0), None, "2", 1.0),
    ("ten hats .", (-0.2, 0.0, 0.1), "ten", "2", 1.3),  # found, by 0.2; CLIPScore is fooled
]


@pytest.fixture(autouse=True)
def style():
    plots.use_style()


def frames():
    """The words and the pairs of `CAPTIONS`."""
    words, pairs = [], []
    for number, (caption, values, wrong, pair, score) in enumerate(CAPTIONS):
        pairs.append(
            {
                "pair_id": str(number),
                "caption": caption,
                "is_foil": bool(wrong),
                "foil_word": wrong,
                "pair": pair,
                "clip_score": score,
                "group": "",
                "image": f"scene:1:{pair}",
                "error": None,
            }
        )
        both = zip(split_words(caption), values, strict=True)
        words += [
            {"pair_id": str(number), "word_index": i, "word": word.text, "attribution": value}
            for i, (word, value) in enumerate(both)
        ]
    return pd.DataFrame(words), pd.DataFrame(pairs)


def many(n=400):
    """Random captions of three words, every other one a foil whose false word lies lower."""
    rng = np.random.default_rng(0)
    foil = np.arange(n) % 2 == 1
    pairs = pd.DataFrame(
        {
            "pair_id": np.arange(n).astype(str),
            "is_foil": foil,
            "error": None,
            "foil_word": np.where(foil, "w1", None),
            "pair": (np.arange(n) // 2).astype(str),
        }
    )
    values = rng.normal(0, 1, (n, 3))
    values[foil, 1] -= 2
    words = pd.DataFrame(
        {"pair_id": np.repeat(pairs["pair_id"].to_numpy(), 3), "word": ["w0", "w1", "w2"] * n}
    )
    return words.assign(attribution=values.ravel()), pairs


@pytest.fixture(scope="module")
def alarms():
    return alarm_table(*many())


@pytest.fixture(scope="module")
def swept():
    return sweep(*many(), seed=5)


def result(measure, scorer, value, group="all", **more):
    return (
        dict.fromkeys(COLUMNS)
        | {
            "measure": measure,
            "scorer": scorer,
            "group": group,
            "value": value,
            "low": value - 0.05,
            "high": value + 0.05,
            "n": 50,
            "n_errors": 0,
            "chance": 0.1,
            "ceiling": 1.0,
            "note": "",
        }
        | more
    )


def measured(*rows, embedded=True, seconds=2.0):
    words, pairs = frames()
    results = pd.DataFrame(rows, columns=list(COLUMNS))
    return Measured(results, words, pairs, seconds, None, embedded)


def located(value, **more):
    return [
        result("LA", "attribution", value, **more),
        result("LA", "random word", 0.1, **more),
        result("LA", "most frequent word", 0.2, **more),
    ]


def found_frames(embedded=True):
    """Results in the shape of all five benchmarks."""
    ranked = [result("AP", s, 0.6) for s in ("F-CLIPScore", "CLIPScore", "RefCLIPScore")]
    ranked.append(result("AP", GAIN, 0.02))
    groups = [r for g, v in (("near", 0.5), ("out", 0.3)) for r in located(v, group=g)]
    marked = [result("F1", s, v) for s, v in (("attribution", 0.4), ("whole caption", 0.6))]
    tokens = [result("F1", s, v) for s, v in (("attribution", 0.4), ("every token", 0.2))]
    agreeing = [result("Spearman", s, -0.1) for s in ("F-CLIPScore", "CLIPScore", GAIN)]
    tables = {
        "foil": located(0.5) + ranked,
        "nocaps-foil": located(0.22) + ranked + groups,
        "hat": located(0.1) + ranked,
        "seetrue": [result("NLI", "attribution", np.nan, n=0), *marked],
        "rich-hf": tokens + agreeing,
    }
    return {name: measured(*rows, embedded=embedded) for name, rows in tables.items()}


# ---------------------------------------------------------------- what is asked for


def test_benchmarks_are_named_in_their_order():
    assert chosen("all") == list(NAMES) and len(NAMES) == 5
    assert chosen(" hat  foil ") == ["foil", "hat"]


@pytest.mark.parametrize("text", ["", "foil, hat", "FOIL", "coco"])
def test_an_unknown_benchmark_is_one_line(text):
    with pytest.raises(UserError, match="foil, nocaps-foil, hat, seetrue, rich-hf"):
        chosen(text)


def test_foil_types_are_those_of_the_embedded_world():
    assert chosen_foils("all") is None and chosen_foils("noun size") == ["noun", "size"]
    with pytest.raises(UserError, match="unknown foil type 'verb'"):
        chosen_foils("verb")
    with pytest.raises(UserError, match="embedded world"):
        chosen_foils("noun", "files")


def test_files_that_are_not_there_are_refused_before_anything_runs(tmp_path):
    (tmp_path / "foil").mkdir()
    for files, photos in ((tmp_path, ""), (tmp_path / "none", ""), (tmp_path, tmp_path / "none")):
        with pytest.raises(UserError):
            benchmark_results(None, ["foil", "hat"], str(files), str(photos), cache=str(tmp_path))
    with pytest.raises(UserError, match="photos without files"):
        benchmark_results(None, ["foil"], photos=str(tmp_path), cache=str(tmp_path))
    with pytest.raises(UserError, match="cache"):
        benchmark_results(None, ["foil"], cache="")


# ---------------------------------------------------------------- measured once, kept


@pytest.fixture(scope="module")
def clip():
    return load_clip(device="cpu")


@pytest.mark.slow
def test_another_seed_number_or_foil_choice_gets_its_own_folder_and_the_same_one_the_cache(
    clip, tmp_path
):
    options = {"n": 6, "seed": 3, "cache": str(tmp_path)}
    first = benchmark_results(clip, ["foil"], **options)["foil"]
    again = benchmark_results(clip, ["foil"], **options)["foil"]
    assert first.seconds > 0 and again.seconds is None and first.embedded
    pd.testing.assert_frame_equal(first.words, again.words)
    assert throughput({"foil": again}).empty and len(throughput({"foil": first})) == 1
    for change in ({"n": 5}, {"seed": 4}, {"foils": ["noun"]}):
        other = benchmark_results(clip, ["foil"], **options | change)["foil"]
        assert other.seconds and other.images != first.images
        assert list(other.pairs["caption"]) != list(first.pairs["caption"])
    own = benchmark_results(clip, ["foil"], str(first.images), **options)["foil"]
    assert own.embedded and list(own.pairs["caption"]) == list(first.pairs["caption"])


def test_pictures_that_are_all_missing_are_an_error(clip, tmp_path):
    record = {
        "image_path": "no.jpg",
        "baseline": "a cat",
        "foil": "a dog",
        "references": [],
        "replacement": ["cat", "dog"],
        "domain": "near-domain",
    }
    (tmp_path / "nocaps-val-foil.json").write_text(json.dumps([record]))
    with pytest.raises(UserError, match="nocaps-foil: not one of 2 pairs .* no such file"):
        benchmark_results(clip, ["nocaps-foil"], str(tmp_path), cache=str(tmp_path / "cache"))


# ---------------------------------------------------------------- single captions


def test_false_words_are_read_from_each_benchmarks_own_columns():
    hat = pd.DataFrame({"error": [None, None, "bad"], "hallucinated": [["a", "dog."], [], None]})
    assert list(with_foils(hat)["foil_word"].fillna("-")) == ["a dog", "-", "-"]
    assert list(with_foils(hat)["is_foil"]) == [True, False, False]
    seetrue = pd.DataFrame({"error": [None, "bad"], "caption_misalignment": ["a dog", None]})
    assert list(with_foils(seetrue)["is_foil"]) == [True, False]
    rich = pd.DataFrame(
        {
            "error": [None] * 2 + ["bad"],
            "tokens": [["a", "dog"]] * 2 + [None],
            "labels": [[True, False], [True, True], None],
        }
    )
    assert list(with_foils(rich)["foil_word"].fillna("-")) == ["dog", "-", "-"]
    foil = frames()[1]
    assert with_foils(foil) is foil


def test_margin_and_clipscore_are_compared_with_the_own_true_caption():
    found = judged(*frames()).set_index("pair_id")
    np.testing.assert_allclose(found["margin"], [0.7, -0.6, 0.2])
    np.testing.assert_allclose(found["fooled"], [-1.0, -0.3, 0.3])


def test_without_pairs_clipscore_is_compared_with_the_average_true_caption():
    words, pairs = frames()
    found = judged(words, pairs.drop(columns="pair"))
    np.testing.assert_allclose(found["fooled"], np.array([1.0, 1.2, 1.3]) - 1.5)
    only_foils = pairs[pairs["is_foil"]].drop(columns="pair")
    np.testing.assert_allclose(judged(words, only_foils)["fooled"], [-1 / 6, 1 / 30, 2 / 15])


def test_examples_are_the_best_the_worst_and_a_quarrel():
    shown = {one.kind: one for one in examples(*frames())}
    assert [one.pair["pair_id"] for one in shown.values()] == ["1", "3", "5"]
    assert list(shown) == [BEST, WORST, QUARREL]
    assert [one.predicted for one in shown.values()] == ["dog", "a", "ten"]
    assert list(shown[WORST].words["misaligned"]) == [False, False, True]


def test_a_kind_without_a_caption_is_left_out():
    words, pairs = frames()
    some = pairs[pairs["pair"].eq("0")]
    assert [one.kind for one in examples(words, some)] == [BEST]
    assert examples(words, pairs[~pairs["is_foil"]]) == []


def test_agreement_counts_each_foil_once():
    table = agreement(*frames())
    assert table.to_numpy().tolist() == [[1, 1], [1, 0]]
    said = findings.finding_examples(table)
    assert said.startswith("Of 3 foils") and "CLIPScore alone is right in 1" in said


# ---------------------------------------------------------------- epsilon


def test_sweep_counts_on_the_half_that_did_not_calibrate(swept):
    (words, pairs), (curve, marks) = many(), swept
    assert curve["epsilon"].is_monotonic_increasing and curve["epsilon"].iloc[-1] == 0
    assert list(marks["rule"]) == ["paper"] * 2 + ["conformal"] * 4
    calibration, test = split_half(pairs, 5)
    lowest = words.groupby("pair_id")["attribution"].min()
    true = lowest[calibration.loc[~calibration["is_foil"], "pair_id"]].sort_values()
    assert marks["epsilon"].iloc[4] == true.iloc[int(0.1 * (len(true) + 1)) - 1]
    own = words[words["pair_id"].isin(test["pair_id"])].merge(test, on="pair_id")
    wrong, below = own["is_foil"] & own["word"].eq("w1"), own["attribution"] < marks["epsilon"][4]
    assert marks["precision"].iloc[4] == pytest.approx((wrong & below).sum() / below.sum())
    assert marks["recall"].iloc[4] == pytest.approx((wrong & below).sum() / wrong.sum())
    np.testing.assert_allclose(curve["chance"], wrong.mean())


def test_conformal_false_alarms_keep_to_their_target_and_fixed_ones_do_not(alarms):
    own = alarms[alarms["rule"] == "conformal"]
    assert list(own["rate"]) == [0.01, 0.05, 0.1, 0.2]
    assert (abs(own["false_alarms"] - own["rate"]) < 0.02).all() and (own["inside"] > 0.8).all()
    fixed = alarms[alarms["rule"] == "paper"]
    assert len(fixed) == 2 and (fixed["false_alarms"] > 0.8).all()  # 7 in 8, of three normal words
    said = findings.finding_epsilon(alarms)
    assert "ε = −0.00005 flags" in said and "over 20 splits" in said


def test_too_few_captions_to_calibrate_with_flag_nothing_and_are_drawn():
    words, pairs = many(20)
    table, (curve, marks) = alarm_table(words, pairs), sweep(words, pairs)
    strict = table[table["rate"] == 0.01].iloc[0]
    assert "too few captions" in findings.plain(strict["epsilon"])
    assert strict["epsilon"] == -np.inf and strict["false_alarms"] == 0 == strict["found"]
    figure = benchmark_panels.epsilon_panels(curve, marks, table, findings.headline_epsilon(table))
    assert len(figure.axes[0].texts) == marks["precision"][2:].notna().sum() < 4


def test_only_some_benchmarks_can_calibrate():
    assert first_marked(["seetrue", "hat"]) == "hat" and first_marked(["rich-hf"]) is None
    figure = benchmark_panels.epsilon_panels(None, None, None)
    assert "true captions" in figure.texts[0].get_text()
    assert findings.headline_epsilon(None) == "" and "nothing" in findings.finding_epsilon(None)


# ---------------------------------------------------------------- tables


def test_published_rows_say_whether_they_can_be_compared():
    for embedded, origin in ((True, "published: other data and model"), (False, "published")):
        table = compared("foil", measured(*located(0.5), embedded=embedded))
        assert set(table["from"]) == {"measured here", origin}
        assert list(table["value"][:1]) == ["0.500 [0.450, 0.550]"]
        row = table[table["scorer"].eq("CLIP4DM ViT-B/32") & table["measure"].eq("LA")].iloc[0]
        assert row["value"] == "0.730" and row["n"] == "" == row["chance"]


def test_the_overview_has_a_row_a_benchmark():
    table = overview(found_frames())
    assert list(table.index)[:2] == ["FOIL", "nocaps-FOIL"] and set(table["with foil"]) == {3}
    assert list(table["chance of"]) == ["LA", "LA", "LA", "F1", "F1"]


# ---------------------------------------------------------------- figures and sentences


def hollow(figure):
    return [line for ax in figure.axes for line in ax.lines if line.get_markerfacecolor() == "none"]


def test_published_values_are_drawn_hollow_and_only_for_real_data():
    assert not hollow(benchmark_plots.benchmark_dots(all_results(found_frames())))
    own = all_results(found_frames(embedded=False))
    values = {line.get_xdata()[0] for line in hollow(benchmark_plots.benchmark_dots(own))}
    assert {0.84, 0.43, 0.66} & values == {0.84, 0.43}  # no NLI panel without an NLI model
    assert 0.31 not in values  # Rich-HF at another epsilon


def test_dots_stand_at_their_values_with_chance_beside():
    figure = benchmark_plots.benchmark_dots(all_results(found_frames()))
    ax = figure.axes[0]
    points = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    strokes = [
        line.get_xdata()[0]
        for line in ax.lines
        if line.get_marker() == "|" and line.get_markersize() == 6
    ]
    assert points == [0.5, 0.22, 0.1] and set(strokes) == {0.1}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["FOIL", "nocaps-FOIL", "HAT"]
    assert [ax.get_title("left") for ax in figure.axes] == [
        "location accuracy",
        "average precision",
        "F1 of words or tokens",
        "rank correlation with people",
    ]
    assert figure.axes[0].get_xlim()[0] < -0.15  # the lowest correlation's interval


def test_groups_carry_their_numbers_and_may_be_absent():
    figure = benchmark_plots.group_dots(all_results(found_frames(), printed=False))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["near (50)", "out (50)"]
    none = all_results({"foil": found_frames()["foil"]}, printed=False)
    assert "groups" in benchmark_plots.group_dots(none).texts[0].get_text()


@pytest.mark.slow
def test_figures_are_one_column_wide_and_nothing_is_cut_or_overlaps(swept, alarms):
    found, (words, pairs) = found_frames(), frames()
    table = agreement(words, pairs)
    real = all_results(found_frames(embedded=False))
    for figure in (
        benchmark_plots.benchmark_dots(all_results(found), findings.headline(found)),
        benchmark_plots.benchmark_dots(real, findings.headline(found)),
        benchmark_plots.group_dots(all_results(found, False), findings.headline_groups(found)),
        benchmark_panels.example_panels(
            examples(words, pairs), None, findings.headline_examples(table)
        ),
        benchmark_panels.epsilon_panels(*swept, alarms, findings.headline_epsilon(alarms)),
    ):
        footnote(figure, "embedded world: 1181 foils (data 01234567)", "scenes-clip (embedded)")
        assert figure.get_figwidth() == pytest.approx(85 / 25.4)
        figure.draw_without_rendering()  # the layout of long labels settles with the second
        assert_tidy(figure)


def test_more_is_said_only_where_intervals_allow_it():
    found = found_frames()
    assert findings.headline(found) == (
        "False words located: above both baselines on FOIL; below the better baseline on HAT; no "
        "clear difference on nocaps-FOIL"
    )
    assert findings.headline_groups(found).endswith("part on nocaps-FOIL")
    assert "highest on near, 0.50 [0.45, 0.55]" in findings.finding_groups(found)
    lines = findings.finding_ranking(found).splitlines()
    assert lines[0].startswith("FOIL, average precision: F-CLIPScore 0.60 [0.55, 0.65], CLIPScore")
    said = "; paired, F-CLIPScore is {}, n = {} images."
    assert lines[0].endswith(said.format("not clearly different: +0.020 [-0.030, +0.070]", 50))
    assert lines[-1].endswith(said.format("worse: -0.100 [-0.150, -0.050]", 50))
    few = {"nocaps-foil": found["nocaps-foil"]}
    few["nocaps-foil"].results["n"] = 9
    assert findings.headline_groups(few) == ""  # nothing is said of groups of nine


def test_flagging_every_word_is_named_as_the_trick_it_is():
    blamed, beaten = findings.finding_words(found_frames()).split("\n")
    assert "recall 1" in blamed and blamed.endswith("its interval lies clear below flagging all.")
    assert "gives 0.20" in beaten and beaten.endswith("its interval lies clear above flagging all.")


def test_sentences_say_so_when_there_is_nothing_to_say():
    found = {"seetrue": found_frames()["seetrue"]}
    for say in (findings.finding_location, findings.finding_ranking, findings.finding_groups):
        assert say(found).startswith("None of these benchmarks")
    assert "None" in findings.headline(found) and findings.headline_groups(found) == ""


def test_speed_is_said_of_this_run_alone():
    timed = {"foil": measured(), "hat": measured(seconds=4.0)}
    assert "12 pairs in 6 s, 2 pairs a second" in findings.finding_speed(throughput(timed))
    cached = {"foil": measured(seconds=None)}
    assert "cache" in findings.finding_speed(throughput(cached))
