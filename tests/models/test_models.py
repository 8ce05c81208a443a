"""Loading: names, tags, local files, activations, devices, and what is refused in one line."""

import json
import time

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants as hub_constants
from PIL import Image
from safetensors.torch import save_file
from tiny import config as tiny_config

from clip_attribution.errors import UserError
from clip_attribution.models import hub
from clip_attribution.models import sources as model_sources
from clip_attribution.models.clip import load_clip
from clip_attribution.models.sources import quick_gelu

TINY = tiny_config(patch=16, context=20, embed=24)
PREPROCESS = {
    "size": 32,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
    "interpolation": "bicubic",
}
TEXTS = ["a red anchor", "two blue umbrellas on a green ground, overlapping"]
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture
def tiny(config):
    return load_clip(model_config=config, device="cpu")


@pytest.fixture
def weights(tiny, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(tiny.model.state_dict(), path)
    return path


def refused(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        load_clip(*args, **options)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


def tiny_with(**changes) -> dict:
    return TINY | changes


def save_with_metadata(state: dict, path, model_cfg: dict, preprocess: dict = PREPROCESS):
    save_file(
        state,
        path,
        metadata={"model_cfg": json.dumps(model_cfg), "preprocess": json.dumps(preprocess)},
    )
    return path


# --- the loaded Clip ---


def test_random_model_from_a_config(tiny):
    assert (tiny.name, tiny.pretrained, tiny.activation) == ("tiny", "random", "gelu")
    assert (tiny.grid, tiny.image_size, tiny.embed_dim) == ((2, 2), (32, 32), 24)
    assert tiny.context_length == 20 and tiny.dtype == torch.float32
    assert tiny.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert not tiny.model.training and not any(p.requires_grad for p in tiny.model.parameters())
    assert len(repr(tiny)) < 300


def test_features_are_unit_length_and_equal_open_clip(tiny):
    images, texts = tiny.encode_images([PHOTO, PHOTO]), tiny.encode_texts(TEXTS)
    assert images.shape == texts.shape == (2, 24)
    for features in (images, texts):
        assert torch.allclose(features.norm(dim=-1), torch.ones(2))
        assert not features.is_inference() and not features.requires_grad
    tokens = open_clip.SimpleTokenizer(context_length=20)(TEXTS)
    assert torch.equal(texts, tiny.model.encode_text(tokens, normalize=True))
    assert tiny.encode_images([]).shape == tiny.encode_texts([]).shape == (0, 24)


def test_thread_of_a_picture_is_scaled_without_its_ends(tiny):
    stripes = np.zeros((2, 40_000, 3), dtype=np.uint8)
    stripes[:, 19_998:20_002] = 200
    pixels = tiny.preprocess(Image.fromarray(stripes))
    assert pixels.shape == (3, 32, 32)
    short = tiny.preprocess(Image.fromarray(stripes[:, 19_940:20_060]))
    assert torch.equal(pixels, short)
    tall = tiny.preprocess(Image.fromarray(stripes.transpose(1, 0, 2).copy()))
    assert torch.equal(tall, pixels.transpose(1, 2))
    assert torch.isfinite(tiny.encode_images([Image.new("RGB", (1, 1))])).all()


def test_over_long_caption_is_cut_as_open_clip_does(tiny):
    tokens = tiny.tokenizer(["dog " * 1000])
    assert tokens.shape == (1, 20) and tokens[0, -1] == 49407
    assert torch.isfinite(tiny.encode_texts(["dog " * 1000])).all()


def test_seed_decides_and_the_random_state_is_kept(config):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = (load_clip(model_config=config, device="cpu", seed=seed) for seed in (0, 1))
    again = load_clip(model_config=config, device="cpu", seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert a.weights_hash == again.weights_hash != b.weights_hash


def test_weights_hash_sees_one_bit_and_no_order(tiny):
    first = tiny.weights_hash
    assert len(first) == 16 and int(first, 16) >= 0
    del tiny.__dict__["weights_hash"]
    with torch.no_grad():
        tiny.model.ln_final.weight[0] += 1e-6
    assert tiny.weights_hash != first


def test_a_config_given_as_dict_is_not_changed():
    before = json.dumps(TINY)
    load_clip("mine", model_config=TINY, device="cpu")
    assert json.dumps(TINY) == before


def test_tokenizer_of_another_model_is_refused(config):
    foreign = refused(model_config=config, tokenizer=lambda texts: torch.tensor([[1, 50000]]))
    assert "id 50000 for a model with 49408 tokens" in foreign
    assert "ids [n, context]" in refused(model_config=config, tokenizer=lambda texts: [[1, 2]])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close_and_returns_float32(config, tiny, precision):
    half = load_clip(model_config=config, device="cpu", precision=precision)
    assert all(p.dtype == half.dtype for p in half.model.parameters())
    texts, images = half.encode_texts(TEXTS), half.encode_images([PHOTO])
    assert texts.dtype == images.dtype == torch.float32
    assert (texts - tiny.encode_texts(TEXTS)).abs().max() < 0.02
    assert (images - tiny.encode_images([PHOTO])).abs().max() < 0.02


def test_device_and_precision_are_checked(config):
    assert "fp32, bf16, fp16" in refused(model_config=config, precision="fp8")
    assert "auto, cpu or cuda" in refused(model_config=config, device="gpu0")
    assert "auto, cpu or cuda" in refused(model_config=config, device="meta")
    if not torch.cuda.is_available():
        assert "no device 'cuda'" in refused(model_config=config, device="cuda")
        assert load_clip(model_config=config).device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu(config, tiny):
    gpu = load_clip(model_config=config, device="auto")
    assert gpu.device.type == "cuda" and gpu.weights_hash == tiny.weights_hash
    assert (gpu.encode_texts(TEXTS).cpu() - tiny.encode_texts(TEXTS)).abs().max() < 1e-4
    for precision in ("bf16", "fp16"):
        half = load_clip(model_config=config, device="cuda", precision=precision)
        assert (half.encode_images([PHOTO]).cpu() - tiny.encode_images([PHOTO])).abs().max() < 0.02


# --- the embedded model and other files that describe themselves ---


def test_embedded_model(tiny, tmp_path, monkeypatch):
    state = {k: v.half() for k, v in tiny.model.state_dict().items()}
    file = tmp_path / "scenes-clip.safetensors"
    path = save_with_metadata(state, file, tiny_with(quick_gelu=True))
    for place in (tmp_path, path):
        monkeypatch.setenv("CLIP_ATTRIBUTION_DATA", str(place))
        clip = load_clip(device="cpu")
        assert (clip.name, clip.pretrained, clip.activation) == (
            "scenes-clip",
            "embedded",
            "quickgelu",
        )
        assert clip.model.ln_final.weight.dtype == torch.float32
    pixel = clip.preprocess(Image.new("RGB", (32, 32)))[:, 0, 0]
    assert torch.allclose(pixel, -torch.tensor([0.1, 0.2, 0.3]) / torch.tensor([0.5, 0.6, 0.7]))


def test_missing_embedded_model_names_the_training_command(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP_ATTRIBUTION_DATA", str(tmp_path))
    assert "python -m clip_attribution.training.pretrain" in refused()


def test_default_place_of_the_embedded_model(monkeypatch):
    monkeypatch.delenv("CLIP_ATTRIBUTION_DATA", raising=False)
    try:
        path = model_sources.embedded_path()
    except UserError as error:
        assert "data/scenes-clip.safetensors" in str(error).replace("\\", "/")
    else:
        assert path.parent.name == "data"


def test_hub_config_with_preprocessing(tiny, weights, tmp_path):
    config = tmp_path / "open_clip_config.json"
    config.write_text(
        json.dumps({"model_cfg": tiny_with(quick_gelu=True), "preprocess_cfg": PREPROCESS})
    )
    explicit = load_clip("mine", weights, model_config=config, device="cpu")
    beside = load_clip(pretrained=weights, device="cpu")  # found beside the weights
    assert explicit.activation == beside.activation == "quickgelu"
    assert (explicit.name, beside.name) == ("mine", "weights")
    assert torch.equal(explicit.preprocess(PHOTO), beside.preprocess(PHOTO))
    assert not torch.equal(explicit.preprocess(PHOTO), tiny.preprocess(PHOTO))


# --- local checkpoints ---


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin"])
@pytest.mark.parametrize("wrap", ["plain", "state_dict", "module"])
def test_local_checkpoint(tiny, config, tmp_path, suffix, wrap):
    state = {k: v + 0.25 for k, v in tiny.model.state_dict().items()}
    if wrap == "module":
        state = {f"module.{k}": v for k, v in state.items()}
    path = tmp_path / f"own.{suffix}"
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": state} if wrap == "state_dict" else state, path)
    clip = load_clip(pretrained=str(path), model_config=config, device="cpu")
    assert clip.pretrained == str(path)
    assert torch.equal(clip.model.ln_final.weight, tiny.model.ln_final.weight + 0.25)


def test_logit_scale_of_other_rank_fits(tiny, config, tmp_path):
    state = tiny.model.state_dict() | {"logit_scale": torch.tensor([2.0])}
    save_file(state, tmp_path / "a.safetensors")
    clip = load_clip(pretrained=tmp_path / "a.safetensors", model_config=config, device="cpu")
    assert clip.logit_scale == pytest.approx(np.exp(2))


def test_checkpoint_that_does_not_fit_names_the_first_mismatches(tiny, config, tmp_path):
    state = tiny.model.state_dict()
    wide = state | {"ln_final.weight": torch.zeros(33), "extra": torch.zeros(1)}
    del wide["ln_final.bias"]
    save_file(wide, tmp_path / "wide.safetensors")
    message = refused(pretrained=tmp_path / "wide.safetensors", model_config=config)
    for part in (
        "ln_final.weight (33,) for (32,)",
        "missing: ln_final.bias",
        "not in the model: extra",
    ):
        assert part in message
    save_file({"text_model.embeddings.weight": torch.zeros(2)}, tmp_path / "hf.safetensors")
    assert "Transformers" in refused(pretrained=tmp_path / "hf.safetensors", model_config=config)


def test_files_that_cannot_be_read(config, tmp_path):
    for name in ("a.safetensors", "a.pt", "a.bin"):
        (tmp_path / name).write_text("this is no checkpoint")
        assert name in refused(pretrained=tmp_path / name, model_config=config)
        (tmp_path / name).write_bytes(b"")
        assert name in refused(pretrained=tmp_path / name, model_config=config)
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no state dict" in refused(pretrained=tmp_path / "list.pt", model_config=config)
    torch.save({"a": 1}, tmp_path / "number.pt")
    assert "is not a tensor" in refused(pretrained=tmp_path / "number.pt", model_config=config)


class Harmful:
    """Unpickles into a call."""

    def __reduce__(self):
        return print, ("code ran",)


def test_pickled_code_is_refused_and_not_run(config, tmp_path, capsys):
    torch.save({"state_dict": Harmful()}, tmp_path / "bad.pt")
    message = refused(pretrained=tmp_path / "bad.pt", model_config=config)
    assert "weights only" in message and "code ran" not in capsys.readouterr().out


def test_torchscript_is_refused_and_its_advice_works(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    linear = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(linear, tmp_path / "jit.pt")
    message = refused(pretrained="jit.pt", model_config=config)
    assert "TorchScript" in message and "-quickgelu" in message
    advice = message.split("Convert it once: ")[1].split("; then pass")[0]
    exec(advice, {"torch": torch})
    assert set(torch.load("weights.pt", weights_only=True)) == {"weight", "bias"}


def test_file_arguments_that_make_no_sense(weights, tmp_path):
    for absent in ("absent.safetensors", "no/such/tag", str(tmp_path / "x.pt")):
        assert "no such file" in refused("ViT-B-32", absent)
    assert "does not say which model" in refused(pretrained=weights)
    assert "cannot read" in refused(model_config=tmp_path / "absent.json")
    (tmp_path / "a.json").write_text("{")
    assert "not valid JSON" in refused(model_config=tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[]")
    assert "not an open_clip model config" in refused(model_config=tmp_path / "a.json")
    assert "embed_dim" in refused(model_config={"vision_cfg": {}, "text_cfg": {}})
    assert "unusable model config" in refused(model_config=tiny_with(colour="red"))
    assert "needs an open_clip model name" in refused(pretrained="openai")


# --- the activation ---


def config_of(name: str) -> dict:
    return open_clip.get_model_config(name)


@pytest.mark.parametrize(
    "name, tag, expected",
    [
        ("ViT-B-32", "openai", True),
        ("ViT-B-32-quickgelu", "openai", True),
        ("RN50", "openai", True),
        ("ViT-L-14", "OpenAI", True),  # open_clip ignores case
        ("ViT-B-32", "laion400m_e32", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-16-SigLIP", "webli", False),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", True),  # its config says so, its tag is silent
    ],
)
def test_a_tag_gets_its_activation(name, tag, expected):
    assert quick_gelu(name, config_of(name), tag=tag) is expected


def test_every_published_pair_is_decided_without_a_mismatch():
    for name, tag in open_clip.list_pretrained():
        decided = quick_gelu(name, config_of(name), tag=tag)
        if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"):
            assert decided


def test_mismatch_with_a_tag_is_refused_before_any_download():
    message = refused("ViT-B-32-quickgelu", "laion2b_s34b_b79k")
    assert "activation mismatch" in message and "laion2b_s34b_b79k" in message


def test_activation_of_random_weights(config):
    assert load_clip("tiny-quickgelu", model_config=config, device="cpu").activation == "quickgelu"
    own = tiny_with(quick_gelu=True)
    assert load_clip("tiny", model_config=own, device="cpu").activation == "quickgelu"
    plain = tiny_with(quick_gelu=False)
    assert "activation mismatch" in refused("a-quickgelu", model_config=plain)


def test_activation_of_a_local_file(tiny, config, tmp_path):
    state = tiny.model.state_dict()
    quick = save_with_metadata(state, tmp_path / "quick.safetensors", tiny_with(quick_gelu=True))
    plain = save_with_metadata(state, tmp_path / "plain.safetensors", tiny_with(quick_gelu=False))
    assert load_clip(pretrained=quick, device="cpu").activation == "quickgelu"
    assert load_clip("tiny", quick, model_config=config, device="cpu").activation == "quickgelu"
    assert load_clip(pretrained=plain, device="cpu").activation == "gelu"
    assert "activation mismatch" in refused("tiny-quickgelu", plain, model_config=config)
    assert "activation mismatch" in refused("tiny", quick, model_config=tiny_with(quick_gelu=False))


# --- names and tags ---


def test_unknown_names_list_the_nearest():
    assert "ViT-B-32" in refused("VitB32")
    assert "ViT-B-16-quickgelu" in refused("vit-b-16-quikgelu", "openai")
    assert "laion2b_s34b_b79k" in refused("ViT-B-32", "laion2b_s34b_b79")
    assert "publishes none" in refused("ViT-M-32", "openai")
    assert "unknown model" in refused("no-such:thing")


def test_published_model_name_with_random_weights():
    clip = load_clip("RN50", device="cpu")
    assert clip.grid is None and clip.image_size == (224, 224)
    assert clip.encode_images([PHOTO]).shape == (1, 1024)


def test_slash_in_a_name_is_a_dash():
    source = model_sources.find_source("ViT-B/32", None, None)
    assert (source.name, source.pretrained) == ("ViT-B-32", "random")
    assert model_sources.find_source("ViT-B-32", "random").weights is None


def test_preprocessing_that_a_models_tags_share():
    siglip = model_sources.find_source("ViT-B-16-SigLIP").preprocess
    assert siglip["mean"] == (0.5, 0.5, 0.5) and siglip["resize_mode"] == "squash"
    assert model_sources.find_source("ViT-L-14").preprocess == {}  # they differ: the default


# --- no network ---


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "empty-cache"))


def test_tag_without_network(offline):
    started = time.monotonic()
    message = refused("ViT-B-32", "openai")
    assert time.monotonic() - started < 10
    for part in ("'ViT-B-32'", "'openai'", "load_clip('ViT-B-32-quickgelu', 'file.safetensors')"):
        assert part in message
    with pytest.raises(UserError) as caught:
        load_clip("ViT-B-32", "laion2b_s34b_b79k")
    assert caught.value.__cause__ is not None
    assert "load_clip('ViT-B-32', " in str(caught.value)
    assert "cannot download 'some/repo'" in refused("hf-hub:some/repo")


def test_unreachable_hub_is_not_retried(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with hub.hub_without_waiting():
        assert hub_constants.HF_HUB_OFFLINE
    assert not hub_constants.HF_HUB_OFFLINE


def test_hub_tokenizer_and_hub_text_tower_without_network(offline):
    config = tiny_with(text_cfg=TINY["text_cfg"] | {"hf_tokenizer_name": "no-such/tokenizer"})
    assert "pass tokenizer=" in refused(model_config=config, device="cpu")
    ids = torch.tensor([[49406, 320, 49407] + [0] * 17])
    clip = load_clip(model_config=config, device="cpu", tokenizer=lambda texts: ids)
    assert clip.encode_texts(["a"]).shape == (1, 24)
    config = tiny_with(text_cfg={"hf_model_name": "no-such/tower", "hf_pooler_type": "mean_pooler"})
    assert "text tower 'no-such/tower'" in refused(model_config=config, device="cpu")


def test_transformers_text_tower_from_a_local_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    tower = transformers.XLMRobertaConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    tower.save_pretrained(tmp_path)
    text_cfg = {
        "hf_model_name": str(tmp_path),
        "hf_tokenizer_name": str(tmp_path),
        "hf_proj_type": "mlp",
        "hf_pooler_type": "mean_pooler",
        "context_length": 20,
    }
    ids = torch.tensor([[0, 5, 6, 2] + [1] * 16])
    clip = load_clip(
        model_config=tiny_with(text_cfg=text_cfg),
        device="cpu",
        tokenizer=lambda texts: ids.expand(len(texts), -1),
    )
    assert clip.encode_texts(TEXTS).shape == (2, 24) and clip.context_length == 20
