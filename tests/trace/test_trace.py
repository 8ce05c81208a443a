"""The trace against attention and gradients taken by autograd from an explicit softmax."""

import gc
import weakref
from contextlib import contextmanager

import pytest
import torch
from open_clip.coca_model import CoCa, MultimodalCfg
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.timm_model import TimmModel
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import BertConfig, RobertaConfig, XLMRobertaConfig

from clip_attribution.trace.hooks import TraceError, count_layers, trace

B, CONTEXT, VOCABULARY, EOT = 3, 12, 64, 63
VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 8}
TEXT = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 4, "layers": 4}
CUSTOM = {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True}


def clip(vision=None, text=None):
    return CLIP(32, VISION | (vision or {}), TEXT | (text or {}))


def custom(text=None):
    return CustomTextCLIP(32, VISION, TEXT | (text or {}))


def coca():
    vision = VISION | {"attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 4}
    text = TEXT | {"embed_cls": True, "output_tokens": True, "pad_id": 0}
    decoder = MultimodalCfg(context_length=CONTEXT, vocab_size=VOCABULARY, width=32, heads=4)
    return CoCa(32, decoder, text, vision | {"output_tokens": True})


def timm_clip(trunk):
    model = custom()
    model.visual = TimmModel("test_vit", 32, pool="token", proj="", image_size=32)
    model.visual.trunk = trunk
    return model


def vit(**options):
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4}
    return VisionTransformer(**small, num_classes=0, **options)


def eva(**options):
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
    rotary = {"use_rot_pos_emb": True, "ref_feat_shape": (4, 4)}
    return Eva(**small | rotary | {"num_classes": 0, "global_pool": "token"} | options)


def hugging_face(config):
    model = custom()
    size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    size |= {"intermediate_size": 64, "vocab_size": VOCABULARY, "max_position_embeddings": 20}
    config = config(**size, pad_token_id=0)
    pool, project = "mean_pooler", "linear"
    model.text = HFTextEncoder("", 32, config=config, pooler_type=pool, proj_type=project)
    return model


def sequence_first():
    """The same CLIP with attention modules that take [n, B, d], as older versions built them."""
    model = clip()
    model.transformer.batch_first = False
    for block in model.transformer.resblocks:
        block.attn.batch_first = False
    return model


def pad_mask():
    model = custom({"no_causal_mask": True})
    model.text.use_pad_mask = True
    return model


SIGLIP = {"global_pool": "map", "class_token": False, "qkv_bias": True}
EVA02 = {"qkv_fused": False, "scale_attn_inner": True, "swiglu_mlp": True, "scale_mlp": True}
CASES = {  # name: (build, tower, blocks, pooler)
    "clip text": (clip, "text", 4, False),
    "clip image": (clip, "image", 3, False),
    "sequence first": (sequence_first, "text", 4, False),
    "no causal mask": (lambda: custom({"no_causal_mask": True}), "text", 4, False),
    "pad mask": (pad_mask, "text", 4, False),
    "custom text": (lambda: custom(CUSTOM), "text", 4, False),
    "custom image": (lambda: clip(CUSTOM), "image", 3, False),
    "coca text": (coca, "text", 4, False),
    "coca image": (coca, "image", 3, True),
    "cascade": (
        lambda: clip({"attentional_pool": "cascade", "attn_pooler_heads": 4}),
        "image",
        3,
        True,
    ),
    "resnet": (lambda: clip({"layers": [1, 1, 1, 1], "width": 16}), "image", 0, True),
    "timm vit": (lambda: timm_clip(vit(qkv_bias=True)), "image", 3, False),
    "timm norms": (lambda: timm_clip(vit(qk_norm=True, scale_attn_norm=True)), "image", 3, False),
    "siglip": (lambda: timm_clip(vit(**SIGLIP)), "image", 3, True),
    "eva01": (lambda: timm_clip(eva(use_rot_pos_emb=False)), "image", 3, False),
    "eva02": (lambda: timm_clip(eva(**EVA02)), "image", 3, False),
    "eva qk norm": (lambda: timm_clip(eva(qk_norm=True)), "image", 3, False),
    "rope half": (lambda: timm_clip(eva(rope_rotate_half=True)), "image", 3, False),
    "perception encoder": (
        lambda: timm_clip(eva(attn_type="rope", global_pool="map")),
        "image",
        3,
        True,
    ),
    "xlm-roberta": (lambda: hugging_face(XLMRobertaConfig), "text", 3, False),
    "roberta": (lambda: hugging_face(RobertaConfig), "text", 3, False),
    "bert": (lambda: hugging_face(BertConfig), "text", 3, False),
}
every_layout = pytest.mark.parametrize("case", CASES)


def make(case):
    """A float64 model of a layout with every parameter random, so that none is a no-op."""
    torch.manual_seed(0)
    model = CASES[case][0]().double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.nan_to_num_(0).clamp_(-2, 2)  # CoCa leaves some that it does not use uninitialised
            p.add_(0.2 * torch.randn_like(p))
    return model


def inputs(tower):
    generator = torch.Generator().manual_seed(1)
    if tower == "image":
        return torch.randn(B, 3, 32, 32, generator=generator, dtype=torch.float64)
    ids = torch.randint(1, EOT, (B, CONTEXT), generator=generator)
    for row, end in enumerate((5, 11, 8)):
        ids[row, end], ids[row, end + 1 :] = EOT, 0
    return ids


def score(model, tower, x):
    """A scalar that weighs every item and feature differently."""
    features = model.encode_text(x) if tower == "text" else model.encode_image(x)
    weights = torch.randn(32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return (torch.nn.functional.normalize(features, dim=-1) @ weights.to(features)).sum()


def run(case, start=0, x=None, model=None, **options):
    model, tower = model or make(case), CASES[case][1]
    x = inputs(tower) if x is None else x
    with trace(model, tower, start, **options) as t:
        s = score(model, tower, x)
        t.backward(s)
    return t, s


@contextmanager
def explicit_attention(monkeypatch):
    """Every fused attention call as softmax(q kᵀ + mask) V, its A and V kept in the graph."""
    seen = []

    def attend(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
        logits = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
        if is_causal:
            attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, float("-inf"))
        elif attn_mask is not None:
            logits = logits + attn_mask
        a = logits.softmax(-1)
        seen.append((a, v, a @ v))
        return seen[-1][2]

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
        yield seen


def keys(t):
    return [*t.layers, *(["pooler"] if t.pooler else [])]


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@every_layout
def test_equals_explicit_softmax_and_autograd(case, monkeypatch):
    model = make(case)
    t, s = run(case, model=model)
    with explicit_attention(monkeypatch) as seen:
        expected = score(model, CASES[case][1], inputs(CASES[case][1]))
    close(s, expected)
    grads = torch.autograd.grad(
        expected, [x for a, _, o in seen for x in (a, o)], allow_unused=True
    )
    assert (t.n_layers, bool(t.pooler)) == CASES[case][2:]
    calls = list(zip(seen, grads[::2], grads[1::2], strict=True))
    found = dict(zip(t.layers, calls, strict=False)) | ({"pooler": calls[-1]} if t.pooler else {})
    for key, ((a, v, o), grad_a, grad_o) in found.items():
        nq = t.attention(key).shape[2]
        close(t.attention(key), a[:, :, :nq])
        close(t.values(key), v)
        close(t.head_outputs(key), o[:, :, :nq])
        close(t.head_output_grads(key), grad_o[:, :, :nq])
        close(t.attention_grads(key), grad_a[:, :, :nq])
        assert t.attention_grads(key).abs().max() > 1e-6


@every_layout
def test_rows_equal_the_full_maps(case):
    t, _ = run(case)
    for key in keys(t):
        full = t.attention(key)
        rows = torch.tensor([0, 2, 1]) % full.shape[2]
        items = torch.arange(B)
        close(t.attention(key, rows), full[items, :, rows])
        close(t.attention_grads(key, rows), t.attention_grads(key)[items, :, rows])
        close(t.head_outputs(key, rows), t.head_outputs(key)[items, :, rows])
        close(t.head_output_grads(key, rows), t.head_output_grads(key)[items, :, rows])


@every_layout
def test_later_start_gives_the_same_layers(case):
    whole, _ = run(case)
    part, _ = run(case, start=-1 if whole.n_layers else 0)
    assert part.layers == whole.layers[-1:] and part.names == whole.names[-1:]
    for key in keys(part):
        close(part.attention_grads(key), whole.attention_grads(key))
    if whole.n_layers:
        with pytest.raises(TraceError, match="layer 0 was not captured"):
            part.attention(0)


@every_layout
def test_batch_equals_singles(case):
    model, x = make(case), inputs(CASES[case][1])
    t, _ = run(case, model=model)
    for i in range(B):
        one, _ = run(case, x=x[i : i + 1], model=model)
        for key in keys(t):
            close(one.attention(key)[0], t.attention(key)[i])
            close(one.attention_grads(key)[0], t.attention_grads(key)[i])


@every_layout
def test_frozen_and_no_grad_callers(case):
    model = make(case)
    free, _ = run(case, model=model)
    model.requires_grad_(False)
    with torch.no_grad():
        frozen, _ = run(case, model=model)
        assert not torch.is_grad_enabled()
    for key in keys(free):
        assert not frozen.attention_grads(key).requires_grad
        close(frozen.attention_grads(key), free.attention_grads(key), 0)


def fingerprint(model):
    """State, flags and hooks of every module."""
    hooks = [
        [len(v) for k, v in vars(m).items() if k.startswith(("_forward", "_backward"))]
        + [m.training, "forward" in vars(m)]
        for m in model.modules()
    ]
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    return {k: v.clone() for k, v in model.state_dict().items()}, flags, hooks


def same(a, b):
    return a[1:] == b[1:] and all(torch.equal(a[0][k], b[0][k]) for k in a[0] | b[0])


@every_layout
@pytest.mark.parametrize("create_graph", [False, True])
def test_model_is_bit_identical_after_an_exception(case, create_graph):
    model, tower = make(case), CASES[case][1]
    next(model.parameters()).requires_grad_(False)
    before = fingerprint(model)
    with pytest.raises(KeyError), trace(model, tower, create_graph=create_graph) as t:
        t.backward(score(model, tower, inputs(tower)))
        raise KeyError
    assert same(before, fingerprint(model))
    assert all(p.grad is None for p in model.parameters())


@every_layout
def test_second_order_equals_explicit_attention(case, monkeypatch):
    model, tower = make(case), CASES[case][1]
    site = run(case, model=model)[0]
    module = model.get_submodule(site.pooler or site.names[-1])
    weight = max(module.parameters(), key=torch.numel)

    def loss(a, g):
        return (a * g).square().sum() * 1e6

    t, _ = run(case, model=model, create_graph=True)
    last = keys(t)[-1]
    mine = torch.autograd.grad(loss(t.attention(last), t.attention_grads(last)), weight)[0]
    with explicit_attention(monkeypatch) as seen:
        s = score(model, tower, inputs(tower))
    index = -1 if last == "pooler" else t.layers.index(last)
    a, nq = seen[index][0], t.attention(last).shape[2]
    g = torch.autograd.grad(s, a, create_graph=True)[0]
    theirs = torch.autograd.grad(loss(a[:, :, :nq], g[:, :, :nq]), weight)[0]
    assert theirs.abs().max() > 1e-9
    close(mine / theirs.abs().max(), theirs / theirs.abs().max())


def live_tensors():
    gc.collect()
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


@pytest.mark.parametrize("case", ["clip text", "resnet", "siglip", "eva02", "xlm-roberta"])
def test_a_hundred_calls_leak_nothing(case):
    model = make(case)
    run(case, model=model)  # fills what is built once
    before, hooks = live_tensors(), fingerprint(model)[2]
    for _ in range(100):
        t = run(case, model=model)[0]
    gone = weakref.ref(t)
    del t
    assert gone() is None  # by reference counting alone, without the collector
    assert live_tensors() <= before
    assert fingerprint(model)[2] == hooks


def test_graph_is_released_and_nothing_below_start_is_kept():
    t, s = run("clip text", start=2)
    assert t.layers == [2, 3] and t._points == {} and set(t._readings) == {2, 3}
    with pytest.raises(TraceError, match="spent"):
        t.backward(s)


def test_several_scores_of_one_forward():
    model, ids = make("clip text"), inputs("text")
    with trace(model) as t:
        features = model.encode_text(ids)
        t.backward(features[0].sum(), retain_graph=True)
        first = t.attention_grads(3)
        t.backward(features[1].sum())
    assert first[0].abs().max() > 0 and first[1].abs().max() == 0
    assert t.attention_grads(3)[1].abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_float32(dtype):
    case = "clip text"
    expected, _ = run(case)
    t, _ = run(case, model=make(case).to(dtype))
    assert t.attention_grads(3).dtype == t.attention(3).dtype == torch.float32
    scale = expected.attention_grads(3).abs().max()
    assert (t.attention_grads(3) - expected.attention_grads(3)).abs().max() < 0.1 * scale


def test_attention_beyond_the_end_token_has_no_gradient():
    t, _ = run("clip text")
    for layer in t.layers:
        assert t.attention_grads(layer)[0, :, 6:].abs().max() == 0


def test_count_layers():
    assert count_layers(make("clip text")) == 4 and count_layers(make("clip text"), "image") == 3
    assert count_layers(make("resnet"), "image") == 0


def test_a_second_forward_is_refused():
    model, ids = make("clip text"), inputs("text")
    with pytest.raises(TraceError, match="one forward"), trace(model):
        model.encode_text(ids)
        model.encode_text(ids)


def test_a_missing_forward_names_the_module():
    model, x = make("clip text"), inputs("image")
    with trace(model) as t:
        s = score(model, "image", x)
        with pytest.raises(TraceError, match=r"4 attention.*transformer.resblocks.0.attn"):
            t.backward(s)


def test_gradients_before_backward_are_refused():
    model = make("clip text")
    with trace(model) as t:
        model.encode_text(inputs("text"))
    assert t.attention(0).shape == (B, 4, CONTEXT, CONTEXT)
    with pytest.raises(TraceError, match="call backward"):
        t.attention_grads(0)
    with pytest.raises(TraceError, match="scalar"):
        t.backward(torch.zeros(()))


class Strange(nn.Module):
    """An attention that nobody knows."""

    def forward(self, x, *_, **__):
        return (x,)


class StrangeAttention(Strange):
    pass


@pytest.mark.parametrize("kind", [Strange, StrangeAttention])
def test_unknown_layouts_are_named(kind):
    model = make("clip text")
    model.transformer.resblocks[1].attn = kind()
    where = f"unknown.*transformer.resblocks.1.attn is a .*{kind.__name__};"
    with pytest.raises(TraceError, match=where), trace(model):
        pass


def test_subclass_of_a_known_attention_is_unknown():
    class Mine(nn.MultiheadAttention):
        pass

    model = make("clip text")
    model.transformer.resblocks[0].attn = Mine(32, 4)
    with pytest.raises(TraceError, match="Mine"), trace(model):
        pass


def test_convnext_has_no_attention_blocks():
    model = custom()
    model.visual = TimmModel("test_convnext", 32, pool="avg", proj="linear", image_size=32)
    with pytest.raises(TraceError, match="ConvNeXt.*no attention blocks"), trace(model, "image"):
        pass


def test_wrong_use_is_refused_in_one_line():
    model = make("clip text")
    with pytest.raises(TraceError, match="'text' or 'image'"), trace(model, "sound"):
        pass
    with pytest.raises(TraceError, match="4 layers"), trace(model, start=4):
        pass
    with pytest.raises(TraceError, match="no image tower"), trace(nn.Linear(2, 2), "image"):
        pass
    with torch.inference_mode(), pytest.raises(TraceError, match="no_grad"), trace(model):
        pass
    model.set_grad_checkpointing(True)
    with pytest.raises(TraceError, match="checkpointing"), trace(model):
        pass


def test_active_dropout_is_refused():
    model = hugging_face(XLMRobertaConfig).train()
    with pytest.raises(TraceError, match="dropout"), trace(model):
        model.encode_text(inputs("text"))
    assert model.training
