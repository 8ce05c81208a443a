"""Attributions of words against norms: which rows, which tokens, and r for each list apart."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny

from clip_attribution import load_clip
from clip_attribution.attribution.mediated import PATHS
from clip_attribution.datasets import concadia
from clip_attribution.datasets.norms import load_concreteness, load_imageability
from clip_attribution.errors import UserError
from clip_attribution.evaluation.norms import norm_correlations, norm_rows, token_values

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
CONCRETE = pd.Series({"star": 5.0, "boat": 4.9, "idea": 1.5, "history": 2.0, "red": 4.0, "kite": 5})
IMAGEABLE = pd.Series({"star": 6.5, "history": 3.0, "boat": 6.9, "null": 2.0})


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=tiny.config(context=77, quick_gelu=True))


@pytest.fixture
def frame():
    texts = [
        ("the history of toys", "a red star"),
        ("the history, of toys", "a red star"),  # the comma makes it another word
        ("The History of Boat", "a Star"),
        ("a boat", "a red boat and a star"),
        ("a boat", "a star"),
    ]
    rows = [{"caption": c, "description": d, "error": None} for c, d in texts]
    rows[4]["error"] = "no image"
    images = [f"scene:1:{i}" for i in range(5)]
    return pd.DataFrame(rows).assign(image=images)


def test_rows_hold_a_word_of_both_lists_in_both_texts(frame):
    rows = norm_rows(frame, [CONCRETE, IMAGEABLE])
    assert sorted(rows.index) == [0, 3]
    assert len(norm_rows(frame, [CONCRETE, IMAGEABLE], n=1)) == 1
    with pytest.raises(UserError, match="no row has a listed word"):
        norm_rows(frame, [CONCRETE, pd.Series({"null": 1.0})])


def test_tokens_are_whole_words_unless_fragments_are_wanted(clip, frame):
    rows = frame.iloc[[0, 3]].assign(caption=["HISTORY of hoverboats", "a boat's end"])
    tokens, done = token_values(clip, rows, n_steps=2)
    assert done["error"].isna().all() and len(done) == 4
    own = tokens[(tokens["text"] == "caption") & (tokens["image"] == "scene:1:0")]
    assert own["word"].tolist() == ["history", "of"]
    assert "boat" in set(tokens["word"][tokens["image"] == "scene:1:3"])
    every, _ = token_values(clip, rows, fragments=True, n_steps=2)
    pieces = every[(every["text"] == "caption") & (every["image"] == "scene:1:0")]["word"]
    assert "".join(pieces) == "historyofhoverboats" and len(pieces) > 3
    total = tokens["through"] + tokens["around"] + tokens["rest"]
    np.testing.assert_allclose(tokens["whole"], total, atol=1e-5)


def test_each_list_has_its_own_words():
    rng = np.random.default_rng(0)
    words = rng.choice(list(CONCRETE.index), 200)
    tokens = pd.DataFrame({"image": rng.integers(0, 20, 200), "word": words})
    tokens["through"] = CONCRETE[words].to_numpy() + rng.normal(0, 0.1, 200)
    tokens["around"] = rng.normal(size=200)
    norms = {"concreteness": CONCRETE, "imageability": IMAGEABLE}
    found = norm_correlations(tokens, norms, ("through", "around")).set_index(["path", "norm"])
    assert found["types"].tolist() == [6, 3, 6, 3] and found["n"].max() == 20
    assert found.loc["through", "concreteness"]["value"] > 0.99
    both = norm_correlations(tokens, norms, ("through",), both_lists=True)
    assert both["types"].tolist() == [3, 3]


@pytest.mark.skipif(not (ROOT / "norms").is_dir(), reason="needs norms/ and concadia/")
def test_the_protocol_on_the_real_files(clip):
    norms = {
        "concreteness": load_concreteness(ROOT / "norms"),
        "imageability": load_imageability(ROOT / "norms"),
    }
    frame = concadia.load(ROOT / "concadia", split="val")
    assert len(norm_rows(frame, norms.values(), n=1000)) == 104
    rows = norm_rows(frame, norms.values())
    assert len(rows) == 100
    tokens, done = token_values(clip, rows, n_steps=1, image_root=ROOT / "concadia")
    assert len(done) == 200 and done["error"].isna().all() and set(PATHS) <= set(tokens)
    found = norm_correlations(tokens, norms, ("through",)).set_index("norm")
    words = set(tokens["word"])
    assert 1200 < len(words) < 1600
    assert found["types"].between(400, 1100).all() and found.loc["concreteness"]["types"] > 900
    both = norm_correlations(tokens, norms, ("through",), both_lists=True)
    assert both["types"].nunique() == 1 and both["types"][0] <= found["types"].min()
    print(len(words), found["types"].tolist(), both["types"].tolist())
