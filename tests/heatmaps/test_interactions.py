"""Word x region interactions against double autograd, in every family of towers."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from small_towers import CAPTIONS, FAMILIES

from clip_attribution import attribute, interactions, load_clip
from clip_attribution.errors import UserError
from clip_attribution.scenes import scene_pairs
from clip_attribution.trace.pooling import text_rows

TEMPLATE = "A photo depicts "
TEXT = "a cup of coke"
ONE_ROW = ("ViT-B-32", "ViT-B-32-quickgelu", "CoCa", "EVA02", "SigLIP", "ResNet", "XLM-R cls")
CLASS_TOKEN = ("ViT-B-32", "EVA02", "XLM-R cls")


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Load a small model of a family, once."""
    known = {}

    def load(name):
        if name not in known:
            folder = tmp_path_factory.mktemp("family")
            kind = "small-quickgelu" if "quickgelu" in name else "small"
            known[name] = load_clip(kind, model_config=FAMILIES[name](folder))
        return known[name]

    return load


def image(seed=0):
    pixels = np.random.RandomState(seed).randint(0, 255, (80, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Gates:
    """Attention written out, one row of it times a gate: every call of the towers goes here."""

    def __init__(self, row, calls, monkeypatch):
        self.row, self.calls, self.seen, self.gate = row, calls, 0, None
        monkeypatch.setattr(F, "scaled_dot_product_attention", self.attend)

    def attend(self, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
        logits = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, float("-inf"))
        elif attn_mask is not None:
            logits = logits + attn_mask
        weights = logits.softmax(-1)
        if self.calls is None or self.seen in self.calls:
            if self.gate is None:
                self.gate = torch.ones(weights.shape[-1], dtype=q.dtype, requires_grad=True)
            factor = torch.ones_like(weights)
            factor[..., self.row, :] = self.gate
            weights = weights * factor
        self.seen += 1
        return weights @ v


def calls_of(model, encode, monkeypatch):
    with monkeypatch.context() as patch:
        gates = Gates(0, (), patch)
        encode(model)
    return gates.seen


def double_autograd(model, pixels, ids, everywhere, monkeypatch):
    """I [tokens, keys] and dS/da [tokens] of one pair by the definition."""
    model = deepcopy(model).double().requires_grad_(True)
    pixels = pixels[None].double()
    n = calls_of(model, lambda m: m.encode_image(pixels), monkeypatch)
    with monkeypatch.context() as patch:
        regions = Gates(0, None if everywhere else {n - 1}, patch)
        seen = F.normalize(model.encode_image(pixels), dim=-1)[0]
    with monkeypatch.context() as patch:
        tokens = Gates(int(text_rows(model, ids)[0]), None, patch)
        said = F.normalize(model.encode_text(ids), dim=-1)[0]
        (slope,) = torch.autograd.grad(seen @ said, tokens.gate, create_graph=True)
        found = [torch.autograd.grad(s, regions.gate, retain_graph=True)[0] for s in slope]
    return torch.stack(found).detach(), slope.detach()


def token_maps(clip, text, **options):
    pair = {"image": image(), "caption": text}
    found = interactions(clip, [pair], level="token", template="", **options)
    assert found.pairs.error[0] is None
    return found


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", ONE_ROW)
def test_equal_to_double_autograd(family, monkeypatch, name, dtype, tolerance):
    clip = family(name)
    clip = replace(clip, model=deepcopy(clip.model).to(dtype), dtype=dtype)
    pixels, ids = clip.preprocess(image()), clip.tokenizer([TEXT], clip.context_length)
    for everywhere in (False, True)[: 1 + (name in CLASS_TOKEN)]:
        wanted, slopes = double_autograd(clip.model, pixels, ids, everywhere, monkeypatch)
        found = token_maps(clip, TEXT, image_layers="all" if everywhere else None)
        first = int(name != "SigLIP")  # its tokenizer has no BOS
        patches, tokens = found.maps[0].size, len(found.maps)
        expected = wanted[first : first + tokens, -patches:].numpy()
        assert np.abs(expected).max() > 1e-6
        np.testing.assert_allclose(found.maps.reshape(tokens, -1), expected, rtol=0, atol=tolerance)
        slope = found.words.attribution.to_numpy()
        np.testing.assert_allclose(slope, slopes[first : first + tokens], rtol=0, atol=tolerance)


def test_the_slope_is_clip4dm_before_its_means(clip):
    pairs = scene_pairs(5, seed=3, foils=None)
    found = interactions(clip, pairs)
    words, _ = attribute(clip, pairs, "clip4dm", layers="all")
    assert found.words.word.tolist() == words.word.tolist()
    np.testing.assert_allclose(found.words.attribution / (6 * 4), words.attribution, atol=1e-6)
    np.testing.assert_allclose(found.pairs.cosine, attribute(clip, pairs)[1].cosine, atol=1e-6)


@pytest.mark.parametrize("image_layers", [None, "all"])
def test_batch_equals_single_and_the_model_stays(clip, image_layers):
    before = {k: v.clone() for k, v in clip.model.state_dict().items()}
    flags = [p.requires_grad for p in clip.model.parameters()]
    pairs = scene_pairs(4, seed=3, foils="noun")  # a caption and its foil share an image
    together = interactions(clip, pairs, image_layers=image_layers)
    single = [interactions(clip, pairs[i : i + 1], image_layers=image_layers) for i in range(8)]
    maps = np.concatenate([found.maps for found in single])
    np.testing.assert_allclose(together.maps, maps, rtol=0, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in clip.model.state_dict().items())
    assert [p.requires_grad for p in clip.model.parameters()] == flags


def test_levels_agree(clip):
    pair = {"image": "scene:1:3", "caption": "a yellow zzxqyflow on grass"}
    tokens = interactions(clip, [pair], level="token")
    words = interactions(clip, [pair], level="word")
    index = words.words.index[words.words.word == "zzxqyflow"][0]
    inside = (tokens.words.start >= 9) & (tokens.words.end <= 18)
    assert inside.sum() == words.words.n_tokens[index] > 1
    np.testing.assert_allclose(words.maps[index], tokens.maps[inside].mean(0), atol=1e-7)
    phrase = interactions(clip, [pair | {"concepts": [(0, 18, "object")]}], level="phrase")
    assert phrase.words.word.tolist() == ["a yellow zzxqyflow"]
    np.testing.assert_allclose(
        phrase.maps[0], tokens.maps[tokens.words.end <= 18].mean(0), atol=1e-7
    )
    whole = interactions(clip, [pair], level="phrase")
    np.testing.assert_allclose(whole.maps[0], tokens.maps.mean(0), atol=1e-7)


def test_a_bad_pair_costs_its_own_row(clip):
    rows = [("scene:1:3", "a sun"), ("gone.png", "a sun"), ("scene:1:4", "")]
    found = interactions(clip, [{"image": i, "caption": c} for i, c in rows])
    errors = found.pairs.error.tolist()
    assert errors[0] is None and "gone.png" in errors[1] and errors[2] == "the caption is empty"
    assert found.words.pair_id.tolist() == [0, 0] and len(found.maps) == 2
    table = found.table()
    assert len(table) == 2 * 64 and table.interaction[9 * 1 + 64] == found.maps[1, 1, 1]
    none = interactions(clip, pd.DataFrame({"image": [], "caption": []}))
    assert none.maps.shape == (0, 8, 8) and len(none.table()) == 0


@pytest.mark.parametrize(
    "options, line",
    [
        ({"level": "line"}, "unknown level 'line'"),
        ({"layers": [9]}, "no layer 9"),
        ({"image_layers": "some"}, "layers must be"),
        ({"preprocess": "pad"}, "preprocess must be"),
    ],
)
def test_unusable_arguments_are_refused_in_one_line(clip, options, line):
    with pytest.raises(UserError, match=line):
        interactions(clip, [{"image": "scene:1:3", "caption": "a sun"}], **options)


def test_a_tower_without_one_pooled_position_is_refused(family):
    with pytest.raises(UserError, match="pools over all its tokens"):
        interactions(family("XLM-R mean"), [{"image": image(), "caption": CAPTIONS[0]}])
