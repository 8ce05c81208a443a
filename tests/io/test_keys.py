"""The one key builder: what decides a value changes the key, what does not leaves it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image

from clip_attribution import dependencies, load_clip
from clip_attribution.io import keys
from clip_attribution.io.keys import ALWAYS, code_key, content, rows_key, run_key, stable
from clip_attribution.studies.foils import table as foils

PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}


@pytest.fixture(scope="module")
def clip():
    return load_clip(model_config=tiny.config(1, 1), device="cpu")


def changed_config(**preprocess):
    config = {"model_cfg": tiny.config(1, 1), "preprocess": PREPROCESS | preprocess}
    return load_clip(model_config=config, device="cpu")


def test_the_same_model_loaded_twice_has_one_key(clip):
    again = load_clip(model_config=tiny.config(1, 1), device="cpu")
    assert run_key(__file__, [clip], a=1, b=2) == run_key(__file__, [again], b=2, a=1)


@pytest.mark.parametrize(
    "preprocess", [{}, {"mean": [0.4] * 3}, {"std": [0.4] * 3}, {"interpolation": "bilinear"}]
)
def test_every_preprocessing_has_its_own_key(clip, preprocess):
    weights = changed_config()
    other = changed_config(**preprocess)
    assert other.weights_hash == weights.weights_hash
    same = run_key(__file__, [weights]) == run_key(__file__, [other])
    assert same == (not preprocess)


@pytest.mark.parametrize(
    "text",
    [
        {"tokenizer_kwargs": {"clean": "canonicalize"}},
        {"tokenizer_kwargs": {"clean": "whitespace"}},
    ],
)
def test_the_cleaning_of_a_tokenizer_is_part_of_the_key(clip, text):
    config = tiny.config(1, 1)
    config["text_cfg"] |= text
    other = load_clip(model_config=config, device="cpu")
    assert other.weights_hash == clip.weights_hash
    assert run_key(__file__, [other]) != run_key(__file__, [clip])


def test_a_tokenizer_of_ones_own_is_known_by_what_it_does(clip):
    def upper(texts, context_length=None):
        return clip.tokenizer([text.replace("e", "a") for text in texts])

    def same(texts, context_length=None):
        return clip.tokenizer(texts)

    key = run_key(__file__, [clip])
    assert run_key(__file__, [replace(clip, tokenizer=upper)]) != key
    assert run_key(__file__, [replace(clip, tokenizer=same)]) == key


@pytest.mark.parametrize("change", ["weights", "dtype", "activation", "option", "seed"])
def test_each_part_counts(clip, change):
    model, options = load_clip(model_config=tiny.config(1, 1), device="cpu"), {"method": "gae"}
    before = run_key(__file__, [model], **options)
    assert model.weights_hash  # remembered, yet the key is of the weights as they are
    if change == "weights":
        with torch.no_grad():
            model.model.token_embedding.weight[0, 0] += 1
    elif change == "dtype":
        model = load_clip(model_config=tiny.config(1, 1), device="cpu", precision="bf16")
    elif change == "activation":
        model = load_clip(model_config=tiny.config(1, 1, quick_gelu=True), device="cpu")
    elif change == "seed":
        model = load_clip(model_config=tiny.config(1, 1), device="cpu", seed=1)
    else:
        options["method"] = "rollout"
    assert run_key(__file__, [model], **options) != before


# ---------------------------------------------------------------- images


def save(path, shade):
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
    return path


def test_another_image_of_the_same_size_and_time_has_another_key(tmp_path):
    for change in ("in place", "moved over", "unpacked"):
        path = save(tmp_path / "a.bmp", 1)
        times = path.stat()
        first = rows_key("run", [], ["a.bmp"], tmp_path)
        if change == "in place":
            save(path, 2)
        elif change == "moved over":
            os.replace(save(tmp_path / "b.bmp", 2), path)
        else:
            path.unlink()
            save(path, 2)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_size == times.st_size
        assert path.stat().st_mtime_ns == times.st_mtime_ns
        assert rows_key("run", [], ["a.bmp"], tmp_path) != first, change


def test_an_image_is_its_content_wherever_it_lies(tmp_path):
    (tmp_path / "other").mkdir()
    one, two = save(tmp_path / "a.png", 1), save(tmp_path / "other" / "b.png", 1)
    os.utime(two, (1, 1))
    assert content(one) == content(two) == content("b.png", tmp_path / "other")
    assert content("a.png", tmp_path) != content("a.png", tmp_path / "other")  # a fault
    assert content("../a.png", tmp_path / "other") != content("../a.png")


def test_a_hash_is_remembered_unless_it_shall_not_be(tmp_path, monkeypatch):
    path, read = save(tmp_path / "a.png", 1), []
    digest = keys.hashlib.file_digest
    monkeypatch.setattr(keys.hashlib, "file_digest", lambda *a: read.append(1) or digest(*a))
    assert content(path) == content(path) and len(read) == 1
    monkeypatch.setenv(ALWAYS, "1")
    assert content(path) == content(path) and len(read) == 3


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1"])
def test_pil_images_are_their_pixels(mode):
    made = [Image.new("RGB", (6, 4), shade).convert(mode) for shade in ("white", "white", "black")]
    same, also, other = map(content, made)
    assert same == also != other
    assert content(made[0].resize((4, 6))) != same


def test_missing_and_damaged_images_have_a_key(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    refs = [
        "absent.png",
        "text.png",
        None,
        float("nan"),
        "",
        "a\0b",
        "scene:1:2",
        "scene:1:3",
        "\ud800",
    ]
    assert len({rows_key("run", [], [ref], tmp_path) for ref in refs}) == len(refs)


# ---------------------------------------------------------------- code and values


def test_code_is_part_of_the_key(tmp_path, monkeypatch):
    package = tmp_path / "clip_attribution"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from .b import x\n")
    (package / "b.py").write_text("x = 1\n")
    (package / "c.py").write_text("y = 1\n")
    for module in (dependencies, keys):
        monkeypatch.setattr(module, "PACKAGE", package)

    def key():
        for known in (code_key, dependencies.imported, dependencies.homes):
            known.cache_clear()
        return code_key(str(package / "a.py"))

    found = [key()]
    for name, text in (
        ("c.py", "y = 2\n"),
        ("b.py", "x = 2\n"),
        ("a.py", "from .b import x as z\n"),
    ):
        (package / name).write_text(text)
        found.append(key())
    assert found[0] == found[1] and len(set(found)) == 3
    for known in (code_key, dependencies.imported, dependencies.homes):
        known.cache_clear()


def test_a_key_is_the_same_in_every_process():
    code = "from clip_attribution.io.keys import *; print(run_key(%r, a={'x', 'y', 'z'}, b={1: 2}))"
    call = [sys.executable, "-c", code % __file__]
    found = {
        subprocess.run(call, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{run_key(__file__, a={'x', 'y', 'z'}, b={1: 2})}\n".encode()}


@pytest.mark.parametrize(
    "one, other",
    [
        (1, "1"),
        (1, 1.0),
        (None, "None"),
        ([1, 2], [[1, 2]]),
        (np.zeros(2000), np.eye(1, 2000, 1000)[0]),  # which repr cuts
        (np.zeros(2, np.float32), np.zeros(2)),
        (pd.Series([1, 2]), pd.Series([2, 1])),
        ({"a": None}, {}),
    ],
)
def test_values_that_differ_have_other_forms(one, other):
    assert repr(stable(one)) != repr(stable(other))
    assert repr(stable(one)) == repr(stable(one))


def test_what_has_only_an_address_is_refused():
    for value in (object(), [object()], {"a": iter([])}):
        with pytest.raises(TypeError, match="no stable form"):
            stable(value)


# ---------------------------------------------------------------- the ablations' table


def test_kept_tables_know_pil_images_by_their_pixels(clip, tmp_path):
    def values(shade):
        pairs = [{"pair_id": "x", "image": Image.new("RGB", (9, 9), shade), "caption": "a red cup"}]
        return foils.ablation_table(clip, pairs, tmp_path).pairs["cosine"][0]

    first = {shade: values(shade) for shade in ("red", "green", "blue")}
    assert len(set(first.values())) == 3
    for _ in range(4):  # objects of other images, likely at the same addresses
        assert {shade: values(shade) for shade in first} == first
    assert len(list(tmp_path.glob("*.words.parquet"))) == 3


def test_a_damaged_table_is_computed_again(clip, tmp_path):
    pairs = pd.DataFrame([{"pair_id": "x", "image": "scene:1:1", "caption": "a red cup"}])
    whole = foils.ablation_table(clip, pairs, tmp_path)
    for damage in (b"", b"PAR1"):
        for path in tmp_path.glob("*.parquet"):
            path.write_bytes(damage)
        again = foils.ablation_table(clip, pairs, tmp_path)
        np.testing.assert_array_equal(again.values, whole.values)
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith(".")]
