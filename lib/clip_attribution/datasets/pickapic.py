"""Pick-a-Pic (Hugging Face yuvalkirstain/pickapic_v1): the prompts and images of Rich-HF-18K."""

from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError, one_line
from ..io.tables import read_table
from .files import find_file
from .scene_images import write_once

TABLES = ["**/*.parquet", "**/*.jsonl", "**/*.csv"]
PROMPTS = ["*.parquet", "pickapic*/**/*.parquet", "pickapic*/**/*.jsonl", "pickapic*/**/*.csv"]
PROMPT_COLUMNS = ["image_0_uid", "image_1_uid", "caption"]
PICK_A_PIC = pa.schema(
    {
        "jpg_0": pa.binary(),
        "jpg_1": pa.binary(),
        "image_0_uid": pa.string(),
        "image_1_uid": pa.string(),
        "caption": pa.string(),
    }
)
ROWS_AT_ONCE = 128


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
    """Write the images of `uids` from Pick-a-Pic's parquet file to `<folder>/<uid>.jpg` (.png).

    An image that is there already is kept. Returns the uids whose image is not in the file.
    Raises UserError, also for a uid that is no plain file name.
    """
    folder, wanted = Path(folder), set(uids)
    wrong = [uid for uid in wanted if not uid or uid != Path(uid).name or uid[0] == "."]
    if wrong:
        raise UserError(f"{wrong[0]!r} is not an image's uid")
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
    """Yield (uid, encoded image) for both images of each row, a few rows in memory at once."""
    names = ["image_0_uid", "jpg_0", "image_1_uid", "jpg_1"]
    with open_parquet(find_file(file), names) as parquet:
        for batch in parquet.iter_batches(64, columns=names):
            for row in batch.to_pylist():
                for side in "01":
                    content = row[f"jpg_{side}"]
                    content = content.get("bytes") if isinstance(content, dict) else content
                    if content:
                        yield row[f"image_{side}_uid"], content
