"""Read text and JSON that others wrote: whatever is in a file, the value or one UserError."""

import json
from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line


def read_text(path) -> str:
    """A UTF-8 file as text, without a byte order mark. Raises UserError."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: no possible path
        why = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot read {path}: {why}") from None


def parse_json(text, source):
    """The value of a JSON text. source: what to name in the error. Raises UserError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{source} is not valid JSON: nested too deeply") from None
    except (TypeError, ValueError, MemoryError) as error:
        raise UserError(f"{source} is not valid JSON: {one_line(error)}") from None


def read_json(path, *kinds: type):
    """The value of a JSON file, of one of the `kinds` where some are given. Raises UserError."""
    value = parse_json(read_text(path), path)
    if kinds and not isinstance(value, kinds):
        names: dict[type, str] = {list: "a list", dict: "an object"}
        wanted = " or ".join(names[kind] for kind in kinds)
        raise UserError(f"cannot read {path}: it must hold {wanted}, not {type(value).__name__}")
    return value


def is_missing(value) -> bool:
    """Whether a cell holds nothing: None, NaN in any form, pandas' NA and NaT; never a text."""
    if value is None:
        return True
    if isinstance(value, str | bytes | list | tuple | dict):
        return False
    try:
        return bool(pd.api.types.is_scalar(value) and pd.isna(value))
    except (TypeError, ValueError):
        return False


def utf8(text: str) -> bool:
    """Whether a text can be written: half a surrogate pair, as of a name in Latin-1, cannot."""
    try:
        return text.encode() is not None
    except UnicodeEncodeError:
        return False


def text_lines(text: str) -> list[str]:
    """The lines of a text, which line feeds alone end: U+2028 and others are part of a caption."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
