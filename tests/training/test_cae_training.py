"""CAE's attributions in the graph of a training step, and the loss on them."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from cae_models import (
    CANDIDATES,
    CAPTIONS,
    CONCEPTS,
    CONFIG,
    SCENE,
    oracle_of,
    picture,
    sharpen,
    tiny,
)
from torch.nn.functional import normalize

from clip_attribution import attribute, load_clip
from clip_attribution.errors import UserError
from clip_attribution.text.concepts import gather_candidates, word_concepts
from clip_attribution.training.attributions import (
    TRAINABLE,
    attribution_loss,
    masked_means,
    replace,
    role_masks,
    token_attributions,
)


@pytest.fixture(scope="module")
def clip():
    return tiny()


def batch_of(clip, captions=(SCENE, "two small dogs below a kite", "a cup")):
    """Ids, image features, role masks and replacements of a small batch."""
    spans = [
        CONCEPTS,
        [(10, 14, "object"), (4, 9, "attribute"), (15, 20, "relation"), (23, 27, "object")],
        [(2, 5, "object")],
    ]
    ids = clip.tokenizer(list(captions))
    dtype = clip.model.text_projection.dtype
    images = torch.randn(3, CONFIG["embed_dim"], generator=torch.manual_seed(1)).to(dtype)
    others = replace(clip, list(captions), spans, CANDIDATES, k=2)
    return ids, images, role_masks(clip, list(captions), spans), others


def values_of(clip, method, batch, **options):
    ids, images, _, others = batch
    options |= {"replacements": others} if method == "perturbation" else {}
    return token_attributions(clip.model, images, ids, method, **options)


@pytest.mark.parametrize("method", TRAINABLE)
def test_training_values_are_those_of_the_engine(clip, method):
    clip = copy.deepcopy(clip)
    pairs = pd.DataFrame({"image": [picture(i) for i in range(5)], "caption": CAPTIONS})
    images, spans = clip.encode_images(list(pairs.image)), [word_concepts(c) for c in CAPTIONS]
    candidates = gather_candidates(CAPTIONS, spans)
    options = {"candidates": candidates, "k": 3} if method == "perturbation" else {}
    tokens, done = attribute(clip, pairs, method, template="", level="token", **options)
    others = replace(clip, CAPTIONS, spans, candidates, k=3)
    options = {"replacements": others} if method == "perturbation" else {}
    for graph in (True, False):
        clip.model.requires_grad_(graph)
        found = token_attributions(
            clip.model, images * 7, clip.tokenizer(CAPTIONS), method, graph, **options
        )
        np.testing.assert_allclose(
            found.score.detach(), done.cosine * clip.logit_scale, rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(found.features.detach(), clip.encode_texts(CAPTIONS), atol=1e-6)
        for row in range(5):
            wanted = tokens.attribution[tokens.pair_id == row].to_numpy()
            ours = found.values[row, 1 : 1 + len(wanted)].detach()
            np.testing.assert_allclose(ours, wanted, atol=1e-5, rtol=1e-4)
        assert found.values.shape == (5, 32)


@pytest.fixture(scope="module")
def double():
    clip = tiny(double=True)
    clip.model.requires_grad_(True)
    return clip


def test_gradient_attributions_come_with_the_entropy_of_their_softmax(clip):
    batch, model = batch_of(clip), copy.deepcopy(clip.model)
    for graph in (True, False):
        model.requires_grad_(graph)
        found = token_attributions(model, batch[1], batch[0], "gradient", graph)
        for shares, entropy in zip(found.values.tolist(), found.entropy, strict=True):
            by_hand = -sum(share * np.log(share) for share in shares if share)
            assert entropy.item() == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
        assert not found.entropy.requires_grad and found.entropy[0] > 1e-3
        options = {"scope": "all", "temperature": 1e9}
        wide = token_attributions(model, batch[1], batch[0], "gradient", graph, **options)
        np.testing.assert_allclose(wide.entropy, np.log(32), rtol=1e-5)  # all positions alike
        assert token_attributions(model, batch[1], batch[0], "attention", graph).entropy is None


def text_parameters(model):
    kept = ("token_embedding", "positional", "transformer", "ln_final", "text_projection")
    return {n: p for n, p in model.named_parameters() if n.startswith(kept)}


def weighted(clip, method, batch):
    """A smooth scalar of all attributions between BOS and EOT."""
    values = values_of(clip, method, batch).values
    weights = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).view_as(values)
    inside = torch.arange(32) < batch[0].argmax(-1, keepdim=True)
    inside = inside & (torch.arange(32) > 0) & ~values.isnan()
    return torch.where(inside, values * weights, 0).sum()


@pytest.mark.parametrize("method", TRAINABLE)
def test_double_backward_equals_finite_differences(double, method):
    model, batch = double.model, batch_of(double)
    weights = list(text_parameters(model).values())
    found = torch.autograd.grad(weighted(double, method, batch), weights, allow_unused=True)
    found = [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]
    start = [weight.detach().clone() for weight in weights]
    for seed in range(3):
        torch.manual_seed(seed)
        step = [torch.randn_like(weight) * weight.std() for weight in weights]
        values = []
        for size in (1e-5, -1e-5):
            with torch.no_grad():
                for weight, old, way in zip(weights, start, step, strict=True):
                    weight.copy_(old + size * way)
            values.append(weighted(double, method, batch).item())
        slope = (values[0] - values[1]) / 2e-5
        wanted = sum((g * s).sum() for g, s in zip(found, step, strict=True)).item()
        assert abs(wanted) > 1e-3 and slope == pytest.approx(wanted, rel=1e-5)
    with torch.no_grad():
        for weight, old in zip(weights, start, strict=True):
            weight.copy_(old)


@pytest.mark.parametrize("method", ["attention", "cae_gradcam", "gradient"])
def test_gradients_of_the_loss_equal_explicit_autograd(double, method):
    batch = batch_of(double)
    ids, images, masks, _ = batch
    weights = text_parameters(double.model)
    loss, used = attribution_loss(values_of(double, method, batch).values, *masks, margin=3.0)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    oracle = oracle_of(double, grad=True)
    total = 0.0
    for row in range(2):  # the third caption has no composition
        end = ids[row].argmax() + 1
        image = normalize(images[row], dim=-1)
        values = getattr(oracle, method)(ids[row, :end], image)
        objects, composition = (values[mask[row, :end]].mean() for mask in masks)
        total = total + (objects - composition + 3.0) / 2
    assert used == 2 and loss.item() == pytest.approx(total.item(), rel=1e-9)
    wanted = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    for name, ours, other in zip(weights, found, wanted, strict=True):
        if other is not None:
            torch.testing.assert_close(ours, other, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("method", TRAINABLE)
def test_only_the_text_tower_learns_from_the_loss(double, method):
    ids, images, masks, others = batch_of(double)
    images.requires_grad_(True)
    found = values_of(double, method, (ids, images, masks, others))
    loss, _ = attribution_loss(found.values, *masks, margin=50.0)
    loss.backward()
    assert images.grad is None and double.model.logit_scale.grad is None
    assert all(p.grad is None for p in double.model.visual.parameters())
    assert double.model.token_embedding.weight.grad.abs().sum() > 0
    double.model.zero_grad()


@pytest.mark.parametrize("method", TRAINABLE)
def test_the_loss_lowers_the_lead_of_objects(method):
    clip = tiny()
    clip.model.requires_grad_(True)
    batch = batch_of(clip)
    masks = batch[2]
    # random weights owe objects nothing: take the order of the two that has more to lower
    masks = max(masks, masks[::-1], key=lambda way: first_loss(clip, method, batch, way))
    optimiser = torch.optim.AdamW(text_parameters(clip.model).values(), lr=1e-3)
    losses = []
    for _ in range(50):
        loss, used = attribution_loss(values_of(clip, method, batch).values, *masks)
        losses.append(loss.item())
        optimiser.zero_grad()
        if losses[-1] == 0:
            break
        loss.backward()
        optimiser.step()
    assert used == 2 and losses[0] > 1e-2 and losses[-1] < 0.5 * losses[0]


def first_loss(clip, method, batch, masks):
    return attribution_loss(values_of(clip, method, batch).values, *masks)[0].item()


def test_the_loss_by_hand():
    values = torch.tensor([[9.0, 1, 2, 6, 9], [9, 4, 1, 1, 9], [9, 5, 5, 5, 9], [9, 1, 8, 0, 9]])
    objects = torch.tensor([[0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 0, 0]])
    others = torch.tensor([[0, 0, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]])
    values[3, 2] = float("nan")  # no value: left out of the mean, which is 1 then
    np.testing.assert_allclose(masked_means(values, objects.bool()), [1.5, 4, 5, 1])
    loss, used = attribution_loss(values, objects.bool(), others.bool())
    assert used == 3 and loss.item() == pytest.approx((0 + 3 + 1) / 3)
    loss, _ = attribution_loss(values, objects.bool(), others.bool(), margin=5.0)
    assert loss.item() == pytest.approx((0.5 + 8 + 6) / 3)
    loss, used = attribution_loss(values, objects.bool(), torch.zeros(4, 5, dtype=torch.bool))
    assert used == 0 and loss.item() == 0


def test_role_masks_and_replacements_point_at_the_tokens(clip):
    ids, _, (objects, composition), others = batch_of(clip)
    words = [
        clip.tokenizer.decode(ids[0][mask[0]].tolist()).split() for mask in (objects, composition)
    ]
    assert words == [["cup", "table"], ["red", "on"]]
    assert composition[2].sum() == 0 and objects[2].sum() == 1
    for pair, concept, row in zip(others.pair, others.concept, others.ids, strict=True):
        kept = ids[pair][others.concept_of_token[pair] != concept]
        text = clip.tokenizer.decode(kept[(kept > 0) & (kept < 49406)].tolist()).split()
        new = clip.tokenizer.decode(row[(row > 0) & (row < 49406)].tolist()).split()
        assert set(text) <= set(new) and new != text
    np.testing.assert_array_equal(np.bincount(others.concept), [2] * 9)


def test_training_refuses_what_it_cannot_do(clip):
    ids, images, _, _ = batch_of(clip)
    with pytest.raises(UserError, match="choose one of"):
        token_attributions(clip.model, images, ids, "rollout")
    with pytest.raises(UserError, match="replacements="):
        token_attributions(clip.model, images, ids, "perturbation")
    with pytest.raises(UserError, match="it takes heads"):
        token_attributions(clip.model, images, ids, "cae_gradcam", scope="all")
    with pytest.raises(UserError, match="nothing to replace"):
        replace(clip, ["a cup"], [[(2, 5, "object")]], {"object": ["cup"]})


def test_training_leaves_flags_and_hooks_alone(clip):
    batch, clip = batch_of(clip), copy.deepcopy(clip)
    for graph in (True, False):
        clip.model.requires_grad_(graph)
        for method in TRAINABLE:
            values_of(clip, method, batch, create_graph=graph)
        assert all(p.requires_grad is graph for p in clip.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in clip.model.modules())


@pytest.mark.gpu
@pytest.mark.parametrize("method", TRAINABLE)
def test_a_gpu_takes_the_same_step(method):
    losses = []
    for device in ("cpu", "cuda"):
        clip = load_clip("tiny", model_config=CONFIG, device=device)
        sharpen(clip.model).requires_grad_(True)
        ids, images, masks, others = batch_of(clip)
        moved = (ids.to(device), images.to(device), masks, others)
        loss, _ = attribution_loss(values_of(clip, method, moved).values, *masks, margin=9.0)
        loss.backward()
        losses.append([loss.item(), clip.model.token_embedding.weight.grad.norm().item()])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
