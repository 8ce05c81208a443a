"""Choice frames: one row a decision between captions of an image, or images of a caption.

The composition benchmarks share this one format, which `composition.score_choices` reads:
case_id (unique str); images, captions (lists; one of them has one entry, or both have two for
Winoground); truth (index of the right option; of Winoground: image i goes with caption i, 0);
kind ("text": which caption, "image": which image, "winoground"); crop ([x, y, w, h] in pixels, or
None); group (relation, subset, task: what the benchmark's table is split by); error (why the
record is unusable, else missing). A loader adds what else its dataset knows.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from ..errors import UserError
from .files import find_file, frame_of

COLUMNS = ("case_id", "images", "captions", "truth", "kind", "crop", "group", "error")


def choice(case_id, images, captions, truth=0, kind="text", group="", crop=None, **facts) -> dict:
    """One row of a choice frame. Raises ValueError, for the frame to report, on a bad caption."""
    for number, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"caption {number} is no text: {str(caption)[:60]!r}")
    row = {"case_id": str(case_id), "images": list(images), "captions": list(captions)}
    return row | {"truth": truth, "kind": kind, "crop": crop, "group": group} | facts


def choice_frame(records: Iterable, make_rows: Callable, prefix: str = "") -> pd.DataFrame:
    """The rows that `make_rows(number, record)` gives for each record; see `files.frame_of`.

    prefix: put before the case_id of a record that could not be read, and before its reason.
    """
    frame = frame_of(records, make_rows).astype(object)
    bad = frame["error"].notna()
    frame["case_id"] = frame["case_id"].where(~bad) if "case_id" in frame else None
    frame.loc[bad, "case_id"] = prefix + frame.loc[bad, "pair_id"]
    frame.loc[bad, "error"] = prefix + frame.loc[bad, "error"]
    frame.loc[bad, "group"] = prefix.rstrip(": ")
    return ordered(frame.drop(columns=["pair_id", "image", "caption"]))


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a choice frame first, all of them there; objects but for `truth`."""
    names = list(COLUMNS) + [name for name in frame if name not in COLUMNS]
    frame = frame.reindex(columns=names).astype(object)
    return frame.where(frame.notna(), None).astype({"truth": "Int64"})


def join(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Choice frames one below the other; a column that one of them lacks is missing there."""
    names = dict.fromkeys(name for frame in frames for name in frame)
    columns = {
        name: [v for f in frames for v in (f[name] if name in f else [None] * len(f))]
        for name in names
    }
    return ordered(pd.DataFrame(columns, dtype=object))


def subset_files(path, names: Iterable[str]) -> list[tuple[str, Path]]:
    """(subset, file) of every NAME.json in the folder `path` or its `data`; or of one file.

    A file belongs to the longest of `names` that its own begins with. Raises UserError when there
    is none of them.
    """
    path, names = Path(path), list(names)
    if path.is_file():
        fitting = [name for name in names if path.stem.startswith(name)]
        return [(max(fitting, key=len, default=path.stem), find_file(path))]
    for folder in (path, path / "data"):
        files = [(name, folder / f"{name}.json") for name in names]
        if found := [(name, find_file(file)) for name, file in files if file.is_file()]:
            return found
    raise UserError(
        f"none of {', '.join(names)} (.json) in {path}: data/README.md says where to get them"
    )


def keyed_records(content) -> list[tuple]:
    """(key, record) of a JSON dict or list: keys of official files are not contiguous."""
    return list(content.items() if isinstance(content, dict) else enumerate(content))
