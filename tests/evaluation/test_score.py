"""`clip-attribution score`: its files, bad rows, resuming, sharding."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from score_tables import CONFIG, make_rows, save_model, save_pictures, save_rows

import clip_attribution
from clip_attribution.cli import main

PAIRS_COLUMNS = ["pair_id", "image", "caption", "cosine", "clip_score", "f_clip_score"]
PAIRS_COLUMNS += ["misaligned", "error"]
WORDS_COLUMNS = ["pair_id", "word_index", "word", "start", "end", "attribution", "seen"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, and the options of a tiny model."""
    folder = tmp_path_factory.mktemp("score")
    model = save_model(folder)
    return folder, save_pictures(folder), model


@pytest.fixture
def run(place, tmp_path):
    """Score rows into a folder; returns (exit status, words, pairs)."""

    def score(rows, *options, out=tmp_path / "out"):
        table = save_rows(rows, place[0] / f"{tmp_path.name}.jsonl")
        arguments = ["score", str(table), "--out", str(out), "--quiet", *place[2]]
        status = main([*arguments, *map(str, options)])
        return status, read(out, "words"), read(out, "pairs")

    return score


def read(out, name):
    """A result file as a data frame."""
    return pd.read_parquet(Path(out) / f"{name}.parquet")


def test_files(run, place, tmp_path):
    rows = make_rows(place[1], 10)
    rows = [row | {"score": n / 2, "boxes": [[n, 1, 2, 3]]} for n, row in enumerate(rows)]
    status, words, pairs = run(rows)
    assert status == 0
    assert list(pairs) == [*PAIRS_COLUMNS, "score", "boxes"]
    assert list(words) == WORDS_COLUMNS
    assert pairs["pair_id"].tolist() == [row["pair_id"] for row in rows]
    assert pairs["score"].tolist() == [row["score"] for row in rows]
    assert pairs["boxes"].map(lambda boxes: boxes[0][0]).tolist() == list(range(10))
    assert pairs["error"].isna().all()
    assert np.allclose(pairs["clip_score"], 2.5 * pairs["cosine"].clip(lower=0))
    assert np.isfinite(words["attribution"]).all() and words["attribution"].abs().max() > 0
    captions = {row["pair_id"]: row["caption"] for row in rows}
    columns = ["pair_id", "word", "start", "end"]
    for pair_id, word, start, end in words[columns].itertuples(index=False):
        assert captions[pair_id][start:end] == word
    report = json.loads((tmp_path / "out/score.json").read_text())
    assert (report["rows"], report["errors"]) == (10, 0)
    assert report["options"]["epsilon"] == -5e-5 and report["versions"]["torch"]
    assert sorted(os.listdir(tmp_path / "out")) == ["pairs.parquet", "score.json", "words.parquet"]


def test_same_as_attribute(run, place):
    rows = make_rows(place[1], 6)
    _, words, pairs = run(rows, "--start-layer", "-1", "--template", "")
    clip = clip_attribution.load_clip(model_config=CONFIG, device="cpu")
    expected, expected_pairs = clip_attribution.attribute(
        clip, pd.DataFrame(rows), layers=-1, template="", image_root=place[0]
    )
    assert words["word"].tolist() == expected["word"].tolist()
    assert np.allclose(words["attribution"], expected["attribution"], rtol=0, atol=1e-7)
    assert np.allclose(pairs["cosine"], expected_pairs["cosine"], rtol=0, atol=1e-7)


def test_decision_and_variant(run, tmp_path, place):
    rows = make_rows(place[1], 6)
    _, words, pairs = run(rows, "--decision", "most_negative", "--variant", "min")
    lowest = words.loc[words.groupby("pair_id")["attribution"].idxmin()].set_index("pair_id")
    for _, pair in pairs.iterrows():
        low = lowest.loc[pair["pair_id"]]
        assert list(pair["misaligned"]) == [low["word"]]
        expected = (1 - max(pair["cosine"], 0)) * low["attribution"]
        assert pair["f_clip_score"] == pytest.approx(expected, abs=1e-9)


def test_references_add_the_ref_clip_score(run, place):
    rows = make_rows(place[1], 5)
    references = [["a red anchor", rows[0]["caption"]], [], None, ["", "an old boat"], ["a boat"]]
    for row, own in zip(rows, references, strict=True):
        row["references"] = own
    rows[4]["image"] = "absent.png"
    status, _, pairs = run(rows)
    assert status == 3 and pairs["error"].notna().tolist() == [False] * 4 + [True]
    clip = clip_attribution.load_clip(model_config=CONFIG, device="cpu")
    lead = "A photo depicts "
    first = clip.encode_texts([lead + rows[0]["caption"], lead + "a red anchor"])
    assert pairs["ref_cosines"][0] == pytest.approx([(first[0] @ first[1]).item(), 1], abs=1e-5)
    for row in (0, 3):
        image, best = pairs["clip_score"][row], max(pairs["ref_cosines"][row])
        mean = 2 / (1 / image + 1 / best) if best > 0 < image else 0
        assert pairs["ref_clip_score"][row] == pytest.approx(mean)
    assert pairs["ref_clip_score"].isna().tolist() == [False, True, True, False, True]


def add_bad_pictures(folder):
    """Images that can hardly or not be opened: name -> whether a word attribution is possible."""
    random = np.random.default_rng(1)
    noise = Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    noise.save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    noise.resize((1, 1)).save(folder / "dot.png")
    noise.convert("CMYK").save(folder / "cmyk.jpg")
    frames = [noise.convert("P"), noise.rotate(90).convert("P")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    deep = random.integers(0, 65536, (40, 40), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    (folder / "photos").mkdir(exist_ok=True)
    failing = dict.fromkeys(["truncated.jpg", "text.jpg", "absent.jpg", "photos", "../out.png"])
    failing |= dict.fromkeys(["/etc/hostname", "null\0byte.png", "", None, "scene:x:y"])
    working = dict.fromkeys(["whole.jpg", "dot.png", "cmyk.jpg", "moving.gif", "deep.png"], True)
    return working | dict.fromkeys(failing, False)


CAPTIONS = {
    "a red\0boat": False,
    "": False,
    None: False,
    " \t\n\u3000 ": False,
    "word " * 10_000: True,
}


def bad_rows(folder):
    """Rows with something wrong, each with whether it should be computed."""
    Image.new("RGB", (9, 9)).save(folder.parent / "out.png")
    pictures = [
        ({"image": name, "caption": "a red boat"}, ok)
        for name, ok in add_bad_pictures(folder).items()
    ]
    captions = [({"image": "whole.jpg", "caption": text}, ok) for text, ok in CAPTIONS.items()]
    rows = [(row | {"pair_id": f"bad{n}"}, ok) for n, (row, ok) in enumerate(pictures + captions)]
    return rows


@pytest.mark.parametrize("options", [(), ("--chunk-rows", 5, "--batch-size", 3)])
def test_bad_rows_stay_alone(run, place, tmp_path, options):
    good = make_rows(place[1], 30)
    bad = bad_rows(place[0])
    both = zip(good, [[row] for row, _ in bad] + [[]] * (len(good) - len(bad)), strict=True)
    mixed = [row for first, second in both for row in [first, *second]]
    assert len(mixed) == len(good) + len(bad)
    status, clean_words, clean_pairs = run(good, *options, out=tmp_path / "clean")
    assert status == 0
    status, words, pairs = run(mixed, *options, out=tmp_path / "mixed")
    assert status == 3
    assert pairs["pair_id"].tolist() == [row["pair_id"] for row in mixed]
    reasons = pairs.set_index("pair_id")["error"]
    for row, computed in bad:
        reason = reasons[row["pair_id"]]
        assert pd.isna(reason) == computed, (row["image"], row["caption"], reason)
        assert (row["pair_id"] in set(words["pair_id"])) == computed
        assert pd.isna(reason) or (reason and "\n" not in reason and len(reason) < 300)
    ids = {row["pair_id"] for row in good}
    words = words[words["pair_id"].isin(ids)].reset_index(drop=True)
    pairs = pairs[pairs["pair_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(words, clean_words, check_exact=False, rtol=0, atol=1e-7)
    pd.testing.assert_frame_equal(pairs, clean_pairs, check_exact=False, rtol=0, atol=1e-6)


def test_nothing_but_bad_rows(run):
    rows = [{"image": "absent.png", "caption": "a boat"}, {"image": "absent.png", "caption": ""}]
    status, words, pairs = run(rows)
    assert status == 3 and list(words) == WORDS_COLUMNS and words.empty
    assert pairs["error"].notna().all() and pairs["cosine"].isna().all()


def test_parts_of_speech(run, place, tmp_path):
    status, words, _ = run([{"image": place[1][0], "caption": "two red boats"}], "--pos")
    assert status == 0 and list(words) == [*WORDS_COLUMNS, "pos"]
    assert words["pos"].tolist() == ["NUM", "ADJ", "NOUN"]
    assert "core_web_sm" in json.loads((tmp_path / "out/score.json").read_text())["tagger"]


def test_long_caption_is_cut(run, place):
    rows = [{"image": place[1][0], "caption": "word " * 10_000}]
    status, words, pairs = run(rows)
    assert status == 0 and pairs["pair_id"].tolist() == [0]
    assert len(words) == 10_000 and 0 < words["seen"].sum() < 77
    assert (words["attribution"].notna() == words["seen"]).all()


def test_finished_folder_is_left_alone(run, place, tmp_path, capsys):
    rows = make_rows(place[1], 4) + [{"pair_id": "x", "image": "later.png", "caption": "a boat"}]
    assert run(rows)[0] == 3
    times = [(tmp_path / "out" / name).stat().st_mtime_ns for name in os.listdir(tmp_path / "out")]
    assert run(rows)[0] == 3
    again = [(tmp_path / "out" / name).stat().st_mtime_ns for name in os.listdir(tmp_path / "out")]
    assert times == again
    Image.new("RGB", (8, 8), "red").save(place[0] / "later.png")
    assert run(rows)[0] == 2 and "another folder" in capsys.readouterr().err
    assert again == [
        (tmp_path / "out" / name).stat().st_mtime_ns for name in os.listdir(tmp_path / "out")
    ]
    status, words, pairs = run(rows, out=tmp_path / "later")
    assert status == 0 and "x" in set(words["pair_id"])
    _, changed, _ = run(rows, "--start-layer", "-1", out=tmp_path / "last layer")
    assert not np.allclose(words["attribution"], changed["attribution"], rtol=0, atol=1e-9)


def test_shards_are_the_whole(run, place, tmp_path):
    rows = make_rows(place[1], 23)
    _, words, pairs = run(rows, out=tmp_path / "whole")
    table = str(place[0] / f"{tmp_path.name}.jsonl")
    out = tmp_path / "shards"
    for index in range(1, 5):
        options = ["--out", str(out), "--quiet", *place[2], "--shard", f"{index}/4"]
        assert main(["score", table, *options]) == 0
    assert len(os.listdir(out)) == 12
    frames = [read(out, f"pairs-{index}-of-4") for index in range(1, 5)]
    assert [len(frame) for frame in frames] == [5, 6, 6, 6]
    both = pd.concat(frames, ignore_index=True)
    pd.testing.assert_frame_equal(both, pairs, check_exact=False, rtol=0, atol=1e-6)
    both = [read(out, f"words-{index}-of-4") for index in range(1, 5)]
    both = pd.concat(both, ignore_index=True)
    pd.testing.assert_frame_equal(both, words, check_exact=False, rtol=0, atol=1e-7)


def test_more_shards_than_rows(run, place, tmp_path):
    rows = make_rows(place[1], 1)
    table = save_rows(rows, place[0] / "one.jsonl")
    arguments = ["score", str(table), "--out", str(tmp_path), "--quiet", *place[2]]
    assert [main([*arguments, "--shard", f"{index}/2"]) for index in (1, 2)] == [0, 0]
    assert [len(read(tmp_path, f"pairs-{index}-of-2")) for index in (1, 2)] == [0, 1]
    assert read(tmp_path, "words-1-of-2").columns.tolist() == WORDS_COLUMNS


def test_parquet_types_come_back(place, tmp_path):
    rows = make_rows(place[1], 5)
    table = pa.table(
        {
            "boxes": pa.array([[[1.0, 2.0]]] * 5, pa.list_(pa.list_(pa.float32()))),
            "image": pa.array([row["image"] for row in rows]).dictionary_encode(),
            "caption": pa.array([row["caption"] for row in rows], pa.large_string()),
            "pair_id": pa.array([9, 8, 7, 6, 2**62], pa.int64()),
        }
    )
    pq.write_table(table, place[0] / "typed.parquet")
    arguments = ["score", str(place[0] / "typed.parquet"), "--out", str(tmp_path), "--quiet"]
    assert main(arguments + place[2]) == 0
    pairs = pq.read_table(tmp_path / "pairs.parquet")
    assert pairs["boxes"].equals(table["boxes"]) and pairs["pair_id"].equals(table["pair_id"])
    assert pq.read_schema(tmp_path / "words.parquet").field("pair_id").type == pa.int64()
