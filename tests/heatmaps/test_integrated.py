"""exCLIP's integrated form of the interactions against explicit Jacobians along explicit paths."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from small_towers import FAMILIES

from clip_attribution import interactions, load_clip
from clip_attribution.attribution.captions import batch_ids, read_caption
from clip_attribution.errors import UserError
from clip_attribution.heatmaps.integrated import image_side, quadrature, reference_ids, text_side
from clip_attribution.scenes import scene_pairs

CAPTION = "a red star on grass"
TEMPLATE = "A photo depicts "


@pytest.fixture(scope="module")
def clip():
    """A tiny ViT in float64."""
    loaded = load_clip(model_config=tiny.config(3, 3), device="cpu")
    return replace(loaded, model=deepcopy(loaded.model).double(), dtype=torch.float64)


def photo():
    pixels = np.random.RandomState(0).randint(0, 255, (40, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def text_from(model, block: int, x, place: int):
    """The unit feature of hidden states [n, d] before a block, pooled at a place; plain calls."""
    x, mask = x[None], model.attn_mask[: len(x), : len(x)]
    for layer in model.transformer.resblocks[block:]:
        x = layer(x, attn_mask=mask)
    return F.normalize((model.ln_final(x[:, place]) @ model.text_projection)[0], dim=0)


def text_states(model, block: int, ids):
    x = model.token_embedding(ids) + model.positional_embedding[: len(ids)]
    return through(
        model.transformer.resblocks[:block], x[None], model.attn_mask[: len(ids), : len(ids)]
    )


def through(blocks, x, mask=None):
    with torch.no_grad():
        for layer in blocks:
            x = layer(x, attn_mask=mask)
    return x[0].detach()


def image_from(model, block: int, x):
    x = x[None]
    for layer in model.visual.transformer.resblocks[block:]:
        x = layer(x)
    return F.normalize((model.visual.ln_post(x[:, 0]) @ model.visual.proj)[0], dim=0)


def image_states(model, block: int, pixels):
    return through(model.visual.transformer.resblocks[:block], model.visual._embeds(pixels[None]))


def integrated_jacobian(run, start, end, steps: int):
    """The Jacobian [D, n, d] of run, averaged over the path with the weights of a quadrature."""
    found = 0
    for place, weight in quadrature(steps):
        point = start + place * (end - start)
        found = found + weight * torch.autograd.functional.jacobian(run, point)
    return found


def oracle(clip, steps: int, block: int):
    """All A [n, 1 + patches] and the four scores, from the formula as the paper writes it."""
    model = clip.model
    caption = read_caption(clip, 0, CAPTION, TEMPLATE, "offsets")
    ids, eot = torch.tensor(caption.ids), len(caption.ids) - 1
    other = torch.full_like(ids, caption.ids[-1])
    other[0] = ids[0]
    x, x0 = text_states(model, block, ids), text_states(model, block, other)
    y, y0 = (
        image_states(model, block, clip.preprocess(image).double())
        for image in (photo(), Image.new("RGB", (50, 50)))
    )

    def said(states):
        return text_from(model, block, states, eot)

    def seen(states):
        return image_from(model, block, states)

    text = integrated_jacobian(said, x0, x, steps)
    image = integrated_jacobian(seen, y0, y, steps)
    found = torch.einsum("ie,kie,kpf,pf->ip", x - x0, text, image, y - y0)
    scores = [float(said(a) @ seen(b)) for a in (x, x0) for b in (y, y0)]
    return found.detach(), scores


@pytest.mark.parametrize(("block", "steps"), [(2, 1), (2, 4), (0, 3)])
def test_equal_to_explicit_jacobians_along_explicit_paths(clip, block, steps):
    wanted, (score, *_) = oracle(clip, steps, block)
    pair = {"image": photo(), "caption": CAPTION}
    given = None if block == 2 else [0]  # None: the last block
    found = interactions(clip, [pair], given, given, level="token", form="integrated", steps=steps)
    assert found.pairs.error[0] is None
    assert found.pairs.cosine[0] == pytest.approx(score, abs=1e-12)
    expected = wanted[-1 - len(found.maps) : -1, 1:].reshape(found.maps.shape).numpy()
    assert np.abs(expected).max() > 1e-5
    np.testing.assert_allclose(found.maps, expected, rtol=0, atol=1e-10)


def whole(clip, steps: int, block: int):
    """All A by the library, BOS, EOT, template and class token included."""
    captions = [read_caption(clip, 0, CAPTION, TEMPLATE, "offsets")]
    pixels = [clip.preprocess(i).double() for i in (photo(), Image.new("RGB", (50, 50)))]
    first = torch.zeros(1, dtype=torch.long)
    images, pull = image_side(clip.model, pixels[0][None], pixels[1], first, block, steps)
    leaf = images.requires_grad_()
    found, _ = text_side(clip.model, captions, batch_ids(clip, captions), leaf, block, steps)
    return pull(found)[0]


@pytest.mark.parametrize("block", [0, 2])
def test_the_sum_over_everything_is_complete_as_steps_grow(clip, block):
    _, (xy, x_black, base_y, base_black) = oracle(clip, 1, block)
    wanted = xy - x_black - base_y + base_black
    gaps = [abs(float(whole(clip, steps, block).sum()) - wanted) for steps in (1, 4, 16, 32)]
    assert abs(wanted) > 1e-3 and gaps[0] > 1e-6
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-6, gaps


def test_the_words_attribution_is_the_texts_path_alone(clip):
    """Summed over all tokens it is s(x, y) - s(x', y), which no template or BOS may miss."""
    _, (xy, _, base_y, _) = oracle(clip, 1, 2)
    captions = [read_caption(clip, 0, CAPTION, TEMPLATE, "offsets")]
    images = F.normalize(clip.model.encode_image(clip.preprocess(photo())[None].double()), dim=-1)
    leaf = images.detach().requires_grad_()
    jacobian, cosines = text_side(clip.model, captions, batch_ids(clip, captions), leaf, 2, 24)
    total = (jacobian[0] @ leaf[0]).sum().item()
    assert total == pytest.approx(xy - base_y, abs=1e-7)
    assert float(cosines[0]) == pytest.approx(xy, abs=1e-12)
    pair = {"image": photo(), "caption": CAPTION}
    found = interactions(clip, [pair], level="token", form="integrated", steps=24)
    own = (jacobian[0] @ leaf[0]).detach()[-1 - len(found.words) : -1]
    np.testing.assert_allclose(found.words.attribution, own, atol=1e-10)


def test_the_reference_is_eot_between_bos_and_eot(clip):
    captions = [
        read_caption(clip, i, text, TEMPLATE, "offsets") for i, text in enumerate(["a b c", "a"])
    ]
    ids = batch_ids(clip, captions)
    bos, eot = captions[0].ids[0], captions[0].ids[-1]
    n, shorter = ids.shape[1], len(captions[1].ids)
    wanted = [[bos] + [eot] * (n - 1), [bos] + [eot] * (shorter - 1) + [0] * (n - shorter)]
    assert reference_ids(captions, ids).tolist() == wanted


def test_batch_equals_single_and_the_model_stays():
    clip = load_clip()
    before = {k: v.clone() for k, v in clip.model.state_dict().items()}
    flags = [p.requires_grad for p in clip.model.parameters()]
    pairs = scene_pairs(2, seed=3, foils="noun")
    options = {"form": "integrated", "steps": 3}
    together = interactions(clip, pairs, **options)
    single = [interactions(clip, pairs[i : i + 1], **options).maps for i in range(4)]
    assert np.abs(together.maps).max() > 1e-4
    np.testing.assert_allclose(together.maps, np.concatenate(single), rtol=0, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in clip.model.state_dict().items())
    assert [p.requires_grad for p in clip.model.parameters()] == flags
    assert not any(m._forward_pre_hooks for m in clip.model.modules())


@pytest.mark.parametrize("name", ["CoCa", "EVA02", "SigLIP", "XLM-R cls"])
def test_other_families_have_maps(tmp_path, name):
    clip = load_clip("small", model_config=FAMILIES[name](tmp_path))
    pair = {"image": photo(), "caption": "a cup of coke"}
    found = interactions(clip, [pair], form="integrated", steps=2)
    assert found.pairs.error[0] is None and found.maps.shape[0] == 4
    assert np.isfinite(found.maps).all() and np.abs(found.maps).max() > 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"form": "other"}, "unknown form 'other'"),
        ({"form": "integrated", "steps": 0}, "steps must be a whole number"),
        ({"form": "integrated", "layers": [9]}, "no layer 9"),
    ],
)
def test_unusable_arguments_are_refused_in_one_line(clip, options, line):
    with pytest.raises(UserError, match=line):
        interactions(clip, [{"image": "scene:1:3", "caption": "a sun"}], **options)


def test_a_resnet_is_refused(tmp_path):
    clip = load_clip("small", model_config=FAMILIES["ResNet"](tmp_path))
    with pytest.raises(UserError, match="no transformer blocks: use form='exact'"):
        interactions(clip, [{"image": photo(), "caption": "a cup"}], form="integrated")
