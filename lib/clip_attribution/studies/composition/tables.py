"""The composition benchmarks side by side, beside random weights of the same architecture.

Without files of one's own the embedded world stands in, written in the official formats.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...datasets import COMPOSITION, get_benchmark, load_benchmark, names_of
from ...datasets.accuracies import rule_notes
from ...datasets.export import RECEIPT
from ...datasets.published import main_table
from ...errors import UserError
from ...evaluation.composition import is_retrieval, measure
from ...evaluation.run import folder_of
from ...io.tables import digest
from ...metrics.intervals import in_words
from ...models.untrained import random_weights
from ..misalignment.tables import chosen as chosen_of
from ..misalignment.tables import exported, find_place

NAMES = names_of(COMPOSITION)
TITLES = {name: get_benchmark(name).title for name in NAMES}
CLEAN = "clean without 313"  # the cases of Winoground that CAE's published rows are about
PRINTED = "CLIP ViT-B/32"  # the published model
MAIN = (
    "relation accuracy",
    "attribute accuracy",
    "object accuracy",
    "order accuracy",
    "text",
    "image",
    "group",
)


class Result(NamedTuple):
    """A benchmark's rows (`all_rows`), its scored frame, whether it is the embedded world's, and
    the folder of its images."""

    rows: pd.DataFrame
    frame: pd.DataFrame
    embedded: bool
    images: str | Path | None = None


def chosen(benchmarks: str) -> list[str]:
    """The named composition benchmarks; see `benchmark_tables.chosen`, errors included."""
    return chosen_of(benchmarks, NAMES)


def composition_results(
    clip, names, files="", photos="", n=200, seed=1, cache="runs/tables", progress=False
) -> dict[str, Result]:
    """Measure the model, and random weights of its architecture, on each of the benchmarks.

    Args:
        files: a folder with a subfolder for each benchmark, or for one benchmark its file or
            folder; empty: the embedded world, exported under `cache`.
        photos: the folder of the images, or a folder with a subfolder for each benchmark.
        n: decisions or sentence pairs of a benchmark, for retrieval images; of one's own files
            as many, drawn by `seed`, or all where there are fewer.

    Raises UserError, on the arguments before anything is computed.
    """
    if photos and not files:
        raise UserError("photos without files: name the folder of the benchmarks' files too")
    if not files and not cache:
        raise UserError("the benchmarks need a cache: a folder for their files")
    places = {name: find_place(name, names, files, photos) for name in names} if files else {}
    baseline, found = random_weights(clip, seed), {}
    for name in names:
        count = max(1, n // get_benchmark(name).rows)
        place = places.get(name) or exported(name, Path(cache, "benchmarks"), count, seed)
        found[name] = compare(clip, baseline, name, *place, n, seed, progress)
    return found


def compare(clip, baseline, name, data, images, n, seed=1, progress=False) -> Result:
    """One benchmark by the model and by the baseline. Raises UserError where no row is usable."""
    whole = load_benchmark(name, data, images)
    frame = drawn(whole, n, seed)
    embedded = (folder_of(data) / RECEIPT).is_file()
    decide = get_benchmark(name).rule
    options, rule = decide(whole, data, embedded=embedded) if decide else ({}, "")
    tables = []
    for one in (clip, baseline):
        table, scored = measure(
            one, name, frame, images, seed=seed, options=options, progress=progress
        )
        errors = scored["error"].dropna()
        if len(errors) == len(scored):
            reason = f": {errors.iloc[0]}" if len(errors) else ""
            raise UserError(f"{name}: not one of {len(scored)} rows could be scored{reason}")
        tables.append(table)
        frame = scored if one is clip else frame
    return Result(all_rows(name, *tables, embedded, rule), frame, embedded, images)


def drawn(frame: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """n rows of a benchmark by chance in their order, for retrieval n images with all captions;
    all where there are fewer."""
    rng = np.random.default_rng(seed)
    if is_retrieval(frame):
        pictures = frame["image"].unique()
        if n >= len(pictures):
            return frame
        kept = frame["image"].isin(rng.choice(pictures, n, replace=False))
        return frame[kept].reset_index(drop=True)
    rows = np.sort(rng.permutation(len(frame))[:n])
    return frame.iloc[rows].reset_index(drop=True)


def all_rows(name: str, table, random, embedded: bool = False, rule: str = "") -> pd.DataFrame:
    """Measured rows with those of random weights, and the published value where there is one.

    table, random: of `evaluation.composition.measure`, the same measures and groups. Adds name,
    benchmark, random, random_low, random_high, published (CLIP ViT-B/32), main: whether the row
    is one that a paper prints, and note: the rule by which ARO's groups count ("" elsewhere).
    """
    values = random[["measure", "group", "value", "low", "high"]].rename(
        columns={"value": "random", "low": "random_low", "high": "random_high"}
    )
    rows = table.merge(values, on=["measure", "group"], how="left")
    printed = main_table(*get_benchmark(name).published)
    printed = printed[printed["model"] == PRINTED] if len(printed) else printed
    known = dict(zip(printed["measure"], printed["value"], strict=True))
    has_clean = rows["group"].eq(CLEAN).any() and not embedded  # tags of an export mean nothing
    main = rows["group"].eq(CLEAN if has_clean else "all")
    published = rows["measure"].map(known).astype(float).where(main)
    note = rule_notes(table, rule) if rule else ""
    return rows.assign(published=published, main=main, name=name, benchmark=TITLES[name], note=note)


# ---------------------------------------------------------------- tables


def overview(found: dict[str, Result]) -> pd.DataFrame:
    """What each benchmark asks; its rows, and those that could not be scored."""
    rows = [
        {
            "benchmark": TITLES[name],
            "asks": get_benchmark(name).asks,
            "rows": len(one.frame),
            "groups": one.frame["group"].nunique() if "group" in one.frame else 1,
            "errors": int(one.frame["error"].notna().sum()),
        }
        for name, one in found.items()
    ]
    return pd.DataFrame(rows).set_index("benchmark")


def main_rows(found: dict[str, Result]) -> pd.DataFrame:
    """The rows that a paper prints, of all benchmarks; percent, correlations times 100."""
    rows = pd.concat([one.rows[one.rows["main"]] for one in found.values()], ignore_index=True)
    return rows.drop(columns=["main", "group"])


def compared(found: dict[str, Result]) -> pd.DataFrame:
    """The table of all benchmarks: measured and random weights with intervals, chance, published.

    The last column says what a mean over parts had to do without.
    """
    rows = main_rows(found)
    origin = {
        TITLES[n]: "other data and model" if one.embedded else "other model"
        for n, one in found.items()
    }
    printed = [
        f"{value:.1f} ({origin[name]})" if value == value else ""
        for value, name in zip(rows["published"], rows["benchmark"], strict=True)
    ]
    return pd.DataFrame(
        {
            "benchmark": rows["benchmark"],
            "measure": rows["measure"],
            "measured": interval(rows, "value", "low", "high"),
            "n": rows["n"].astype(int),
            "random weights": interval(rows, "random", "random_low", "random_high"),
            "chance": rows["chance"].round(1),
            f"published, {PRINTED}": printed,
            "missing parts": [len(text.split(", ")) if text else 0 for text in rows["missing"]],
        }
    ).set_index(["benchmark", "measure"])


def counting_rules(found: dict[str, Result]) -> str:
    """By which rule the groups of ARO count, a line a benchmark; it stands in the rows' note."""
    rows = main_rows(found)
    rows = rows[rows["note"] != ""]
    lines = [f"{title}: {note}." for title, note in rows[["benchmark", "note"]].to_numpy()]
    return "\n".join(lines) or "ARO, whose groups count by a rule, is not among these benchmarks."


def interval(rows, *names) -> list[str]:
    """Each row in words: "62.5 [55.8, 69.1]"."""
    return [
        in_words(row, ".1f", names)
        for row in rows.astype({n: float for n in names}).to_dict("records")
    ]


def facts_of(found: dict[str, Result], files: str = "") -> dict:
    """What was measured on, for the record: names, number of rows, hash of what was scored."""
    rows = [
        [name, *map(str, row)]
        for name, one in found.items()
        for row in one.frame[content(one.frame)].to_numpy()
    ]
    name = Path(files).name if files else "the embedded world as composition benchmarks"
    return {"name": name, "n": len(rows), "hash": digest(rows)}


def content(frame: pd.DataFrame) -> list[str]:
    """The columns of a frame that say what is scored."""
    names = (
        "case_id",
        "pair_id",
        "images",
        "captions",
        "image",
        "caption",
        "sentence1",
        "sentence2",
        "score",
    )
    return [name for name in names if name in frame]


def all_groups(found: dict[str, Result]) -> pd.DataFrame:
    """The parts of every benchmark: benchmark, group, value, low, high, n, chance, random."""
    rows = pd.concat([one.rows for one in found.values()], ignore_index=True)
    rows = rows[rows["measure"].eq("accuracy")]
    columns = ["benchmark", "group", "value", "low", "high", "n", "chance", "random"]
    return rows[columns].reset_index(drop=True)
