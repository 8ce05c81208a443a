"""The published numbers of data/published.csv, and how they stand beside measured ones."""

from functools import cache
from pathlib import Path

import pandas as pd

from .registry import DESCRIPTIONS, get_benchmark

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
    and no n, names its model in `scorer`, and stands in the unit of the measured rows. Of a
    benchmark of descriptions it has the difference, too: what was measured of the model (the first
    scorer) less what is printed.
    """
    record = get_benchmark(benchmark)
    rows = main_table(*record.published)
    rows = rows.assign(scorer=rows["model"], published=True)
    shown = rows[["measure", "scorer", "group", "value", "note", "published"]]
    if record.kind == DESCRIPTIONS:
        key = ["measure", "group"]
        measured = results.drop_duplicates(key).set_index(key)["value"]
        own = measured.reindex(pd.MultiIndex.from_frame(shown[key])).to_numpy()
        shown = shown.assign(difference=own - shown["value"])
    return pd.concat([results.assign(published=False), shown], ignore_index=True)


def main_table(system: str = "", dataset: str = "", metric: str | None = None) -> pd.DataFrame:
    """What a paper printed for a benchmark, with the columns measure and group; none where none.

    system, dataset, metric: as in data/published.csv; the same triple is `Benchmark.published`. A
    dataset that is only the beginning of names ("Kreiss 2022") has the rest as groups ("BLV").
    """
    rows = published(system=system, dataset=dataset).assign(group="all")
    if system == "clip4dm":
        rows = rows[rows["table"].str.startswith("main") & (rows["metric"] != "FPS")]
    elif system == "cae":
        rows = rows[rows["table"].isin(["Table 1", "Table 3", "Table 4"])]
    elif system == "iit_das" and rows.empty:
        rows = published(system=system, table="Table 2")
        rows = rows[rows["dataset"].str.startswith(dataset)]
        rows = rows.assign(group=rows["dataset"].str.removeprefix(dataset).str.strip())
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
