"""Heat maps of a grounding frame, measured as they come, so that memory does not grow with it."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from ..errors import ImageError, UserError
from ..heatmaps import heatmap_rows
from ..heatmaps.registry import find_method
from ..io.images import open_image
from ..io.keys import rows_key, run_key
from ..io.parts import kept, progress_bar
from ..metrics.grounding import METRICS, baseline_metrics, grounding_metrics, summarise

BLIP = "blip"
BLIP_METHOD = "itm_gradcam"
DEFAULT_METHODS = ("gae_image", "gradcam", "clip4dm_image", "value_path")
NAMES = {"centre": "centre point", "uniform": "uniform map"}
HEADLINES = [
    "pg_hit",
    "io_ratio",
    "iou_soft",
    "iou_binary",
    "dice_soft",
    "dice_binary",
    "wdp_soft",
    "wdp_binary",
    "wdp_norm",
    "pg_uncertain",
]


def ground(
    model,
    frame: pd.DataFrame,
    method: str = "gae_image",
    *,
    images=None,
    keep=None,
    chunk_rows: int = 256,
    batch_size: int = 32,
    quiet: bool = True,
    measures=None,
    **options,
) -> pd.DataFrame:
    """The grounding frame (`datasets.boxes`) with METRICS and `size` added, a row a phrase.

    model: a Clip with a method of `heatmaps.METHODS`, or a Blip with "itm_gradcam". images: root of
    the images. keep: a folder for finished chunks, so that a stopped run goes on.
    measures: options of `grounding_metrics`; options: those of the method. A row that cannot be
    computed has its reason in `error` and NaN for every metric. Raises UserError.
    """
    measures, frames = measures or {}, []
    kinds = {"options": options, "measures": measures, "batch_size": batch_size}
    run = keep and run_key(__file__, [model], method=method, **kinds)
    with progress_bar(len(frame), quiet) as bar:
        bar.set_description(method)
        for start in range(0, len(frame), chunk_rows):
            chunk = frame.iloc[start : start + chunk_rows]
            settings = {"images": images, "batch_size": batch_size, "measures": measures}
            make = partial(chunk_table, model, chunk, method, **settings, **options)
            if keep:
                rows = [chunk[name].tolist() for name in ("image", "phrase", "error", "boxes")]
                key = rows_key(run, rows, rows[0], images)
                table = kept(Path(keep) / f"{key}.parquet", make)
            else:
                table = make()
            frames.append(table.to_pandas())
            bar.update(len(chunk))
    found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=METRICS)
    if frames:
        found["size"] = [None if size is None else tuple(map(int, size)) for size in found["size"]]
        found["error"] = found["error"].astype(object).where(found["error"].notna(), None)
    return frame.reset_index(drop=True).drop(columns="error").join(found)


def chunk_table(model, chunk, method, **settings) -> pa.Table:
    """What `ground_chunk` finds, in the one form in which it is kept."""
    found = ground_chunk(model, chunk, method, **settings)
    kinds = {"error": pa.string(), "size": pa.list_(pa.int64())}
    fields = [(name, kinds.get(name, pa.float64())) for name in found]
    return pa.Table.from_pandas(found, pa.schema(fields), preserve_index=False)


def ground_chunk(model, chunk, method, *, images, batch_size, measures, **options) -> pd.DataFrame:
    """METRICS and `error` of the rows of one chunk, in order."""
    chunk = chunk.reset_index(drop=True)
    found = pd.DataFrame(np.nan, chunk.index, list(METRICS)).assign(error=chunk["error"])
    found = found.astype({"error": object}).assign(size=None)
    good = chunk.index[chunk["error"].isna()]
    part = chunk.loc[good]
    sizes, faults = picture_sizes(part["image"], images)
    found.loc[good, "error"] = faults
    found["size"] = pd.Series(sizes, good, dtype=object).reindex(found.index)
    rows = good[[fault is None for fault in faults]]
    part, sizes = chunk.loc[rows], [size for size in sizes if size]
    how = interpolation(model, method)
    for at, maps, reasons in map_rows(model, part, method, images, batch_size, options):
        kept = [i for i, reason in enumerate(reasons) if not reason]
        measured = grounding_metrics(
            heat(maps[kept], method),
            [part["boxes"].iloc[at[i]] for i in kept],
            [sizes[at[i]] for i in kept],
            interpolation=how,
            **measures,
        )
        found.loc[rows[at[kept]], [*METRICS, "error"]] = measured.to_numpy(dtype=object)
        for i in set(range(len(at))) - set(kept):
            found.loc[rows[at[i]], "error"] = reasons[i]
    return found.astype({name: float for name in METRICS})


def map_rows(model, part, method, images, batch_size, options):
    """The row iterator of a method: (rows, maps, reasons), see `heatmaps.heatmap_rows`."""
    given = list(part["image"]), list(part["phrase"])
    if method == BLIP_METHOD:
        from ..heatmaps.itm import itm_gradcam_rows  # needs transformers, an extra

        return itm_gradcam_rows(model, *given, batch_size=batch_size, image_root=images, **options)
    return heatmap_rows(model, *given, method, batch_size=batch_size, image_root=images, **options)


def interpolation(model, method: str) -> str:
    """How a method's maps are upsampled: cubic, unless it brings its own."""
    return "cubic" if method == BLIP_METHOD else find_method(method).upsampling


def heat(maps: np.ndarray, method: str) -> np.ndarray:
    """Heat >= 0 of raw maps: what speaks for the phrase.

    A signed map keeps its positive part; the value path's cosines, whose 0 does not mean "no heat",
    are counted from the map's minimum (methods of both kinds are normalised after that anyway).
    """
    if method == "value_path":
        return maps - maps.min((1, 2), keepdims=True) if len(maps) else maps
    return np.maximum(maps, 0)


def picture_sizes(refs, root) -> tuple[list, list]:
    """((height, width) of each image or None, the reason why there is none or None)."""
    known: dict = {}
    for ref in refs:
        if ref not in known:
            try:
                known[ref] = picture_size(ref, root), None
            except ImageError as error:
                known[ref] = None, str(error)
    return [known[ref][0] for ref in refs], [known[ref][1] for ref in refs]


def picture_size(ref, root) -> tuple[int, int]:
    """Height and width of an image as it is shown (upright)."""
    picture = ref if isinstance(ref, Image.Image) else open_image(ref, root)
    return picture.height, picture.width


def estimates(measured: dict[str, pd.DataFrame], by=(), seed: int = 0) -> pd.DataFrame:
    """Means with intervals of every method, and of the baselines that know no image.

    measured: {method: frame of `ground`}. Returns scorer, the columns of `by`, metric, value, low,
    high, n, undefined, errors. Baselines have pg_hit and io_ratio alone.
    """
    by = [by] if isinstance(by, str) else list(by)
    frames = [frame.assign(scorer=method) for method, frame in measured.items()]
    frames.append(baselines(next(iter(measured.values())), by))
    found = [summarise(frame, ["scorer", *by], seed) for frame in frames]
    return pd.concat(found, ignore_index=True)


def baselines(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """pg_hit and io_ratio of the centre point and of the uniform map for the usable rows."""
    good = frame[frame["error"].isna()].reset_index(drop=True)
    found = baseline_metrics(good["boxes"].tolist(), good["size"].tolist())
    labels = good[by].iloc[found["row"]].reset_index(drop=True)
    return found.assign(scorer=found["baseline"].map(NAMES)).join(labels)


def check_methods(names) -> list[str]:
    """Known heat-map methods, in order. Raises UserError."""
    for name in names:
        if name != BLIP_METHOD:
            find_method(name)
    if not names:
        raise UserError("no heat-map method: name one")
    return list(dict.fromkeys(names))
