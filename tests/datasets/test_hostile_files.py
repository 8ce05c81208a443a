"""Data files of strangers: bounded time and memory, and one line each."""

import csv
import json
import pickle
import random
import time

import open_clip
import pandas as pd
import pytest
from campaigns.hostile_files import faults

from clip_attribution import load_clip
from clip_attribution.datasets import load_benchmark
from clip_attribution.datasets.flickr30k_entities import parse_sentence
from clip_attribution.datasets.restricted_pickle import load as load_pickle
from clip_attribution.datasets.tfrecord import read_records, write_records
from clip_attribution.errors import UserError
from clip_attribution.io.read import parse_json, read_json, read_text, text_lines
from clip_attribution.io.tables import read_pairs
from clip_attribution.models.tokenizer import LinearTokenizer
from clip_attribution.text.tokens import token_spans


def one_line(call, *args, seconds=5):
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 600
    assert time.process_time() - start < seconds
    return message


@pytest.mark.parametrize("name", ["winoground", "foil"])
def test_loaders_say_one_line_whatever_is_in_their_files(name):
    assert [f"{label}: {fault}" for label, fault in faults(name) if fault] == []


# --- JSON and text, at one place ---


@pytest.mark.parametrize(
    "text", ["", "{", "nul", "[" * 200_000, '{"a":' * 200_000, "9" * 5000, None, "\ufeff[]", "[1,]"]
)
def test_what_is_no_json_is_one_line(text):
    one_line(parse_json, text, "a file")


@pytest.mark.parametrize("content", [b"null", b"3", b'"x"', b"true", b"NaN"])
def test_json_of_another_kind_is_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert "must hold a list or an object" in one_line(read_json, tmp_path / "a.json", list, dict)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path, mark):
    (tmp_path / "a.json").write_bytes(mark + b'["\xe2\x80\xa8"]')
    assert read_json(tmp_path / "a.json") == ["\u2028"]
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in one_line(read_text, tmp_path / "b")


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_line_feeds_alone_end_a_line(tmp_path, letter):
    assert text_lines(f"a{letter}b\r\nc\n\nd\n") == [f"a{letter}b", "c", "", "d"]
    case = {"id": 0, "image_0": "a", "image_1": "b", "collapsed_tag": "Object"}
    case |= {"caption_0": f"old{letter}dog", "caption_1": f"dog{letter}old"}
    file = tmp_path / "examples.jsonl"
    file.write_text(json.dumps(case, ensure_ascii=False) + "\n", "utf-8")
    frame = load_benchmark("winoground", file)
    assert len(frame) == 1 and frame["error"].isna().all()


# --- tables ---


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv in rows"])
def test_a_million_columns_are_refused_at_once(tmp_path, kind):
    columns = 6_000 if kind == "parquet" else 200_000 if kind == "jsonl" else 1_000_000
    names = [f"c{i}" for i in range(columns)]
    path = tmp_path / f"t.{kind.split()[0]}"
    if kind == "parquet":
        pd.DataFrame([range(columns)], columns=names).to_parquet(path)
    elif kind == "jsonl":
        path.write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    else:
        path.write_text(",".join(names) + "\n" + ("1,2\n" * 3 if kind == "csv in rows" else ""))
    assert "columns" in one_line(read_pairs, path)


def test_an_error_lists_ten_columns_at_most(tmp_path):
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([[f"a long name {i}" * 20 for i in range(300)]] * 2)
    assert "columns found" in one_line(read_pairs, tmp_path / "t.csv")


# --- TFRecords, pickles, regular expressions ---


@pytest.mark.parametrize("depth", [3_000, 100_000])
def test_headers_within_the_data_of_others_take_linear_time(tmp_path, depth):
    import struct

    from google_crc32c import value as crc32c

    from clip_attribution.datasets.tfrecord import _masked

    parts = []
    for number in range(depth):
        length = struct.pack("<Q", 16 * (depth - number - 1))
        parts.append(length + struct.pack("<I", _masked(crc32c(length))) + b"\0" * 4)
    (tmp_path / "a").write_bytes(b"".join(parts))
    start = time.process_time()
    found = list(read_records(tmp_path / "a"))
    assert time.process_time() - start < 5
    assert all(isinstance(payload, str) and "\n" not in payload for _, payload in found)


def test_a_sound_file_is_read_beside_that(tmp_path):
    write_records(tmp_path / "a", [b"x" * 1000] * 50)
    assert [payload for _, payload in read_records(tmp_path / "a")] == [b"x" * 1000] * 50


def doubled(kind, depth):
    value = kind([1])
    for _ in range(depth):
        value = kind([value, value])
    return value


def itself():
    value = []
    value.append(value)
    return value


PICKLES = {
    "lists": lambda: pickle.dumps(doubled(list, 60)),
    "tuples": lambda: pickle.dumps(doubled(tuple, 60)),
    "old": lambda: pickle.dumps(doubled(list, 60), 0),
    "itself": lambda: pickle.dumps(itself()),
    "keys": lambda: (
        b"\x80\x02}"
        + b"K\x01\x85q\x00"
        + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
        + b"K\x01s."
    ),
    "memo": lambda: b"\x80\x02]r\xff\xff\xff\x7f.",
    "dup": lambda: b"\x80\x02K\x01" + b"2\x86" * 60 + b".",
    "text of digits": lambda: b"I" + b"9" * 100_000 + b"\n.",
    "long bytes": lambda: b"\x80\x04\x96" + (2**50).to_bytes(8, "little") + b".",
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_does_not_grow_beyond_its_file(tmp_path, name):
    (tmp_path / "refs.p").write_bytes(PICKLES[name]())
    one_line(load_pickle, tmp_path / "refs.p")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_shared_parts_are_read(tmp_path, protocol):
    box, sentence = [1.5, 2, 3, 4], {"raw": "a dog", "tokens": ["a", "dog"]}
    refs = [{"box": box, "sentences": [sentence] * 3, "id": i, "t": (1, "x")} for i in range(500)]
    (tmp_path / "refs.p").write_bytes(pickle.dumps(refs, protocol))
    assert load_pickle(tmp_path / "refs.p") == refs


BOMBS = [
    "[/EN#1/people" + " " * 60_000,
    "[/EN#1/people" * 6_000,
    "[/EN#1/x " * 6_000,
    "[/EN#" + "1" * 60_000,
    "[/EN#1/a" + "/a" * 30_000 + " " * 100,
    "[" * 60_000 + "]" * 60_000,
]


@pytest.mark.parametrize("sentence", BOMBS, ids=lambda text: text[:20])
def test_a_sentence_takes_linear_time(sentence):
    start = time.process_time()
    parse_sentence(sentence)
    assert time.process_time() - start < 1


def test_phrases_are_read_without_the_space_around_them():
    assert parse_sentence("[/EN#5/people  A man ] runs")[1] == [("5", "people", 0, 5)]


# --- long words ---


WORDS = {
    "one letter": "a" * 60_000,
    "two letters": "ab" * 30_000,
    "base64": "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyzABCDEFGH", k=60_000)),
    "umlauts": "ä" * 60_000,
    "marks": "!" * 60_000,
    "combining": "a" + "\u0301" * 60_000,
    "mixed": "aB3+/" * 12_000,
}


@pytest.mark.parametrize("name", WORDS)
def test_a_word_of_60000_letters_takes_seconds_at_most(name):
    clip = load_clip()
    start = time.process_time()
    spans = token_spans(clip.tokenizer, WORDS[name], clip.context_length)
    ids = clip.tokenizer([WORDS[name]])
    assert time.process_time() - start < 5
    assert ids[0, : len(spans.ids)].tolist() == spans.ids and spans.truncated


@pytest.mark.parametrize("seed", range(5))
def test_long_words_have_the_pieces_that_open_clip_gives(seed):
    rng, ours = random.Random(seed), LinearTokenizer()
    theirs = open_clip.SimpleTokenizer()
    for letters in ("ab", "aetinsrh", "abcdefghijklmnopqrstuvwxyz", "äöüßé漢字🙂"):
        for length in (65, 150, 400):
            word = "".join(rng.choices(letters, k=length))
            assert ours.encode(word) == theirs.encode(word)
