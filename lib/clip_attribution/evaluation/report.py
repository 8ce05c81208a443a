"""Results of an evaluation: their files, and their table for a terminal."""

import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ..io.tables import atomic_path, digest, write_json, write_parquet
from ..metrics.intervals import in_words
from .score import say


def finish(out, results, rows, facts: dict, quiet: bool) -> None:
    """Write results.csv, every row as rows.parquet, and evaluation.json."""
    plain = rows.map(lambda cell: repr(cell) if isinstance(cell, dict | tuple | bytes) else cell)
    write_parquet(pa.Table.from_pandas(plain, preserve_index=False), Path(out) / "rows.parquet")
    errors = int(rows["error"].notna().sum())
    write_results(results, out, facts | {"rows": len(rows), "errors": errors})
    say(quiet, f"{Path(out) / 'results.csv'}: {len(rows)} rows, {errors} with an error")


def write_results(results: pd.DataFrame, out, facts: dict) -> None:
    """Write results.csv and evaluation.json, atomically."""
    with atomic_path(Path(out) / "results.csv") as temporary:
        results.to_csv(temporary, index=False, float_format="%.9g")
    write_json(facts | {"key": digest(facts)}, Path(out) / "evaluation.json")


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
