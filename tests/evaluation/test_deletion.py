"""Deletion and insertion curves: parts go in the order of the map, areas are those of the curve."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from clip_attribution import load_clip
from clip_attribution.errors import UserError
from clip_attribution.evaluation.deletion import (
    FILLS,
    KINDS,
    RANDOM,
    areas,
    both,
    filled,
    left_over,
    mean_curves,
    picture_curves,
    summary,
    word_curves,
)
from clip_attribution.heatmaps import heatmaps
from clip_attribution.heatmaps.pixels import transform_of
from clip_attribution.text.words import split_words

REFS, TEXTS = ["scene:1:5", "scene:1:24"], ["a large black heart", "a yellow moon"]


@pytest.fixture(scope="module")
def clip():
    return load_clip()


def value(curves, **equal):
    """The cosines of the rows with these values, in order."""
    for name, wanted in equal.items():
        curves = curves[curves[name] == wanted]
    return curves["cosine"].to_numpy()


def slow_curve(clip, ref, text, heat, steps, kind):
    """One curve, an image at a time and a pixel block at a time."""
    from clip_attribution.io.images import open_image

    pixels = transform_of(clip)(open_image(ref))
    rows, cols = heat.shape
    high, wide = pixels.shape[1] // rows, pixels.shape[2] // cols
    cells = sorted(np.ndindex(rows, cols), key=lambda at: (-heat[at], at))
    word = normalize(clip.model.encode_text(clip.tokenizer([text])).float(), dim=-1)[0]
    found = []
    for step in range(steps + 1):
        gone = cells[: round(step / steps * len(cells))]
        gone = gone if kind == "deletion" else [at for at in cells if at not in gone]
        shown = pixels.clone()
        for y, x in gone:
            for channel in range(3):
                mean = pixels[channel].mean()
                shown[channel, y * high : (y + 1) * high, x * wide : (x + 1) * wide] = mean
        image = normalize(clip.model.encode_image(shown[None]).float(), dim=-1)[0]
        found.append(float(image @ word))
    return found


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_equals_one_made_picture_by_picture(clip, kind):
    maps = heatmaps(clip, REFS, TEXTS, "gradcam")
    curves = picture_curves(clip, REFS, TEXTS, {"gradcam": maps}, steps=4)
    for pair in range(2):
        slow = slow_curve(clip, REFS[pair], TEXTS[pair], maps[pair], 4, kind)
        found = value(curves, pair=pair, method="gradcam", kind=kind)
        assert np.allclose(found, slow, atol=1e-5)


def test_deletion_begins_where_insertion_ends_and_the_other_way_round(clip):
    maps = {"a": np.random.default_rng(0).random((2, 8, 8)), "b": np.zeros((2, 8, 8))}
    curves = picture_curves(clip, REFS, TEXTS, maps, steps=3, fill="blur")
    assert set(curves["method"]) == {"a", "b", RANDOM} and len(curves) == 2 * 3 * 2 * 4
    for pair in range(2):
        ends = {value(curves, pair=pair, method=m, kind="deletion")[i] for m in "ab" for i in [0]}
        ends |= {value(curves, pair=pair, method=m, kind="insertion")[-1] for m in ("a", RANDOM)}
        assert max(ends) - min(ends) < 1e-5
        starts = [value(curves, pair=pair, method=m, kind="insertion")[0] for m in ("a", "b")]
        assert abs(starts[0] - value(curves, pair=pair, method="b", kind="deletion")[-1]) < 1e-5
        assert abs(starts[0] - starts[1]) < 1e-5


def test_parts_go_from_the_highest_to_the_lowest():
    order = np.array([2, 0, 3, 1])
    kept, put = both(order, np.array([0, 0.25, 0.5, 1])).reshape(2, 4, 4).astype(int).tolist()
    assert kept == [[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert put == [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]]


def test_what_replaces_a_picture_has_its_mean_colour():
    pixels = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean = filled(pixels, "mean")
    assert mean.shape == pixels.shape
    assert torch.equal(mean[:, 0, 0], pixels.mean((1, 2))) and mean[0].std() < 1e-6
    blurred = filled(pixels, "blur")
    assert 0 < blurred.std() < 0.3 * pixels.std() and set(FILLS) == {"mean", "blur"}


def test_the_random_order_has_a_seed_and_the_others_do_not_depend_on_it(clip):
    maps = {"gradcam": heatmaps(clip, REFS, TEXTS, "gradcam")}
    one, same, other = (
        picture_curves(clip, REFS, TEXTS, maps, steps=4, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, same)
    assert not np.allclose(value(one, method=RANDOM), value(other, method=RANDOM))
    assert np.array_equal(value(one, method="gradcam"), value(other, method="gradcam"))


def test_an_unreadable_image_and_a_map_of_nan_keep_their_reason(clip, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    refs = ["good.png", "gone.png", "good.png"]
    maps = np.ones((3, 8, 8))
    maps[2, 0, 0] = np.nan
    curves = picture_curves(clip, refs, ["a", "a", None], {"m": maps}, steps=2, image_root=tmp_path)
    assert set(curves["pair"]) == {0, 1, 2}
    bad = curves.dropna(subset="error").set_index("pair")["error"]
    assert list(bad.index) == [1, 2] and "gone.png" in bad[1] and bad[2] == "no map by m"
    assert set(areas(curves)["pair"]) == {0}  # the summaries go on without them
    none = picture_curves(clip, refs[1:2], ["a"], {"m": maps[:1]}, image_root=tmp_path)
    assert none["error"].notna().all() and list(none) == list(curves)


@pytest.mark.parametrize("wrong", [{"fill": "grey"}, {"steps": 0}, {"texts": ["a"]}])
def test_bad_arguments_are_refused(clip, wrong):
    given = {"texts": TEXTS, **wrong}
    with pytest.raises(UserError) as caught:
        picture_curves(clip, REFS, given.pop("texts"), {"m": np.ones((2, 8, 8))}, **given)
    assert "\n" not in str(caught.value)


# --- words ---


def test_words_leave_and_the_rest_keeps_its_order():
    caption = "A red star,  below two cows."
    words = split_words(caption)
    assert [word.text for word in words] == ["A", "red", "star", ",", "below", "two", "cows", "."]
    assert left_over(caption, words, [1, 0, 1, 0, 1, 1, 1, 0]) == "A star below two cows"
    assert left_over(caption, words, [0] * 8) == ""
    assert left_over(caption, words, [1] * 8) == "A red star, below two cows."


def test_word_curves_are_cosines_of_shortened_captions(clip):
    from clip_attribution import attribute
    from clip_attribution.io.images import open_image

    pairs = pd.DataFrame({"image": REFS, "caption": TEXTS})
    curves = word_curves(clip, pairs, ["gae"], template="")
    words, _ = attribute(clip, pairs, "gae", template="")
    own = words[words["pair_id"] == 1].sort_values("attribution", ascending=False, kind="stable")
    gone = list(own["word"])
    assert set(gone) == {"a", "yellow", "moon"}
    image = clip.encode_images([open_image(REFS[1])])[0]
    for step in range(4):
        left = " ".join(w for w in ("a", "yellow", "moon") if w not in gone[:step])
        back = " ".join(w for w in ("a", "yellow", "moon") if w in gone[:step])
        for kind, text in (("deletion", left), ("insertion", back)):
            cosine = float(clip.encode_texts([text])[0] @ image)
            found = value(curves, pair=1, method="gae", kind=kind)[step]
            assert abs(found - cosine) < 1e-5


def test_a_caption_with_an_error_keeps_its_reason(clip):
    pairs = pd.DataFrame({"image": [*REFS, "nowhere.png"], "caption": [TEXTS[0], "", "a cat"]})
    curves = word_curves(clip, pairs, ["gae", "clip4dm"])
    bad = curves.dropna(subset="error").set_index("pair")["error"]
    assert bad[1] == "the caption is empty" and "nowhere.png" in bad[2] and len(bad) == 2
    assert set(areas(curves)["pair"]) == {0} and np.isfinite(mean_curves(curves)["value"]).all()


# --- areas ---


def curve(pair, method, kind, cosines):
    shares = np.linspace(0, 1, len(cosines))
    return pd.DataFrame(
        {"pair": pair, "method": method, "kind": kind, "share": shares, "cosine": cosines}
    )


def test_areas_gains_and_means_by_hand():
    curves = pd.concat(
        [
            curve(0, "m", "deletion", [1.0, 0.0, 0.0]),
            curve(0, RANDOM, "deletion", [1.0, 0.5, 0.0]),
            curve(0, "m", "insertion", [0.0, 1.0, 1.0]),
            curve(0, RANDOM, "insertion", [0, 0.5, 1]),
            curve(1, "m", "deletion", [1.0, 0.5, 0.0]),
            curve(1, RANDOM, "deletion", [1.0, 0.5, 0.0]),
            curve(1, "m", "insertion", [0.0, 1.0]),
            curve(1, RANDOM, "insertion", [0.0, 1.0]),
        ]
    )
    found = areas(curves).set_index(["pair", "method", "kind"])["area"]
    assert found[0, "m", "deletion"] == 0.25 and found[0, "m", "insertion"] == 0.75
    assert found[1, "m", "insertion"] == 0.5
    table = summary(areas(curves)).set_index(["method", "kind"])
    for kind in KINDS:
        row = table.loc["m", kind]
        assert row["gain"] == pytest.approx(0.125) and row["n"] == 2
        assert row["gain_low"] <= 0.125 <= row["gain_high"] and row["gain_low"] >= 0
        assert table.loc[RANDOM, kind]["gain"] == 0
    means = mean_curves(curves, points=5).set_index(["method", "kind", "share"])["value"]
    assert means["m", "insertion", 0.25] == pytest.approx((0.5 + 0.25) / 2)
    assert means["m", "deletion", 0.5] == pytest.approx(0.25)
