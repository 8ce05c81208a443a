"""The published numbers of data/published.csv, and how they stand beside measured ones."""

from functools import cache
from pathlib import Path

import pandas as pd

FILE = Path(__file__).resolve().parents[3] / "data" / "published.csv"
CLIP4DM = {
    "foil": "FOIL",
    "nocaps-foil": "nocaps-FOIL",
    "hat": "HAT",
    "seetrue": "SeeTRUE-Feedback",
    "rich-hf": "Rich-HF-18K test",
}
CAE = {
    "aro-relation": ("ARO", "relation accuracy"),
    "aro-attribute": ("ARO", "attribute accuracy"),
    "sugarcrepe": ("SugarCrepe", None),
    "vl-checklist": ("VL-CheckList", None),
    "valse": ("VALSE", None),
    "svo-probes": ("SVO-Probes", None),
    "comvg": ("ComVG", None),
    "winoground": ("Winoground clean", None),
    "coco-retrieval": ("MSCOCO", None),
    "flickr30k-retrieval": ("Flickr30K", None),
    "sts-b": ("STS-B", None),
    "sick-r": ("SICK-R", None),
}
GROUNDING = {
    "flickr30k-entities": "Flickr30K Entities test",
    "refcoco+": "RefCOCO+ testA",
    "spatialsense": "SpatialSense triplet",
}
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
    rows = main_table(benchmark)
    rows = rows.assign(scorer=rows["model"], group="all", published=True)
    shown = rows[["measure", "scorer", "group", "value", "note", "published"]]
    return pd.concat([results.assign(published=False), shown], ignore_index=True)


def main_table(benchmark: str) -> pd.DataFrame:
    """The rows that a paper printed for a benchmark, with the column `measure`; none where none."""
    if benchmark in CLIP4DM:
        rows = published(system="clip4dm", dataset=CLIP4DM[benchmark])
        rows = rows[rows["table"].str.startswith("main") & (rows["metric"] != "FPS")]
    elif benchmark in CAE:
        dataset, metric = CAE[benchmark]
        rows = published(system="cae", dataset=dataset)
        rows = rows[rows["table"].isin(["Table 1", "Table 3", "Table 4"])]
        rows = rows[rows["metric"].eq(metric)] if metric else rows
    else:
        rows = published(system="qgroundcam", table="Table 1", dataset=GROUNDING.get(benchmark))
        rows = as_shares(rows)
    return rows.assign(measure=rows["metric"].replace(MEASURES))


def as_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Q-GroundCAM's percentages and counts ("count out of 14481") as shares of 1."""
    percent = rows["note"].str.contains("percent")
    total = rows["note"].str.extract(r"count out of (\d+)")[0].astype(float)
    whole = total.fillna(100.0).where(percent | total.notna(), 1.0)
    return rows.assign(value=rows["value"] / whole)
