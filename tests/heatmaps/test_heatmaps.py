"""Heat maps: every method against a slow version, every tower, batches, bad rows, the image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from heatmap_oracles import (
    coca_value_path,
    gradcam,
    gscorecam,
    resnet_pool,
    resnet_value_path,
    siglip_maps,
    value_path,
)
from PIL import Image
from small_towers import VIT, coca, eva02, reduced, siglip

from clip_attribution import image_attribution, load_clip
from clip_attribution.errors import UserError
from clip_attribution.heatmaps import METHODS, heatmap_rows, heatmaps
from clip_attribution.heatmaps.batch import Batch
from clip_attribution.heatmaps.engine import text_features
from clip_attribution.heatmaps.pixels import transform_of
from clip_attribution.heatmaps.registry import prepare

SMALL = VIT | {"patch_size": 16}
TEXTS = ["a cup of coke", "two dogs", "the red circle on the left", "a cat", "many birds", "sky"]
RESNET = {"layers": [1, 1, 1, 2], "width": 4, "image_size": 96}
TOWERS = {
    "ViT": lambda folder: reduced("ViT-B-32", SMALL),
    "L-14-336": lambda folder: reduced("ViT-L-14-336", VIT | {"patch_size": 14, "image_size": 70}),
    "not square": lambda folder: reduced("ViT-B-16", VIT | {"image_size": [48, 64]}),
    "ragged": lambda folder: reduced("ViT-B-16", VIT | {"image_size": 70}),
    "averaged": lambda folder: reduced("ViT-B-32", SMALL | {"pool_type": "avg"}),
    "normed last": lambda folder: reduced(
        "ViT-B-32", SMALL | {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}
    ),
    "ResNet": lambda folder: reduced("RN50", RESNET),
    "CoCa": lambda folder: coca(),
    "EVA02": lambda folder: eva02(),
    "SigLIP": siglip,
    "ConvNeXt": lambda folder: reduced(
        "convnext_base", {"timm_model_name": "test_convnext", "image_size": 96}
    ),
}
UNDEFINED = {  # the methods that a tower has no map for
    "averaged": {"gae_image", "rollout", "clip4dm_image"},
    "normed last": {"gae_image", "rollout", "clip4dm_image"},
    "ConvNeXt": {"gae_image", "rollout", "clip4dm_image", "value_path"},
}
LOADED = {}


@pytest.fixture
def tower(tmp_path_factory):
    """A loaded tower by its name in TOWERS, one of each for the whole file."""

    def load(name):
        if name not in LOADED:
            clip = load_clip(
                "small", model_config=TOWERS[name](tmp_path_factory.mktemp("tower")), seed=3
            )
            LOADED[name] = {"ResNet": roughened, "EVA02": shortened}.get(name, lambda c: c)(clip)
        return LOADED[name]

    return load


def roughened(clip):
    """A ResNet whose branches are alive: open_clip starts their last norm at zero."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in clip.model.visual.named_parameters():
        if "bn" in name and name.endswith("weight"):
            parameter.data.uniform_(0.5, 1.5, generator=generator)
    return clip


def shortened(clip):
    """A timm tower whose name fixes its depth, with three blocks."""
    trunk = clip.model.visual.trunk
    trunk.blocks = trunk.blocks[:3]
    return clip


def picture(seed=0, width=90, height=60):
    coarse = np.random.RandomState(seed).randint(0, 255, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def pairs(n=6, pictures=3):
    images = [picture(seed) for seed in range(pictures)]
    return [images[i % pictures] for i in range(n)], TEXTS[:n]


def options(method):
    return {"k": 4, "mask_batch": 3} if method == "gscorecam" else {}


def served(clip_name):
    return [method for method in METHODS if method not in UNDEFINED.get(clip_name, ())]


def inputs(clip, image, text):
    """Squashed pixels [1, 3, h, w] and unit text feature [D], by themselves."""
    return transform_of(clip, "squash")(image)[None], clip.encode_texts([text])[0]


def both(clip, method, oracle, **given):
    """Maps of two pairs, ours and the oracle's."""
    images, texts = [picture(0), picture(1)], TEXTS[:2]
    wanted = [oracle(*inputs(clip, *pair)) for pair in zip(images, texts, strict=True)]
    return heatmaps(clip, images, texts, method, **given), np.stack(wanted)


# ---------------------------------------------------------------- against slow versions


@pytest.mark.parametrize("k", [4, 20])
@pytest.mark.parametrize("name", ["ViT", "ResNet", "averaged", "not square"])
def test_gscorecam_equals_its_definition(tower, name, k):
    clip = tower(name)
    visual = clip.model.visual
    if name == "ResNet":
        where = {"layer": visual.layer4[-1]}
    else:
        where = {"layer": visual.transformer.resblocks[-1], "grid": clip.grid, "prefix": 1}
        where["class_token"] = name != "averaged"

    def oracle(pixels, text):
        return gscorecam(clip.model, pixels=pixels, text=text, k=k, **where)

    ours, slow = both(clip, "gscorecam", oracle, k=k)
    assert slow.max() > 0.99 and slow.std() > 0.05
    np.testing.assert_allclose(ours, slow, atol=1e-5)


@pytest.mark.parametrize("name", ["ViT", "ResNet", "CoCa", "SigLIP", "averaged"])
def test_gradcam_equals_its_definition(tower, name):
    clip = tower(name)
    visual = clip.model.visual
    if name == "ResNet":
        where = {"layer": visual.layer4}
    elif name == "SigLIP":
        prefix = visual.trunk.num_prefix_tokens
        where = {"layer": visual.trunk.blocks[-1].norm1, "grid": clip.grid, "prefix": prefix}
    else:
        where = {"layer": visual.transformer.resblocks[-1].ln_1, "grid": clip.grid, "prefix": 1}
    ours, slow = both(
        clip,
        "gradcam",
        lambda pixels, text: gradcam(
            clip.model, where["layer"], pixels, text, where.get("grid"), where.get("prefix", 0)
        ),
    )
    assert slow.std() > 1e-5
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-4 * np.abs(slow).max())


def test_gradcam_equals_captums(tower):
    clip = tower("ResNet")

    def captums(pixels, text):
        def logits(x):
            feature = F.normalize(clip.model.encode_image(x, normalize=False), dim=-1)
            return clip.logit_scale * feature @ text

        found = LayerGradCam(logits, clip.model.visual.layer4).attribute(pixels.requires_grad_())
        return found[0, 0].detach().numpy()

    ours, theirs = both(clip, "gradcam", captums)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradcam_reads_the_block_that_is_named(tower):
    clip = tower("ViT")
    layer = clip.model.visual.transformer.resblocks[1].ln_1
    ours, slow = both(
        clip, "gradcam", lambda p, t: gradcam(clip.model, layer, p, t, clip.grid, 1), layers=[1]
    )
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ViT", "not square", "L-14-336"])
@pytest.mark.parametrize("residual", [True, False])
def test_the_value_path_equals_its_definition(tower, name, residual):
    clip = tower(name)
    ours, slow = both(
        clip, "value_path", lambda p, t: value_path(clip.model, p, t, residual), residual=residual
    )
    np.testing.assert_allclose(ours, slow, atol=1e-5)


def test_the_value_path_of_a_resnet_is_its_pools_two_projections(tower):
    clip = tower("ResNet")
    ours, slow = both(clip, "value_path", lambda p, t: resnet_value_path(clip.model, p, t))
    np.testing.assert_allclose(ours, slow, atol=1e-5)


def test_the_value_path_of_a_pooler_reads_one_patch_at_a_time(tower):
    clip = tower("CoCa")
    ours, slow = both(clip, "value_path", lambda p, t: coca_value_path(clip.model, p, t))
    np.testing.assert_allclose(ours, slow, atol=1e-5)


@pytest.mark.parametrize("method", ["gae", "rollout", "clip4dm"])
@pytest.mark.parametrize("layers", [None, [0, 2]])
@pytest.mark.parametrize("name", ["ViT", "EVA02"])
def test_with_a_class_token_attention_maps_are_those_of_image_attribution(
    tower, name, method, layers
):
    clip, images = tower(name), [picture(i, 80, 80) for i in range(2)]
    ours = heatmaps(clip, images, TEXTS[:2], METHOD_NAMES.get(method, method), layers=layers)
    wanted = image_attribution(clip, images, TEXTS[:2], method, layers)
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


METHOD_NAMES = {"gae": "gae_image", "clip4dm": "clip4dm_image"}


def test_a_resnets_attention_pool_is_its_only_layer(tower):
    clip, scale = tower("ResNet"), tower("ResNet").logit_scale

    def product(kind):
        def oracle(pixels, text):
            attention, gradient = resnet_pool(clip.model, pixels, text)
            values = {
                "gae_image": scale * (attention * gradient).clamp(min=0),
                "clip4dm_image": attention * gradient,
                "rollout": attention,
            }[kind]
            return values.mean(0)[0, 1:].reshape(3, 3).numpy()

        return oracle

    for method in ("gae_image", "clip4dm_image", "rollout"):
        ours, slow = both(clip, method, product(method))
        np.testing.assert_allclose(ours, slow, rtol=1e-3, atol=1e-4 * np.abs(slow).max())


def test_relevance_goes_from_a_pooler_down_through_the_blocks(tower):
    clip = tower("SigLIP")

    def gae(pixels, text):
        maps, grads = siglip_maps(clip.model, pixels, text)
        steps = [
            (a * g * clip.logit_scale).clamp(min=0).mean(0)
            for a, g in zip(maps, grads, strict=True)
        ]
        n = steps[0].shape[0]
        relevance = torch.eye(n)
        for step in steps[:-1]:
            relevance = relevance + step @ relevance
        prefix = n - steps[-1].shape[-1]
        row = torch.cat([torch.zeros(prefix), steps[-1][0]]) @ relevance
        return row[prefix:].reshape(clip.grid).numpy()

    def rollout(pixels, text):
        maps, _ = siglip_maps(clip.model, pixels, text)
        n = maps[0].shape[-1]
        flow = torch.eye(n)
        for attention in maps[:-1]:
            step = attention.mean(0) + torch.eye(n)
            flow = (step / step.sum(-1, keepdim=True)) @ flow
        prefix = n - maps[-1].shape[-1]
        row = torch.cat([torch.zeros(prefix), maps[-1].mean(0)[0]]) @ flow
        return row[prefix:].reshape(clip.grid).numpy()

    for method, oracle in (("gae_image", gae), ("rollout", rollout)):
        ours, slow = both(clip, method, oracle, layers="all")
        np.testing.assert_allclose(ours, slow, rtol=1e-3, atol=1e-4 * np.abs(slow).max())
    pooler = heatmaps(clip, [picture(0)], TEXTS[:1], "gae_image")
    assert np.abs(pooler - heatmaps(clip, [picture(0)], TEXTS[:1], layers="all")).max() > 0


# ---------------------------------------------------------------- towers


@pytest.mark.parametrize("name", TOWERS)
def test_every_tower_has_a_map_or_a_reason(tower, name):
    clip = tower(name)
    images, texts = pairs(3, 2)
    for method in METHODS:
        if method not in served(name):
            with pytest.raises(UserError, match="averages over|without attention"):
                heatmaps(clip, images, texts, method)
            continue
        maps = heatmaps(clip, images, texts, method, **options(method))
        assert maps.dtype == np.float32 and maps.shape[0] == 3
        assert clip.grid is None or maps.shape[1:] == clip.grid
        assert np.isfinite(maps).all() and maps.std() > 0
        assert METHODS[method].signed or maps.min() >= 0
        if method != "rollout":
            assert np.abs(maps[0] - maps[2]).max() > 0, "same image, other phrase"


@pytest.mark.parametrize("name", ["ViT", "averaged", "ResNet", "SigLIP", "CoCa"])
def test_a_batch_equals_its_members(tower, name):
    clip = tower(name)
    images, texts = pairs(4, 2)
    for method in served(name):
        together = heatmaps(clip, images, texts, method, **options(method))
        apart = [
            heatmaps(clip, [image], [text], method, **options(method))[0]
            for image, text in zip(images, texts, strict=True)
        ]
        by_three = heatmaps(clip, images, texts, method, batch_size=3, **options(method))
        limit = 1e-5 * max(1, np.abs(together).max())
        np.testing.assert_allclose(together, np.stack(apart), atol=limit, rtol=1e-4)
        np.testing.assert_allclose(together, by_three, atol=limit, rtol=1e-4)


def test_a_picture_runs_once_for_all_its_phrases(tower):
    clip, seen = tower("ViT"), []
    images, texts = pairs(6, 2)
    handle = clip.model.visual.conv1.register_forward_pre_hook(lambda m, a: seen.append(len(a[0])))
    try:
        for method in served("ViT"):
            seen.clear()
            heatmaps(clip, images, texts, method, **options(method))
            assert seen[0] == 2 and (method == "gscorecam" or len(seen) == 1)
    finally:
        handle.remove()


def test_scattered_rows_of_a_picture_come_together_once_each(tower):
    clip = tower("ViT")
    images = [picture(i % 3) for i in range(3)] * 5
    found = list(heatmap_rows(clip, images, ["a dog"] * 15, batch_size=6))
    assert sorted(np.concatenate([rows for rows, _, _ in found])) == list(range(15))
    assert [len(rows) for rows, _, _ in found] == [5, 5, 5]
    crowded = heatmap_rows(clip, images[:1] * 7, ["a dog"] * 7, batch_size=3)
    assert [len(rows) for rows, _, _ in crowded] == [3, 3, 1]


def test_phrases_are_trimmed_without_changing_their_features(tower):
    for name in ("ViT", "SigLIP", "CoCa"):
        clip = tower(name)
        found = torch.stack([text_features(clip, TEXTS)[text] for text in TEXTS])
        torch.testing.assert_close(found, clip.encode_texts(TEXTS), atol=2e-6, rtol=1e-5)


# ---------------------------------------------------------------- the model stays as it is


def state(model):
    return {
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "flags": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "training": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "mode": torch.is_grad_enabled(),
    }


def assert_same(before, after):
    assert all(torch.equal(before["values"][k], v) for k, v in after["values"].items())
    assert {k: v for k, v in before.items() if k != "values"} == {
        k: v for k, v in after.items() if k != "values"
    }


@pytest.mark.parametrize("name", ["ViT", "ResNet", "SigLIP", "CoCa", "ConvNeXt"])
def test_the_model_is_as_it_was_also_after_an_error(tower, name):
    clip = tower(name)
    before = state(clip.model)
    pixels = torch.randn(2, 3, *clip.image_size)
    for method in served(name):
        heatmaps(clip, *pairs(2, 2), method, **options(method))
        assert_same(before, state(clip.model))
        compute = prepare(clip, method, None, options(method))
        for spoiled, width in ((pixels[:, :2], clip.embed_dim), (pixels, clip.embed_dim + 1)):
            if method == "rollout" and width != clip.embed_dim:
                width = 0  # attention alone never meets the text
            with pytest.raises((RuntimeError, ValueError)):
                compute(Batch(spoiled, torch.ones(2, width), torch.tensor([0, 1 + (width == 0)])))
            assert_same(before, state(clip.model))


def test_frozen_or_not_makes_no_difference(tower):
    clip = tower("ViT")
    images, texts = pairs(2, 1)
    frozen = {m: heatmaps(clip, images, texts, m, **options(m)) for m in METHODS}
    clip.model.requires_grad_(True)
    try:
        with torch.no_grad():
            thawed = {m: heatmaps(clip, images, texts, m, **options(m)) for m in METHODS}
        assert all(p.grad is None and p.requires_grad for p in clip.model.parameters())
    finally:
        clip.model.requires_grad_(False)
    for method in METHODS:
        np.testing.assert_allclose(thawed[method], frozen[method], atol=1e-5, rtol=1e-4)


def test_states_that_would_spoil_a_map_are_refused(tower):
    clip = tower("ResNet")
    clip.model.train()
    try:
        with pytest.raises(UserError, match="eval"):
            heatmaps(clip, [picture()], ["a dog"], "gradcam")
    finally:
        clip.model.eval()
    expected = heatmaps(clip, [picture()], ["a dog"], "gradcam")
    with torch.inference_mode():  # spoils none
        assert np.array_equal(heatmaps(clip, [picture()], ["a dog"], "gradcam"), expected)


# ---------------------------------------------------------------- arguments and rows


def test_a_bad_row_has_its_reason_and_spares_the_others(tower, tmp_path):
    clip = tower("ViT")
    picture(0).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    images = ["good.png", "bad.png", "good.png", "none.png", "good.png", picture(1)]
    texts = ["a dog", "a dog", None, "a dog", "  ", "a dog"]
    for method in METHODS:
        given = options(method) | {"image_root": tmp_path}
        maps, reasons = {}, {}
        for rows, found, why in heatmap_rows(clip, images, texts, method, batch_size=2, **given):
            maps |= zip(rows, found, strict=True)
            reasons |= zip(rows, why, strict=True)
        assert [reasons[i] is None for i in range(6)] == [True, False, False, False, False, True]
        assert "bad.png" in reasons[1] and "no such file" in reasons[3]
        assert "caption" in reasons[2] and "empty" in reasons[4]
        assert all(np.isnan(maps[i]).all() for i in (1, 2, 3, 4))
        good = heatmaps(clip, [picture(0), picture(1)], ["a dog"] * 2, method, **options(method))
        np.testing.assert_allclose([maps[0], maps[5]], good, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="row 1: .*bad.png"):
        heatmaps(clip, images[:2], texts[:2], image_root=tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "grad-cam"}, "unknown heat-map method"),
        ({"method": "gradcam", "k": 3}, "no option k"),
        ({"method": "gradcam", "layers": -2}, "one layer"),
        ({"method": "gscorecam", "layers": [1]}, "leave layers at None"),
        ({"method": "gscorecam", "k": 0}, "at least 1"),
        ({"method": "value_path", "layers": "all"}, "leave layers at None"),
        ({"method": "gae_image", "layers": [7]}, "no layer 7"),
        ({"method": "gae_image", "relu": "absolute"}, "no ReLU variants"),
        ({"preprocess": "stretch"}, "squash"),
        ({"batch_size": 0}, "at least 1"),
        ({"texts": ["a", "b"]}, "one text an image"),
    ],
)
def test_bad_arguments_are_named_before_anything_runs(tower, given, message):
    arguments = {"images": [picture()], "texts": ["a dog"]} | given
    with pytest.raises(UserError, match=message):
        heatmap_rows(tower("ViT"), **arguments)


def test_a_pooler_alone_leads_to_the_score(tower):
    clip = tower("SigLIP")
    with pytest.raises(UserError, match="pooler alone"):
        heatmaps(clip, [picture()], ["a dog"], "clip4dm_image", layers=-3)
    with pytest.raises(UserError, match="attention pooler"):
        heatmaps(clip, [picture()], ["a dog"], "gae_image", layers=[0, 1])


def test_no_pairs_give_no_maps(tower):
    for name in ("ViT", "ResNet"):
        assert heatmaps(tower(name), [], []).shape[0] == 0


def test_clip4dms_signed_variants_reach_the_picture(tower):
    clip = tower("ViT")
    signed, parted = (
        heatmaps(clip, [picture()], ["a dog"], "clip4dm_image", relu=relu)
        for relu in ("signed", "negative_heads")
    )
    assert signed.max() > 0 > signed.min() and parted.max() <= 0 and (parted <= signed).all()


# ---------------------------------------------------------------- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["ViT", "ResNet", "SigLIP", "CoCa", "EVA02"])
def test_a_gpu_gives_the_same_maps(tower, name):
    clip = tower(name)
    images, texts = pairs()
    wanted = {m: heatmaps(clip, images, texts, m, **options(m)) for m in served(name)}
    try:
        clip.model.cuda()
        clip.device = torch.device("cuda")
        for method, here in wanted.items():
            there = heatmaps(clip, images, texts, method, **options(method))
            np.testing.assert_allclose(there, here, atol=2e-3 * np.abs(here).max(), rtol=2e-2)
    finally:
        clip.model.cpu()
        clip.device = torch.device("cpu")
