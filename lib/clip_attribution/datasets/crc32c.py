"""CRC-32C (RFC 3720, appendix B.4), the checksum of TFRecord files, with numpy."""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
WIDTHS = (4096, 512, 64, 8, 1)


def crc32c(data) -> int:
    """CRC-32C of a bytes-like object.

    Folds many 32-bit words at once: a CRC is linear, so moving a word past `width` others is one
    linear map, looked up in two tables of 65,536 entries.
    """
    if len(data) < 64:
        return _crc_of_few(bytes(data))
    pad = -len(data) % 4
    buffer = bytearray(pad) + data
    buffer[pad : pad + 4] = bytes(byte ^ 255 for byte in buffer[pad : pad + 4])
    words = np.frombuffer(buffer, "<u4")
    for width in WIDTHS:
        words = _fold(words, width)
    return int(_shift(words, 1)[0]) ^ 0xFFFFFFFF


def crc32c_of_eights(data) -> np.ndarray:
    """CRC-32C of every row of u8 [n, 8], as u32 [n]."""
    words = np.ascontiguousarray(data).view("<u4")
    return ~_shift(_shift(~words[:, 0], 1) ^ words[:, 1], 1)


def _fold(words, width):
    """`width` words that have the same remainder as all of `words` (a number of rows of them)."""
    if len(words) <= width:
        return words
    first = len(words) % width
    folded = np.zeros(width, "<u4")
    folded[width - first :] = words[:first]
    for row in words[first:].reshape(-1, width):
        folded = _shift(folded, width) ^ row
    return folded


def _shift(words, width):
    """Each word's remainder after `width` more words of zeros."""
    low, high = _tables(width)
    halves = words.view("<u2")
    return low.take(halves[::2], mode="wrap") ^ high.take(halves[1::2], mode="wrap")


@cache
def _tables(width):
    """The map of `_shift` for the lower and the upper 16 bits of a word."""
    images = np.uint32(1) << np.arange(32, dtype="<u4")
    if width == 1:
        for _ in range(4):
            images = _byte_table()[images & 255] ^ (images >> 8)
    else:
        for _ in range(8):  # widths are powers of 8
            images = _shift(images, width // 8)
    return _spanned(images[:16]), _spanned(images[16:])


def _spanned(images):
    """The XOR of every subset of 16 images, by the subset's bits."""
    table = np.zeros(1 << len(images), "<u4")
    for bit, image in enumerate(images):
        table[1 << bit : 2 << bit] = table[: 1 << bit] ^ image
    return table


@cache
def _byte_table():
    table = np.arange(256, dtype="<u4")
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1).astype("<u4")
    return table


@cache
def _byte_list():
    return _byte_table().tolist()


def _crc_of_few(data):
    table, crc = _byte_list(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
