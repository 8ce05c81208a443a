"""CSV and TSV files, row by row, whatever is in them."""

import csv
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError, one_line
from ..io.tables import check_width

LONGEST_FIELD = 2**24


@contextmanager
def long_fields():
    """Allow fields longer than csv's 128 kB; put the limit back afterwards."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_cells(path, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> list[list[str]]:
    """Every row that is not empty, as a list of cells. Raises UserError when unreadable.

    `quoting=csv.QUOTE_NONE` for files that know no quotes, where a stray one would swallow rows.
    """
    try:
        with open(Path(path), encoding="utf-8-sig", newline="") as file, long_fields():
            rows = [row for row in csv.reader(file, delimiter=delimiter, quoting=quoting) if row]
        check_width(len(rows[0]) if rows else 0, path)
        return rows
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None


def read_records(path, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> list[dict]:
    """The rows below the header as dicts; a cell that a short row lacks is absent."""
    cells = read_cells(path, delimiter, quoting)
    return named(cells[1:], cells[0]) if cells else []


def named(rows: list[list[str]], names: list[str]) -> list[dict]:
    """Rows of cells as dicts under `names`; further cells are left out."""
    return [dict(zip(names, row, strict=False)) for row in rows]
