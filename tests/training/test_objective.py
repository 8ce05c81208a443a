"""The losses of fine-tuning against hand-written ones, whole and in parts."""

import math

import finetune_examples as tiny
import pytest
import torch

from clip_attribution.training.attributions import TRAINABLE, token_attributions
from clip_attribution.training.examples import negatives_of
from clip_attribution.training.objective import (
    Weights,
    accumulate_gradients,
    contrastive_loss,
    make_part,
)

BOTH = [("contrastive", 0.0), *((method, 1.0) for method in TRAINABLE)]


@pytest.fixture(scope="module")
def clip():
    clip = tiny.tiny_clip()
    clip.model.requires_grad_(True)
    return clip


@pytest.fixture(scope="module")
def examples(clip):
    return tiny.examples_of(clip)


def gradients(clip, examples, weights, cuts=1, hard=False, rows=range(8)):
    """Gradients by name and the log of one batch in `cuts` parts."""
    clip.model.zero_grad(set_to_none=True)
    size, parts = len(rows) // cuts, []
    for start in range(0, len(rows), size):
        own = list(rows)[start : start + size]
        negatives = negatives_of(examples, own, 5) if hard else []
        parts.append(make_part(clip, examples, own, negatives, weights, k=2, seed=3))
    logged = accumulate_gradients(clip.model, parts, weights)
    return {name: p.grad for name, p in clip.model.named_parameters()}, logged


def near(found, expected, name):
    """Equal to the rounding of float32, by the largest number of each tensor."""
    gap, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    assert gap <= 1e-4 * largest + 1e-7, (name, gap, largest)


def log_share(scores, right):
    """-log softmax of one list of numbers, in plain Python."""
    return -scores[right] + math.log(sum(math.exp(score) for score in scores))


@pytest.mark.parametrize("n_false", [0, 3])
def test_contrastive_loss_is_the_mean_of_both_cross_entropies_with_false_columns(n_false):
    images, texts, false = (torch.randn(n, 4).double() for n in (5, 5, n_false))
    scale, total = 3.0, 0.0
    for i in range(5):
        row = [scale * float(images[i] @ t) for t in [*texts, *false]]
        column = [scale * float(images[j] @ texts[i]) for j in range(5)]
        total += (log_share(row, i) + log_share(column, i)) / 2 / 5
    found = contrastive_loss(images, texts, false, torch.tensor(scale))
    assert found.item() == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("hard", [False, True])
def test_the_loss_of_a_batch_is_that_of_its_features(clip, examples, hard):
    _, logged = gradients(clip, examples, Weights(), hard=hard)
    captions = examples.captions
    features = clip.encode_images(examples.images), clip.encode_texts(captions)
    false = negatives_of(examples, range(8), 5) if hard else []
    assert len(false) == (6 if hard else 0)  # "two cats" and "rain" have none
    scale = torch.tensor(clip.logit_scale)
    expected = contrastive_loss(*features, clip.encode_texts(false), scale)
    assert logged["itc"] == logged["loss"] == pytest.approx(expected.item(), abs=1e-5)
    assert math.isnan(logged["attr"]) and math.isnan(logged["a_obj"]) and logged["used"] == 0


@pytest.mark.parametrize("name, lam", BOTH)
@pytest.mark.parametrize("hard", [False, True])
def test_a_batch_in_four_parts_has_the_gradients_of_the_whole(clip, examples, name, lam, hard):
    method = name if lam else "attention"
    weights = Weights(1.0, lam, method, margin=0.1)
    whole, one = gradients(clip, examples, weights, 1, hard)
    cut, four = gradients(clip, examples, weights, 4, hard)
    assert one == pytest.approx(four, rel=1e-4, abs=1e-6, nan_ok=True)
    for key, gradient in whole.items():
        near(cut[key], gradient, key)
    assert one["used"] == (6 if lam else 0) and whole["logit_scale"].abs() > 0


@pytest.mark.parametrize("method", TRAINABLE)
def test_the_attribution_loss_acts_through_the_text_tower_alone(clip, examples, method):
    found, logged = gradients(clip, examples, Weights(0.0, 1.0, method, margin=1.0))
    trained = {name for name, gradient in found.items() if gradient is not None}
    assert "transformer.resblocks.0.attn.in_proj_weight" in trained
    assert not any(name.startswith("visual.") or name == "logit_scale" for name in trained)
    assert math.isnan(logged["itc"]) and logged["loss"] == logged["attr"] > 0


@pytest.mark.parametrize("method", TRAINABLE)
def test_both_losses_add_up(clip, examples, method):
    """One text pass serves both: its gradient is the sum of the two apart."""
    pair, _ = gradients(clip, examples, Weights(0.5, 3.0, method, margin=0.2))
    itc, _ = gradients(clip, examples, Weights(0.5, 0.0, method))
    attr, _ = gradients(clip, examples, Weights(0.0, 3.0, method, margin=0.2))
    for name, gradient in pair.items():
        expected = itc[name] if attr[name] is None else itc[name] + attr[name]
        near(gradient, expected, name)


def test_the_means_that_are_logged_are_those_of_the_captions(clip, examples):
    _, logged = gradients(clip, examples, Weights(0.0, 1.0, margin=0.05))
    images = clip.encode_images(examples.images)
    values = token_attributions(clip.model, images, examples.ids, create_graph=False).values
    of = []
    for row, objects, composition in zip(
        values, examples.objects, examples.composition, strict=True
    ):
        if objects.any() and composition.any():
            of.append((row[objects].mean().item(), row[composition].mean().item()))
    expected = [sum(column) / len(of) for column in zip(*of, strict=True)]
    assert [logged["a_obj"], logged["a_comp"]] == pytest.approx(expected, abs=1e-6)
    assert logged["attr"] == pytest.approx(sum(max(o - c + 0.05, 0) for o, c in of) / len(of))


@pytest.mark.parametrize("cuts", [1, 4])
def test_the_entropy_is_the_mean_over_the_captions_used(clip, examples, cuts):
    """By hand, from the values that the softmax gave; "two cats" and "rain" have no composition."""
    _, logged = gradients(clip, examples, Weights(0.0, 1.0, "gradient"), cuts)
    images = clip.encode_images(examples.images)
    shares = token_attributions(clip.model, images, examples.ids, "gradient", False).values
    of = [-sum(p * math.log(p) for p in row.tolist() if p) for row in shares]
    used = [of[i] for i in (0, 1, 3, 4, 6, 7)]
    assert logged["entropy"] == pytest.approx(sum(used) / 6, rel=1e-4)
    _, logged = gradients(clip, examples, Weights(0.0, 1.0, "cae_gradcam"), cuts)
    assert math.isnan(logged["entropy"])


def test_a_part_in_which_nothing_can_be_replaced_counts_for_nothing(clip, examples):
    only = examples._replace(candidates={"relation": ["above", "below"], "object": ["dog"]})
    weights = Weights(1.0, 1.0, "perturbation", margin=5.0)
    _, logged = gradients(clip, only, weights, rows=[2, 5])
    assert logged["used"] == 0 and logged["loss"] == logged["itc"]
    assert math.isnan(logged["attr"])


def test_a_token_with_the_number_of_padding_does_not_end_a_caption(clip):
    """The byte-pair code of a "!" inside a word is 0, as padding is."""
    captions = ["a red cup !( on a blue table", "a dog"]
    examples = tiny.examples_of(clip, captions)
    end = examples.ids[0].argmax()
    assert (examples.ids[0, :end] == 0).any()
    part = make_part(clip, examples, [0, 1], [], Weights(), 1, 0)
    assert part.ids.shape[1] == end + 1


def test_mixed_precision_gives_finite_losses_near_those_of_full_precision(clip, examples):
    for method in TRAINABLE:
        weights = Weights(1.0, 1.0, method, margin=0.1)
        part = make_part(clip, examples, list(range(8)), [], weights, 2, 3)
        clip.model.zero_grad(set_to_none=True)
        half = accumulate_gradients(clip.model, [part], weights, amp=torch.bfloat16)
        assert all(p.grad.isfinite().all() for p in clip.model.parameters() if p.grad is not None)
        full = accumulate_gradients(clip.model, [part], weights)
        assert half == pytest.approx(full, rel=0.05, abs=0.05, nan_ok=True)
