"""The explorer's logic without a browser: what the widgets show after each act of a user."""

import io
import re
from datetime import datetime
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from small_towers import FAMILIES

from clip_attribution import attribute, explorer, image_attribution, interactions, load_clip
from clip_attribution.attribution import METHODS, RELU_VARIANTS, layered_methods
from clip_attribution.display.explanation import Explanation
from clip_attribution.errors import ImageError
from clip_attribution.explore import widget as room
from clip_attribution.explore.session import Session, Settings, reduce
from clip_attribution.explore.widget import MOST_WORDS, Explorer
from clip_attribution.explore.words import follow, substitute, suggestions, vocabulary
from clip_attribution.plots.colours import number, symmetric_limit
from clip_attribution.text.words import split_words

CONFIG = tiny.config(3, 4, side=64, patch=16)
CAPTION = "a small blue heart on the grass"
HEART, HOSTILE = 3, "<script>alert(1)</script> <img/src=x onerror=alert(1)> &amp;"


@pytest.fixture(scope="module")
def clip():
    """A tiny random model with attention that is far from uniform."""
    loaded = load_clip("tiny", model_config=CONFIG, device="cpu")
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "in_proj_weight" in name:
                weight[: 2 * len(weight) // 3] *= 3
    return loaded


@pytest.fixture(scope="module")
def plain():
    """The same before its attention was made uneven, which makes rounding errors grow."""
    return load_clip("tiny", model_config=CONFIG, device="cpu")


@pytest.fixture
def shown(clip):
    """An explorer with the caption above and its heart chosen."""
    found = Explorer(clip, caption=CAPTION)
    found.guarded(found.choose)(None)
    click(found, HEART)
    return found


def click(shown, place: int) -> None:
    shown.controls.words.children[place].click()


def type_caption(shown, text: str) -> None:
    shown.controls.caption.value = text


def faces(shown) -> list[list[str]]:
    """(word, value) of every button in the row of words."""
    return [button.description.split("\n") for button in shown.controls.words.children]


def texts(shown) -> str:
    """All HTML that is shown, in one string."""
    found = vars(shown.controls).values()
    return "\n".join(one.value for one in found if isinstance(one, ipywidgets.HTML))


def calls(module, act) -> int:
    """How often a module runs during `act()`."""
    count = []
    handle = module.register_forward_hook(lambda *_: count.append(1))
    act()
    handle.remove()
    return len(count)


# The table behind the sliders


@pytest.mark.parametrize("method", layered_methods())
def test_every_layer_count_equals_a_run_of_its_own(plain, method):
    session = Session(plain)
    picture = session.open("scene:1:2")
    reading = session.read(picture, CAPTION, method)
    pair = [{"image": "scene:1:2", "caption": CAPTION}]
    for layers in range(1, 5):
        for relu in RELU_VARIANTS if METHODS[method].relu else ("signed",):
            words, pairs = attribute(plain, pair, method, -layers, relu=relu)
            ours = reduce(reading, Settings(method, layers, relu))
            np.testing.assert_allclose(ours, words["attribution"], rtol=1e-5, atol=1e-7)
    assert reading.cosine == pytest.approx(pairs["cosine"][0], abs=1e-6)
    assert list(reading.words["word"]) == CAPTION.split()


def test_scores_of_foils_are_cosines(plain):
    session = Session(plain)
    picture = session.open("scene:1:2")
    captions = tuple(substitute(CAPTION, HEART, word) for word in suggestions("heart"))
    captions += ("a", "much longer than all the others, " * 9)
    pairs = attribute(plain, [{"image": "scene:1:2", "caption": c} for c in captions])[1]
    np.testing.assert_allclose(session.scores(picture, captions), pairs["cosine"], atol=1e-6)
    assert session.scores(picture, ()).shape == (0,)


def test_heat_map_is_the_clicked_words_else_the_captions(clip, shown):
    for text in ("heart", CAPTION):
        wanted = image_attribution(clip, ["scene:1:2"], [f"A photo depicts {text}"])[0]
        np.testing.assert_allclose(shown.explanation.heatmap, wanted, atol=1e-8)
        assert f"“A photo depicts {text}”" in shown.controls.map.value
        click(shown, HEART)  # the same word again: the caption as a whole
    assert isinstance(shown.explanation, Explanation) and shown.explanation._repr_html_()


def test_sliders_and_known_words_run_no_model(clip, shown):
    def slide():
        for layers in (1, 2, 4):
            shown.controls.layers.value = layers
        shown.controls.relu.value = "absolute"
        shown.controls.epsilon.value = -1e-3

    before = faces(shown)
    assert calls(clip.model.transformer, slide) == calls(clip.model.visual, slide) == 0
    assert faces(shown) != before
    assert calls(clip.model.visual, lambda: type_caption(shown, CAPTION + " now")) == 0


def test_typing_makes_no_new_widgets(shown):
    type_caption(shown, CAPTION + " there")
    before = shown.controls.words.children
    type_caption(shown, CAPTION + " here")
    assert shown.controls.words.children == before


def test_regions_are_the_interactions_and_cost_one_text_pass_a_caption(clip, shown):
    for caption in (CAPTION, "a red star"):  # the image's side is that of the caption before
        type_caption(shown, caption)
        wanted = interactions(clip, [{"image": "scene:1:2", "caption": caption}]).maps
        np.testing.assert_allclose(shown.explanation.interactions, wanted, atol=1e-7)
    count = calls(clip.model.transformer, lambda: type_caption(shown, CAPTION))
    assert count == 0  # both kept

    def point():
        click(shown, 1)
        shown.controls.cells.value = 3

    assert calls(clip.model.visual, point) <= 1  # the heat map of the word, not its regions


@pytest.mark.parametrize("name", ["EVA02", "SigLIP", "ResNet"])
def test_the_image_side_serves_every_caption(tmp_path, name):
    loaded = load_clip("small", model_config=FAMILIES[name](tmp_path))
    session = Session(loaded)
    picture = session.open("scene:1:2")
    for caption in ("a cup of coke", "Two dogs, one cat.", "the dog"):
        wanted = interactions(loaded, [{"image": "scene:1:2", "caption": caption}]).maps
        found, reason = session.regions(picture, caption)
        assert reason is None and np.nanmax(np.abs(wanted)) > 1e-8
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)
    assert session.side.cache_info().misses == 1


# What a user sees


def test_words_carry_value_colour_and_decision(shown):
    frame, limit = shown.explanation.words, shown.explanation.limit
    assert [word for word, _ in faces(shown)] == CAPTION.split()
    assert [float(v) for _, v in faces(shown)] == pytest.approx(
        frame["attribution"], abs=limit / 99
    )
    buttons = shown.controls.words.children
    lines = [button.style.text_decoration == "underline" for button in buttons]
    assert lines == list(frame["misaligned"]) and any(lines)
    assert len({button.style.button_color for button in buttons}) > 1
    shown.controls.epsilon.value = -0.1
    assert not any(button.style.text_decoration for button in buttons)
    assert "rejects: no word" in shown.controls.scores.value


def test_bars_show_every_layer_of_the_clicked_word(shown):
    assert shown.controls.bars.value.count("<rect") == 4
    assert "“heart” layer by layer" in shown.controls.bars.value
    click(shown, HEART)
    assert "Click a word" in shown.controls.bars.value and shown.controls.foils.children == ()


def test_a_suggestion_shows_its_change_and_goes_into_the_caption(shown):
    buttons = shown.controls.foils.children[1:]
    changes = [float(button.description.split("\n")[1]) for button in buttons]
    assert len(buttons) == 12 and changes == sorted(changes, reverse=True)
    word, before = buttons[2].description.split("\n")[0], shown.explanation.cosine
    buttons[2].click()
    assert shown.controls.caption.value == substitute(CAPTION, HEART, word)
    assert shown.explanation.cosine - before == pytest.approx(changes[2], abs=1e-3)
    assert shown.place == HEART and "heart" in suggestions(word)


def test_any_typed_word_is_scored_first(shown):
    shown.controls.other.value = "zebra"
    first = shown.controls.foils.children[1]
    assert first.description.startswith("zebra\n")
    first.click()
    assert shown.controls.caption.value == CAPTION.replace("heart", "zebra")
    assert shown.controls.other.value == "" and shown.controls.foils.children[1:] == ()


def test_method_brings_its_layers_and_its_controls(shown):
    controls = shown.controls
    controls.relu.value = "absolute"
    controls.method.value = "rollout"
    assert (controls.layers.value, controls.relu.value) == (4, "signed")
    assert controls.relu.layout.visibility == controls.epsilon.layout.visibility == "hidden"
    assert "cannot be negative" in controls.scores.value
    controls.method.value = "clip4dm"
    assert controls.layers.value == 3 and controls.relu.layout.visibility is None


def test_another_picture_brings_its_caption_unless_one_was_typed(clip):
    shown = Explorer(clip)
    scene, caption = shown.controls.scene, shown.controls.caption
    for title in scene.options[3:5]:
        scene.value = title
        assert title.endswith(f"· {caption.value}")
    caption.value = CAPTION
    scene.value = scene.options[0]
    assert caption.value == CAPTION and shown.explanation.facts["image"] == "scene:1:0"


def test_the_opening_word_is_the_lowest(clip):
    shown = Explorer(clip, caption=CAPTION)
    assert shown.place == shown.explanation.words["attribution"].argmin()


def test_words_beyond_the_context_are_not_seen(shown):
    type_caption(shown, CAPTION + " and" * 90)
    assert len(faces(shown)) == MOST_WORDS
    assert faces(shown)[-1] == ["and", "not seen"]
    click(shown, MOST_WORDS - 1)
    assert "not seen this word" in shown.controls.bars.value
    assert shown.controls.words.children[-1].style.text_decoration == "line-through"


def test_a_word_shows_its_regions_on_the_captions_scale(shown):
    maps, head = shown.explanation.interactions, shown.controls.regions_head
    limit = symmetric_limit(maps)
    assert "Regions of “heart”" in head.value and f"colours to ±{limit:.2g}" in head.value
    data = maps[HEART]
    ends = f"{number(data.min(), limit)} to {number(data.max(), limit)} cosine"
    assert ends in head.value
    before = shown.controls.regions.value
    click(shown, 1)
    assert shown.controls.regions.value != before and "Regions of “small”" in head.value
    click(shown, 1)
    data = maps.mean(0)
    assert "Regions of all words" in head.value
    assert f"{number(data.min(), limit)} to {number(data.max(), limit)} cosine" in head.value


def test_a_region_shows_its_words(shown):
    cells, words = shown.controls.cells, shown.controls.region_words
    assert len(cells.options) == 16 and cells.value is None and "Click a region" in words.value
    cells.value = 6
    maps = shown.explanation.interactions
    values, limit = maps[:, 1, 2], symmetric_limit(maps)
    assert "Words of row 2, column 3" in words.value and cells.options[6][0] == "row 2, column 3"
    for word, value in zip(CAPTION.split(), values, strict=True):
        assert f'aria-label="{word}: {number(value, limit)} cosine"' in words.value
    ends = f"{number(values.min(), limit)} to {number(values.max(), limit)} cosine"
    assert ends in words.value and f"±{limit:.2g}" in words.value
    type_caption(shown, "a red star")
    assert 'aria-label="star: ' in words.value and "heart" not in words.value
    type_caption(shown, "")
    assert words.value == shown.controls.regions.value == shown.controls.regions_head.value == ""


def test_a_tower_without_interactions_says_why():
    config = CONFIG | {"vision_cfg": CONFIG["vision_cfg"] | {"pool_type": "avg"}}
    shown = Explorer(load_clip("tiny", model_config=config, device="cpu"), caption=CAPTION)
    assert "no regions of words: a VisionTransformer averages" in shown.controls.regions_head.value
    assert shown.controls.regions.value == shown.controls.region_words.value == ""
    assert shown.controls.cells.options == () and len(faces(shown)) == 7


# Images


def upload(shown, name: str, content: bytes) -> None:
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    file["last_modified"] = datetime.now()
    shown.controls.upload.set_trait("value", (file,))


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (90, 70), colour).save(stream, "PNG")
    return stream.getvalue()


def test_uploads_and_paths_join_the_list(shown, tmp_path):
    upload(shown, "mine.png", png("red"))
    upload(shown, "mine.png", png("blue"))
    assert shown.controls.scene.value == "mine.png (2)" and shown.controls.upload.value == ()
    assert shown.picture.image.getpixel((0, 0)) == (0, 0, 255)
    (tmp_path / "other.png").write_bytes(png("green"))
    shown.controls.path.value = str(tmp_path / "other.png")
    assert shown.controls.scene.value == "other.png" and shown.controls.path.value == ""
    shown.controls.path.value = "scene:7:7"
    assert shown.controls.scene.value.startswith("scene:7:7 · ")
    assert shown.controls.caption.value == CAPTION and shown.controls.error.value == ""


@pytest.mark.parametrize("content", [b"", b"text", png("red")[:60], b"%!PS-Adobe-3.0"], ids=len)
def test_an_unreadable_upload_is_one_line_and_changes_nothing(shown, content):
    before = faces(shown), shown.controls.scene.value
    upload(shown, "<b>bad</b>.png", content)
    error = shown.controls.error.value
    assert "cannot" in error and "<b>" not in error and "\n" not in error
    assert (faces(shown), shown.controls.scene.value) == before


@pytest.mark.parametrize("path", ["no/such/file.png", "scene:x", "scene:1", "/", "\0"])
def test_an_unusable_path_is_one_line(shown, path):
    shown.controls.path.value = path
    assert "role=" in shown.controls.error.value and "\n" not in shown.controls.error.value
    assert faces(shown) and shown.explanation.facts["image"] == "scene:1:2"
    type_caption(shown, CAPTION + "s")
    assert shown.controls.error.value == ""


def test_a_picture_that_vanishes_is_left_again(shown, tmp_path):
    (tmp_path / "gone.png").write_bytes(png("green"))
    shown.controls.path.value = str(tmp_path / "gone.png")
    first = shown.controls.scene.options[0]
    shown.controls.scene.value = first
    (tmp_path / "gone.png").unlink()
    shown.controls.scene.value = "gone.png"
    assert shown.controls.scene.value == first and "no such file" in shown.controls.error.value


def test_an_unusable_first_picture_is_raised(clip):
    with pytest.raises(ImageError, match="no such file"):
        Explorer(clip, "no/such/file.png")
    assert Explorer(clip, Image.new("RGB", (40, 60))).controls.error.value.count("empty") == 1


# Faults and hostile text


@pytest.mark.parametrize("text", ["", "   ", "a \ud800", "a\0b"])
def test_an_unusable_caption_is_one_line_and_clears_the_words(shown, text):
    type_caption(shown, text)
    assert "the caption" in shown.controls.error.value
    assert faces(shown) == [] and shown.controls.map.value == "" and shown.explanation is None
    type_caption(shown, CAPTION)
    assert shown.controls.error.value == "" and len(faces(shown)) == 7


def test_captions_are_text_never_markup(shown):
    shown.controls.other.value = HOSTILE
    assert "<script" not in texts(shown)
    type_caption(shown, HOSTILE)
    shown.controls.cells.value = 0
    for place in range(len(faces(shown))):
        click(shown, place)
        assert not re.search(r"<script|<img/src|alert\(1\)>", texts(shown))
    assert faces(shown)[0][0].startswith("<script>")  # a button's description is text


def test_a_word_without_end_does_not_fill_the_screen(shown):
    type_caption(shown, "x" * 5000)
    click(shown, 0)
    assert len(faces(shown)[0][0]) == 40 and len(texts(shown)) < 1e6


# Words put in place of another


@pytest.mark.parametrize(
    ("caption", "place", "new", "wanted"),
    [
        ("a red star.", 2, "moon", "a red moon."),
        ("a star", 1, "anchor", "an anchor"),
        ("An  anchor, left", 1, "star", "A  star, left"),
        ("Two stars", 0, "three", "Three stars"),
        ("a, star", 2, "anchor", "a, anchor"),
        ("star", 0, "anchor", "anchor"),
    ],
)
def test_substitute(caption, place, new, wanted):
    assert substitute(caption, place, new) == wanted


def test_suggestions_are_of_the_same_kind():
    assert "moons" in suggestions("Stars") and "moon" not in suggestions("stars")
    assert suggestions("left") == ["right"] and suggestions("below") == ["above"]
    assert "Lima" in suggestions("oslo") and suggestions("zebra") == []
    assert all(word not in map(str.lower, suggestions(word)) for word in vocabulary())
    assert all(word in map(str.lower, kind) for word, kind in vocabulary().items())


@pytest.mark.parametrize(
    ("before", "place", "after", "wanted"),
    [
        ("a red star", 2, "a red star here", 2),
        ("a red star", 2, "a very red star", 3),
        ("a red star", 2, "red star", 1),
        ("a red star", 2, "a red sta", 2),
        ("a red star", 2, "a red", None),
        ("a red star", None, "a red", None),
        ("a red star", 1, "", None),
    ],
)
def test_the_chosen_word_is_followed(before, place, after, wanted):
    assert follow(split_words(before), place, split_words(after)) == wanted


# Headless


def test_nothing_happens_without_a_kernel():
    assert explorer(None) is None


def test_nothing_happens_where_the_variable_says_headless(monkeypatch, clip):
    monkeypatch.setattr(room, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setenv("CLIP_ATTRIBUTION_HEADLESS", "1")
    assert explorer(None) is None
    monkeypatch.setenv("CLIP_ATTRIBUTION_HEADLESS", "0")
    assert isinstance(explorer(clip), Explorer)
