"""The published numbers of data/published.csv, and how they stand beside measured ones."""

from functools import cache
from pathlib import Path

import pandas as pd

from .registry import get_benchmark

FILE = Path(__file__).resolve().parents[3] / "data" / "published.csv"
MEASURES = {
    "IoU soft": "iou_soft",
    "IoU binary": "iou_binary",
    "Dice soft": "dice_soft",
    "Dice binary": "dice_binary",
    "WDP soft": "wdp_soft",
    "WDP binary": "wdp_binary",
    "IO ratio": "io_ratio",
    "PG accuracy": "pg_hit",
    "PG uncertainty": "pg_uncertain",
}


@cache
def _table() -> pd.DataFrame:
    return pd.read_csv(FILE, dtype={"value": str}, keep_default_na=False)


def published(**equal) -> pd.DataFrame:
    """The rows with these values, for instance published(system="cae", table="Table 1").

    Columns: system, table, model, dataset, metric, value (float), printed (the text as printed),
    note, source.
    """
    table = _table()
    for column, value in equal.items():
        table = table[table[column] == value]
    printed = table["value"]
    return table.assign(value=printed.astype(float), printed=printed).reset_index(drop=True)


def beside(results: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """Measured rows of a benchmark, followed by what its paper printed for it.

    results: measure, scorer, group, value, ... A published row has `published` True, no interval
    and no n, names its model in `scorer`, and stands in the unit of the measured rows.
    """
    rows = main_table(*get_benchmark(benchmark).published)
    rows = rows.assign(scorer=rows["model"], group="all", published=True)
    shown = rows[["measure", "scorer", "group", "value", "note", "published"]]
    return pd.concat([results.assign(published=False), shown], ignore_index=True)


def main_table(system: str = "", dataset: str = "", metric: str | None = None) -> pd.DataFrame:
    """The rows that a paper printed for a benchmark, with the column `measure`; none where none.

    system, dataset, metric: as in data/published.csv; the same triple is `Benchmark.published`.
    """
    rows = published(system=system, dataset=dataset)
    if system == "clip4dm":
        rows = rows[rows["table"].str.startswith("main") & (rows["metric"] != "FPS")]
    elif system == "cae":
        rows = rows[rows["table"].isin(["Table 1", "Table 3", "Table 4"])]
    else:
        rows = as_shares(rows[rows["table"] == "Table 1"])
    rows = rows[rows["metric"] == metric] if metric else rows
    return rows.assign(measure=rows["metric"].replace(MEASURES))


def as_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Q-GroundCAM's percentages and counts ("count out of 14481") as shares of 1."""
    percent = rows["note"].str.contains("percent")
    total = rows["note"].str.extract(r"count out of (\d+)")[0].astype(float)
    whole = total.fillna(100.0).where(percent | total.notna(), 1.0)
    return rows.assign(value=rows["value"] / whole)
