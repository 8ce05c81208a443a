"""The misalignment benchmarks side by side: measured once, kept in a cache, and made into tables.

Without files of one's own the embedded world stands in, written in the official formats.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...datasets import MISALIGNMENT, get_benchmark, names_of
from ...datasets.export import RECEIPT, check_types, export
from ...datasets.protocol_rows import METHOD
from ...datasets.published import beside
from ...errors import UserError
from ...evaluation.report import interval, number
from ...evaluation.run import evaluate, folder_of
from ...io.keys import run_key
from ...io.tables import digest
from ...models.nli import load_nli
from .cases import with_foils

NAMES = names_of(MISALIGNMENT)
TITLES = {name: get_benchmark(name).title for name in NAMES}
SIDE = 64  # pixels of an exported image; the embedded model sees as many


class Measured(NamedTuple):
    """A benchmark's results, words and pairs (`evaluate`), and how it was measured."""

    results: pd.DataFrame
    words: pd.DataFrame
    pairs: pd.DataFrame
    seconds: float | None  # of reading, scoring and intervals; None: scores came from the cache
    images: Path
    embedded: bool  # whether the files are an export of the embedded world


def chosen(benchmarks: str, known=NAMES) -> list[str]:
    """The named benchmarks, "all" or names with spaces between, in the order of `known`.

    Raises UserError on an unknown name, and on none.
    """
    names = list(known) if benchmarks.strip() == "all" else benchmarks.split()
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"unknown benchmark {unknown[0]!r}" if unknown else "no benchmark named"
        raise UserError(f"{what}: say all, or some of {', '.join(known)}")
    return [name for name in known if name in names]


def chosen_foils(foils: str, files: str = "") -> list[str] | None:
    """The named foil types of the embedded world; None for "all".

    Raises UserError on an unknown type, and where there are files, whose foils are what they are.
    """
    if foils.strip() == "all":
        return None
    if files:
        raise UserError("foils are chosen for the embedded world: leave them at 'all' with files")
    return check_types(NAMES[0], foils.split())


def benchmark_results(
    clip,
    names,
    files="",
    photos="",
    n=300,
    seed=1,
    cache="runs/tables",
    foils=None,
    layers=0,
    nli=None,
    public=False,
) -> dict[str, Measured]:
    """Evaluate the model on each of the benchmarks, from `cache` where its scores are there.

    Args:
        files: a folder with a subfolder for each benchmark, or for one benchmark its file or
            folder; empty: the embedded world, exported under `cache`.
        photos: the folder of the images, or a folder with a subfolder for each benchmark.
        n: records: an image with a caption, or with a caption and its foil. Of one's own files
            as many rows, drawn by `seed`, or all where there are fewer.
        foils: foil types of the embedded world; None: all that a format can hold.
        layers: last text layers, 0 for all. nli: name or folder of SeeTRUE-Feedback's NLI model.

    Raises UserError, before anything is computed where the arguments alone show it.
    """
    if not cache:
        raise UserError("the benchmarks need a cache: a folder for their files and scores")
    places = {name: find_place(name, names, files, photos) for name in names} if files else {}
    if photos and not files:
        raise UserError("photos without files: name the folder of the benchmarks' files too")
    judge, found = load_nli(nli) if nli else None, {}
    for name in names:
        place = places.get(name) or exported(name, Path(cache, "benchmarks"), n, seed, foils)
        found[name] = measure(clip, name, *place, n, seed, cache, layers, judge, public)
    return found


def find_place(name: str, names, files, photos) -> tuple[Path, Path]:
    """(data, images) of a benchmark in the user's folders. Raises UserError."""
    data, images = Path(files, name), Path(photos, name)
    if not data.exists():
        if len(names) > 1 or not Path(files).exists():
            raise UserError(f"there is no {data}: name the benchmarks that you have")
        data = Path(files)
    if photos and not Path(photos).is_dir():
        raise UserError(f"the folder of images {photos} is not a folder")
    return data, (images if images.is_dir() else Path(photos)) if photos else folder_of(data)


def exported(name: str, folder: Path, n: int, seed: int, foils=None) -> tuple[Path, Path]:
    """(data, images) of the embedded world as this benchmark; made where it is not there yet."""
    made_by = run_key(__file__, n=n, seed=seed, size=SIDE, foils=foils)[:8]
    place = folder / f"{name}-files-{made_by}"
    export(name, place, n, seed, SIDE, foils, progress=False)
    return place, place


def measure(clip, name, data, images, n, seed, cache, layers, judge, public) -> Measured:
    """`evaluate` one benchmark into a folder of its own under `cache`."""
    old, start = [], time.perf_counter()

    def place(key: str) -> Path:
        out = Path(cache, "benchmarks", f"{name}-scores-{key[:8]}")
        old.extend([out] if out.exists() else [])
        return out

    found = evaluate(
        clip,
        name,
        data,
        place,
        images=images,
        limit=n * get_benchmark(name).rows,
        nli=judge,
        public=public,
        seed=seed,
        start_layer=layers,
        quiet=True,
    )
    seconds = None if old else time.perf_counter() - start
    usable(name, found[2])
    embedded = (folder_of(data) / RECEIPT).is_file()
    return Measured(*found, seconds, images, embedded)


def usable(name: str, pairs: pd.DataFrame) -> None:
    """Raise UserError, with the first reason, where not one pair could be computed."""
    errors = pairs["error"].dropna()
    if len(errors) == len(pairs):
        reason = f": {errors.iloc[0]}" if len(errors) else ""
        raise UserError(f"{name}: not one of {len(pairs)} pairs could be computed{reason}")


# ---------------------------------------------------------------- tables


def overview(found: dict[str, Measured]) -> pd.DataFrame:
    """What each benchmark asks and how it counts: rows, foils, groups, errors, chance, ceiling.

    chance and ceiling are those of LA, or of AP where nothing is located. NaN: not defined.
    """
    rows = []
    for name, one in found.items():
        pairs = with_foils(one.pairs)
        best = whole(one.results, "LA", METHOD) or whole(one.results, "F1", METHOD) or {}
        rows.append(
            {
                "benchmark": TITLES[name],
                "asks": get_benchmark(name).asks,
                "measures": get_benchmark(name).measures,
                "rows": len(pairs),
                "with foil": int(pairs["is_foil"].eq(True).sum()),
                "groups": pairs["group"].replace("", np.nan).nunique(),
                "errors": int(pairs["error"].notna().sum()),
                "chance of": best.get("measure", ""),
                "chance": best.get("chance", np.nan),
                "ceiling": best.get("ceiling", np.nan),
            }
        )
    return pd.DataFrame(rows).set_index("benchmark")


def whole(results: pd.DataFrame, measure: str, scorer: str) -> dict | None:
    """The one row of all groups with this measure and scorer; None where it has no value."""
    same = (results["measure"] == measure) & (results["scorer"] == scorer)
    rows = results[same & (results["group"] == "all") & results["value"].notna()]
    return next(iter(rows.to_dict("records")), None)


def compared(name: str, one: Measured) -> pd.DataFrame:
    """A benchmark's table: every measured row of the whole set, and below it what was published.

    Column `from` says where a row comes from, and of a published one whether it can be compared.
    """
    table = beside(one.results, name)
    table = table[table["group"] == "all"]
    origin = "published: other data and model" if one.embedded else "published"
    return pd.DataFrame(
        {
            "measure": table["measure"],
            "scorer": table["scorer"],
            "from": np.where(table["published"].astype(bool), origin, "measured here"),
            "value": [interval(row) for row in table.itertuples()],
            "n": [number(n, ".0f") for n in table["n"]],
            "chance": [number(value, ".3f") for value in table["chance"]],
            "ceiling": [number(value, ".3f") for value in table["ceiling"]],
            "note": table["note"].fillna(""),
        }
    ).reset_index(drop=True)


def all_results(found: dict[str, Measured], printed: bool = True) -> pd.DataFrame:
    """The tidy results of all benchmarks, with a column `benchmark`.

    printed: with the main tables of the paper, `published` True, for benchmarks that are no export
    and measures that have a measured value.
    """
    tables = []
    for name, one in found.items():
        table = beside(one.results, name)
        known = set(one.results.loc[one.results["value"].notna(), "measure"])
        wanted = table["measure"].isin(known) & (printed and not one.embedded)
        keep = ~table["published"].astype(bool) | wanted
        tables.append(table[keep].assign(benchmark=TITLES[name]))
    return pd.concat(tables, ignore_index=True)


def throughput(found: dict[str, Measured]) -> pd.DataFrame:
    """Pairs a second of each benchmark that was computed in this run."""
    rows = [
        {
            "benchmark": TITLES[name],
            "pairs": len(one.pairs),
            "seconds": one.seconds,
            "pairs a second": len(one.pairs) / one.seconds,
        }
        for name, one in found.items()
        if one.seconds
    ]
    columns = ["benchmark", "pairs", "seconds", "pairs a second"]
    return pd.DataFrame(rows, columns=columns).set_index("benchmark")


def facts_of(found: dict[str, Measured], files: str = "") -> dict:
    """What was measured on, for the record: names, number of rows and foils, hash of the rows."""
    pairs = pd.concat([with_foils(one.pairs).assign(benchmark=n) for n, one in found.items()])
    rows = pairs[["benchmark", "pair_id", "image", "caption"]].astype(str).to_numpy().tolist()
    name = Path(files).name if files else "embedded world"
    return {
        "name": name,
        "benchmarks": list(found),
        "n": len(pairs),
        "foils": int(pairs["is_foil"].eq(True).sum()),
        "hash": digest(rows),
    }
