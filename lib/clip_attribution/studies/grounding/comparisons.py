"""What the measures of several heat-map methods say beside one another and beside no map at all.

Frames in, frames out; maps and measures come from `grounding_tables`. Intervals are 95 %, over
images, since phrases of one image are not independent.
"""

import numpy as np
import pandas as pd

from ...evaluation.grounding import NAMES
from ...metrics.grounding import baseline_metrics, uncertainty_sweep
from ...metrics.intervals import correlation_estimate, ratio_estimate
from .tables import Maps, good_rows, usable

COMPARED = ("pg_hit", "io_ratio")  # what the baselines have, too
GRADED = (
    "iou_soft",
    "iou_binary",
    "dice_soft",
    "dice_binary",
    "wdp_soft",
    "wdp_binary",
    "wdp_norm",
    "io_ratio",
)
TAUS = (0.1, 0.3, 0.5, 0.7, 0.9)
DELTAS = (0.0, 0.04, 0.08, 0.16, 0.32)
SWEPT = ("uncertain", "uncertain_merged", "contested")


def against_baselines(measured: dict[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """How far each method lies above what knows no image, phrase by phrase.

    Columns method, metric (pg_hit, io_ratio), baseline, value (mean difference), low, high, n
    (images).
    """
    rows = []
    for method, frame in measured.items():
        good = frame[frame["error"].isna()].reset_index(drop=True)
        known = baseline_metrics(good["boxes"].tolist(), good["size"].tolist())
        for kind, name in NAMES.items():
            floor = known[known["baseline"] == kind].set_index("row")
            for metric in COMPARED:
                found = ratio_estimate(
                    good[metric] - floor[metric], groups=good["image"], seed=seed
                )
                label = {"method": method, "metric": metric, "baseline": name}
                rows.append(label | found._asdict())
    return pd.DataFrame(rows)


def against_blind(measured: dict[str, pd.DataFrame], blind="rollout", seed=0) -> pd.DataFrame:
    """How much more often each method hits than one that never sees the phrase, by task.

    Columns task, method, blind, value (mean paired difference of pg_hit), low, high, n (images);
    empty where `blind` was not measured.
    """
    rows, other = [], measured.get(blind)
    for task in [] if other is None else dict.fromkeys(other["task"]):
        for method in (name for name in measured if name != blind):
            frame = measured[method]
            gain = (frame["pg_hit"] - other["pg_hit"])[frame["task"] == task]
            found = ratio_estimate(gain, groups=frame["image"][gain.index], seed=seed)
            rows.append({"task": task, "method": method, "blind": blind, **found._asdict()})
    return pd.DataFrame(rows, columns=["task", "method", "blind", "value", "low", "high", "n"])


def correlations(measured: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Spearman's correlation of every two measures over phrases: the mean over the methods.

    Within a method and then averaged, so that a difference between methods is no correlation. A
    measure that is constant for a method does not count there.
    """
    names = [*GRADED, "pg_hit", "pg_uncertain"]
    each = [frame[names].corr(method="spearman").to_numpy() for frame in measured.values()]
    known = np.sum(~np.isnan(each), axis=0)
    mean = np.divide(
        np.nansum(each, axis=0), known, out=np.full(known.shape, np.nan), where=known > 0
    )
    return pd.DataFrame(mean, names, names)


def pointing_correlations(measured: dict[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of PG accuracy with the IO ratio for each method, with intervals."""
    rows = []
    for method, frame in measured.items():
        good = frame[frame["error"].isna()]
        found = correlation_estimate(
            good["pg_hit"], good["io_ratio"], "spearman", good["image"], seed
        )
        rows.append({"method": method, **found._asdict()})
    return pd.DataFrame(rows)


def sweep_all(maps: dict[str, Maps], frame, tau=0.7, delta=0.08, seed: int = 0) -> pd.DataFrame:
    """PG uncertainty of each method against tau (at `delta`) and against delta (at `tau`).

    delta: a share of the diagonal. Columns method, measure (see `grounding.uncertainty_sweep`),
    along ("tau" or "delta"), at (its value), value (share of phrases), low, high, n (images).
    """
    taus, deltas = sorted({*TAUS, tau}), sorted({*DELTAS, delta})
    rows = []
    for method, own in maps.items():
        swept = uncertainty_sweep(
            *usable(own, frame, method), taus, deltas, relative=True, interpolation=own.upsampling
        )
        swept["image"] = frame["image"].to_numpy()[good_rows(own)][swept["row"]]
        for along, fixed in (("tau", swept["delta"] == delta), ("delta", swept["tau"] == tau)):
            for at, part in swept[fixed & swept["error"].isna()].groupby(along):
                for measure in SWEPT:
                    found = ratio_estimate(part[measure], groups=part["image"], seed=seed)
                    label = {"method": method, "measure": measure, "along": along, "at": at}
                    rows.append(label | found._asdict())
    return pd.DataFrame(rows)


def disagreements(measured: dict[str, pd.DataFrame], n: int = 3) -> pd.DataFrame:
    """Phrases that the pointing game calls found though their IO ratio is lowest, and the reverse.

    n of each kind, every one of another image and, as far as there are enough, another method;
    `row` is the place in the method's frame.
    """
    numbered = [frame.assign(row=np.arange(len(frame))) for frame in measured.values()]
    rows = pd.concat(numbered, ignore_index=True)
    rows = rows[rows["error"].isna()].sort_values("io_ratio", kind="stable")
    found = []
    for own in (rows[rows["pg_hit"] == 1], rows[rows["pg_hit"] == 0][::-1]):
        first = own.drop_duplicates("method").drop_duplicates("image")
        found.append(pd.concat([first, own.drop(first.index)]).drop_duplicates("image").head(n))
    return pd.concat(found, ignore_index=True)
