"""TFRecord files and tf.train.Example without TensorFlow: frames, CRC-32C, protobuf wire format.

A record is: u64 length, masked CRC-32C of those 8 bytes, the data, masked CRC-32C of the data; all
little-endian. An Example is a protobuf message that maps names to lists of bytes, floats or int64.
Sources: tensorflow.org/tutorials/load_data/tfrecord, tensorflow/core/example/*.proto, RFC 3720.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import count
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from google_crc32c import value as crc32c

from ..errors import UserError, one_line
from ..io.tables import atomic_path

HEADER, FRAME = 12, 16  # bytes before the data; bytes around it
BLOCK = 1 << 18
MOST_LOST, MOST_LOST_OF_FILE = 1 << 28, 4  # bytes of damaged records that are read
BYTES, FLOATS, INTS = 1, 2, 3  # field numbers in tf.train.Feature


def _masked(crc):
    """TFRecord's mask of a CRC, for an int or an array of u32."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def write_records(path, payloads: Iterable[bytes]) -> None:
    """Write byte strings as a TFRecord file, atomically. Raises UserError."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + struct.pack("<I", _masked(crc32c(length))))
            file.write(payload + struct.pack("<I", _masked(crc32c(payload))))


def read_records(path) -> Iterator[tuple[int, bytes | str]]:
    """Every record of a TFRecord file: its number from 0 and its data.

    In place of the data of a damaged record stands one line (str) that says what is wrong and at
    which byte. Where it ends is trusted if another record begins there; else reading goes on at
    the next byte at which a record with a valid length checksum fits into the file, so one such
    line may stand for several lost records. Raises UserError when the file cannot be opened.
    """
    try:
        size = Path(path).stat().st_size
        data = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from None
    return _records(data)


def _records(data):
    at, lost_bytes = 0, 0
    for number in count():
        if at >= len(data):
            return
        payload, end, wrong = _record(data, at)
        lost_bytes += (_length(data, at) or 0) if wrong else 0
        if lost_bytes > max(MOST_LOST, MOST_LOST_OF_FILE * len(data)):
            # headers within the data of others: each would be read to its end and found wrong
            yield number, f"record {number} at byte {at}: too much is damaged; the rest is left out"
            return
        if wrong:
            start, lost = at, end is None
            end = _next_record(data, at + 1) if lost else end
            skipped = f"; {end - start} bytes skipped, up to byte {end}" if lost else ""
            payload = f"record {number} at byte {start}: {wrong}{skipped}"
        yield number, payload
        at = end


def _record(data, at):
    """Data, end and None; or None, end (None where it is not known) and what is wrong."""
    length = _length(data, at)
    if length is None:
        short = len(data) - at < HEADER
        return None, None, "the file is cut off" if short else "the length's checksum is wrong"
    end = at + FRAME + length
    if end > len(data):
        return None, None, f"the file is cut off, {end - len(data)} bytes are missing"
    payload = data[at + HEADER : end - 4].tobytes()
    if int.from_bytes(data[end - 4 : end].tobytes(), "little") == _masked(crc32c(payload)):
        return payload, end, None
    known = end == len(data) or _length(data, end) is not None
    return None, end if known else None, "the data's checksum is wrong"


def _length(data, at):
    """The length in the header at byte `at`, or None where its checksum is wrong."""
    header = data[at : at + HEADER].tobytes()
    if len(header) < HEADER:
        return None
    length, checksum = struct.unpack("<QI", header)
    return length if _masked(crc32c(header[:8])) == checksum else None


def _next_record(data, start):
    """The first byte from `start` at which a whole record may begin; else the file's end."""
    for at in range(start, len(data) - FRAME + 1, BLOCK):
        block = data[at : at + BLOCK + HEADER - 1]
        windows = np.lib.stride_tricks.sliding_window_view(block, HEADER)
        room = len(data) - FRAME - at - np.arange(len(windows))
        lengths = np.ascontiguousarray(windows[:, :8]).view("<u8")[:, 0]
        fits = np.flatnonzero((room >= 0) & (lengths <= np.maximum(room, 0).astype("<u8")))
        begin = (int(i) for i in fits if _length(data, at + int(i)) is not None)
        if (first := next(begin, None)) is not None:
            return at + first
    return len(data)


def encode_example(features: dict) -> bytes:
    """A tf.train.Example of `features`: name -> a value or a list of values of one type.

    bytes and str (as UTF-8) become a bytes_list, float a float_list (32 bit), int and bool an
    int64_list. Raises ValueError for anything else.
    """
    entries = (
        _delimited(1, _delimited(1, name.encode()) + _delimited(2, _feature(name, values)))
        for name, values in features.items()
    )
    return _delimited(1, b"".join(entries))


def _feature(name, values):
    values = list(values) if isinstance(values, list | tuple | np.ndarray) else [values]
    if all(isinstance(v, bytes | str) for v in values):
        texts = (v.encode() if isinstance(v, str) else v for v in values)
        return _delimited(BYTES, b"".join(_delimited(1, v) for v in texts)) if values else b""
    if all(isinstance(v, Integral) for v in values):
        return _delimited(INTS, _delimited(1, b"".join(_signed(v) for v in values)))
    if all(isinstance(v, Real) and not isinstance(v, Integral) for v in values):
        return _delimited(FLOATS, _delimited(1, struct.pack(f"<{len(values)}f", *values)))
    raise ValueError(f"feature {name!r}: values must be all bytes, all float or all int")


def _delimited(number, content):
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _signed(value):
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} does not fit into 64 bits")
    return _varint(int(value) & 0xFFFFFFFFFFFFFFFF)


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def parse_example(data: bytes) -> dict[str, list]:
    """The features of a tf.train.Example: name -> list of bytes, floats or ints.

    Raises ValueError when `data` is no such message.
    """
    features = {}
    for content in _messages(data, 1):
        for entry in _messages(content, 1):
            name = b"".join(_messages(entry, 1)[-1:]).decode()
            features[name] = _values(b"".join(_messages(entry, 2)))
    return features


def _messages(data, wanted):
    """The contents of the length-delimited fields of that number, in order."""
    found = [(wire, content) for number, wire, content in _fields(data) if number == wanted]
    if any(wire != 2 for wire, _ in found):
        raise ValueError(f"not a tf.train.Example: field {wanted} has the wrong type")
    return [content for _, content in found]


def _values(feature):
    """The values of a tf.train.Feature; of several kinds the last one holds."""
    kind = next((n for n, _, _ in reversed(list(_fields(feature))) if n in READERS), None)
    content = b"".join(_messages(feature, kind)) if kind else b""
    parts = (READERS[kind](wire, part) for number, wire, part in _fields(content) if number == 1)
    return [value for part in parts for value in part]


def _read_bytes(wire, part):
    if wire != 2:
        raise ValueError("not a tf.train.Example: bytes of the wrong type")
    return [part]


def _read_floats(wire, part):
    if wire not in (2, 5) or len(part) % 4:
        raise ValueError("not a tf.train.Example: floats of the wrong type or length")
    return struct.unpack(f"<{len(part) // 4}f", part)


def _read_ints(wire, part):
    if wire not in (0, 2):
        raise ValueError("not a tf.train.Example: integers of the wrong type")
    values, at = [part] if wire == 0 else [], 0
    while wire == 2 and at < len(part):
        value, at = _read_varint(part, at)
        values.append(value)
    return [value - (1 << 64) if value >> 63 else value for value in values]


READERS = {BYTES: _read_bytes, FLOATS: _read_floats, INTS: _read_ints}


def _fields(data):
    """Yield (field number, wire type, content) of a protobuf message; varints as int."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if wire not in (0, 1, 2, 5) or number == 0:
            raise ValueError(f"not a tf.train.Example: field {number} of wire type {wire}")
        if wire == 0:
            content, at = _read_varint(data, at)
        else:
            size, at = _read_varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            content, at = data[at : at + size], at + size
        if at > len(data):
            raise ValueError("not a tf.train.Example: a field is cut off")
        yield number, wire, content


def _read_varint(data, at):
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at + place + 1
    raise ValueError("not a tf.train.Example: a number is cut off")
