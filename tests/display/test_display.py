"""The rich display: what `explain` finds, and its text and HTML forms."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import tiny
from PIL import Image

from clip_attribution import UserError, attribute, explain, interactions, load_clip
from clip_attribution.display.explanation import as_seen, compare
from clip_attribution.io.images import ImageError
from clip_attribution.metrics.misalignment import decide, f_clip_score
from clip_attribution.plots.colours import colours, number, symmetric_limit, text_colour

CONFIG = tiny.config(context=77)
SCENE = "scene:0:0"
CAPTIONS = [
    "a red star",
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)"> & \'quotes\'',
    "&lt;b&gt; stays as written &amp;",
    "a cat 😀 and a family 👨\u200d👩\u200d👧 .",
    "שלום עולם on a sign",
    "two  spaces,a comma.  And the end ...",
    "naïve café — costs $5 and $6",
    "tab\tand\nline break",
    "one",
]


@pytest.fixture(scope="module")
def clip():
    """A tiny CLIP with fixed random weights."""
    return load_clip(model_config=CONFIG, device="cpu")


class Page(HTMLParser):
    """Tags, attributes and text of an HTML fragment, as a browser would read them."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open, self.caption = [], [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "img":
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        names = [tag for tag, _ in self.open]
        inside = any(attrs.get("dir") == "auto" for _, attrs in self.open)
        self.caption += data if inside and "small" not in names else ""

    def all(self, name):
        return [value for key, value in self.attributes if key == name]


def page_of(explanation):
    page = Page(explanation._repr_html_())
    assert not page.open
    return page


def test_explain_agrees_with_the_calls_that_it_is_made_of(clip):
    found = explain(clip, SCENE, "a red star on grass", layers=-1, epsilon=0.0)
    words, pairs = attribute(
        clip, [{"image": SCENE, "caption": "a red star on grass"}], "clip4dm", -1
    )
    assert np.allclose(found.words["attribution"], words["attribution"], atol=1e-7)
    assert found.cosine == pytest.approx(pairs["cosine"][0], abs=1e-6)
    assert found.clip_score == pytest.approx(2.5 * max(found.cosine, 0))
    against = f_clip_score(found.cosine, words["attribution"], words["word"], epsilon=0.0)
    assert found.f_clip_score == pytest.approx(against, abs=1e-6)
    assert found.misaligned == [one.text for one in decide(found.words, epsilon=0.0)]
    assert list(found.words["misaligned"]) == [value < 0 for value in found.words["attribution"]]
    assert found.heatmap.shape == (4, 4) and np.isfinite(found.heatmap).all()


@pytest.mark.parametrize("caption", CAPTIONS)
def test_html_shows_the_caption_as_text_in_its_own_spacing(clip, caption):
    page = page_of(explain(clip, SCENE, caption))
    assert page.caption == caption
    known = "div span bdi small figure figcaption img strong style".split()
    assert set(page.tags) <= set(known)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_html_escapes_names_and_template(clip, tmp_path):
    nasty = '<b onclick="x">&'
    path = tmp_path / "<i>&'.png"
    Image.new("RGB", (40, 40), "red").save(path)
    found = explain(replace(clip, name=nasty, pretrained=nasty), path, "a cat", template=nasty)
    page = page_of(found)
    assert not {"b", "i"} & set(page.tags) and not page.all("onclick")
    assert path.name in page.all("alt")[0] and str(tmp_path) not in found._repr_html_()


def test_html_reads_without_colours(clip):
    found = explain(clip, SCENE, "a red star on grass", epsilon=0.0)
    page, source = page_of(found), found._repr_html_()
    for row in found.words.itertuples():
        value = number(row.attribution, found.limit)
        assert value[0] in "+-" and f">{value}</small>" in source
        spoken = f"{row.word}: {value} cosine" + (", rejected" if row.misaligned else "")
        assert spoken in page.all("aria-label")
    assert source.count("text-decoration:underline") == found.words["misaligned"].sum() > 0
    assert found.decision() in source and "rejects: " in source
    assert page.attributes[0] == ("role", "group") and found.finding() in page.all("aria-label")[0]


def test_html_carries_its_own_colours_and_scale(clip):
    found = explain(clip, SCENE, "a red star")
    source = found._repr_html_()
    assert "background:#ffffff;color:#1a1a1a" in source
    _, sheet = source.split("<style>")  # all that a sheet does is to show what is pointed at
    rules = set(re.findall(r"\{([^}]*)\}", sheet))
    assert rules == {"display:block!important", "opacity:1!important"}
    assert f"score {number(-found.limit, found.limit)}" in source
    assert f"{number(found.limit, found.limit)} raises it (unit: cosine)" in source


def test_html_embeds_picture_and_heat_map(clip):
    page = page_of(explain(clip, SCENE, "a red star"))
    pictures = [source.removeprefix("data:image/png;base64,") for source in page.all("src")]
    opened = [Image.open(io.BytesIO(base64.b64decode(data))) for data in pictures]
    assert {picture.format for picture in opened} == {"PNG"}
    assert all(256 <= max(picture.size) <= 480 for picture in opened[:3])
    assert [picture.size for picture in opened[3:]] == [(4, 4)] * 3  # a pixel a patch, for 3 words
    assert "scene:0:0" in page.all("alt")[0] and "4 by 4 patches" in page.all("alt")[1]


def test_words_beyond_the_context_are_shown_as_not_seen(clip):
    caption = "a <b> " + "star and " * 5000 + "end"
    found = explain(clip, SCENE, caption)
    page, text, source = page_of(found), repr(found), found._repr_html_()
    assert page.caption.rstrip() == caption and "not seen</small>" in source
    assert page.tags.count("s") == 1 and len(source) < 400_000
    assert "not seen (beyond the context): " in text and "more" in text and len(text) < 20_000
    assert "not seen" not in repr(explain(clip, SCENE, "a star"))


def test_words_without_a_token_of_their_own_stand_without_a_value(clip):
    found = explain(clip, SCENE, "and so on ...")
    assert not found.truncated and not found.words["seen"].all()
    assert "not seen (part of the word before): ." in repr(found)
    assert page_of(found).caption == "and so on ..." and "<s " not in found._repr_html_()


def test_text_form_is_aligned_and_signed(clip):
    found = explain(clip, SCENE, "a red star <b> עולם 星 on grass", epsilon=0.0)
    lines = repr(found).splitlines()
    assert lines[0] == found.decision() and str(found) == repr(found)
    rows = lines[-len(found.words) :]
    assert len({line.index("|") for line in rows}) == 1
    for line, row in zip(rows, found.words.itertuples(), strict=True):
        left, right = line[len(number(row.attribution, found.limit)) :].split("|")
        assert ("-" in left, "+" in right) in [(row.attribution < 0, row.attribution > 0), (0, 0)]
        assert (f" {row.word}" in right) and ("<- rejected" in right) == row.misaligned


def test_text_form_prints_no_control_characters(clip):
    found = explain(clip, SCENE, "a \x1b[31mred\u202e star\r\n")
    text = repr(found) + found.summary()
    assert not set(text) & {"\x1b", "\r", "\u202e"} and "\\x1b[31mred\\u202e" in text


def test_most_negative_names_one_word(clip):
    found = explain(clip, SCENE, "a red star", decision="most_negative")
    lowest = found.words["word"][found.words["attribution"].idxmin()]
    assert found.misaligned == [lowest] and found.decision() == f"least believed: {lowest}"
    assert lowest in found.finding()


def test_a_method_without_a_sign_decides_nothing(clip):
    found = explain(clip, SCENE, "a red star", method="attention", decision="most_negative")
    assert np.isnan(found.f_clip_score) and found.misaligned == []
    assert found.decision() == "no decision: the method attention cannot be negative"
    assert "F-CLIPScore undefined" in repr(found) and "reads" in found.finding()
    assert "unit: attention" in found._repr_html_()


def test_a_tower_without_heat_map_says_why(clip):
    config = CONFIG | {"vision_cfg": CONFIG["vision_cfg"] | {"pool_type": "avg"}}
    found = explain(load_clip(model_config=config, device="cpu"), SCENE, "a red star")
    assert found.heatmap is None and "class token" in found.no_heatmap
    assert found.no_heatmap in repr(found) and "no heat map" in found._repr_html_()
    assert found.interactions is None and "averages over the image" in found.no_interactions
    for form in (repr(found), found._repr_html_()):
        assert form.count("no regions of words: ") == 1 and found.no_interactions in form
    assert len(page_of(found).all("src")) == 1
    off = explain(clip, SCENE, "a red star", heatmap=False)
    assert off.heatmap is None and off.no_heatmap == "not asked for"
    assert off.interactions is None and off.no_interactions == "not asked for"
    assert repr(off).count("not asked for") == off._repr_html_().count("not asked for") == 1
    assert "<style" not in off._repr_html_()


def test_each_word_has_its_regions_and_a_rule_that_shows_them(clip):
    caption = 'a "red" <b>star</b> and 5 > 4 ...'
    found = explain(clip, SCENE, caption)
    maps = interactions(clip, [{"image": SCENE, "caption": caption}]).maps
    np.testing.assert_array_equal(found.interactions, maps)
    source = found._repr_html_()
    seen = found.words.index[found.words["seen"]]
    assert 0 < len(seen) < len(found.words)  # the last dots are part of the word before
    limit, page = symmetric_limit(maps), page_of(found)
    for k, word in enumerate(found.words["word"]):
        shown = f".clip-word-{k}:hover" in source and f".clip-map-{k}{{" in source
        assert shown == (k in seen)
        if not shown:
            continue
        row, column = np.unravel_index(maps[k].argmax(), maps[k].shape)
        ends = f"{number(maps[k].min(), limit)} to {number(maps[k].max(), limit)} cosine"
        place = f"highest in row {row + 1}, column {column + 1}"
        assert f"regions of “{word}”: {ends}, {place}" in page.all("alt")
        start = source.index(f'class="clip-map-{k}"')
        data = re.search(r"base64,([^\"]*)", source[start:]).group(1)
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
        strong = np.abs(maps[k]) > limit / 100
        assert ((pixels[..., 0] > pixels[..., 2]) == (maps[k] > 0))[strong].all()
        opacity = 255 * 0.85 * np.sqrt(np.abs(maps[k]) / limit)
        np.testing.assert_allclose(pixels[..., 3], opacity, atol=0.51)


def test_regions_stay_light(clip):
    found = explain(clip, SCENE, "a red star on grass " * 10)
    without = replace(found, interactions=None, no_interactions=None)
    words = int(found.words["seen"].sum())
    assert words > 20
    more = len(found._repr_html_()) - len(without._repr_html_())
    assert more < 70_000 + 1_500 * words


def test_zero_attributions_have_a_scale(clip):
    found = explain(clip, SCENE, "a red star")
    zero = replace(found, words=found.words.assign(attribution=0.0, misaligned=False))
    assert zero.limit == 1 and "rejects no word" in zero.finding()
    assert "+0.00" in repr(zero) and page_of(zero).caption == "a red star"


@pytest.mark.parametrize("image", ["no/such.png", "scene:x", "", None, 3])
def test_unusable_pictures_are_one_line(clip, image):
    with pytest.raises(ImageError) as caught:
        explain(clip, image, "a red star")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("caption", ["", "  ", None, 7])
def test_unusable_captions_are_one_line(clip, caption):
    with pytest.raises(UserError) as caught:
        explain(clip, SCENE, caption)
    assert "\n" not in str(caught.value) and "caption" in str(caught.value)


@pytest.mark.parametrize("options", [{"method": "no"}, {"decision": "no"}, {"layers": "no"}])
def test_unusable_options_are_refused(clip, options):
    with pytest.raises(UserError):
        explain(clip, SCENE, "a red star", **options)


def test_seen_is_the_crop_that_the_model_reads(clip):
    picture = Image.new("RGB", (120, 40), (200, 30, 60))
    picture.paste((10, 20, 240), (40, 0, 80, 40))
    seen = np.asarray(as_seen(clip, picture)).astype(int)
    assert seen.shape == (32, 32, 3)
    assert np.abs(seen[:, 4:28] - (10, 20, 240)).max() <= 2


def test_compare_by_place(clip):
    true, foil = (explain(clip, SCENE, text) for text in ("a red star", "a red cup"))
    table = compare(true, foil)
    assert list(table["foil_word"]) == ["a", "red", "cup"]
    change = foil.words["attribution"] - true.words["attribution"]
    assert np.allclose(table["change"], change)
    with pytest.raises(UserError):
        compare(true, explain(clip, SCENE, "a star"))


def test_colours_are_centred_and_readable():
    values = np.linspace(-1, 1, 41)
    shades = colours(values, 1.0)
    assert shades[20].min() > 0.95  # 0 is near white
    assert shades[0][2] > shades[0][0] + 0.3 and shades[-1][0] > shades[-1][2] + 0.3
    for shade in shades:
        assert contrast(shade, text_colour(shade)) >= 4.5
    assert symmetric_limit([np.nan, -3, 2]) == 3 and symmetric_limit([]) == 1


def contrast(background, text):
    """Contrast ratio of WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in background]
    shade = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    other = 1.0 if text == "#ffffff" else 0.0
    return (max(shade, other) + 0.05) / (min(shade, other) + 0.05)
