"""`clip-attribution score` over real photos and captions: COCO and the benchmarks on its photos.

Set CLIP_BENCHMARKS to the folder of the benchmarks' official files (see data/README.md).
"""

import ast
import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clip_attribution.cli import main

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "coco/annotations").is_dir(),
        reason="needs CLIP_BENCHMARKS, a folder of benchmark files with coco/annotations in it",
    ),
]


def photo(name):
    """The path under ROOT of a COCO photo, found by the last 12 digits of any name of it."""
    file = f"{Path(name).stem[-12:]}.jpg"
    found = [split for split in ("val2017", "train2017") if (ROOT / "coco" / split / file).exists()]
    return f"coco/{found[0]}/{file}"


def load(path):
    """The content of a JSON file under ROOT."""
    return json.loads((ROOT / path).read_text("utf-8"))


def captions(path):
    """(photo, caption) of a file in the shape of COCO captions."""
    content = load(path)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    return [(photo(names[one["image_id"]]), one["caption"]) for one in content["annotations"]]


def records(path):
    """(photo, caption) of the records of SugarCrepe, VALSE and HAT; both captions of a pair."""
    content = load(path)
    keys = ("caption", "negative_caption", "foil")
    for record in content.values() if isinstance(content, dict) else content:
        names = [record[key] for key in ("filename", "image_file", "image_path") if key in record]
        yield from ((photo(names[0]), record[key]) for key in keys if key in record)


def rows(path, **options):
    """The rows of a CSV or TSV file under ROOT."""
    with open(ROOT / path, newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file, **options)


def benchmark_pairs():
    """Every photo-caption pair there is: {source: [(photo, caption), ...]}."""
    found = {}
    for path in (
        "coco/annotations/captions_val2017.json",
        "coco/annotations/captions_train2017.json",
    ):
        found[path] = captions(path)
    for folder in ("sugarcrepe", "valse", "aloha"):
        for file in sorted((ROOT / folder).glob("*_with_photos.json")):
            found[f"{folder}/{file.name}"] = list(records(f"{folder}/{file.name}"))
    path = "foil_shape/foil_shape_from_valse_with_photos.json"
    found[path] = captions(path)
    path = "vsr/data_files/all_vsr_validated_data_with_photos.jsonl"
    lines = [json.loads(line) for line in (ROOT / path).read_text("utf-8").splitlines()]
    found[path] = [(photo(line["image"]), line["caption"]) for line in lines]
    path = "negclip/valid_neg_clip_with_photos.tsv"
    for row in rows(path, delimiter="\t"):
        texts = [row["title"], *ast.literal_eval(row["neg_caption"])]
        found.setdefault(path, []).extend((photo(row["filepath"]), text) for text in texts)
    path = "seetrue/SeeTRUE_Feedback_with_photos.csv"
    found[path] = [(photo(row["image_name"]), row["image_caption"]) for row in rows(path)]
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """All pairs as a CSV file, with where each comes from."""
    pairs = benchmark_pairs()
    assert len(pairs) == 17 and all(pairs.values())
    frame = pd.DataFrame(
        [(source, *pair) for source, some in pairs.items() for pair in some],
        columns=["source", "image", "caption"],
    )
    assert len(frame) >= 350 + 2 * 108
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("options", [[], ["--model", "ViT-B-32"]], ids=["embedded", "random"])
def test_every_pair_is_scored(table, tmp_path, options):
    arguments = ["score", str(table), "--out", str(tmp_path / "out"), "--image-root", str(ROOT)]
    assert main([*arguments, *options]) == 0
    frame = pd.read_csv(table, keep_default_na=False)
    pairs = pd.read_parquet(tmp_path / "out/pairs.parquet")
    words = pd.read_parquet(tmp_path / "out/words.parquet")
    for column in ("image", "caption", "source"):
        assert pairs[column].tolist() == frame[column].tolist()
    assert pairs["error"].isna().all() and np.isfinite(pairs[["cosine", "f_clip_score"]]).all(
        axis=None
    )
    assert np.isfinite(words.loc[words["seen"], "attribution"]).all()
    assert set(words.loc[words["seen"], "pair_id"]) == set(pairs["pair_id"])
    text = dict(zip(pairs["pair_id"], pairs["caption"], strict=True))
    for pair_id, word, start, end in words[["pair_id", "word", "start", "end"]].itertuples(False):
        assert text[pair_id][start:end] == word
