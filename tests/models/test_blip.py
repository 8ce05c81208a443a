"""BLIP's matching head and ITM Grad-CAM, on a tiny BLIP with random weights."""

import math
import shutil
import sys
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import constants as hub_constants
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, layer_norm, linear
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
)

from clip_attribution.errors import UserError
from clip_attribution.heatmaps.itm import itm_gradcam, itm_gradcam_rows, itm_scores
from clip_attribution.metrics.grounding import grounding_metrics
from clip_attribution.models.blip import MAX_TOKENS, clean_text, load_blip, read_text

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "red", "dog", "left", "of", "the", "blue", "ball", "##s", "-", "'", ",", "t", "shirt"]
VOCABULARY = {word: number for number, word in enumerate(SPECIAL + WORDS)}
ENC = len(VOCABULARY) + 1  # after [DEC]
PHRASES = ["a red dog", "the blue balls left of a dog", "ball", "a dog"]
SIDE, PATCH, LAYERS, HEADS, WIDTH = 32, 8, 9, 2, 16
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def tiny_config(**text):
    shared = {"hidden_size": WIDTH, "intermediate_size": 24, "num_attention_heads": HEADS}
    text = (
        {
            "vocab_size": ENC + 1,
            "num_hidden_layers": LAYERS,
            "bos_token_id": ENC - 1,
            "sep_token_id": 3,
            "max_position_embeddings": 64,
        }
        | shared
        | text
    )
    vision = {"image_size": SIDE, "patch_size": PATCH, "num_hidden_layers": 2} | shared
    return BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=8)


def save_tiny(folder, kind=BlipForImageTextRetrieval, **text):
    """A BLIP with weights large enough that words and patches matter."""
    torch.manual_seed(3)
    model = kind(tiny_config(**text))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            spread = 0.1 if "bias" in name else 0.35
            weights.copy_(torch.randn_like(weights) * spread + ("norm.weight" in name.lower()))
    model.save_pretrained(folder)
    BertTokenizer(vocab=VOCABULARY).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny-blip"
    save_tiny(path)
    return path


@pytest.fixture(scope="module")
def blip(folder):
    return load_blip(folder, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four images of several shapes in a folder, and a file that is none."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for number, shape in enumerate([(32, 32), (20, 50), (41, 33), (64, 64)]):
        pixels = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"no image")
    return root


NAMES = [f"{number}.png" for number in range(4)]


def close(found, expected, tolerance=1e-5):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=tolerance)


# ---------------------------------------------------------------- an independent implementation


def explicit_pixels(path):
    image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC)
    scaled = (np.asarray(image) / 255 - MEAN) / STD
    return torch.tensor(scaled.transpose(2, 0, 1)[None])


def attend(weights, prefix, queries_of, keys_of, chosen):
    """One attention sub-layer of BERT, head by head; [patches or tokens] weights of each head."""
    query, key, value = (
        linear(x, weights[f"{prefix}.self.{name}.weight"], weights[f"{prefix}.self.{name}.bias"])
        for name, x in (("query", queries_of), ("key", keys_of), ("value", keys_of))
    )
    size, mixed, probabilities = WIDTH // HEADS, [], []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        probabilities.append((query[:, part] @ key[:, part].T / math.sqrt(size)).softmax(-1))
        mixed.append(probabilities[-1] @ value[:, part])
    chosen += probabilities
    return norm(
        weights,
        f"{prefix}.output",
        project(weights, f"{prefix}.output.dense", torch.cat(mixed, -1)) + queries_of,
    )


def project(weights, name, x):
    return linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(weights, name, x):
    name = f"{name}.LayerNorm"
    return layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)


def explicit_itm(folder, path, ids):
    """Both ITM logits and the cross-attention of every layer, float64, one pair, no padding."""
    weights = {k: v.double() for k, v in load_file(folder / "model.safetensors").items()}
    vision = BlipForImageTextRetrieval.from_pretrained(folder).double().eval().vision_model
    patches = vision(pixel_values=explicit_pixels(path)).last_hidden_state[0]
    start = "text_encoder.embeddings"
    x = weights[f"{start}.word_embeddings.weight"][ids]
    x = norm(weights, start, x + weights[f"{start}.position_embeddings.weight"][: len(ids)])
    crossed = []
    for number in range(LAYERS):
        layer, heads = f"text_encoder.encoder.layer.{number}", []
        x = attend(weights, f"{layer}.attention", x, x, [])
        x = attend(weights, f"{layer}.crossattention", x, patches, heads)
        inner = gelu(project(weights, f"{layer}.intermediate.dense", x))
        x = norm(weights, f"{layer}.output", project(weights, f"{layer}.output.dense", inner) + x)
        crossed.append(heads)
    return project(weights, "itm_head", x[0]), crossed


def explicit_map(folder, path, ids, layer, tokens):
    logits, crossed = explicit_itm(folder, path, ids)
    gradients = torch.autograd.grad(logits[1], crossed[layer])
    total = torch.zeros((SIDE // PATCH) ** 2, dtype=torch.float64)
    for attention, gradient in zip(crossed[layer], gradients, strict=True):
        for token in tokens:
            for patch in range(len(total)):
                value = attention[token, patch + 1] * max(gradient[token, patch + 1].item(), 0)
                total[patch] += value.detach() / HEADS / len(tokens)
    return total.reshape(SIDE // PATCH, -1).numpy()


def ids_of(words):
    return [ENC] + [VOCABULARY[word] for word in words.split()] + [VOCABULARY["[SEP]"]]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-5)])
@pytest.mark.parametrize("layer", [7, 6, 0])
def test_gradcam_equals_an_explicit_implementation(blip, folder, pictures, layer, dtype, tolerance):
    blip = replace(blip, model=deepcopy(blip.model).to(dtype))
    ids = ids_of("the blue ball ##s left of a dog")
    expected = explicit_map(folder, pictures / "1.png", ids, layer, range(1, len(ids) - 1))
    options = {} if layer == 7 else {"layer": layer}
    found = itm_gradcam(blip, ["1.png"], [PHRASES[1]], image_root=pictures, **options)
    assert found.dtype == np.float32 and found.shape == (1, 4, 4)
    close(found[0], expected, tolerance)


def test_albef_means_over_every_token(blip, folder, pictures):
    ids = ids_of("a red dog")
    expected = explicit_map(folder, pictures / "2.png", ids, 7, range(len(ids)))
    found = itm_gradcam(blip, ["2.png"] * 2, PHRASES[:2], aggregate="albef", image_root=pictures)
    close(found[0], expected, 1e-4)


def test_score_is_the_probability_of_a_match(blip, folder, pictures):
    logits, _ = explicit_itm(folder, pictures / "0.png", ids_of("a red dog"))
    found = itm_scores(blip, ["0.png"], ["A red dog!"], image_root=pictures)
    assert found["error"].tolist() == [None]
    assert abs(found["score"][0] - logits.softmax(-1)[1].item()) < 1e-5


def test_logits_are_those_of_transformers_with_enc_first(blip, pictures):
    pixels = blip.preprocess(Image.open(pictures / "3.png"))[None]
    ids = torch.tensor([ids_of("a dog")])
    expected = blip.model(input_ids=ids, pixel_values=pixels).itm_score.softmax(-1)[0, 1].item()
    found = itm_scores(blip, ["3.png"], ["a dog"], image_root=pictures)["score"][0]
    assert abs(found - expected) < 1e-6


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_batch_equals_singles(blip, pictures, dtype, tolerance):
    blip = replace(blip, model=deepcopy(blip.model).to(dtype))
    images, texts = [name for name in NAMES for _ in PHRASES], PHRASES * len(NAMES)
    pairs = list(zip(images, texts, strict=True))
    singles = [itm_gradcam(blip, [image], [text], image_root=pictures)[0] for image, text in pairs]
    for size in (16, 5):
        maps = itm_gradcam(blip, images, texts, batch_size=size, image_root=pictures)
        assert np.abs(maps - singles).max() < 1e-5 < maps.max()
        for found, expected in zip(maps, singles, strict=True):
            close(found, expected, tolerance)


def test_scores_of_a_batch_equal_singles(blip, pictures):
    images, texts = [name for name in NAMES for _ in PHRASES], PHRASES * len(NAMES)
    scores = itm_scores(blip, images, texts, image_root=pictures, batch_size=6)["score"]
    alone = [
        itm_scores(blip, [image], [text], image_root=pictures)["score"][0]
        for image, text in zip(images, texts, strict=True)
    ]
    np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-5)
    assert np.ptp(scores) > 1e-3


def test_a_bad_row_has_its_reason_and_leaves_the_others_alone(blip, pictures):
    images = ["0.png", "broken.png", "1.png", "0.png", "missing.png", None, "1.png"]
    texts = ["a dog", "a dog", "ball", None, "ball", "a dog", ". ! ~"]
    maps, reasons = np.zeros((7, 4, 4)), [""] * 7
    options = {"batch_size": 3, "image_root": pictures}
    for rows, found, why in itm_gradcam_rows(blip, images, texts, **options):
        maps[rows] = found
        for row, reason in zip(rows, why, strict=True):
            reasons[row] = reason
    assert [reason is None for reason in reasons] == [True, False, True, False, False, False, False]
    for row, part in (
        (1, "broken.png"),
        (3, "missing"),
        (4, "no such file"),
        (5, "no image"),
        (6, "after cleaning"),
    ):
        assert part in reasons[row] and "\n" not in reasons[row]
        assert np.isnan(maps[row]).all()
    alone = itm_gradcam(blip, ["0.png", "1.png"], ["a dog", "ball"], image_root=pictures)
    close(maps[[0, 2]], alone)
    scores = itm_scores(blip, images, texts, image_root=pictures)
    assert scores["error"].tolist() == reasons
    assert scores["score"].isna().tolist() == [reason is not None for reason in reasons]
    with pytest.raises(UserError, match="row 1: .*broken.png"):
        itm_gradcam(blip, images, texts, image_root=pictures)


def test_maps_go_straight_into_the_grounding_metrics(blip, pictures):
    maps = itm_gradcam(blip, NAMES, PHRASES, image_root=pictures)
    assert (maps >= 0).all()
    frame = grounding_metrics(maps, [[4, 4, 16, 16]] * 4, [(32, 32), (20, 50), (41, 33), (64, 64)])
    assert frame["error"].isna().all() and np.isfinite(frame["io_ratio"]).all()


def test_empty_input_gives_empty_output(blip):
    assert itm_gradcam(blip, [], []).shape == (0, 4, 4)
    assert list(itm_scores(blip, [], []).columns) == ["score", "error"]


def test_model_stays_as_it_was(folder, pictures):
    blip = load_blip(folder, device="cpu")
    hooks = sum(len(module._forward_hooks) for module in blip.model.modules())
    blip.model.itm_head.weight.requires_grad_(True)  # a user's own choice
    before = {name: tensor.clone() for name, tensor in blip.model.state_dict().items()}
    flags = [p.requires_grad for p in blip.model.parameters()]
    itm_gradcam(blip, NAMES, PHRASES, image_root=pictures)
    assert torch.is_grad_enabled()
    for name, tensor in blip.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert [p.requires_grad for p in blip.model.parameters()] == flags
    assert all(p.grad is None for p in blip.model.parameters())
    assert sum(len(module._forward_hooks) for module in blip.model.modules()) == hooks


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    "given, expected",
    [
        ("A Red DOG.", "a red dog"),
        ('a "red" (dog)', "a red dog"),
        ("left: a*red#dog; ~ball!", "left a red dog ball"),
        ("  a \n red\tdog ", "a red dog"),
        ("the dog's t-shirt, really?", "the dog's t-shirt, really?"),
        (" ".join(["dog"] * 60), " ".join(["dog"] * 50)),
    ],
)
def test_text_is_cleaned_as_in_lavis(given, expected):
    assert clean_text(given) == expected


def test_ids_begin_with_enc_and_are_cut_to_35(blip):
    assert read_text(blip, "A red DOG.") == ids_of("a red dog")
    long = read_text(blip, "dog " * 49)
    assert len(long) == MAX_TOKENS == 35 and long[0] == ENC and long[-1] == VOCABULARY["[SEP]"]


def test_an_enc_in_the_vocabulary_is_used(tmp_path):
    save_tiny(tmp_path)
    with_enc = VOCABULARY | {"[ENC]": len(VOCABULARY), "[DEC]": len(VOCABULARY) + 1}
    BertTokenizer(vocab=with_enc).save_pretrained(tmp_path)
    assert load_blip(tmp_path, "cpu").enc_token_id == with_enc["[ENC]"]


# ---------------------------------------------------------------- loading


def test_loaded_model_says_what_it_is(blip, folder):
    assert blip.name == "tiny-blip" and blip.pretrained == str(folder)
    assert blip.image_size == (SIDE, SIDE) and blip.grid == (4, 4) and blip.layers == LAYERS
    assert blip.enc_token_id == ENC and blip.activation == "gelu" and blip.dtype == torch.float32
    assert blip.weights_hash == load_blip(str(folder), "cpu").weights_hash
    assert len(blip.weights_hash) == 16
    assert not blip.model.training and not any(p.requires_grad for p in blip.model.parameters())
    with pytest.raises(AttributeError):
        blip.name = "another"


def test_half_precision_weights_are_read_as_float32(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "half")
    blip = BlipForImageTextRetrieval.from_pretrained(folder).half()
    blip.save_pretrained(tmp_path / "half")
    found = load_blip(tmp_path / "half", "cpu")
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}


def refused(*args, **options):
    with pytest.raises(UserError) as caught:
        load_blip(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_transformers_the_extra_is_named(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'clip-attribution[hf]'" in refused(folder)


def test_a_missing_folder_is_said_so(tmp_path):
    assert "no such folder" in refused(tmp_path / "nothing")
    assert "no such folder" in refused("./nothing")
    (tmp_path / "empty").mkdir()
    assert "config.json" in refused(tmp_path / "empty")


@pytest.mark.parametrize("name", ["base", "large", "no-such/blip"])
def test_without_network_the_way_out_is_named(monkeypatch, tmp_path, name):
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    message = refused(name)
    assert "cannot download" in message and "pass the folder" in message
    expected = {"base": "blip-itm-base-coco", "large": "blip-itm-large-coco"}.get(name, name)
    assert expected in message


def test_a_folder_that_is_no_matching_blip_is_refused(folder, tmp_path):
    save_tiny(tmp_path / "captioner", BlipForConditionalGeneration)
    assert "no BLIP with a matching head" in refused(tmp_path / "captioner")
    headless = shutil.copytree(folder, tmp_path / "headless")
    weights = load_file(headless / "model.safetensors")
    del weights["itm_head.weight"]
    save_file(weights, headless / "model.safetensors", {"format": "pt"})
    assert "itm_head.weight" in refused(headless)
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing")
    assert "cannot load" in refused(broken)


def test_a_text_encoder_without_cross_attention_is_refused(tmp_path):
    save_tiny(tmp_path, is_decoder=False)
    assert "no cross-attention" in refused(tmp_path)


def test_a_vocabulary_that_does_not_fit_is_refused(folder, tmp_path):
    without = shutil.copytree(folder, tmp_path / "without")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (without / name).unlink(missing_ok=True)
    assert "vocab" in refused(without)
    larger = shutil.copytree(folder, tmp_path / "larger")
    more = VOCABULARY | {f"word{n}": len(VOCABULARY) + n for n in range(5)}
    BertTokenizer(vocab=more).save_pretrained(larger)
    assert "does not go with weights" in refused(larger)


def test_an_unknown_device_is_refused(folder):
    assert "use auto, cpu or cuda" in refused(folder, device="tpu9")


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "options, part",
    [
        ({"layer": 9}, "layers 0 to 8"),
        ({"layer": -1}, "layers 0 to 8"),
        ({"layer": True}, "layers 0 to 8"),
        ({"layer": 8}, "every word's map is zero"),
        ({"aggregate": "sum"}, "words, albef"),
        ({"batch_size": 0}, "batch_size"),
        ({"texts": ["a dog", "ball"]}, "1 images with 2 texts"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(blip, options, part):
    texts = options.pop("texts", ["a dog"])
    with pytest.raises(UserError, match=part):
        itm_gradcam_rows(blip, ["0.png"], texts, **options)


def test_training_mode_is_refused(folder):
    blip = load_blip(folder, "cpu")
    blip.model.train()
    with pytest.raises(UserError, match="eval"):
        itm_gradcam_rows(blip, ["0.png"], ["a dog"])


def test_another_layer_gives_another_map(blip, pictures):
    maps = [itm_gradcam(blip, ["0.png"], ["a dog"], layer=k, image_root=pictures) for k in (6, 7)]
    assert np.abs(maps[0] - maps[1]).max() > 0.01 * maps[1].max()


@pytest.mark.gpu
def test_a_gpu_gives_the_same(blip, folder, pictures):
    gpu = load_blip(folder, "cuda")
    images, texts = NAMES * 2, PHRASES + PHRASES[::-1]
    expected = itm_gradcam(blip, images, texts, image_root=pictures)
    found = itm_gradcam(gpu, images, texts, image_root=pictures, batch_size=3)
    for one, other in zip(found, expected, strict=True):
        close(one, other, 0.02)  # a GPU convolves in TF32
    scores = [
        itm_scores(model, images, texts, image_root=pictures)["score"] for model in (gpu, blip)
    ]
    np.testing.assert_allclose(*scores, rtol=0, atol=0.01)
