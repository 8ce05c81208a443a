"""Results of an evaluation: their files, and their table for a terminal."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ..io.output import claim, finished, lock_file, seal
from ..io.parts import remove_parts
from ..io.tables import atomic_path, write_parquet
from ..metrics.intervals import in_words

FILES = ["results.csv", "rows.parquet"]


@contextmanager
def reported(out, names, key: str):
    """Hold an evaluation's files in `out`; yields (write, parts): write(results, facts, rows=None)
    writes them, unless a finished run has, and removes the folder of parts."""
    out = Path(out)
    receipt, files = out / "evaluation.json", [out / name for name in names]
    with claim(receipt, files, key) as done:

        def write(results, facts, rows=None):
            if not done:
                if rows is not None:
                    write_parquet(pa.Table.from_pandas(plain(rows), preserve_index=False), files[1])
                with atomic_path(files[0]) as temporary:
                    results.to_csv(temporary, index=False, float_format="%.9g")
                seal(receipt, files, facts | {"key": key})
            remove_parts(out / "parts")  # a kill may have left them beside finished files

        yield write, None if done else out / "parts"


def of_first(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first scorer of all, as `evaluate_grounding` returns them."""
    return rows[rows["scorer"] == rows["scorer"].iloc[0]].drop(columns="scorer")


def stored(out, names, key: str, quiet: bool = False):
    """(results, rows) as the files of a finished run with this key have them; None without one.

    names: of the table of results and of the rows. Nothing is computed, and nothing written; what
    a kill left beside finished files is for `reported` to remove.
    """
    out = Path(out)
    receipt, files = out / "evaluation.json", [out / name for name in names]
    if lock_file(receipt).exists() or (out / "parts").exists():
        return None
    if not finished(receipt, files, key):
        return None
    results = pd.read_csv(files[0], keep_default_na=False, na_values=[""])
    texts = results.select_dtypes(["object", "string"]).columns
    results[texts] = results[texts].fillna("")
    if not quiet:
        print(f"{files[0]} is of a complete run with these inputs: nothing to do", file=sys.stderr)
    return results, pd.read_parquet(files[1])


def say_done(out, rows: pd.DataFrame, quiet: bool) -> None:
    """Say where the results are, and how many rows have an error."""
    if not quiet:
        line = "{}: {rows} rows, {errors} with an error"
        print(line.format(Path(out) / "results.csv", **count(rows)), file=sys.stderr)


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with cells that a Parquet file takes."""
    return rows.map(lambda cell: repr(cell) if isinstance(cell, dict | tuple | bytes) else cell)


def count(rows: pd.DataFrame) -> dict:
    """The numbers of rows, and of rows with an error."""
    return {"rows": len(rows), "errors": int(rows["error"].notna().sum())}


def show(results: pd.DataFrame) -> str:
    """The results as a table for a terminal: value with its interval, n, chance and ceiling.

    A published row has what was measured less its own value where `published.beside` found it.
    """
    published = results.get("published", pd.Series(False, results.index)).astype(bool)
    shown = pd.DataFrame(
        {
            "measure": results["measure"],
            "scorer": results["scorer"].where(~published, results["scorer"] + " (published)"),
            "group": results["group"],
            "value [95 % interval]": [interval(row) for row in results.itertuples()],
            "n": [number(n, ".0f") for n in results["n"]],
            "chance": [number(value, ".3f") for value in results["chance"]],
            "ceiling": [number(value, ".3f") for value in results["ceiling"]],
            "note": results["note"].fillna(""),
        }
    )
    if "difference" in results:
        shown.insert(4, "difference", [number(value, "+.3f") for value in results["difference"]])
    return shown.to_string(index=False)


def interval(row) -> str:
    """A value with its interval, as in "0.305 [0.240, 0.370]"; without a value a dash."""
    if pd.isna(row.value):
        return "-"
    return f"{row.value:.3f}" if pd.isna(row.low) else in_words(row._asdict())


def number(value, form: str) -> str:
    """A number in this form; nothing for a missing one."""
    return "" if pd.isna(value) else f"{value:{form}}"


def print_results(results: pd.DataFrame) -> None:
    """Print the table on stdout."""
    print(show(results), file=sys.stdout)
