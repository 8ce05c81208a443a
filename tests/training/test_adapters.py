"""Adapters: they change nothing until they move, act wherever weights are read, and merge."""

import open_clip
import pandas as pd
import pytest
import small_towers
import tiny
import torch
from torch.nn.functional import linear

from clip_attribution import attribute, load_clip
from clip_attribution.errors import UserError
from clip_attribution.trace.hooks import TraceError
from clip_attribution.trace.inputs import encode_distinct
from clip_attribution.training.adapters import (
    adapters_of,
    add_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
)

TEXTS = ["a red cup on a blue table", "two cats", "rain"]


def tiny_clip(**more):
    return load_clip("tiny", model_config=tiny.config(1, 3, patch=16, **more), device="cpu")


def adapted(rank: int = 4, moved: bool = True):
    """A model with adapters; moved: B is drawn as well, not zero."""
    clip = tiny_clip()
    add_adapters(clip.model, rank, seed=5)
    if moved:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for adapter in adapters_of(clip.model).values():
                adapter.B.normal_(std=0.2, generator=generator)
    return clip


def features(clip, gradient=False):
    ids = clip.tokenizer(TEXTS)
    with torch.set_grad_enabled(gradient):
        return clip.model.encode_text(ids)


@pytest.mark.parametrize("gradient", [False, True])
def test_without_movement_the_model_is_the_same_bit_for_bit(gradient):
    plain, clip = tiny_clip(), adapted(moved=False)
    plain.model.transformer.resblocks.requires_grad_(gradient)  # torch's fast path turns on it
    assert torch.equal(features(plain, gradient), features(clip, gradient))


def test_every_matrix_of_every_adapter_has_a_gradient():
    clip = adapted()
    features(clip, gradient=True).square().sum().backward()
    assert len(adapters_of(clip.model)) == 2 * 3
    for name, adapter in adapters_of(clip.model).items():
        assert len(adapter.A) == (3 if "in_proj" in name else 1), name
        for matrix in (*adapter.A.grad, *adapter.B.grad):
            assert matrix.abs().max() > 0, name


def test_an_adapter_adds_its_product_to_q_k_v_and_out_alone():
    clip, plain = adapted(), tiny_clip()
    block, old = clip.model.transformer.resblocks[1], plain.model.transformer.resblocks[1].attn
    own = adapters_of(clip.model)["transformer.resblocks.1.attn.in_proj_weight"]
    x = torch.randn(5, 32)
    for part, (new, weight) in enumerate(
        zip(block.attn.in_proj_weight.chunk(3), old.in_proj_weight.chunk(3), strict=True)
    ):
        expected = linear(x, weight) + (x @ own.A[part].T) @ own.B[part].T
        torch.testing.assert_close(linear(x, new), expected)
    out = adapters_of(clip.model)["transformer.resblocks.1.attn.out_proj.weight"]
    torch.testing.assert_close(
        block.attn.out_proj.weight, old.out_proj.weight + out.B[0] @ out.A[0]
    )


def test_a_first_matrix_is_drawn_as_in_lora():
    clip, bound = adapted(rank=64), 32**-0.5  # sqrt(6 / ((1 + 5) fan_in))
    first = next(iter(adapters_of(clip.model).values())).A
    assert 0.95 * bound < first.abs().max() <= bound
    assert first.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert torch.equal(first, next(iter(adapters_of(adapted(64).model).values())).A)


@pytest.mark.parametrize("rank", [1, 8])
def test_vit_b_32_has_49152_numbers_a_rank(rank):
    config = open_clip.get_model_config("ViT-B-32")
    config["vision_cfg"] |= {"layers": 1, "width": 64}
    with torch.device("meta"):  # no numbers are needed to count them
        model = open_clip.CLIP(**config)
    add_adapters(model.to_empty(device="cpu"), rank)
    numbers = [p.numel() for a in adapters_of(model).values() for p in a.parameters()]
    assert sum(numbers) == 49_152 * rank


def test_merged_is_the_plain_model_with_other_weights():
    clip, plain = adapted(), tiny_clip()
    before = features(clip)
    assert (before - features(plain)).abs().max() > 1e-2
    merge_adapters(clip.model)
    torch.testing.assert_close(features(clip), before, atol=1e-5, rtol=1e-5)
    assert set(clip.model.state_dict()) == set(plain.model.state_dict())
    assert {type(m) for m in clip.model.modules()} == {type(m) for m in plain.model.modules()}
    plain.model.load_state_dict(clip.model.state_dict())
    assert torch.equal(features(plain), features(clip))


def test_adapters_act_in_every_encoder_and_a_trace_waits_for_the_merge():
    clip = adapted()
    pairs = pd.DataFrame([{"pair_id": 1, "image": "scene:1:2", "caption": TEXTS[0]}])
    unit = torch.nn.functional.normalize(features(clip), dim=-1)
    torch.testing.assert_close(clip.encode_texts(TEXTS), unit, atol=1e-5, rtol=0)
    torch.testing.assert_close(encode_distinct(clip, TEXTS), unit, atol=1e-5, rtol=0)
    for method in ("attention", "integrated_gradients"):
        with pytest.raises(TraceError, match="ParametrizedMultiheadAttention"):
            attribute(clip, pairs, method=method)
    merge_adapters(clip.model)
    assert len(attribute(clip, pairs, method="attention")[0]) == len(TEXTS[0].split())


def test_saved_adapters_come_back_and_the_file_is_the_same_each_time(tmp_path):
    clip, twin = adapted(), tiny_clip()
    own = {n: {"A": a.A, "B": a.B} for n, a in adapters_of(clip.model).items()}
    for name in ("one", "two"):
        save_adapters(tmp_path / name, own, {"z": "1", "a": "2", "format": "pt"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    load_adapters(twin.model, tmp_path / "one")
    assert torch.equal(features(twin), features(clip))
    deeper = load_clip("tiny", model_config=tiny.config(1, 4, patch=16), device="cpu")
    with pytest.raises(UserError, match="no adapters of this model"):
        load_adapters(deeper.model, tmp_path / "one")


@pytest.mark.parametrize("family", ["XLM-R cls"])
def test_a_tower_of_another_form_is_refused_in_one_line(family, tmp_path):
    clip = load_clip("small", model_config=small_towers.FAMILIES[family](tmp_path), device="cpu")
    weights = clip.weights_hash
    with pytest.raises(UserError, match="cannot carry adapters") as caught:
        add_adapters(clip.model, 4)
    assert "\n" not in str(caught.value)
    del clip.__dict__["weights_hash"]
    assert clip.weights_hash == weights


def test_unusable_ranks_and_a_second_set_are_refused():
    clip = adapted()
    with pytest.raises(UserError, match="merge them first"):
        add_adapters(clip.model, 4)
    for rank in (0, 1.5, None):
        with pytest.raises(UserError, match="at least 1"):
            add_adapters(tiny_clip().model, rank)


@pytest.mark.parametrize("family", ["CoCa", "EVA02"])
def test_towers_of_other_families_with_the_same_blocks_carry_them(family, tmp_path):
    clip = load_clip("small", model_config=small_towers.FAMILIES[family](tmp_path), device="cpu")
    before = features(clip)
    add_adapters(clip.model, 2)
    assert torch.equal(features(clip), before)
    with torch.no_grad():
        for adapter in adapters_of(clip.model).values():
            adapter.B.normal_()
    assert (features(clip) - before).abs().max() > 1e-2
