"""Figures: what was drawn, not its pixels; and that nothing lies on anything else."""

import numpy as np
import pandas as pd
import pytest
import tiny
from figure_checks import assert_tidy, texts
from matplotlib import pyplot as plt
from PIL import Image

from clip_attribution import explain, load_clip
from clip_attribution.plots import style as plots
from clip_attribution.plots.colours import overlay

CONFIG = tiny.config(context=77)


@pytest.fixture(scope="module", autouse=True)
def style():
    """The theme of all figures."""
    plots.use_style()


@pytest.fixture(scope="module")
def clip():
    """A tiny CLIP with fixed random weights."""
    return load_clip(model_config=CONFIG, device="cpu")


def words_frame(values, words=None):
    names = words or [f"word{n}" for n in range(len(values))]
    values = np.array(values, dtype=float)
    return pd.DataFrame({"word": names, "attribution": values, "misaligned": values < -5e-5})


def test_word_bars_draw_the_numbers_in_reading_order():
    data = words_frame([0.02, -0.01, 0.0, 0.005])
    figure = plots.word_bars(data)
    ax = figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.02, -0.01, 0.0, 0.005]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(data["word"])
    assert ax.yaxis_inverted() and ax.get_xlim()[0] == -ax.get_xlim()[1]
    assert ax.get_xlabel() == "attribution (cosine)"
    red, blue = (ax.patches[n].get_facecolor() for n in (0, 1))
    assert red[0] > red[2] and blue[2] > blue[0]
    assert [t.get_fontweight() for t in ax.get_yticklabels()] == ["normal", "bold"] + ["normal"] * 2
    assert figure.get_figwidth() == pytest.approx(85 / 25.4)


def test_word_bars_leave_out_and_count_what_was_not_seen():
    ax = plots.word_bars(words_frame([0.02, np.nan, np.nan])).axes[0]
    assert len(ax.patches) == 1 and "2 more words without a value" in ax.get_xlabel()


@pytest.mark.parametrize("values", [[0.0, 0.0], [3e-7, -1e-7], [12.0, -30.0], [0.0123]])
def test_bars_of_any_size_stay_readable(values):
    figure = plots.word_bars(words_frame(values))
    assert_tidy(figure)
    assert any(label.get_text() for label in figure.axes[0].get_xticklabels())


def test_words_are_no_formulas(clip):
    caption = "costs $5 and $6 in \\frac{a} ^_ {x}"
    found = explain(clip, "scene:0:0", caption)
    for figure in (plots.explanation_figure(found), plots.caption_panel(found.words)):
        drawn = [text.get_text() for text, _ in texts(figure)]
        assert set(caption.split()) <= set(drawn)


def test_drawing_on_given_axes_returns_their_figure():
    figure, (left, right) = plt.subplots(1, 2)
    assert plots.word_bars(words_frame([1, -1]), left) is figure
    assert plots.caption_panel(words_frame([1, -1]), right) is figure
    plt.close(figure)


def test_new_figures_are_not_kept_by_pyplot():
    before = plt.get_fignums()
    plots.word_bars(words_frame([1, -1]))
    assert plt.get_fignums() == before


def test_caption_panel_sets_words_in_lines():
    data = words_frame(np.linspace(-1, 1, 30))
    figure = plots.caption_panel(data)
    drawn = [text.get_text() for text, _ in texts(figure)]
    assert [text for text in drawn if text.startswith("word")] == list(data["word"])
    assert "-1.00" in drawn and "+1.00" in drawn
    assert_tidy(figure)


def test_layer_panel_draws_the_table():
    data = words_frame([0.1, -0.2, 0.3]).assign(L0=[1, 2, 3], L1=[-4, 5, 6], L10=[0, 0, 0])
    figure = plots.layer_panel(data)
    ax, mesh = figure.axes[0], figure.axes[0].collections[0]
    assert np.array_equal(np.ravel(mesh.get_array()), [1, -4, 0, 2, 5, 0, 3, 6, 0])
    assert mesh.get_clim() == (-6, 6)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "10"]
    assert_tidy(figure)


def test_heat_map_shows_sign_and_place():
    picture = Image.new("RGB", (64, 64), "white")
    drawn = np.asarray(overlay(picture, [[1.0, 0.0], [0.0, -1.0]])).astype(int)
    n = len(drawn) // 4
    red, blank, blue = drawn[n, n], drawn[n, 3 * n], drawn[3 * n, 3 * n]
    assert red[0] > red[2] + 50 and blue[2] > blue[0] + 50 and np.ptp(blank) == 0
    figure = plots.heatmap_panel(picture, np.array([[0.004, 0], [0, -0.001]]))
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["−0.004", "0", "+0.004"]
    assert_tidy(figure)


def test_heat_map_panel_says_why_there_is_none():
    figure = plots.heatmap_panel(Image.new("RGB", (8, 8)), None, reason="pooled <elsewhere>")
    assert "pooled <elsewhere>" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    "caption",
    [
        "one",
        "a small red star to the left of three overlapping umbrellas on the brick wall, today.",
        "the Donaudampfschifffahrtsgesellschaft and incomprehensibilities",
    ],
)
def test_explanation_figure_is_tidy(clip, caption):
    found = explain(clip, "scene:0:0", caption)
    figure = plots.explanation_figure(found)
    assert_tidy(figure)
    assert " ".join(figure.get_suptitle().split()) == found.finding()
    assert any("attribution (cosine" in text.get_text() for text, _ in texts(figure))


def test_contrast_figure_has_one_scale(clip):
    true, foil = (
        explain(clip, "scene:0:0", f"there is a yellow umbrella overlapping a small {noun} on wood")
        for noun in ("pawn", "cloud")
    )
    figure = plots.contrast_figure(true, foil)
    bars = [ax for ax in figure.findobj(plt.Axes) if ax.get_yticklabels() and ax.patches]
    limits = {ax.get_xlim() for ax in bars if len(ax.patches) == len(true.words)}
    assert len(limits) == 1
    assert_tidy(figure)
