"""The randomisation check: parts are forgotten from the top, on a copy, and maps compared."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from small_towers import VIT, coca, eva02, reduced, siglip

from clip_attribution import load_clip
from clip_attribution.evaluation.sanity import (
    GIVEN,
    OTHER,
    by_depth,
    cascade,
    randomisation,
    rank_correlation,
    reinitialise,
    unchanged,
)
from clip_attribution.heatmaps import METHODS, heatmaps

REFS, TEXTS = ["scene:1:5", "scene:1:24", "scene:1:36"], ["a heart", "a yellow moon", "an anchor"]
RESNET = {"layers": [1, 1, 1, 2], "width": 4, "image_size": 96}
TOWERS = {
    "ViT": lambda folder: reduced("ViT-B-32", VIT | {"patch_size": 16}),
    "ResNet": lambda folder: reduced("RN50", RESNET),
    "CoCa": lambda folder: coca(),
    "EVA02": lambda folder: eva02(),
    "SigLIP": siglip,
    "ConvNeXt": lambda folder: reduced(
        "convnext_base", {"timm_model_name": "test_convnext", "image_size": 96}
    ),
}


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def found(clip):
    return randomisation(clip, REFS, TEXTS, ["gae_image", "rollout", "value_path"], seed=3)


def test_every_method_goes_through_every_depth_from_the_top(found):
    depths = [OTHER, GIVEN, "head", "block 3", "block 2", "block 1", "block 0", "embedding"]
    for _, own in found.groupby("method"):
        assert list(dict.fromkeys(own["depth"])) == depths
        assert list(dict.fromkeys(own["step"])) == list(range(-1, 7))
        assert own.groupby("step")["pair"].apply(list).map(lambda pairs: pairs == [0, 1, 2]).all()
    given = found[found["depth"] == GIVEN]["correlation"]
    assert np.allclose(given, 1)


def test_rollout_ignores_the_head_and_gradients_do_not(found):
    means = by_depth(found).set_index(["method", "depth"])["value"]
    assert means["rollout", "head"] == pytest.approx(1)
    assert means["gae_image", "head"] < 0.9 and means["value_path", "head"] < 0.9
    assert means["rollout", "block 3"] < 0.999


def test_the_given_model_stays_as_it_is_bit_by_bit():
    clip = load_clip()
    before, name = deepcopy(clip.model.state_dict()), clip.weights_hash
    maps = heatmaps(clip, REFS, TEXTS, "gae_image")
    randomisation(clip, REFS, TEXTS, ["gae_image"])
    after = clip.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert unchanged(clip) and clip.weights_hash == name
    assert np.array_equal(maps, heatmaps(clip, REFS, TEXTS, "gae_image"))
    with torch.no_grad():
        clip.model.visual.proj[0, 0] += 1
    assert not unchanged(clip)


def test_the_last_depth_is_a_model_without_any_trained_image_weight(clip):
    copy = deepcopy(clip.model)
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _, parameters in cascade(copy):
        reinitialise(parameters, generator)
        seen |= set(parameters)
    assert seen == set(copy.visual.parameters())
    for name, trained in clip.model.named_parameters():
        now = dict(copy.named_parameters())[name]
        if name.startswith("visual.") and trained.numel() > 1 and trained.std() > 0:
            assert not torch.equal(trained, now), name
        elif not name.startswith("visual."):
            assert torch.equal(trained, now), name


def test_a_tensor_drawn_anew_keeps_its_mean_and_spread():
    parameter = torch.nn.Parameter(2 + 3 * torch.randn(200, 200), requires_grad=False)
    before = parameter.clone()
    reinitialise([parameter], torch.Generator().manual_seed(1))
    assert abs(parameter.mean() - before.mean()) < 0.1
    assert abs(parameter.std() - before.std()) < 0.1
    assert abs(np.corrcoef(parameter.ravel(), before.ravel())[0, 1]) < 0.05
    constant = torch.nn.Parameter(torch.full((5,), 4.0), requires_grad=False)
    reinitialise([constant], torch.Generator().manual_seed(1))
    assert torch.equal(constant, torch.full((5,), 4.0))


def test_the_seed_names_the_random_weights(clip):
    one, same, other = (
        randomisation(clip, REFS, TEXTS, ["gae_image"], seed=seed) for seed in (1, 1, 2)
    )
    assert one.equals(same) and not one.equals(other)


@pytest.mark.parametrize("name", TOWERS)
def test_each_parameter_of_every_kind_of_tower_belongs_to_one_part(name, tmp_path):
    model = load_clip("small", model_config=TOWERS[name](tmp_path)).model
    parts = cascade(model)
    names = [part for part, _ in parts]
    assert names[0] == "head" and names[-1] == "embedding"
    assert names[1:-1] == [f"block {n}" for n in reversed(range(len(names) - 2))]
    every = [parameter for _, parameters in parts for parameter in parameters]
    assert len(every) == len(set(every)) and set(every) == set(model.visual.parameters())
    assert all(parameters for _, parameters in parts)


def test_every_method_can_be_checked(tmp_path):
    small = load_clip("small", model_config=TOWERS["ViT"](tmp_path), seed=3)
    found = randomisation(small, REFS, TEXTS, list(METHODS))
    known = by_depth(found).set_index(["method", "depth"])["n"]
    assert all(known[name, "head"] == 3 for name in set(METHODS) - {"gscorecam"})
    assert known["gscorecam", "head"] == 2  # one of its maps is all zero, hence constant


def test_rank_correlation_by_hand():
    one, other = np.array([[1.0, 2], [3, 3]]), np.array([[-5.0, 0], [7, 8]])
    ranks = [rankdata(values.ravel()) - 2.5 for values in (one, other)]
    by_hand = ranks[0] @ ranks[1] / np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    assert rank_correlation(one, other) == pytest.approx(by_hand)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert np.isnan(rank_correlation(one, np.ones((2, 2))))
    assert np.isnan(rank_correlation(one, np.full((2, 2), np.nan)))


def test_a_pair_without_a_map_is_missing_and_the_others_are_not(clip):
    found = randomisation(clip, [REFS[0], "gone.png", REFS[1]], TEXTS, ["gae_image"])
    head = found[found["depth"] == "head"].set_index("pair")["correlation"]
    assert np.isnan(head[1]) and not head[[0, 2]].isna().any()
    assert by_depth(found).query("depth == 'head'")["n"].item() == 2
