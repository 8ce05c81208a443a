"""Mediated integrated gradients against a slow oracle, and what must hold whatever the model."""

import copy

import mediated_oracle as oracle
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image

from clip_attribution import attribute, load_clip
from clip_attribution.attribution import batch, mediated, path_points
from clip_attribution.attribution.mediated import PATHS, attribute_paths
from clip_attribution.errors import UserError
from clip_attribution.interchange import Alignment
from clip_attribution.studies.mediated import scene_rows

CAPTIONS = ["a cup of coke", "two dogs", "a state-of-the-art well-lit room", "an umbrella on grass"]
SITES = (0, 2, "features")


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=tiny.config(2, 4, width=64, embed=48, quick_gelu=True))


@pytest.fixture(scope="module")
def pairs():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 40, 40, 3), dtype=np.uint8)
    return pd.DataFrame({"image": [Image.fromarray(p) for p in pixels], "caption": CAPTIONS})


def rotation(width, seed=0):
    made = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    return torch.tensor(made, dtype=torch.float32)


def aligned(site, size=20, seed=0):
    width = 48 if site == "features" else 64
    return Alignment(site=site, size=size, rotation=rotation(width, seed))


def values(clip, pairs, alignment, path):
    words, done = attribute(
        clip, pairs, "mediated", path=path, alignment=alignment, template="", level="token"
    )
    return words, done


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("path", PATHS)
def test_each_path_equals_the_slow_oracle(clip, pairs, site, path):
    alignment = aligned(site)
    words, _ = values(clip, pairs, alignment, path)
    span = alignment.rotation[:, : alignment.size]
    images = clip.encode_images(list(pairs.image))
    largest = 0.0
    for row, text in enumerate(CAPTIONS):
        ids = clip.tokenizer([text])[0]
        ids = ids[: ids.argmax() + 1]
        run = {"heads": 4, "quick": True, "scale": clip.logit_scale}
        wanted, _ = oracle.mediated(clip.model, ids, images[row], path, site, span @ span.T, **run)
        own = words[words.pair_id == row].attribution
        np.testing.assert_allclose(own, wanted[1:-1].numpy(), atol=2e-5, rtol=1e-4)
        largest = max(largest, wanted.abs().max().item())
    assert largest > 1e-2 or (site, path) == ("features", "rest")


@pytest.mark.parametrize("site", SITES)
def test_the_whole_is_the_sum_of_its_parts(clip, pairs, site):
    alone = {path: values(clip, pairs, aligned(site), path)[0].attribution for path in PATHS}
    usual = attribute(clip, pairs, "integrated_gradients", template="", level="token")[0]
    total = alone["through"] + alone["around"] + alone["rest"]
    np.testing.assert_allclose(total, usual.attribution, atol=2e-5)
    np.testing.assert_allclose(total, alone["whole"], atol=2e-5)
    together, _ = attribute_paths(clip, pairs, aligned(site), template="", level="token")
    for path in PATHS:
        np.testing.assert_allclose(together[path], alone[path], atol=2e-5)


def test_bos_eot_and_padding_get_exactly_nothing(clip, pairs, monkeypatch):
    seen = []
    found = mediated.parts

    def watched(view, *arguments):
        seen.append((view, found(view, *arguments)))
        return seen[-1][1]

    monkeypatch.setattr(mediated, "parts", watched)
    values(clip, pairs, aligned(1), "through")
    (view, every), *_ = seen
    assert every.shape == (4, 4, view.ids.shape[1])
    outside = ~view.inside[:, None].expand_as(every)
    assert outside.any() and (every[outside] == 0).all()
    assert (every[view.inside[:, None].expand_as(every)] != 0).all()


def test_completeness_gap_and_share_of_rest_are_noted(clip, pairs):
    words, done = values(clip, pairs, aligned(2), "around")
    assert done.completeness_gap.abs().max() < 1e-3
    whole = attribute(clip, pairs, "integrated_gradients", template="")[1]
    np.testing.assert_allclose(done.completeness_gap, whole.completeness_gap, atol=2e-5)
    every, _ = attribute_paths(clip, pairs, aligned(2), template="", level="token")
    sums = every[list(PATHS[1:])].abs().groupby(every.pair_id).sum()
    np.testing.assert_allclose(done.share_of_rest, sums["rest"] / sums.sum(axis=1), atol=1e-5)
    assert done.share_of_rest.between(0.01, 0.9).all()
    coarse = attribute(clip, pairs, "mediated", n_steps=2, template="")[1]
    assert coarse.completeness_gap.abs().max() > done.completeness_gap.abs().max()


def test_panels_are_short_where_the_features_move():
    moved = np.ones((path_points.GRID, 2))
    moved[40:44, 1] = 100
    edges = path_points.even_panels(moved, 10)
    np.testing.assert_allclose(edges[:, 0], np.linspace(0, 1, 11), atol=1e-12)
    inside = (edges[:, 1] > 40 / path_points.GRID) & (edges[:, 1] < 44 / path_points.GRID)
    assert inside.sum() >= 5
    times, weights = path_points.points_between(edges, 5)
    assert times.shape == weights.shape == (50, 2) and (np.diff(times, axis=0) > 0).all()
    for power in range(10):  # five Gauss points are exact up to the ninth power
        np.testing.assert_allclose((times**power * weights).sum(0), 1 / (power + 1), atol=1e-14)


def test_panels_come_nearer_to_the_integral_of_a_rough_path():
    clip, scenes = load_clip(), scene_rows(4, 33)
    gaps = {}
    for rule in ("gauss", "panels"):
        words, done = attribute_paths(clip, scenes, rule=rule, template="")
        np.testing.assert_allclose(
            words.whole, words.through + words.around + words.rest, atol=2e-5
        )
        gaps[rule] = done.completeness_gap.abs()
    assert gaps["gauss"].max() > 0.01  # a path whose attention switches between two points
    assert gaps["panels"].max() < gaps["gauss"].max() / 5
    assert gaps["panels"].median() < 1e-3
    whole = attribute(clip, scenes, "mediated", path="whole", rule="panels", template="")[1]
    np.testing.assert_allclose(whole.completeness_gap.abs(), gaps["panels"], atol=2e-5)


def test_no_part_and_the_whole_state(clip, pairs):
    none, all_of_it = (
        attribute_paths(clip, pairs, aligned(1, size), template="")[0] for size in (0, 64)
    )
    assert (none.through == 0).all() and all_of_it.around.abs().max() < 2e-5
    np.testing.assert_allclose(none.around, all_of_it.through, atol=2e-5)
    np.testing.assert_allclose(none.rest, all_of_it.rest, atol=2e-5)
    features, _ = attribute_paths(clip, pairs, aligned("features"), template="")
    assert (features.rest == 0).all()


def test_only_the_span_of_the_first_columns_matters(clip, pairs):
    given = aligned(1)
    inner = torch.block_diag(rotation(20, 3), rotation(44, 4))
    turned = Alignment(site=1, size=20, rotation=given.rotation @ inner)
    one, other = (values(clip, pairs, a, "through")[0].attribution for a in (given, turned))
    np.testing.assert_allclose(one, other, atol=1e-5)
    apart = values(clip, pairs, aligned(1, seed=7), "through")[0].attribution
    assert (one - apart).abs().max() > 1e-2


def test_without_an_alignment_it_is_half_of_the_last_block_but_one(clip, pairs):
    plain = Alignment(site=2, size=32, rotation=None)
    given, _ = attribute_paths(clip, pairs, plain, template="")
    usual, _ = attribute_paths(clip, pairs, template="")
    pd.testing.assert_frame_equal(given, usual)
    named, _ = attribute(clip, pairs, "mediated", template="")
    np.testing.assert_array_equal(named.attribution, usual.through)


def test_a_batch_equals_its_members(clip, pairs):
    together, _ = attribute_paths(clip, pairs, aligned(1), template="")
    apart = [attribute_paths(clip, pairs[i : i + 1], aligned(1), template="")[0] for i in range(4)]
    apart = pd.concat(apart)
    for path in PATHS:
        np.testing.assert_allclose(together[path], apart[path], atol=2e-5)


def test_the_model_stays_as_it_was_even_after_an_exception(clip, pairs, monkeypatch):
    before = copy.deepcopy(clip.model.state_dict())
    flags = [p.requires_grad for p in clip.model.parameters()]

    def broken(*args):
        raise RuntimeError("stopped in the middle")

    monkeypatch.setattr(mediated, "divided", broken)
    with pytest.raises(RuntimeError, match="stopped in the middle"):
        attribute(clip, pairs, "mediated")
    assert all(torch.equal(value, before[k]) for k, value in clip.model.state_dict().items())
    assert [p.requires_grad for p in clip.model.parameters()] == flags
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in clip.model.modules())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"path": "beside"}, "unknown path 'beside': choose from whole, through, around, rest"),
        ({"alignment": aligned(3)}, "no site 3: this text tower has the sites 0 to 2"),
        ({"alignment": Alignment(1, 65)}, "a state of 65 numbers, but site 1 of this model has 64"),
        ({"alignment": Alignment(1, 4, rotation(48))}, "a state of 48 numbers, but site 1"),
        (
            {"alignment": 4},
            "alignment must be an Alignment of .*, not int",
        ),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"n_step": 5}, "has no option 'n_step': it takes path, alignment, n_steps, rule"),
        ({"rule": "simpson"}, "unknown rule 'simpson': choose from gauss, panels"),
        ({"rule": "panels", "n_steps": 12}, "takes n_steps in multiples of 5, not 12"),
    ],
)
def test_unusable_options(clip, pairs, options, reason):
    with pytest.raises(UserError, match=reason) as caught:
        attribute(clip, pairs, "mediated", **options)
    assert "\n" not in str(caught.value)


def test_bad_rows_touch_no_other(clip, pairs):
    bad = pd.DataFrame([{"image": "no/such.png", "caption": "a cat"}])
    words, done = attribute_paths(clip, pd.concat([pairs, bad], ignore_index=True), template="")
    assert done.error.notna().tolist() == [False] * 4 + [True]
    assert set(words.pair_id) == {0, 1, 2, 3} and batch.CHUNK > 5
