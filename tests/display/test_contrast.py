"""`explain` with a contrast: the attribution of the difference of two captions' scores."""

import json

import numpy as np
import pytest
import tiny
from test_display import CAPTIONS, SCENE, Page

from clip_attribution import UserError, contrast, explain, load_clip
from clip_attribution.heatmaps.patches import image_attribution

ONE, OTHER = "a small yellow sun on the grass", "a yellow envelope on snow"
TEMPLATE = "A photo depicts "


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.mark.parametrize("method", ["clip4dm", "columns", "leave_one_out"])
def test_it_agrees_with_contrast_and_heat_maps(clip, method):
    found = explain(clip, "scene:1:3", ONE, method, contrast=OTHER)
    row = {"image": "scene:1:3", "caption": ONE, "other": OTHER}
    words, pairs = contrast(clip, [row], method)
    assert found.words.drop(columns="pair_id").equals(words.drop(columns="pair_id"))
    assert found.contrast == pairs["contrast"][0] != 0
    if method == "clip4dm":
        texts = [TEMPLATE + ONE, TEMPLATE + OTHER]
        maps = image_attribution(clip, ["scene:1:3"] * 2, texts)
        np.testing.assert_allclose(found.heatmap, maps[0] - maps[1], atol=1e-7)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_swap_is_the_negative(clip):
    found = explain(clip, "scene:1:3", ONE, contrast=OTHER)
    back = explain(clip, "scene:1:3", OTHER, contrast=ONE)
    assert found.words["contrast"].abs().max() > 1e-4
    np.testing.assert_allclose(found.words["contrast"], -back.words["contrast"], atol=1e-8)
    np.testing.assert_allclose(found.heatmap, -back.heatmap, atol=1e-8)
    assert abs(found.contrast + back.contrast) < 1e-7
    assert "prefers this caption" in found.finding()
    assert "prefers the other caption" in back.finding()


def test_identical_captions_are_no_difference(clip):
    found = explain(clip, "scene:1:3", ONE, "columns", contrast=ONE)
    assert (found.words["contrast"] == 0).all() and (found.heatmap == 0).all()
    assert found.finding() == "CLIP sees no difference between the captions"
    shown = Page(found._repr_html_())
    assert not shown.open and shown.caption.count("=") == len(ONE.split())


@pytest.mark.parametrize("caption", CAPTIONS)
def test_html_shows_both_captions_as_text(caption):
    clip = load_clip(model_config=tiny.config(context=77), device="cpu")
    for found in (
        explain(clip, SCENE, caption, contrast="a red cat"),
        explain(clip, SCENE, "a red cat", contrast=caption),
    ):
        page = Page(found._repr_html_())
        assert not page.open and not {"script", "b", "i"} & set(page.tags)
        assert page.tags.count("img") == 2 and "onerror" not in dict(page.attributes)
        words = found.words["word" if found.caption == caption else "other_word"].dropna()
        assert all(word in page.caption for word in words if word not in "a red cat".split())


def test_words_beyond_the_context_are_not_seen(clip):
    found = explain(clip, "scene:1:3", "a sun", contrast="a sun " + "on grass " * 30)
    last = found._repr_html_().split("<span role")[-2]
    assert "not seen" in last and "line-through" in last
    assert repr(found).splitlines()[-1].startswith("not seen")


def test_text_form_has_a_signed_line_a_place(clip):
    found = explain(clip, "scene:1:3", ONE, contrast=OTHER)
    lines = repr(found).splitlines()[-len(found.words) :]
    assert (
        "“sun” for “envelope”" in lines[3]
        and lines[3].startswith("+0.0009")
        and "+|" not in lines[3]
    )
    assert "“small” in this one alone" in lines[1] and "-|" in lines[1]


def test_a_tower_without_heat_map_says_why():
    found = explain(load_clip(), "scene:1:3", ONE, "leave_one_out", contrast=OTHER)
    assert found.heatmap is None and "not defined for the image tower" in found.no_heatmap
    assert "no heat map" in found._repr_html_()


@pytest.mark.parametrize(
    "given, line",
    [
        ({"contrast": ""}, "contrast has to be the other caption"),
        ({"contrast": 3}, "contrast has to be the other caption"),
        ({"contrast": [OTHER]}, "contrast has to be the other caption"),
        ({"contrast": OTHER, "method": "attention"}, "values of both signs"),
        ({"contrast": OTHER, "method": "nothing"}, "unknown method"),
        ({"contrast": OTHER, "epsilon": -0.1}, "decides nothing"),
        ({"contrast": OTHER, "decision": "most_negative"}, "decides nothing"),
        ({"contrast": OTHER, "caption": ""}, "the caption is empty"),
        ({"contrast": OTHER, "image": "gone.png"}, "gone.png"),
        ({"contrast": OTHER, "layers": [9]}, "no layer 9"),
    ],
)
def test_what_cannot_be_is_one_line(clip, given, line):
    with pytest.raises(UserError, match=line) as error:
        explain(clip, **({"image": "scene:1:3", "caption": ONE} | given))
    assert "\n" not in str(error.value)
