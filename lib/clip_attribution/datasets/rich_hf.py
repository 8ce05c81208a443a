"""Rich-HF-18K (Liang et al., CVPR 2024): prompts of Pick-a-Pic, their tokens marked by people.

Official files `train|dev|test.tfrecord` (github google-research-datasets/richhf-18k, Git LFS), with
neither prompts nor pictures: both come from Pick-a-Pic (Hugging Face yuvalkirstain/pickapic_v1).
"""

import io
import re
from collections.abc import Iterable
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..errors import ImageError, UserError, one_line
from ..io.tables import atomic_path, read_table
from .files import find_file, find_image, frame_of
from .tfrecord import parse_example, read_records

TOKEN = re.compile(r'[^,.?!":; ]+')
TABLES = ["**/*.parquet", "**/*.jsonl", "**/*.csv"]
PROMPTS = ["*.parquet", "pickapic*/**/*.parquet", "pickapic*/**/*.jsonl", "pickapic*/**/*.csv"]
PROMPT_COLUMNS = ["image_0_uid", "image_1_uid", "caption"]
SCORES = ("aesthetics_score", "artifact_score", "overall_score")


def load(path, images=None, prompts=None, split="test") -> pd.DataFrame:
    """A pairs frame with one row a record; caption is the prompt.

    prompts: Pick-a-Pic's table (.parquet, .jsonl or .csv) or a folder of them; else looked for
    beside the TFRecord file, also in `pickapic*`. images: where `<split>/<uid>.png`, `<uid>.png`
    or `<uid>.jpg` lie (`extract_pictures` writes them).

    uid; score: the misalignment score (higher = better aligned), and aesthetics_score,
    artifact_score, overall_score; tokens and labels (True = aligned), of one length, and
    token_spans: (start, end) of each misaligned token in the caption; truncated_labels: whether
    either list was longer and was cut; misalignment_map: encoded, for `decode_map`.
    A damaged record or a prompt that is missing is an error of that row. Raises UserError.
    """
    file = find_file(path, f"{split}.tfrecord")
    texts = read_prompts(prompt_files(file, prompts))
    locate = cache(lambda name: find_image(images, picture_names(name)))

    def rows(number, record):
        if isinstance(record, str):
            return [{"pair_id": f"record {number}", "error": record}]
        row = rich_hf_row(parse_example(record), texts)
        return [{"pair_id": str(number), "image": locate(row.pop("filename"))} | row]

    return frame_of((record for _, record in read_records(file)), rows)


def rich_hf_row(features: dict, texts: dict[str, str]) -> dict:
    """The row of a record's features, with its filename. Raises ValueError."""
    filename = one(features, "filename", bytes).decode()
    uid = Path(filename).stem
    if not texts.get(uid):
        raise ValueError(f"no prompt for {uid!r} in the tables of Pick-a-Pic")
    labels = one(features, "prompt_misalignment_label", bytes).decode().split()
    return {
        "filename": filename,
        "uid": uid,
        "caption": texts[uid],
        "group": "",
        "score": one(features, "misalignment_score", float),
        **{name: features[name][0] if features.get(name) else None for name in SCORES},
        **token_labels(texts[uid], labels),
        "misalignment_map": (features.get("misalignment_map") or [None])[0],
    }


def one(features: dict, name: str, kind: type):
    """The single value of a feature. Raises ValueError."""
    values = features.get(name) or []
    if len(values) != 1 or not isinstance(values[0], kind):
        raise ValueError(f"feature {name!r} must be one value of type {kind.__name__}")
    return values[0]


def split_tokens(caption: str) -> list[tuple[int, int]]:
    """(start, end) of the dataset's tokens: what is left between the characters ,.?!":; and space.

    As google-research/richhf_18k splits prompts: a line break alone is a token.
    """
    return [match.span() for match in TOKEN.finditer(caption)]


def token_labels(caption: str, labels: list[str]) -> dict:
    """The columns tokens, labels, token_spans and truncated_labels. Raises ValueError."""
    if set(labels) - {"0", "1"}:
        raise ValueError("'prompt_misalignment_label' holds something else than 0 and 1")
    spans = split_tokens(caption)
    n = min(len(spans), len(labels))
    aligned = [label == "1" for label in labels[:n]]
    return {
        "tokens": [caption[start:end] for start, end in spans[:n]],
        "labels": aligned,
        "token_spans": [span for span, good in zip(spans, aligned, strict=False) if not good],
        "truncated_labels": len(spans) != len(labels),
    }


def picture_names(filename: str) -> list[str]:
    """Where the picture of a record may lie, under its official name or its uid's."""
    path = Path(filename)
    names = [filename, path.name]
    return names + [
        str(folder / f"{path.stem}.{end}")
        for folder in (Path(), path.parent)
        for end in ("png", "jpg")
    ]


def prompt_files(file: Path, prompts=None) -> list[Path]:
    """The tables of prompts that were named, or that lie beside `file`. Raises UserError."""
    if prompts is not None and not Path(prompts).is_dir():
        return [find_file(prompts)]
    folder, names = (file.parent, PROMPTS) if prompts is None else (Path(prompts), TABLES)
    found = sorted({found for name in names for found in folder.glob(name)})
    if not found:
        raise UserError(
            f"no table of prompts in {folder}: data/README.md says where to get Pick-a-Pic"
        )
    return [find_file(one) for one in found]


def read_prompts(files: Iterable[Path]) -> dict[str, str]:
    """The prompt of every uid in tables of Pick-a-Pic, the first where it has several.

    Of a parquet file only the three columns are read. Raises UserError.
    """
    prompts = {}
    for file in files:
        table = read_columns(file, PROMPT_COLUMNS)
        for side in PROMPT_COLUMNS[:2]:
            pairs = zip(table[side].to_pylist(), table["caption"].to_pylist(), strict=True)
            for uid, caption in pairs:
                prompts.setdefault(str(uid), caption)
    return prompts


def read_columns(file: Path, names: list[str]) -> pa.Table:
    """These columns of a .parquet, .jsonl or .csv file. Raises UserError."""
    if file.suffix == ".parquet":
        with open_parquet(file, names) as parquet:
            return parquet.read(names)
    table = read_table(file)
    require_columns(file, table.column_names, names)
    return table.select(names)


def require_columns(file, found: list[str], names: list[str]) -> None:
    """Raise UserError when one of `names` is not among the columns found."""
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{file} has no column {missing[0]!r}: not a table of Pick-a-Pic")


@contextmanager
def open_parquet(file, names: list[str]):
    """The opened file, which has the columns `names`. Raises UserError, also while it is read."""
    try:
        with pq.ParquetFile(file) as parquet:
            require_columns(file, parquet.schema_arrow.names, names)
            yield parquet
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {file}: {one_line(error)}") from None


def extract_pictures(parquet, folder, uids: Iterable[str]) -> list[str]:
    """Write the pictures of `uids` from Pick-a-Pic's parquet file to `<folder>/<uid>.jpg` (.png).

    A picture that is there already is kept. Returns the uids whose picture is not in the file.
    Raises UserError, also for a uid that is no plain file name.
    """
    folder, wanted = Path(folder), set(uids)
    wrong = [uid for uid in wanted if not uid or uid != Path(uid).name or uid[0] == "."]
    if wrong:
        raise UserError(f"{wrong[0]!r} is not a picture's uid")
    folder.mkdir(parents=True, exist_ok=True)
    for uid, content in pictures(parquet):
        if uid in wanted:
            wanted.remove(uid)
            ending = "png" if content.startswith(b"\x89PNG") else "jpg"
            write_once(folder / f"{uid}.{ending}", content)
        if not wanted:
            break
    return sorted(wanted)


def pictures(file):
    """Yield (uid, encoded picture) for both pictures of each row, a few rows in memory at once."""
    names = ["image_0_uid", "jpg_0", "image_1_uid", "jpg_1"]
    with open_parquet(find_file(file), names) as parquet:
        for batch in parquet.iter_batches(64, columns=names):
            for row in batch.to_pylist():
                for side in "01":
                    content = row[f"jpg_{side}"]
                    content = content.get("bytes") if isinstance(content, dict) else content
                    if content:
                        yield row[f"image_{side}_uid"], content


def write_once(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, atomically."""
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)


def decode_map(encoded: bytes) -> np.ndarray:
    """An artifact or misalignment map as uint8 [H, W], 0..255. Raises ImageError."""
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            return np.array(image.convert("L"))
    except Exception as error:  # Pillow's readers raise anything on hostile bytes
        raise ImageError(f"cannot read a map: {one_line(error)}") from error
