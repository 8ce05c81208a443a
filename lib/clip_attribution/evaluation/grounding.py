"""Heat maps of a grounding frame, measured as they come, so that memory does not grow with it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..errors import ImageError, UserError
from ..heatmaps import heatmap_rows
from ..heatmaps.registry import find_method
from ..io.images import open_image
from ..io.parts import progress_bar
from ..io.tables import digest, write_parquet
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
    out=None,
    chunk_rows: int = 256,
    batch_size: int = 32,
    quiet: bool = True,
    measures=None,
    **options,
) -> pd.DataFrame:
    """The grounding frame (`datasets.boxes`) with METRICS and `size` added, a row a phrase.

    model: a Clip with a method of `heatmaps.METHODS`, or a Blip with "itm_gradcam". images: root of
    the images. out: a folder where finished chunks are kept, so that a stopped run goes on.
    measures: options of `grounding_metrics`; options: those of the method. A row that cannot be
    computed has its reason in `error` and NaN for every metric. Raises UserError.
    """
    measures = measures or {}
    facts = (model.weights_hash, method, options, measures, sorted(METRICS))
    frames = []
    with progress_bar(len(frame), quiet) as bar:
        bar.set_description(method)
        for start in range(0, len(frame), chunk_rows):
            chunk = frame.iloc[start : start + chunk_rows]
            key = digest(
                facts,
                chunk[["image", "phrase", "error"]].astype(str).to_numpy().tolist(),
                [repr(boxes) for boxes in chunk["boxes"]],
            )
            path = Path(out) / "parts" / f"{key}.parquet" if out else None
            if path and path.exists():
                found = pq.read_table(path).to_pandas()
            else:
                run = {"images": images, "batch_size": batch_size, "measures": measures}
                found = ground_chunk(model, chunk, method, **run, **options)
                if path:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_parquet(pa.Table.from_pandas(found, preserve_index=False), path)
            frames.append(found)
            bar.update(len(chunk))
    found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=METRICS)
    return frame.reset_index(drop=True).drop(columns="error").join(found)


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
