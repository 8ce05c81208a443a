"""Contrasts: the difference of two captions' scores, word by word."""

import numpy as np
import pytest

from clip_attribution import attribute, contrast, load_clip
from clip_attribution.attribution.contrasts import align_words
from clip_attribution.errors import UserError
from clip_attribution.scenes import scene_pairs

ROW = {"image": "scene:1:3", "caption": "a yellow sun on grass", "other": "a red sun near grass"}


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def rows():
    pairs = scene_pairs(6, seed=4, foils="noun")
    true, false = (pairs[pairs.is_foil == side].reset_index(drop=True) for side in (False, True))
    table = true[["image", "caption"]].assign(other=false["caption"])
    return table.assign(other_image=np.roll(table["image"], 1))


def test_the_contrast_is_the_difference_of_the_two_attributions(clip):
    words, pairs = contrast(clip, [ROW])
    sides = [
        attribute(clip, [{"image": ROW["image"], "caption": ROW[k]}]) for k in ("caption", "other")
    ]
    own, other = (side[0].attribution.to_numpy() for side in sides)
    np.testing.assert_allclose(words.contrast, own - other, atol=1e-7)
    assert words.word.tolist() == ROW["caption"].split()
    assert words.other_word.tolist() == ROW["other"].split()
    difference = sides[0][1].cosine[0] - sides[1][1].cosine[0]
    assert abs(pairs.contrast[0] - difference) < 1e-6 and pairs.error[0] is None


@pytest.mark.parametrize("quadruple", [False, True])
@pytest.mark.parametrize("method", ["clip4dm", "columns", "leave_one_out"])
def test_a_swap_changes_every_sign(clip, rows, quadruple, method):
    rows = rows if quadruple else rows.drop(columns="other_image")
    swapped = rows.rename(columns={"caption": "other", "other": "caption"})
    words, pairs = contrast(clip, rows, method)
    back, pairs_back = contrast(clip, swapped, method)
    assert words.contrast.abs().max() > 1e-4
    np.testing.assert_allclose(words.contrast, -back.contrast, atol=1e-7)
    np.testing.assert_allclose(pairs.contrast, -pairs_back.contrast, atol=1e-7)


def test_identical_captions_and_identical_images_give_zeros(clip, rows):
    words, pairs = contrast(clip, rows.assign(other=rows["caption"]))
    assert (words.contrast == 0).all() and (pairs.contrast == 0).all()
    words, pairs = contrast(clip, rows.assign(other_image=rows["image"]))
    assert words.contrast.abs().max() < 1e-7 and pairs.contrast.abs().max() < 1e-6


def test_the_quadruple_is_the_double_difference(clip, rows):
    words, pairs = contrast(clip, rows)
    at = {}
    for image in ("image", "other_image"):
        for side in ("caption", "other"):
            asked = [
                {"image": i, "caption": c} for i, c in zip(rows[image], rows[side], strict=True)
            ]
            at[image, side] = attribute(clip, asked)
    cosine = {key: found[1].cosine.to_numpy() for key, found in at.items()}
    wanted = cosine["image", "caption"] - cosine["image", "other"]
    wanted = wanted - cosine["other_image", "caption"] + cosine["other_image", "other"]
    np.testing.assert_allclose(pairs.contrast, wanted, atol=1e-6)
    value = {key: found[0].attribution.to_numpy() for key, found in at.items()}
    own = value["image", "caption"] - value["other_image", "caption"]
    np.testing.assert_allclose(words.attribution, own, atol=1e-7)


def test_words_are_aligned_both_ways_alike():
    one, other = "a red cat on the old mat".split(), "the cat sat on a mat today".split()
    places = align_words(one, other)
    assert [(b, a) for a, b in places] == align_words(other, one)
    same = [(a, b) for a, b in places if a is not None and b is not None and one[a] == other[b]]
    assert [one[a] for a, _ in same] == ["cat", "on", "mat"]
    assert sorted(a for a, _ in places if a is not None) == list(range(7))
    assert sorted(b for _, b in places if b is not None) == list(range(7))
    assert align_words(["A", "dog"], ["a", "dog"]) == [(0, 0), (1, 1)]
    assert align_words([], ["a"]) == [(None, 0)]


def test_a_bad_row_keeps_its_reason(clip):
    words, pairs = contrast(clip, [ROW, ROW | {"other": ""}, ROW | {"image": "gone.png"}])
    assert pairs.error[0] is None and pairs.error[1] == "the caption is empty"
    assert "gone.png" in pairs.error[2] and words.pair_id.unique().tolist() == [0]
    with pytest.raises(UserError, match="no column 'other'"):
        contrast(clip, [{"image": "scene:1:3", "caption": "a sun"}])
