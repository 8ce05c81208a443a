"""TFRecord files, CRC-32C and tf.train.Example against slow code, hand-made bytes and damage."""

import struct

import numpy as np
import pytest
from google_crc32c import value as crc32c
from hypothesis import given
from hypothesis import strategies as st

from clip_attribution.datasets.tfrecord import (
    encode_example,
    parse_example,
    read_records,
    write_records,
)
from clip_attribution.errors import UserError

PAYLOADS = [b"first", b"", bytes(range(256)) * 3, b"\0" * 40, b"last one"]


def slow_crc(data):
    """CRC-32C bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def checksum(data):
    """The four masked bytes that follow `data` in a TFRecord file."""
    crc = slow_crc(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def frame(payload):
    """One record, written down from the format's description."""
    length = struct.pack("<Q", len(payload))
    return length + checksum(length) + payload + checksum(payload)


def read(path, content):
    """The records of a file with this content: payloads, and the reasons by record number."""
    path.write_bytes(content)
    found = list(read_records(path))
    assert [number for number, _ in found] == list(range(len(found)))
    good = [record for _, record in found if isinstance(record, bytes)]
    return good, {number: record for number, record in found if isinstance(record, str)}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A path that examples of a property may overwrite."""
    return tmp_path_factory.mktemp("tfrecord") / "test.tfrecord"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_crc_gives_the_published_check_values(data, expected):
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [1, 3, 63, 64, 65, 257, 2048, 16383, 16384, 16388, 50001])
def test_crc_equals_the_bitwise_definition(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == slow_crc(data)


def test_crc_of_zeros_depends_on_how_many_there_are():
    assert crc32c(bytes(5000)) == slow_crc(bytes(5000)) != crc32c(bytes(5001))


def test_written_file_has_the_documented_layout(tmp_path):
    write_records(tmp_path / "a.tfrecord", PAYLOADS)
    assert (tmp_path / "a.tfrecord").read_bytes() == b"".join(map(frame, PAYLOADS))
    assert [p.name for p in tmp_path.iterdir()] == ["a.tfrecord"]


@given(payloads=st.lists(st.binary(max_size=300), max_size=6))
def test_records_round_trip(scratch, payloads):
    write_records(scratch, payloads)
    assert list(read_records(scratch)) == list(enumerate(payloads))


@given(data=st.data())
def test_one_flipped_bit_costs_one_record_and_names_it(scratch, data):
    frames = [frame(payload) for payload in PAYLOADS]
    starts = np.cumsum([0, *map(len, frames)])
    bit = data.draw(st.integers(0, 8 * int(starts[-1]) - 1))
    content = bytearray(b"".join(frames))
    content[bit // 8] ^= 1 << bit % 8
    hit = int(np.searchsorted(starts, bit // 8, side="right")) - 1
    good, reasons = read(scratch, bytes(content))
    assert good == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
    assert list(reasons) == [hit]
    assert reasons[hit].startswith(f"record {hit} at byte {starts[hit]}: ")


@given(size=st.integers(0, sum(len(p) + 16 for p in PAYLOADS)))
def test_truncated_file_keeps_its_whole_records(scratch, size):
    ends = np.cumsum([len(payload) + 16 for payload in PAYLOADS])
    good, reasons = read(scratch, b"".join(map(frame, PAYLOADS))[:size])
    whole = int((ends <= size).sum())
    assert good == PAYLOADS[:whole]
    if size in (0, *ends):
        assert not reasons
    else:
        assert list(reasons) == [whole] and "the file is cut off" in reasons[whole]


def test_truncation_says_how_many_bytes_are_missing(tmp_path):
    _, reasons = read(tmp_path / "a", frame(b"one") + frame(b"second")[:-7])
    start = len(frame(b"one"))
    assert f"record 1 at byte {start}: the file is cut off, 7 bytes are missing" in reasons[1]


def test_wrong_checksums_are_told_apart(tmp_path):
    one, two = bytearray(frame(b"one")), bytearray(frame(b"two"))
    one[-1] ^= 1
    two[8] ^= 1
    good, reasons = read(tmp_path / "a", bytes(one + two) + frame(b"three"))
    assert good == [b"three"]
    assert list(reasons) == [0]  # where the first ends is not to be trusted
    good, reasons = read(tmp_path / "a", bytes(one) + frame(b"good") + bytes(two))
    assert good == [b"good"]
    assert "the data's checksum is wrong" in reasons[0]
    assert "the length's checksum is wrong" in reasons[2]


def test_wrong_length_skips_to_the_next_record_and_says_so(tmp_path):
    bad = bytearray(frame(b"0123456789"))
    bad[0] ^= 1
    good, reasons = read(tmp_path / "a", frame(b"a") + bytes(bad) + frame(b"b") + frame(b"c"))
    assert good == [b"a", b"b", b"c"]
    assert reasons == {
        1: "record 1 at byte 17: the length's checksum is wrong; 26 bytes skipped, up to byte 43"
    }


def test_lost_middle_of_a_file_costs_only_the_records_in_it(tmp_path):
    frames = [frame(bytes([n]) * 500) for n in range(6)]
    content = b"".join(frames)
    good, reasons = read(tmp_path / "a", content[:700] + content[1500:])
    assert good == [bytes([n]) * 500 for n in (0, 3, 4, 5)]
    assert list(reasons) == [1]


@pytest.mark.parametrize("size", [2**18 - 5, 2**18, 2**18 + 1, 2**18 + 2, 700_001])
def test_record_behind_a_stretch_of_garbage_is_found(tmp_path, size):
    garbage = np.random.default_rng(0).bytes(size)
    good, reasons = read(tmp_path / "a", garbage + frame(b"found") + frame(b"me"))
    assert good == [b"found", b"me"]
    assert reasons[0].endswith(f"{size} bytes skipped, up to byte {size}")


@pytest.mark.parametrize("content", [b"x", b"no records at all, only text" * 9, bytes(300_000)])
def test_garbage_is_one_reason(tmp_path, content):
    good, reasons = read(tmp_path / "a", content)
    assert good == [] and list(reasons) == [0]


def test_empty_file_has_no_records(tmp_path):
    assert read(tmp_path / "a", b"") == ([], {})


def test_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_records(tmp_path / "none.tfrecord")


# feature "a": bytes_list ["hi"]; "f": float_list packed [1.0, -2.0]; "i": int64_list packed [-1, 3]
BY_HAND = bytes.fromhex(
    "0a36"
    "0a0b 0a0161 1206 0a04 0a026869"
    "0a11 0a0166 120c 120a 0a08 0000803f 000000c0"
    "0a14 0a0169 120f 1a0d 0a0b ffffffffffffffffff01 03".replace(" ", "")
)


def test_example_written_by_hand_is_read_and_written():
    features = {"a": [b"hi"], "f": [1.0, -2.0], "i": [-1, 3]}
    assert parse_example(BY_HAND) == features
    assert encode_example(features) == BY_HAND


def example_of(feature):
    """A tf.train.Example of one feature "f", from the bytes of its tf.train.Feature."""
    entry = b"\x0a\x01f\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    return b"\x0a" + bytes([len(features)]) + features


def test_unpacked_numbers_are_read():
    floats = bytes.fromhex("120a 0d0000803f 0d000000c0".replace(" ", ""))
    assert parse_example(example_of(floats)) == {"f": [1.0, -2.0]}
    ints = bytes.fromhex("1a04 0805 0807".replace(" ", ""))
    assert parse_example(example_of(ints)) == {"f": [5, 7]}


def test_fields_that_are_not_known_are_passed_over():
    unknown = bytes.fromhex("4805 2d01000000 310100000000000000 3a0178".replace(" ", ""))
    ints = bytes.fromhex("1a02 0805".replace(" ", ""))
    assert parse_example(example_of(unknown + ints + unknown)) == {"f": [5]}


VALUES = st.one_of(
    st.lists(st.binary(max_size=20), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
)


@given(features=st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_examples_round_trip(features):
    assert parse_example(encode_example(features)) == features


@given(data=st.binary(max_size=60))
def test_any_bytes_are_an_example_or_a_value_error(data):
    try:
        assert isinstance(parse_example(data), dict)
    except ValueError as error:
        assert str(error)


@given(size=st.integers(1, len(BY_HAND) - 1))
def test_cut_off_example_is_a_value_error(size):
    with pytest.raises(ValueError):
        parse_example(BY_HAND[:size])


def test_one_value_stands_for_a_list_of_one_and_text_is_utf_8():
    encoded = encode_example({"t": "é", "n": 3, "x": np.float32(0.5), "b": True, "none": []})
    found = {"t": ["é".encode()], "n": [3], "x": [0.5], "b": [1], "none": []}
    assert parse_example(encoded) == found


@pytest.mark.parametrize("values", [[1, 2.0], [b"a", 1], [None], [2**63]])
def test_values_that_an_example_cannot_hold_are_refused(values):
    with pytest.raises(ValueError):
        encode_example({"a": values})
