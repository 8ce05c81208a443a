"""Figures of the ablation notebooks draw the numbers of their frames, and say what they say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from clip_attribution.plots import style as plots
from clip_attribution.studies import pos as pos_plots
from clip_attribution.studies.foils import figures as ablation_plots
from clip_attribution.studies.foils import findings
from clip_attribution.studies.foils.measures import ALL, LOCATION, PRECISION

VARIANTS = list(ablation_plots.NAMES)


@pytest.fixture(autouse=True)
def style():
    plots.use_style()


def frame(variants=("signed",), groups=(ALL,), layers=4):
    rows = []
    for measure in (LOCATION, PRECISION):
        for v, variant in enumerate(variants):
            for g, group in enumerate(groups):
                for k in range(1, layers + 1):
                    value = 0.2 + 0.1 * k + 0.01 * v + 0.02 * g
                    rows.append(
                        {
                            "measure": measure,
                            "variant": variant,
                            "layers": k,
                            "group": group,
                            "value": value,
                            "low": value - 0.04,
                            "high": value + 0.04,
                            "n": 50,
                            "chance": 0.1 if measure == LOCATION else 0.5,
                            "cosine": np.nan if measure == LOCATION else 0.55,
                            "control": 0.05 if measure == LOCATION else np.nan,
                            "net": value - 0.05,
                            "net_low": value - 0.1,
                            "net_high": value,
                        }
                    )
    return pd.DataFrame(rows)


def changes():
    data = frame(VARIANTS[1:], (ALL, "noun", "colour"), 1)
    value = np.where(data["variant"] == "absolute", -0.2, 0.01)
    return data.assign(value=value, low=value - 0.05, high=value + 0.05)


def cells(rows, columns, **labels):
    names = list(labels)
    places = [(r, c) for r in rows for c in columns]
    data = pd.DataFrame(places, columns=names)
    return data.assign(value=np.linspace(-2e-3, 1e-3, len(data))).assign(
        low=lambda d: d["value"] - 4e-4,
        high=lambda d: d["value"] + 4e-4,
        control=-1e-4,
        net=lambda d: d["value"] + 1e-4,
        net_low=lambda d: d["value"] - 3e-4,
        net_high=lambda d: d["value"] + 5e-4,
        n=30,
    )


@pytest.fixture
def spoken():
    rng = np.random.default_rng(0)
    words = pd.DataFrame(
        {
            "pos": rng.choice(["NOUN", "ADJ"], 200),
            "foiled": rng.random(200) < 0.3,
            "attribution": rng.normal(0, 1e-3, 200),
        }
    )
    separation = pd.DataFrame(
        {
            "pos": ["ADJ", "NOUN"],
            "value": [0.6, 0.7],
            "low": [0.5, 0.65],
            "high": [0.7, 0.75],
            "n": [20, 40],
            "aligned": 70,
        }
    )
    return words, separation


def detection():
    rows = [
        {
            "pos": tag,
            "measure": measure,
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
            "n": n,
            "words": 100,
        }
        for tag, n, value in (("ADJ", 20, 0.3), ("NOUN", 40, 0.6), ("DET", 0, 0.0))
        for measure in pos_plots.MEASURES
    ]
    data = pd.DataFrame(rows)
    return data, data[["pos", "measure"]].assign(chance=0.25)


def every_figure(words, separation):
    by_layer = cells(["noun", "colour"], range(4), foil_type=0, layer=0)
    by_head = cells(range(4), range(2), layer=0, head=0)
    variants = frame(VARIANTS)
    return [
        ablation_plots.layer_curves(frame()),
        ablation_plots.layer_curves_by_type(frame(groups=("noun", "colour", "size"))),
        ablation_plots.contribution_maps(by_layer, by_head),
        ablation_plots.variant_curves(variants[variants["measure"] == LOCATION]),
        ablation_plots.variant_dots(variants[variants["layers"] == 2]),
        ablation_plots.difference_dots(changes()),
        ablation_plots.difference_map(changes()),
        pos_plots.detection_dots(*detection()),
        pos_plots.attribution_boxes(words, separation, -5e-5),
    ]


def test_every_figure_is_one_column_wide_legible_and_free_of_cut_text(spoken):
    for figure in every_figure(*spoken):
        plots.footnote(figure, "scenes: 50 foils (data 01234567)", "scenes-clip (embedded)")
        assert figure.get_figwidth() == pytest.approx(85 / 25.4)
        for _ in range(2):  # the layout of long labels settles with the second
            figure.draw_without_rendering()
        shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        assert min(text.get_fontsize() for text in shown) >= plots.SMALL
        outer = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
        labels = [t for ax in figure.axes for t in (ax.xaxis.label, ax.yaxis.label, ax.title)]
        for text in [text for text in outer + labels if text.get_text()]:
            box = text.get_window_extent()
            inside = box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
            assert inside, text.get_text()


def test_curves_draw_the_values_and_both_baselines():
    data = frame()
    left, right = ablation_plots.layer_curves(data).axes
    for ax, measure in ((left, LOCATION), (right, PRECISION)):
        own = data[data["measure"] == measure]
        np.testing.assert_allclose(ax.lines[0].get_ydata(), own["value"])
        levels = {line.get_ydata()[0] for line in ax.lines[1:]}
        assert levels == ({0.1, 0.05} if measure == LOCATION else {0.5, 0.55})
        assert len(ax.collections) == 1  # the band


def test_maps_are_centred_on_zero_and_mark_what_is_clear_of_it():
    by_head = cells(range(4), range(2), layer=0, head=0)
    by_layer = cells(["noun", "colour"], range(4), foil_type=0, layer=0)
    figure = ablation_plots.contribution_maps(by_layer, by_head)
    for ax, data in zip(figure.axes, (by_layer, by_head), strict=False):
        mesh, dots = ax.collections
        assert mesh.norm.vmin == pytest.approx(-mesh.norm.vmax)
        clear = (data["net_low"] > 0) | (data["net_high"] < 0)
        assert 0 < len(dots.get_offsets()) == clear.sum() < len(data)


def test_difference_map_sets_clear_changes_in_bold():
    figure = ablation_plots.difference_map(changes())
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert bold == ["−0.20", "−0.20"]


def test_detection_leaves_out_tags_without_foiled_words():
    figure = pos_plots.detection_dots(*detection())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["NOUN (40)", "ADJ (20)"]
    assert list(figure.axes[0].lines[-1].get_xdata()) == [0.25, 0.25]


def test_undefined_precision_has_no_dot():
    data, chance = detection()
    gone = (data["pos"] == "ADJ") & (data["measure"] == "precision")
    data.loc[gone, ["value", "low", "high"]] = np.nan
    figure = pos_plots.detection_dots(data, chance)
    drawn = figure.axes[0].lines[0].get_xdata().astype(float)
    assert np.isnan(drawn).tolist() == [False, True]


# ---------------------------------------------------------------- the text below the figures


def test_sentences_follow_the_numbers():
    text = findings.finding_layers(frame())
    assert "0.30 [0.26, 0.34] of 50 foils with the last layer" in text
    assert "0.60 [0.56, 0.64] with all 4" in text and "The best count is 4" in text
    assert "lies clear above the last layer alone" in text
    assert "more than the bare cosine's 0.55" in text
    flat = frame().assign(value=0.3, low=0.2, high=0.6)
    text = findings.finding_layers(flat)
    assert "overlap" in text and "as good as the bare cosine's" in text


def test_foil_types_are_sorted_by_what_the_control_leaves():
    data = frame(groups=("noun", "colour", "size"), layers=1)
    data.loc[data["group"] == "colour", ["net", "net_low", "net_high"]] = (-0.1, -0.2, -0.05)
    data.loc[data["group"] == "size", ["net", "net_low", "net_high"]] = (0.02, -0.01, 0.05)
    text = findings.finding_types(data, 1)
    assert "in the true caption for noun; less often for colour; no difference can" in text
    assert "Largest difference: noun, +0.25 [+0.20, +0.30]" in text
    assert "most often the lowest: size, 0.34 [0.30, 0.38] of 50 foils" in text
    assert "where the difference is +0.02 [-0.01, +0.05]" in text


def test_without_true_captions_foil_types_are_compared_with_chance():
    data = frame(groups=("noun", "colour"), layers=1).assign(net=np.nan)
    assert "more often than by chance for noun and colour" in findings.finding_types(data, 1)
    text = findings.finding_layers(frame().assign(net=np.nan))
    assert "There are no true captions to compare with." in text


def test_heads_that_speak_against_true_words_too_are_counted():
    by_head = cells(range(4), range(2), layer=0, head=0)
    by_layer = cells(["noun", "colour"], range(4), foil_type=0, layer=0)
    text = findings.finding_heads(by_layer, by_head)
    clear = (by_head["low"] > 0) | (by_head["high"] < 0)
    alike = (clear & (by_head["value"] < 0)).sum()  # the control is negative everywhere
    assert f"Of the {clear.sum()} heads that look clear without this control, {alike} have" in text
    assert "head 0 of layer 0: -0.0019 [-0.0023, -0.0015], n = 30" in text


def test_losses_are_claimed_only_where_the_interval_allows():
    text = findings.finding_variants(changes())
    assert "absolute*: location accuracy falls, -0.20 [-0.25, -0.15]" in text
    assert "negative heads: location accuracy shows no clear change" in text
    text = findings.finding_loss(changes())
    assert "absolute*: worse on noun and colour; better on none." in text


def test_parts_of_speech_are_named_with_their_numbers(spoken):
    text = findings.finding_pos(*detection())
    assert "highest for NOUN, 0.60 [0.50, 0.70] (n = 40" in text and "blindly: NOUN." in text
    text = findings.finding_separation(spoken[1])
    assert "below an aligned one of its kind for NOUN, clearly above for none" in text
