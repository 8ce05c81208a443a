"""A long table computed chunk by chunk into files, so that a stopped run goes on where it was.

Each finished chunk of rows is kept under DIR/parts, named by a key of everything that decides its
values. A restart takes what has its key and computes the rest; at the end the parts are joined into
the final files, one in memory at a time, and removed.
"""

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ..errors import UserError, one_line
from .tables import digest, join_parquet, read_json, write_json, write_parquet

Files = namedtuple("Files", "words pairs report parts")


def make_folder(path):
    """Make a folder for results; UserError when it cannot be made."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or one_line(error)}") from None


def output_files(out, shard):
    """The paths of one run's files in the folder `out`; a shard's carry its number."""
    tail = "-{}-of-{}".format(*shard) if shard else ""
    names = (f"words{tail}.parquet", f"pairs{tail}.parquet", f"score{tail}.json", f"parts{tail}")
    return Files(*(Path(out) / name for name in names))


def cut(table, shard, chunk_rows):
    """The chunks of one shard, as slices of the table; shard (i, n) is the i-th of n blocks."""
    index, count = shard or (1, 1)
    start, stop = (table.num_rows * edge // count for edge in (index - 1, index))
    starts = range(start, stop, chunk_rows)
    return [table.slice(row, min(chunk_rows, stop - row)) for row in starts]


def chunk_key(facts, chunk, image_root):
    """The key of one chunk: facts, column types, cells, size and time of its images."""
    pictures = [picture_state(image, image_root) for image in chunk["image"].to_pylist()]
    return digest(facts, chunk.schema.to_string(), chunk.to_pylist(), pictures)


def picture_state(image, image_root):
    """Size and time of change of an image file, or None where there is no such file."""
    try:
        stat = (Path(image_root or ".") / (image or "")).stat()
    except (OSError, ValueError):  # absent, or no possible path: the row's error will say so
        return None
    return stat.st_size, stat.st_mtime_ns


def finished(files, key):
    """The report of an earlier complete run with the same key, or None."""
    if not all(path.is_file() for path in files[:3]):
        return None
    report = read_json(files.report)
    return report if report.get("key") == key else None


def compute_parts(folder, chunks, keys, compute, quiet):
    """Compute the chunks that have no part yet; return the paths (words, pairs) of all parts."""
    make_folder(folder)
    parts = [(folder / f"{key}.words.parquet", folder / f"{key}.pairs.parquet") for key in keys]
    with progress_bar(sum(map(len, chunks)), quiet) as bar:
        for chunk, (words_path, pairs_path) in zip(chunks, parts, strict=True):
            if not pairs_path.exists():  # written second, so its words are there too
                words, pairs = compute(chunk)
                write_parquet(words, words_path)
                write_parquet(pairs, pairs_path)
            bar.update(len(chunk))
    return parts


def progress_bar(total, quiet):
    """A bar in rows on stderr; at most twice a minute where stderr is no terminal."""
    interval = 0.1 if sys.stderr.isatty() else 30
    return tqdm(total=total, unit="pair", disable=quiet, mininterval=interval)


def finish(files, parts, schemas, report):
    """Join the parts into the final files, write the report last, remove the parts.

    Returns the report with the numbers of rows and of rows with an error.
    """
    files.report.unlink(missing_ok=True)  # until the new one, the folder counts as unfinished
    remove_leftovers(files)
    join_parquet([words for words, _ in parts], files.words, schemas[0])
    join_parquet([pairs for _, pairs in parts], files.pairs, schemas[1])
    errors = pq.read_table(files.pairs, columns=["error"])["error"]
    report = report | {"rows": len(errors), "errors": len(errors) - errors.null_count}
    write_json(report, files.report)
    shutil.rmtree(files.parts)
    return report


def remove_leftovers(files):
    """Remove the temporary files of a run that was killed while it joined."""
    for path in files[:3]:
        for leftover in path.parent.glob(f".{path.name}.*.tmp"):
            leftover.unlink(missing_ok=True)
