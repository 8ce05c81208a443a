"""A long table computed chunk by chunk into files, so that a stopped run goes on where it was.

Each finished chunk of rows is kept under DIR/parts, named by its key (`keys`), which its metadata
repeats. A restart takes what has its key and computes the rest; at the end the parts are joined
into the final files, one in memory at a time, and removed. Nothing else is removed.
"""

import sys
from collections import namedtuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ..errors import UserError
from .output import make_folder, seal
from .tables import clear, join_parquet, write_parquet

Files = namedtuple("Files", "words pairs report parts")
MARK = b"clip-attribution"  # metadata that a part is known by
ENDINGS = ".words.parquet", ".pairs.parquet"  # of a score; the second is written second


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


def kept(path: Path, compute) -> pa.Table:
    """The table at `path`, whose name begins with its key; computed and written if not there.

    A file that cannot be read is computed anew. Raises UserError for one of another origin.
    """
    found = read_part(path)
    if found is None:
        found = compute()
        make_folder(path.parent)
        write_part(found, path)
        found = read_part(path)  # the same form, whether it was computed or read
    return found


def write_part(table: pa.Table, path: Path) -> None:
    """Write a table with the key that its name begins with."""
    key = path.name.split(".")[0]
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), MARK: key.encode()})
    write_parquet(marked, path)


def read_part(path: Path) -> pa.Table | None:
    """A table that `write_part` wrote; None where there is none, or a damaged one."""
    try:
        found = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException):
        return None
    if not is_part(found.schema, path):
        raise UserError(f"{path} is not of this run: choose another folder")
    return found


def is_part(schema: pa.Schema, path: Path) -> bool:
    """Whether a file with this schema is a part of this name."""
    return (schema.metadata or {}).get(MARK, b"").decode() == path.name.split(".")[0]


def remove_parts(folder: Path, endings=(".parquet",)) -> None:
    """Remove the parts of these endings, and the folder unless something else lies in it."""
    for path in list(folder.glob("*.parquet")):
        if path.name[16:] in endings:
            clear(path)
            try:
                own = is_part(pq.read_schema(path), path)
            except (OSError, pa.ArrowException):
                own = False
            if own:
                path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:  # absent, or not empty
        pass


def compute_parts(folder, chunks, keys, compute, quiet):
    """Compute the chunks that have no part yet; return the paths (words, pairs) of all parts."""
    make_folder(folder)
    parts = [tuple(folder / f"{key}{ending}" for ending in ENDINGS) for key in keys]
    with progress_bar(sum(map(len, chunks)), quiet) as bar:
        for chunk, paths in zip(chunks, parts, strict=True):
            if any(read_part(path) is None for path in paths):
                for table, path in zip(compute(chunk), paths, strict=True):
                    write_part(table, path)
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
    join_parquet([words for words, _ in parts], files.words, schemas[0])
    join_parquet([pairs for _, pairs in parts], files.pairs, schemas[1])
    errors = pq.read_table(files.pairs, columns=["error"])["error"]
    report = report | {"rows": len(errors), "errors": len(errors) - errors.null_count}
    report = seal(files.report, [files.words, files.pairs], report)
    remove_parts(files.parts, ENDINGS)
    return report
