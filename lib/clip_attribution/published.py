"""The published numbers of data/published.csv, and how they stand beside measured ones."""

from functools import cache
from pathlib import Path

import pandas as pd

FILE = Path(__file__).resolve().parents[2] / "data" / "published.csv"
DATASETS = {
    "foil": "FOIL",
    "nocaps-foil": "nocaps-FOIL",
    "hat": "HAT",
    "seetrue": "SeeTRUE-Feedback",
    "rich-hf": "Rich-HF-18K test",
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
    """Measured rows of a misalignment benchmark, followed by the main table that CLIP4DM printed.

    results: measure, scorer, group, value, ... A published row has `published` True, no interval
    and no n, and names its model in `scorer`.
    """
    main = published(system="clip4dm", dataset=DATASETS[benchmark])
    main = main[main["table"].str.startswith("main") & (main["metric"] != "FPS")]
    rows = pd.DataFrame({
        "measure": main["metric"], "scorer": main["model"], "group": "all", "value": main["value"],
        "note": main["note"], "published": True,
    })  # fmt: skip
    return pd.concat([results.assign(published=False), rows], ignore_index=True)
