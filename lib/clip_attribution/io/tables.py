"""Read tables of pairs (CSV, JSON lines, Parquet) and write files that are never seen half done."""

import csv
import hashlib
import json
import os
import re
import shutil
import time
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError, one_line
from .read import is_missing, parse_json, utf8
from .read import read_json as read_json  # of old a part of this module

STARTED = time.time_ns()  # tells this process from an earlier one of the same number
MOST_COLUMNS = 5_000
FAULT = "_fault"  # a column of reasons, only where a row holds what cannot be written
TEXT_COLUMNS = ("image", "caption")
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


def read_pairs(path):
    """Read and check a table of pairs from a .csv, .jsonl or .parquet file.

    Returns a pyarrow Table with `pair_id` (the row number from 0 where the file has none),
    `image` and `caption` (text or null) and then the file's other columns as they are.
    Raises UserError when the file cannot be read, a column is missing or an id occurs twice.
    """
    return check_pairs(read_table(path), Path(path).name)


def read_table(path):
    """Read a .csv, .jsonl or .parquet file as a pyarrow Table; UserError when that fails."""
    path = Path(path)
    readers = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: the name of a table ends in .csv, .jsonl or .parquet")
    try:
        return readers[path.suffix.lower()](path)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from None
    except (pa.ArrowException, csv.Error) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None


def read_csv(path):
    """Read a CSV file: cells stay as written, and only columns of plain numbers become numbers."""
    csv.field_size_limit(2**31 - 1)
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        names = next(reader, [])
        check_width(len(names), path)
        rows = [row for row in checked_rows(reader, len(names), path) if row]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two columns have the same name")
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    columns = zip(names, cells, strict=True)
    return pa.table({name: csv_column(name, cell) for name, cell in columns})


def check_width(columns, path):
    """Raise UserError for a table that is no table of pairs but one line without line breaks."""
    if columns > MOST_COLUMNS:
        raise UserError(f"{path} has {columns:,} columns: at most {MOST_COLUMNS:,} are read")


def checked_rows(reader, width, path):
    """Yield the reader's rows; UserError naming the line of a row of another width."""
    for row in reader:
        if row and len(row) != width:
            line = reader.line_num
            raise UserError(f"{path}: line {line} has {len(row)} cells, the header {width}")
        yield row


def csv_column(name, cells):
    """One CSV column: whole numbers, decimals or text. Captions, paths and '007' stay text."""
    filled = [cell for cell in cells if cell]
    numbers = not (name in TEXT_COLUMNS or not filled)
    if numbers and all(WHOLE.fullmatch(cell) for cell in filled):
        return pa.array([int(cell) if cell else None for cell in cells], pa.int64())
    if numbers and name != "pair_id" and all(DECIMAL.fullmatch(cell) for cell in filled):
        return pa.array([float(cell) if cell else None for cell in cells], pa.float64())
    return pa.array(cells, pa.string())


def read_jsonl(path):
    """Read JSON lines; UserError naming the line that is not an object of valid text."""
    with open(path, encoding="utf-8-sig") as file:
        lines = enumerate(file, start=1)
        records = [json_record(line, number, path) for number, line in lines if line.strip()]
    records = [written_out(record) for record in records]
    names = dict.fromkeys(name for record in records for name in record)
    check_width(len(names), path)
    columns = {name: [record.get(name) for record in records] for name in names}
    return pa.table({name: json_column(name, values) for name, values in columns.items()})


def json_record(line, number, path):
    """One line of a JSON lines file as a dict."""
    record = parse_json(line, f"{path}: line {number}")
    if not isinstance(record, dict):
        raise UserError(f"{path}: line {number} is not a JSON object")
    for name in TEXT_COLUMNS:
        if isinstance(record.get(name), (list, dict)):
            raise UserError(f"{path}: line {number}: '{name}' must be text")
    return record


def written_out(record):
    """A record in which NaN is null, and half surrogate pairs are spelt out, with a fault."""
    record = {name: None if is_missing(value) else value for name, value in record.items()}
    bad = [name for name, value in record.items() if not utf8(f"{name}{json_text(value)}")]
    if not bad:
        return record
    record = {spelt(name): spelt(value) for name, value in record.items()}
    where = ", ".join(spelt(name) for name in bad)
    return record | {FAULT: f"half a character (a lone surrogate) in: {where}"}


def spelt(value):
    """A JSON value whose half surrogate pairs are written as \\ud83d."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if utf8(text):
        return value
    text = text.encode("utf-8", "backslashreplace").decode()
    return text


def json_column(name, values):
    """One column of JSON values; mixed types become text (JSON text where they are nested)."""
    if name == "references":
        values = [[value] if isinstance(value, str) else value for value in values]
    try:
        as_text = name in TEXT_COLUMNS and any(value is not None for value in values)
        return pa.array(values, pa.string() if as_text else None)
    except (pa.ArrowException, OverflowError):
        return pa.array([json_text(value) for value in values], pa.string())


def json_text(value):
    """A JSON value as text: text as it is, everything else as JSON, null as null."""
    keep = value is None or isinstance(value, str)
    return value if keep else json.dumps(value, ensure_ascii=False)


def read_parquet(path):
    """Read a Parquet file, without the notes that pandas leaves in its schema."""
    file = pq.ParquetFile(path)
    check_width(len(file.schema_arrow.names), path)
    table = file.read()
    notes = parse_json((table.schema.metadata or {}).get(b"pandas", b"{}"), path)
    for index in notes.get("index_columns", ()) if isinstance(notes, dict) else ():
        # pandas keeps an arithmetic index as three numbers, and no column
        if isinstance(index, dict) and index.get("name") == "pair_id":
            ids = range(*(int(index[part]) for part in ("start", "stop", "step")))
            if "pair_id" not in table.column_names and len(ids) == table.num_rows:
                table = table.append_column("pair_id", pa.array(ids, pa.int64()))
    return table.replace_schema_metadata(None)


def check_pairs(table, source="the table"):
    """Check the columns of a table of pairs, put pair_id, image, caption first (see read_pairs)."""
    missing = [name for name in TEXT_COLUMNS if name not in table.column_names]
    if missing:
        found = ", ".join(short(name) for name in table.column_names[:10]) or "none"
        found += ", ..." if table.num_columns > 10 else ""
        raise UserError(f"{source} has no column '{missing[0]}' (columns found: {found})")
    if len(set(table.column_names)) < table.num_columns:
        raise UserError(f"{source}: two columns have the same name")
    if "pair_id" not in table.column_names:
        table = table.append_column("pair_id", pa.array(range(table.num_rows), pa.int64()))
    first = {"pair_id": id_column(table["pair_id"], source)}
    first |= {name: text_column(table[name], name, source) for name in TEXT_COLUMNS}
    others = [name for name in table.column_names if name not in first]
    return pa.table(first | {name: table[name] for name in others})


def short(name):
    """A column's name, at most 40 characters of it and in one line."""
    return name if len(name) <= 40 and name.isprintable() else f"{name[:40]!r}..."


def text_column(column, name, source):
    """The column as text; UserError when it holds something that has no plain text form."""
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        raise UserError(f"{source}: column '{name}' must hold text, not {column.type}") from None


def id_column(column, source):
    """The ids as whole numbers or text; UserError when one is absent or occurs twice."""
    if pa.types.is_floating(column.type):
        column = pa.array(column.to_pandas(), from_pandas=True)  # NaN is no id
    if not pa.types.is_integer(column.type):
        column = text_column(column, "pair_id", source)
    seen = set()
    for row, value in enumerate(column.to_pylist()):
        if value is None or value == "":
            raise UserError(f"{source}: the pair_id of row {row} is empty")
        if value in seen:
            raise UserError(f"{source}: pair_id {value!r} occurs twice")
        seen.add(value)
    return column


def digest(*parts):
    """A key of 16 hex digits (sha256) over the parts' own text forms, their order included."""
    text = "\n".join(repr(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@contextmanager
def atomic_path(path):
    """Give a temporary path for `path`; rename it to `path` on success, remove it on an error.

    It lies in a hidden folder beside `path` that names its owner, and what a killed process left
    there is removed first. Raises UserError when the folder cannot be written.
    """
    path = Path(path)
    try:
        clear(path)
        with TemporaryDirectory(".tmp", temporary_name(path), path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or one_line(error)}") from None


def temporary_name(path):
    """How the names begin of what this process writes beside `path` for a while."""
    host = re.sub(r"[^A-Za-z0-9]", "_", gethostname())[:40]
    return f".{path.name[:120]}.{host}-{os.getpid()}-{STARTED}."


def clear(path, ending=".tmp"):
    """Remove what processes of this host that are gone left while they wrote `path`."""
    begin, _, own = temporary_name(path).rpartition(f"-{os.getpid()}-")
    for left in path.parent.glob(f"{escape(begin)}-*{ending}"):
        pid, _, rest = left.name[len(begin) + 1 :].partition("-")
        alive = rest.startswith(own) if pid == str(os.getpid()) else is_alive(pid)
        if not alive:
            shutil.rmtree(left, ignore_errors=True)


def is_alive(pid):
    """Whether this host runs a process of this number; what is no number counts as alive."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, ValueError):
        pass
    return True


def write_parquet(table, path):
    """Write a pyarrow Table to a Parquet file, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def write_json(value, path):
    """Write a value as an indented JSON file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def join_parquet(parts, path, schema):
    """Join Parquet files of one schema into one, atomically and one part in memory at a time."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part in parts:
            writer.write_table(pq.ParquetFile(part).read())
