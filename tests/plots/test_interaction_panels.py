"""The small multiples of word x region interactions: what is drawn, and on which scale."""

import numpy as np
import pytest
import tiny
from figure_checks import assert_tidy, texts
from matplotlib.colors import to_rgb
from PIL import Image

from clip_attribution import UserError, interactions, load_clip
from clip_attribution.plots import interaction_panels, use_style
from clip_attribution.plots.colours import overlay

CAPTION = "a red star on $5 grass ..."


@pytest.fixture(scope="module", autouse=True)
def style():
    """The theme of all figures."""
    use_style()


@pytest.fixture(scope="module")
def found():
    """Interactions of one pair on a tiny CLIP with fixed random weights."""
    clip = load_clip(model_config=tiny.config(context=77), device="cpu")
    return interactions(clip, [{"image": "scene:0:0", "caption": CAPTION}])


def image(width=64, height=64):
    pixels = np.random.RandomState(0).randint(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def panels(figure):
    """{title: pixels} of the panels, in order."""
    drawn = [ax for ax in figure.axes if ax.images]
    return {ax.get_title(): np.asarray(ax.images[0].get_array()) for ax in drawn}


def test_every_seen_word_has_a_panel_on_one_scale(found):
    figure = interaction_panels(found, image())
    seen = found.words["seen"]
    assert 0 < seen.sum() < len(seen)
    drawn = panels(figure)
    assert list(drawn) == ["image", *found.words["word"][seen]]
    assert np.array_equal(drawn["image"], np.asarray(image()))
    limit = float(np.nanmax(np.abs(found.maps)))
    for word, data in zip(found.words["word"][seen], found.maps[seen], strict=True):
        assert np.array_equal(drawn[word], np.asarray(overlay(image(), data, limit)))
    assert_tidy(figure)
    assert figure.get_figwidth() == pytest.approx(85 / 25.4)


def test_the_colour_bar_is_that_of_the_panels(found):
    figure = interaction_panels(found, image(), ["red", 2])
    limit = float(np.abs(found.maps[[1, 2]]).max())
    bar = next(ax for ax in figure.axes if ax.get_xlabel())
    assert bar.get_xlabel() == "interaction of word and region (cosine)"
    labels = [label.get_text() for label in bar.get_xticklabels()]
    assert labels == [f"−{limit:.2g}", "0", f"+{limit:.2g}"]
    scale = bar._colorbar.mappable
    assert scale.get_clim() == (-limit, limit)
    white = Image.new("RGB", (256, 256), "white")
    for value in np.linspace(-limit, limit, 9):
        drawn = np.asarray(overlay(white, [[value]], limit))[0, 0] / 255
        assert np.abs(drawn - to_rgb(scale.to_rgba(value))).max() < 0.02
    assert list(panels(figure)) == ["image", "red", "star"]
    assert_tidy(figure)


def test_a_given_limit_and_a_wide_image(found):
    figure = interaction_panels(found, image(120, 40), ["star"], limit=0.5)
    assert "+0.5" in [text.get_text() for text, _ in texts(figure)]
    drawn = panels(figure)["star"]
    assert np.array_equal(drawn, np.asarray(overlay(image(120, 40), found.maps[2], 0.5)))
    assert_tidy(figure)


def test_unusable_words_and_pairs_are_one_line(found):
    with pytest.raises(UserError, match="no map of 'moon': choose of a, red, star"):
        interaction_panels(found, image(), ["star", "moon"])
    two = found._replace(words=found.words.assign(pair_id=[0, *[1] * (len(found.words) - 1)]))
    with pytest.raises(UserError, match="interactions of 2 pairs"):
        interaction_panels(two, image())
    unseen = int(found.words.index[~found.words["seen"]][0])
    with pytest.raises(UserError, match=f"no map of {unseen}"):
        interaction_panels(found, image(), [unseen])
