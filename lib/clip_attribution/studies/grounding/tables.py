"""Phrases with boxes, the heat maps of every method for them, and their measures as frames.

    phrases = load_phrases("scenes", n_pictures=40)
    maps = all_maps(clip, phrases, ["gae_image", "gradcam"], cache="runs/tables")
    measured = measure_all(maps, phrases)             # {method: frame}, for grounding_evaluation

Maps are kept at their own small resolution, so that every measure, every tau and every delta comes
from one run of the model. For tables too large for that see `grounding_evaluation.ground`.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from ...datasets import GROUNDING, load_benchmark, names_of
from ...datasets.scenes_phrases import load_scenes
from ...errors import UserError
from ...evaluation.grounding import (
    BLIP_METHOD,
    check_methods,
    heat,
    interpolation,
    map_rows,
    picture_sizes,
)
from ...io.keys import rows_key, run_key
from ...io.parts import kept
from ...io.tables import digest, read_pairs
from ...metrics.grounding import METRICS, grounding_metrics
from ...scenes import scene_pairs
from ..sample import TRUE_CAPTION, drawn

DATASETS = ("scenes", *names_of(GROUNDING))


class Maps(NamedTuple):
    """Raw maps of one method, float32 [n, h, w] (NaN for a row without one), and the reasons [n]
    why there is none (else None); upsampling: the method's interpolation."""

    maps: np.ndarray
    errors: list
    upsampling: str


def load_phrases(dataset="scenes", data="", images="", n_pictures=40, seed=0) -> pd.DataFrame:
    """A grounding frame of some images of a dataset, with two columns more: `size` (height,
    width) and `task`, the role where the dataset knows it, else "phrase".

    scenes: n_pictures of noun and colour pairs that the embedded model saw (group "seen"), and as
    many of others ("novel"). Other datasets: n_pictures drawn by `seed` from the official files at
    `data`, images in `images`. An unreadable image is the `error` of its rows. UserError for an
    unknown dataset and unusable files.
    """
    if dataset not in DATASETS:
        raise UserError(f"unknown dataset {dataset!r}: use one of {', '.join(DATASETS)}")
    if dataset == "scenes":
        parts = [load_scenes(n_pictures, seed, group) for group in ("seen", "novel")]
        frame = pd.concat(parts, ignore_index=True)
        frame["pair_id"] = frame["group"] + ":" + frame["pair_id"]
    else:
        if not data:
            raise UserError(f"{dataset} needs the folder with its official files")
        frame = load_benchmark(dataset, data, images or None)
        frame = frame[frame["image"].isin(drawn(frame["image"], n_pictures, seed))]
    return with_sizes(frame.reset_index(drop=True), images)


def load_captions(data="", n_pairs=20, seed=0) -> pd.DataFrame:
    """n_pairs images with a true caption each, as a pairs frame that `all_maps` takes, too.

    data: "" for the embedded world, or a table with the columns image and caption, of which
    n_pairs rows are drawn by `seed`; where it names foils (see `pairs`) they are left out. Raises
    UserError.
    """
    if data:
        frame = read_pairs(data).to_pandas()
        if "foil_word" in frame:
            frame = frame[frame["foil_word"].fillna("").isin(TRUE_CAPTION)]
        frame = frame[frame["pair_id"].isin(drawn(frame["pair_id"], n_pairs, seed))]
    else:
        frame = scene_pairs(n_pairs, seed).query("not is_foil")
    frame = frame[["pair_id", "image", "caption"]].reset_index(drop=True)
    return frame.assign(phrase=frame["caption"], task="caption", boxes=None, error=None)


def with_sizes(frame: pd.DataFrame, images="") -> pd.DataFrame:
    """The frame with `size` and `task`, and the reason in `error` where an image is unusable."""
    sizes, faults = picture_sizes(frame["image"], images or None)
    errors = [new if pd.isna(old) else old for old, new in zip(frame["error"], faults, strict=True)]
    task = frame["role"].astype(object).where(frame["role"].notna(), "phrase")
    found = frame.assign(size=pd.Series(sizes, frame.index, dtype=object), task=task)
    found["error"] = pd.Series(errors, frame.index, dtype=object)
    if len(found) == 0 or found["error"].notna().all():
        reason = found["error"].iloc[0] if len(found) else "the table is empty"
        raise UserError(f"not one of {len(found)} phrases can be used: {reason}")
    return found


def phrase_facts(frame: pd.DataFrame, dataset: str) -> dict:
    """What was measured on, for the record: name, numbers of phrases and images, hash."""
    rows = frame[["image", "phrase", "task"]].astype(str).to_numpy().tolist()
    hashed = digest(rows, [repr(boxes) for boxes in frame["boxes"]])
    return {"name": dataset, "n": len(frame), "pictures": frame["image"].nunique(), "hash": hashed}


# ---------------------------------------------------------------- maps


def all_maps(clip, frame, methods, images="", cache="", blip="", batch_size=32) -> dict[str, Maps]:
    """The maps of every method for the rows of a grounding frame, from `cache` where it has them.

    methods: names of `heatmaps.METHODS`. blip: a name or folder for `load_blip`, whose maps then
    stand beside the others as "itm_gradcam"; "" for none.
    """
    models = dict.fromkeys(check_methods(methods), clip)
    if blip:
        from ...models.blip import load_blip  # needs transformers, an extra

        models[BLIP_METHOD] = load_blip(blip)
    rows = [frame[name].tolist() for name in ("image", "phrase", "error")]
    found = {}
    for name, model in models.items():
        make = partial(row_maps, model, frame, name, images, batch_size)
        if not cache:
            found[name] = make()
            continue
        key = rows_key(run_key(__file__, [model], method=name), rows, rows[0], images or None)
        table = kept(Path(cache, "maps", f"{key}.parquet"), lambda make=make: as_table(make()))
        found[name] = as_maps(table, interpolation(model, name))
    return found


def row_maps(model, frame, method: str, images="", batch_size=32) -> Maps:
    """The maps of one method. Raises UserError when no row has one."""
    good = np.flatnonzero(frame["error"].isna())
    errors = [None if pd.isna(error) else error for error in frame["error"]]
    maps = np.zeros((len(frame), 0, 0), np.float32)
    run = map_rows(model, frame.iloc[good], method, images or None, batch_size, {})
    for at, found, reasons in run:
        if not maps.shape[1]:
            maps = np.full((len(frame), *found.shape[1:]), np.nan, np.float32)
        maps[good[at]] = found
        for row, reason in zip(good[at], reasons, strict=True):
            errors[row] = reason
    if all(errors):
        raise UserError(f"{method}: not one of {len(errors)} maps: {errors[0]}")
    return Maps(maps, errors, interpolation(model, method))


def as_table(found: Maps) -> pa.Table:
    """Maps in the form in which they are kept: a row a map."""
    maps = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(found.maps))
    return pa.table({"maps": maps, "error": pa.array(found.errors, pa.string())})


def as_maps(table: pa.Table, upsampling: str) -> Maps:
    """The maps of such a table."""
    maps = table["maps"].combine_chunks().to_numpy_ndarray()
    return Maps(maps, table["error"].to_pylist(), upsampling)


# ---------------------------------------------------------------- measures


def measure_all(maps: dict[str, Maps], frame, **options) -> dict[str, pd.DataFrame]:
    """{method: the frame with METRICS and `error`}; options: those of `grounding_metrics`."""
    found = {}
    for method, own in maps.items():
        rows = good_rows(own)
        measured = grounding_metrics(
            *usable(own, frame, method), interpolation=own.upsampling, **options
        )
        table = pd.DataFrame(np.nan, range(len(frame)), list(METRICS))
        table.loc[rows, list(METRICS)] = measured[list(METRICS)].to_numpy(float)
        table["error"] = pd.Series(own.errors, dtype=object)
        table.loc[rows, "error"] = measured["error"].to_numpy()
        found[method] = frame.drop(columns="error").join(table).assign(method=method)
    return found


def good_rows(maps: Maps) -> np.ndarray:
    return np.flatnonzero([error is None for error in maps.errors])


def usable(maps: Maps, frame, method: str):
    """Heat >= 0 [n, h, w], boxes and sizes of the rows that have a map."""
    part = frame.iloc[good_rows(maps)]
    return heat(maps.maps[good_rows(maps)], method), part["boxes"].tolist(), part["size"].tolist()
