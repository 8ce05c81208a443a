"""What the loaders share: find the official file, read it, let a bad record carry its reason."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line
from ..io.read import read_json

POINTER = b"version https://git-lfs.github.com/spec"
COLUMNS = ("pair_id", "image", "caption", "group", "error")
COCO_FOLDERS = ("val2017", "train2017", "val2014", "train2014")


def find_file(path, *names: str) -> Path:
    """The official file: `path` itself, or the first of `names` (globs allowed) in that folder.

    Raises UserError when there is none, or when it is the pointer that Git LFS leaves behind.
    """
    path = Path(path)
    found = [path] if path.is_file() else [f for n in names for f in sorted(path.glob(n))]
    if not found:
        what = f"none of {', '.join(names)} in" if path.is_dir() else "there is no"
        raise UserError(f"{what} {path}: data/README.md says where to get it")
    with open(found[0], "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(f"{found[0]} is only a Git LFS pointer: fetch it with 'git lfs pull'")
    return found[0]


def load_json(path):
    """The list or object in a JSON file. Raises UserError."""
    return read_json(path, list, dict)


def require_fields(record, *names: str) -> None:
    """Raise ValueError, for `frame_of` to report, when the record lacks a field."""
    if not isinstance(record, dict):
        raise ValueError(f"not a record: {str(record)[:60]!r}")
    missing = [name for name in names if record.get(name) is None]
    if missing:
        raise ValueError(f"no field {missing[0]!r}")


def frame_of(records: Iterable, make_rows: Callable) -> pd.DataFrame:
    """One frame of the rows that `make_rows(number, record)` gives for each record, in order.

    A record for which it raises AttributeError, KeyError, TypeError, ValueError or IndexError
    becomes one row whose `error` says so; `error` is missing in all other rows.
    """
    rows = []
    for number, record in enumerate(records):
        try:
            rows += list(make_rows(number, record))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"record {number}: {one_line(error)}"
            rows.append({"pair_id": f"record {number}", "error": reason})
    names = dict.fromkeys(COLUMNS) | {name: None for row in rows for name in row}
    return pd.DataFrame(rows, columns=list(names))


def coco_names(name: str) -> list[str]:
    """Where a COCO photo may lie: its own name first, then every year's folder and naming.

    The same photo is 000000000042.jpg in 2017 and COCO_val2014_000000000042.jpg in 2014.
    """
    digits = Path(name).stem[-12:]
    if not digits.isdecimal():
        return [name]
    found = [name, Path(name).name]
    for folder in COCO_FOLDERS:
        year = f"COCO_{folder}_" if folder.endswith("2014") else ""
        found += [f"{folder}/{year}{digits}.jpg", f"{year}{digits}.jpg"]
    return list(dict.fromkeys(found))


def find_image(images, names: list[str]) -> str:
    """The first of `names` that is a file under the folder `images`; else the first name."""
    for name in names if images is not None else []:
        try:
            if (Path(images) / name).is_file():
                return name
        except (OSError, ValueError):  # too long, or no possible path: reading it will say so
            continue
    return names[0]
