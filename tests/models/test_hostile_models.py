"""Configs and weights of strangers: nothing of them runs, and each fault is one line, at once."""

import copy
import json
import pickle
import resource
import struct
import subprocess
import sys
import textwrap
import time
import zipfile

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tiny import config as tiny_config

from clip_attribution import attribute
from clip_attribution.errors import UserError
from clip_attribution.models.blip import load_blip
from clip_attribution.models.clip import load_clip
from clip_attribution.models.nli import load_nli

pytestmark = pytest.mark.filterwarnings("ignore:.*does not say its activation")
TINY = tiny_config()
PAIR = [{"image": "scene:1:0", "caption": "a red star"}]


def refused(*args, **options) -> str:
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        load_clip(*args, **options)
    message = str(caught.value)
    assert message and len(message.splitlines()) == 1 and len(message) < 700
    assert time.process_time() - start < 5
    return message


def changed(part: str, **values) -> dict:
    config = copy.deepcopy(TINY)
    (config[part] if part else config).update(values)
    return config


def ways(config: dict, folder):
    """A config as a dict, a file, metadata of weights, and a file beside weights."""
    (folder / "c.json").write_text(json.dumps(config))
    state = {"x": torch.zeros(1)}
    save_file(state, folder / "meta.safetensors", metadata={"model_cfg": json.dumps(config)})
    (folder / "beside").mkdir(exist_ok=True)
    save_file(state, folder / "beside" / "w.safetensors")
    (folder / "beside" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    yield {"model_config": config}
    yield {"model_config": folder / "c.json"}
    yield {"pretrained": folder / "meta.safetensors"}
    yield {"pretrained": folder / "beside" / "w.safetensors"}


# --- configs ---


def hostile_tokenizer(folder, marker):
    """A tokenizer folder whose Python file leaves a mark when it is imported."""
    folder.mkdir()
    (folder / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass T: pass\n")
    auto = {"auto_map": {"AutoTokenizer": ["code.T", None], "AutoConfig": "code.T"}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T"} | auto))
    (folder / "config.json").write_text(json.dumps({"model_type": "own"} | auto))
    return str(folder)


@pytest.mark.parametrize(
    "more",
    [
        {"tokenizer_kwargs": {"trust_remote_code": True}},
        {"tokenizer_kwargs": {"trust_remote_code": True, "clean": "lower"}},
        {"tokenizer_kwargs": {"code_revision": "x"}},
        {},
        {"hf_model_name": None},
        {"hf_model_name": "FOLDER", "vocab_size": 10},
    ],
)
def test_a_tokenizer_folder_never_runs(tmp_path, more):
    folder = hostile_tokenizer(tmp_path / "own", tmp_path / "ran")
    more = {key: folder if value == "FOLDER" else value for key, value in more.items()}
    config = changed("text_cfg", hf_tokenizer_name=folder, **more)
    for way in ways(config, tmp_path):
        refused(**way)
    assert not (tmp_path / "ran").exists()


WRONG = [
    ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}),
    ("text_cfg", {"tokenizer_kwargs": {"cache_dir": "/tmp"}}),
    ("text_cfg", {"tokenizer_kwargs": {"clean": "no_such"}}),
    ("text_cfg", {"tokenizer_kwargs": [1]}),
    ("text_cfg", {"tokenizer_kwargs": {"clean": {"a": 1}}}),
    ("text_cfg", {"hf_tokenizer_name": "../up", "tokenizer_mode": "clips"}),
    ("text_cfg", {"hf_tokenizer_name": 5}),
    ("text_cfg", {"auto_map": {}}),
    ("text_cfg", {"layers": 10**9}),
    ("text_cfg", {"layers": -1}),
    ("text_cfg", {"layers": 2.5}),
    ("text_cfg", {"layers": "12"}),
    ("text_cfg", {"layers": None}),
    ("text_cfg", {"width": 10**9}),
    ("text_cfg", {"width": 33}),
    ("text_cfg", {"width": 16000, "layers": 200, "heads": 8}),
    ("text_cfg", {"heads": 0}),
    ("text_cfg", {"vocab_size": 10**12}),
    ("text_cfg", {"vocab_size": True}),
    ("text_cfg", {"context_length": 10**7}),
    ("text_cfg", {"context_length": 0}),
    ("text_cfg", {"mlp_ratio": float("nan")}),
    ("text_cfg", {"mlp_ratio": float("inf")}),
    ("text_cfg", {"act_kwargs": {"inplace": "x"}}),
    ("text_cfg", {"norm_kwargs": {"eps": "x"}}),
    ("text_cfg", {"pool_type": "no_such"}),
    ("vision_cfg", {"layers": 10**9}),
    ("vision_cfg", {"layers": [1, 2]}),
    ("vision_cfg", {"layers": [10**9] * 4}),
    ("vision_cfg", {"layers": [[1]] * 4}),
    ("vision_cfg", {"image_size": 10**6}),
    ("vision_cfg", {"image_size": [32, -1]}),
    ("vision_cfg", {"image_size": "32"}),
    ("vision_cfg", {"patch_size": 0}),
    ("vision_cfg", {"patch_size": 64}),
    ("vision_cfg", {"head_width": 0}),
    ("vision_cfg", {"timm_model_name": "/etc"}),
    ("vision_cfg", {"timm_model_name": "local-dir:/tmp"}),
    ("vision_cfg", {"timm_model_name": "hf-hub:a/b"}),
    ("vision_cfg", {"timm_model_name": "a" * 10**6}),
    ("vision_cfg", {"cache_dir": "/tmp"}),
    ("", {"embed_dim": 0}),
    ("", {"embed_dim": "x"}),
    ("", {"embed_dim": 10**12}),
    ("", {"vision_cfg": None}),
    ("", {"text_cfg": []}),
    ("", {"text_cfg": "x"}),
    ("", {"quick_gelu": "yes"}),
    ("", {"cast_dtype": "x"}),
    ("", {"output_dict": True}),
    ("", {"multimodal_cfg": 3}),
    ("", {"multimodal_cfg": {"layers": 10**9}}),
    ("", {"init_logit_scale": "x"}),
]


@pytest.mark.parametrize(("part", "values"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_config_is_one_line(tmp_path, part, values):
    for way in ways(changed(part, **values), tmp_path):
        refused(**way)


@pytest.mark.parametrize(
    "preprocess",
    [
        {"mean": [0.5]},
        {"std": [0, 1, 1]},
        {"mean": ["a", "b", "c"]},
        {"mean": 5},
        {"std": [float("nan")] * 3},
        {"mode": "L"},
        {"interpolation": "no"},
        {"resize_mode": 7},
        {"size": 10**9},
        {"cache": "x"},
        [1],
        "x",
    ],
)
def test_a_wrong_preprocessing_is_one_line(preprocess):
    refused(model_config={"model_cfg": TINY, "preprocess_cfg": preprocess})


@pytest.mark.parametrize(
    "text", ["null", "3", "[]", '"x"', "{", "[" * 200_000, "NaN", '{"model_cfg": null}', "\udcff"]
)
def test_a_config_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "c.json").write_text(text, "utf-8", errors="surrogateescape")
    refused(model_config=tmp_path / "c.json")


def test_every_config_of_open_clip_is_allowed():
    from clip_attribution.models.configs import check_config

    for name in open_clip.list_models():
        check_config(open_clip.get_model_config(name), name, foreign=True)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("load", [load_blip, load_nli])
def test_folders_with_code_of_their_own_are_refused(tmp_path, load, file):
    hostile_tokenizer(tmp_path / "own", tmp_path / "ran")
    for other in {"config.json", "tokenizer_config.json"} - {file}:
        (tmp_path / "own" / other).write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="never run here") as caught:
        load(tmp_path / "own")
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "ran").exists()


# --- weights ---


class Evil:
    """Opens a file when it is unpickled."""

    def __reduce__(self):
        return open, ("ran", "w")


def zip_of(path, content: bytes, name="archive/data.pkl"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("archive/version", "3\n")


def doubling(depth=40) -> bytes:
    """A dict with a key that is a tuple of the same tuple twice, and so on."""
    body = b"\x80\x02}K\x01\x85q\x00"
    for level in range(1, depth):
        body += b"h" + bytes([level - 1]) + b"\x86q" + bytes([level])
    return body + b"K\x01s."


def header(text: str, length=None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text.encode()


FILES = {
    "empty.pt": lambda p: p.write_bytes(b""),
    "text.pt": lambda p: p.write_text("no weights"),
    "code.pt": lambda p: torch.save({"x": Evil()}, p),
    "code.pkl.pt": lambda p: p.write_bytes(pickle.dumps(Evil())),
    "number.pt": lambda p: torch.save(3, p),
    "keys.pt": lambda p: torch.save({5: torch.zeros(1)}, p),
    "nested.pt": lambda p: torch.save({"state_dict": {"state_dict": {}}}, p),
    "double.pt": lambda p: zip_of(p, doubling()),
    "double2.pt": lambda p: p.write_bytes(doubling()),
    "memo.pt": lambda p: zip_of(p, b"\x80\x02}r\xff\xff\xff\x7f."),
    "bomb.pt": lambda p: zip_of(p, b"\0" * 300_000_000),
    "stride.pt": lambda p: torch.save({"logit_scale": torch.zeros(1).expand(10**9)}, p),
    "short.safetensors": lambda p: p.write_bytes(b"abc"),
    "long.safetensors": lambda p: p.write_bytes(header("{}", 2**62)),
    "null.safetensors": lambda p: p.write_bytes(header("null")),
    "deep.safetensors": lambda p: p.write_bytes(header("[" * 200_000)),
    "lies.safetensors": lambda p: p.write_bytes(
        header('{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}')
    ),
    "wraps.safetensors": lambda p: p.write_bytes(
        header('{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}')
        + b"\0" * 4
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_weights_file_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    FILES[name](tmp_path / name)
    refused("x", tmp_path / name, model_config=TINY)
    assert not (tmp_path / "ran").exists()


def test_hostile_configs_stay_within_memory(tmp_path):
    code = """
        import json, resource, sys
        from clip_attribution import UserError, load_clip
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for config in json.load(sys.stdin):
            try:
                load_clip(model_config=config)
            except UserError:
                continue
            raise AssertionError(config)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000
    """
    limit = (12 * 2**30,) * 2
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=json.dumps([changed(part, **values) for part, values in WRONG]),
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )


# --- checkpoints of training frameworks ---


@pytest.fixture(scope="module")
def tiny():
    return load_clip(model_config=TINY, seed=3)


WRAPPED = {
    "plain": lambda s: s,
    "compile": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "parallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "both": lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
    "fsdp": lambda s: {
        k.replace("transformer.", "transformer._fsdp_wrapped_module."): v for k, v in s.items()
    },
    "checkpointed": lambda s: {
        k.replace("resblocks.0.", "resblocks.0._checkpoint_wrapped_module."): v
        for k, v in s.items()
    },
    "lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3},
    "lightning, compiled": lambda s: {
        "state_dict": {f"net._orig_mod.{k}": v for k, v in s.items()}
    },
    "strategy": lambda s: {"state_dict": {f"_forward_module.clip.{k}": v for k, v in s.items()}},
    "model": lambda s: {"model": s, "optimizer": {"a": 1}},
    "model_state_dict": lambda s: {"epoch": 1, "model_state_dict": s},
    "twice": lambda s: {"model": {"state_dict": s}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_training_wraps_around_weights_comes_off(tiny, tmp_path, name):
    state = {key: value.clone() for key, value in tiny.model.state_dict().items()}
    torch.save(WRAPPED[name](state), tmp_path / "w.pt")
    assert load_clip("x", tmp_path / "w.pt", model_config=TINY).weights_hash == tiny.weights_hash


def test_what_is_left_over_is_named(tiny, tmp_path):
    state = {f"model.{key}": value for key, value in tiny.model.state_dict().items()}
    torch.save({"state_dict": state | {"loss.weight": torch.zeros(1)}}, tmp_path / "w.pt")
    assert "loss.weight" in refused("x", tmp_path / "w.pt", model_config=TINY)


def test_positions_of_older_transformers_are_no_weights(tmp_path):
    from transformers import XLMRobertaConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"vocab_size": 60, "intermediate_size": 64, "max_position_embeddings": 40}
    XLMRobertaConfig(**sizes).save_pretrained(tmp_path / "text")
    config = tiny_config()
    config["text_cfg"] = {"hf_model_name": str(tmp_path / "text"), "vocab_size": 60}
    given = {"model_config": config, "tokenizer": lambda texts: torch.ones(len(texts), 8).long()}
    clip = load_clip("x", **given)
    place = "text.transformer.embeddings.position_ids"
    state = clip.model.state_dict() | {place: torch.arange(40)[None]}
    torch.save(state, tmp_path / "w.pt")
    assert load_clip("x", tmp_path / "w.pt", **given).weights_hash == clip.weights_hash


# --- the activation ---


MARKS = {"input_resolution": 32} | {
    n: TINY["text_cfg"][n] for n in ("context_length", "vocab_size")
}


@pytest.fixture(scope="module")
def quick():
    clip = load_clip("x-quickgelu", model_config=TINY, seed=1)
    for weights in clip.model.parameters():
        weights.data *= 1.5
    return clip


def saved(clip, path, marks: bool, kind: str):
    state = clip.model.state_dict()
    if marks:
        state = state | {name: torch.tensor(value) for name, value in MARKS.items()}
    if kind == "safetensors":
        save_file({k: v.clone() for k, v in state.items()}, path)
    else:
        torch.save({"state_dict": state} if kind == "wrapped" else state, path)
    return path


@pytest.mark.parametrize(
    ("marks", "kind"),
    [
        (False, "torch"),
        (False, "wrapped"),
        (True, "torch"),
        (True, "wrapped"),
        (True, "safetensors"),
    ],
)
@pytest.mark.parametrize("name", ["x", "x-quickgelu"])
def test_a_quickgelu_model_comes_back_under_any_name(quick, tmp_path, marks, kind, name):
    path = saved(
        quick, tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'pt'}", marks, kind
    )
    clip = load_clip(name, path, model_config=TINY)
    assert clip.activation == "quickgelu"
    words, pairs = attribute(clip, PAIR)
    expected_words, expected = attribute(quick, PAIR)
    assert pairs.cosine[0] == expected.cosine[0]
    assert words.attribution.tolist() == expected_words.attribution.tolist()


@pytest.mark.parametrize("marks", [False, True])
def test_a_contradiction_is_refused(quick, tmp_path, marks):
    path = saved(quick, tmp_path / "w.pt", marks, "torch")
    assert "activation mismatch" in refused("x", path, model_config=TINY | {"quick_gelu": False})


def test_a_gelu_model_says_so_too(tiny, tmp_path):
    path = saved(tiny, tmp_path / "w.pt", False, "torch")
    assert load_clip("x", path, model_config=TINY).activation == "gelu"
    assert "activation mismatch" in refused("x-quickgelu", path, model_config=TINY)


def test_a_silent_config_of_ones_own_means_gelu_with_a_warning(quick, tmp_path):
    path = saved(quick, tmp_path / "w.safetensors", False, "safetensors")
    with pytest.warns(UserWarning, match="does not say its activation.*x-quickgelu"):
        load_clip("x", path, model_config=TINY)


def save_silent(clip, folder, kind):
    """Weights that say nothing of their activation."""
    state = {k: v.clone() for k, v in clip.model.state_dict().items()}
    path = folder / ("w.safetensors" if kind == "safetensors" else "w.pt")
    wrapped = {"lightning": {"state_dict": state}, "compiled": {}}.get(kind, state)
    if kind == "compiled":
        wrapped = {f"_orig_mod.{k}": v for k, v in state.items()}
    save_file(state, path) if kind == "safetensors" else torch.save(wrapped, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "plain", "lightning", "compiled"])
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L/14", "RN50"])
@pytest.mark.parametrize("own", [None, TINY])
def test_a_name_of_two_activations_is_asked_for_one(quick, tmp_path, kind, name, own):
    path = save_silent(quick, tmp_path, kind)
    message = refused(name, path, model_config=own)
    for part in ("activation='gelu'", f"{name.replace('/', '-')}-quickgelu", "--activation gelu"):
        assert part in message


@pytest.mark.parametrize("kind", ["safetensors", "plain", "lightning", "compiled"])
@pytest.mark.parametrize(
    ("name", "activation", "expected"),
    [
        ("ViT-B-32", "gelu", "gelu"),
        ("ViT-B-32", "quickgelu", "quickgelu"),
        ("ViT-B-32-quickgelu", None, "quickgelu"),
        ("x", "quickgelu", "quickgelu"),
        ("x", "gelu", "gelu"),
    ],
)
def test_a_stated_activation_is_taken(quick, tmp_path, recwarn, kind, name, activation, expected):
    path = save_silent(quick, tmp_path, kind)
    clip = load_clip(name, path, model_config=TINY, activation=activation)
    assert clip.activation == expected and not recwarn.list
    same = attribute(clip, PAIR)[1].cosine[0] == attribute(quick, PAIR)[1].cosine[0]
    assert same == (expected == "quickgelu")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("x-quickgelu", {"model_config": TINY, "activation": "gelu"}),
        ("x", {"model_config": TINY | {"quick_gelu": True}, "activation": "gelu"}),
        ("ViT-B-32", {"pretrained": "openai", "activation": "gelu"}),
        ("ViT-B-32", {"pretrained": "laion2b_s34b_b79k", "activation": "quickgelu"}),
        (None, {"activation": "quickgelu"}),
    ],
)
def test_a_stated_activation_must_not_contradict(name, given):
    assert "activation mismatch" in refused(name, **given)


@pytest.mark.parametrize("odd", ["relu", "", "GELU", 1, True, ["gelu"]])
def test_an_unknown_activation_is_one_line(odd):
    assert "use gelu or quickgelu" in refused("x", model_config=TINY, activation=odd)


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_the_command_line_asks_and_takes_it(quick, tmp_path, capsys, command):
    from clip_attribution.cli import main

    path = save_silent(quick, tmp_path, "safetensors")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    table = tmp_path / "pairs.csv"
    table.write_text("image,caption\nscene:1:0,a red star\n")
    work = ["score", str(table)]
    if command == "evaluate":
        assert main(["scenes", "export", "sugarcrepe", str(tmp_path / "d"), "--n", "4"]) == 0
        work = ["evaluate", "sugarcrepe", "--data", str(tmp_path / "d")]
    work += ["--model", "ViT-B-32", "--pretrained", str(path), "--out", str(tmp_path / "out")]
    work += ["--model-config", str(tmp_path / "tiny.json"), "--device", "cpu"]
    capsys.readouterr()
    assert main(work) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--activation gelu" in said
    assert main([*work, "--activation", "quickgelu"]) == 0
