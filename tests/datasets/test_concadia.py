"""Concadia: the official file, its pitfalls, its export, and how often the description wins."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_attribution import load_clip
from clip_attribution.datasets import concadia, load_benchmark
from clip_attribution.datasets.export import export
from clip_attribution.errors import UserError
from clip_attribution.evaluation.descriptions import measure, score_texts
from clip_attribution.evaluation.run import evaluate_files

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
real = pytest.mark.skipif(not (ROOT / "concadia").is_dir(), reason="needs concadia/")


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "concadia"
    export("concadia", folder, n=60, seed=3, progress=False)
    return folder


def record(number, caption, description, split="train", **more):
    texts = {"caption": caption, "description": description, "context": " Around it."}
    return {
        "article_id": f"article {number}",
        "filename": f"{number}.jpg",
        **{name: {"raw": text, "tokens": []} for name, text in texts.items()},
        "split": split,
    } | more


def write(folder, records):
    (folder / "wiki_split.json").write_text(json.dumps({"images": records}), "utf-8")
    return folder


def test_the_export_is_read_by_the_official_loader(exported):
    frame = load_benchmark("concadia", exported, exported, split=None)
    assert frame["error"].isna().all() and len(frame) == 60
    assert frame["split"].value_counts().to_dict() == {"train": 48, "val": 6, "test": 6}
    assert (frame.groupby("article_id")["split"].nunique() == 1).all()
    assert all((exported / image).is_file() for image in frame["image"])
    assert set(frame["image"].str.split("/").str[0]) == {"resized"}
    assert (frame["context"].str[0] == " ").all() and not frame["identical"].any()
    assert len(load_benchmark("concadia", exported)) == 6
    receipt = json.loads((exported / "export.json").read_text("utf-8"))
    assert receipt["benchmark"] == "concadia"


def test_splits_differ_between_seeds_and_not_within_one(exported, tmp_path):
    def tests(folder):
        return set(load_benchmark("concadia", folder)["article_id"])

    export("concadia", tmp_path / "same", n=60, seed=3, progress=False)
    export("concadia", tmp_path / "other", n=60, seed=4, progress=False)
    assert tests(tmp_path / "same") == tests(exported) != tests(tmp_path / "other")


def test_identical_training_pairs_are_left_out_and_counted(tmp_path):
    records = [
        record(1, "A red Kite", " a red kite "),  # the same tokens
        record(2, "a red kite", "a blue kite"),
        record(3, "a red kite", "a RED kite", "test"),
        record(4, "one two " * 60 + "three", "one two " * 60 + "four", "test"),  # beyond 77
    ]
    folder = write(tmp_path, records)
    frame = concadia.load(folder, split=None)
    assert frame["pair_id"].tolist() == ["2", "3", "4"] and frame.attrs["left_out"] == 1
    assert frame["identical"].tolist() == [False, True, True]
    assert frame["truncated"].tolist() == [False, False, True]
    assert frame["caption"][1] == "a red kite" and frame["description"][1] == "a RED kite"
    whole = concadia.load(folder, split=None, keep_identical=True)
    assert len(whole) == 4 and whole.attrs["left_out"] == 0
    assert concadia.report(frame) == (
        "3 images; 2 pairs of identical tokens kept, 1 left out of training; 1 beyond 77 "
        "positions; 0 with an error"
    )


def test_identical_tokens_tie_exactly_and_bad_rows_stay_alone(clip, exported, tmp_path):
    records = [
        record(0, "A red kite", "a red KITE", "test"),
        record(1, " ", "a blue kite", "test"),
        record(2, "a blue kite", "a red kite", "test", filename="missing.jpg"),
        record(3, "a guide to toys", "a red kite", "test"),
        record(4, "a guide to toys", "a red kite", "test") | {"description": None},
        "no record",
    ]
    frame = concadia.load(write(tmp_path, records), exported)
    assert frame["error"].notna().tolist() == [False, True, False, False, True, True]
    assert "1.jpg: the caption is empty" in frame["error"][1]
    scored = score_texts(clip, frame, exported)
    assert scored["error"].notna().tolist() == [False, True, True, False, True, True]
    assert "no such file" in scored["error"][2]
    assert scored["score_caption"][0] == scored["score_description"][0]
    alone = score_texts(clip, frame[3:4], exported)
    np.testing.assert_allclose(alone["score_caption"], scored["score_caption"][3:4], atol=1e-4)
    image = clip.encode_images([Image.open(exported / "resized/3.jpg")])
    wanted = clip.logit_scale * (image @ clip.encode_texts(["a guide to toys"]).T).item()
    assert abs(scored["score_caption"][3] - wanted) < 1e-3
    table, _ = measure(clip, "concadia", frame, exported)
    assert table["note"][0].startswith("1 ties, counted against the description; 1 pairs of")
    assert table["n"].tolist() == [2, 2] and table["n_errors"].tolist() == [4, 4]


def test_the_command_measures_beside_the_published(clip, exported, tmp_path):
    results, errors = evaluate_files("concadia", exported, out=tmp_path, split="train", quiet=True)
    assert errors == 0
    own, rival, *printed = results.to_dict("records")
    assert own["scorer"] == clip.name and own["n"] == 48 and own["chance"] == 0.5
    assert own["low"] < own["value"] > 0.85  # the embedded model prefers what is seen
    assert rival["scorer"] == concadia.LONGER
    values = {row["scorer"]: row["value"] for row in printed}
    assert values["CLIP ViT-B/32"] == 0.494 and len(values) == 5
    for row in printed:
        assert abs(row["difference"] - (own["value"] - row["value"])) < 1e-12
    assert {"results.csv", "rows.parquet", "evaluation.json"} <= {
        f.name for f in tmp_path.iterdir()
    }


def test_a_tie_counts_against_the_description():
    found, ties = concadia.preference([2, 1, 1, np.nan], [1, 1, 2, 0])
    assert found.value == 1 / 3 and found.n == 3 and ties == 1


def test_unusable_files(tmp_path, exported):
    (tmp_path / "concadia.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match="is a pickle, which can run code"):
        concadia.load(tmp_path / "concadia.pt")
    with pytest.raises(UserError, match="no split 'dev' in .*: choose from test, train, val"):
        concadia.load(exported, split="dev")
    (tmp_path / "wiki_split.json").write_text("[]")
    with pytest.raises(UserError, match="has no list 'images'"):
        concadia.load(tmp_path)
    with pytest.raises(UserError, match="split is for concadia alone"):
        evaluate_files("sugarcrepe", tmp_path, split="val", out=tmp_path)


@real
def test_the_real_records():
    frame = concadia.load(ROOT / "concadia", ROOT / "concadia", split="val")
    assert len(frame) == 278 and frame["error"].isna().all()
    assert all((ROOT / "concadia" / image).is_file() for image in frame["image"])
    assert frame["identical"].sum() == 4 and frame["truncated"].sum() == 11
    longer, _ = concadia.preference(frame["description"].str.len(), frame["caption"].str.len())
    assert round(longer.value, 3) == 0.511
    with pytest.raises(UserError, match="no split 'test'"):
        concadia.load(ROOT / "concadia")


@pytest.mark.skipif(not (ROOT / "kreiss2022/stored_scores").is_dir(), reason="needs kreiss2022/")
def test_the_stored_scores_prefer_157_of_300():
    stored = concadia.load_scores(ROOT / "kreiss2022/stored_scores")
    scores = stored["score_description"], stored["score_caption"]
    found, ties = concadia.preference(*scores, stored["image"])
    assert (round(found.value * 300), found.n, ties) == (157, 300, 5)
    assert abs(found.low - 0.467) < 0.006 and abs(found.high - 0.579) < 0.006
    local = load_benchmark("concadia", ROOT / "concadia", split="val")["pair_id"]
    own = stored[stored["image"].isin(local)]
    found, _ = concadia.preference(own["score_description"], own["score_caption"])
    assert (round(found.value * 278), found.n) == (145, 278)
