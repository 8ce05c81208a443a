"""The sentences under the figures of the grounding notebooks, computed from the frames.

"Above" and "below" are said only where the 95 % interval allows it.
"""

import os

import pandas as pd

from ...datasets.published import published
from ...evaluation.sanity import rank_correlation
from ..foils.findings import estimate, listed
from .figures import FLOORS, LABELS, in_order

FEW = 10


def made_with(clip, facts: dict, *more: str) -> list[str]:
    """What a figure was made with, for its small print; facts: `phrase_facts`."""
    data = f"{facts['name']}: {facts['n']} texts of {facts['pictures']} images"
    return [f"{data} (data {facts['hash'][:8]})", model_in_words(clip), *more]


def model_in_words(clip) -> str:
    """The model and the hash of its weights, for the small print."""
    return f"{clip.name} ({os.path.basename(clip.pretrained)}, weights {clip.weights_hash[:8]})"


def report_phrases(frame) -> str:
    """Size of a grounding frame and what is missing from it, in one line."""
    errors = frame["error"].dropna()
    lost = f"; {len(errors)} left out, the first because: {errors.iloc[0]}" if len(errors) else ""
    parts = ", ".join(f"{(frame['task'] == task).sum()} {task}" for task in in_order(frame["task"]))
    return f"{len(frame):,} phrases ({parts}) of {frame['image'].nunique():,} images{lost}"


def headline_table(table, metrics) -> pd.DataFrame:
    """Methods as rows, measures as columns, "value [low, high]" in the cells.

    table: `grounding.estimates` without groups. Baselines lack what they have no value for.
    """
    own = table[table["metric"].isin(metrics)]
    cells = [estimate(row) if row["n"] else "" for _, row in own.iterrows()]
    wide = own.assign(cell=cells).pivot(index="scorer", columns="metric", values="cell")
    wide = wide.reindex(index=dict.fromkeys(own["scorer"]), columns=list(metrics)).fillna("")
    return wide.rename(columns=LABELS).rename_axis(index="method", columns=None)


def finding_baselines(data) -> str:
    """Which methods lie above both baselines, and which do not; data: `against_baselines`."""
    lines = []
    for metric, own in data.groupby("metric", sort=False):
        above, rest = [], []
        for method, rows in own.groupby("method", sort=False):
            missed = rows[rows["low"] <= 0]
            names = [
                f"{row['baseline']} ({estimate(row, signed=True)})" for _, row in missed.iterrows()
            ]
            rest += [f"{method} not above the {listed(names)}"] * bool(names)
            above += [method] * (not names)
        failed = f" Not so: {'; '.join(rest)}." if rest else ""
        lines.append(
            f"{LABELS[metric]}: above centre point and uniform map: {listed(above)}.{failed}"
        )
    return "\n".join(lines)


def finding_blind(data) -> str:
    """For which tasks a method hits more often than one without the phrase; `against_blind`."""
    if data.empty:
        return "No method here ignores the phrase, or none but it was asked for."
    lines = []
    for task, own in data.groupby("task", sort=False):
        above, below = own[own["low"] > 0], own[own["high"] < 0]
        said = [
            [f"{row['method']} ({estimate(row, signed=True)})" for _, row in part.iterrows()]
            for part in (above, below)
        ]
        lines.append(
            f"{task} phrases: more often than {own['blind'].iloc[0]}: {listed(said[0])}; "
            f"less often: {listed(said[1])}."
        )
    return "\n".join(lines)


def finding_roles(table) -> str:
    """Where each method hits most and least often, and whether the groups differ.

    table: `grounding.estimates` by task and group, with at least FEW phrases each.
    """
    own = table[(table["metric"] == "pg_hit") & (table["n"] >= FEW)]
    own = own[~own["scorer"].isin(FLOORS)]
    lines, apart, pairs = [], [], 0
    for method, rows in own.groupby("scorer", sort=False):
        top, low = rows.loc[rows["value"].idxmax()], rows.loc[rows["value"].idxmin()]
        lines.append(
            f"{method}: most often for {top['group']} {top['task']} phrases, "
            f"{estimate(top)}; least for {low['group']} {low['task']} ones, "
            f"{estimate(low)}."
        )
        for task, both in rows.groupby("task", sort=False):
            pairs += len(both) == 2
            if len(both) == 2 and both["low"].max() > both["high"].min():
                apart.append(f"{method} on {task} phrases")
    lines.append(
        f"Between the groups, the intervals part in {len(apart)} of {pairs} comparisons"
        + (f": {listed(apart)}." if apart else ".")
    )
    return "\n".join(lines)


def finding_correlations(matrix, pointing) -> str:
    """What the pointing game knows of the rest; `correlations` and `pointing_correlations`."""
    known = pointing.dropna(subset="value")
    names = {name: LABELS[name].replace(", ", " ") for name in matrix}
    twins = [
        f"{names[a]} with {names[b]}"
        for i, a in enumerate(matrix)
        for b in list(matrix)[i + 1 :]
        if abs(matrix.loc[a, b]) > 0.995
    ]
    least, most = (known.loc[i] for i in (known["value"].idxmin(), known["value"].idxmax()))
    return (
        f"These order the phrases alike (|ρ| > 0.995): {listed(twins)}. PG accuracy correlates "
        f"with the IO ratio by {estimate(least)} ({least['method']}) to {estimate(most)} "
        f"({most['method']})."
    )


def finding_uncertainty(data) -> str:
    """Which of tau and delta changes PG uncertainty, in which reading; data: `sweep_all`."""
    lines = []
    for measure, name in (
        ("uncertain", "As stated"),
        ("uncertain_merged", "Near tops merged"),
        ("contested", "All maxima"),
    ):
        own = data[data["measure"] == measure]
        spread = own.groupby(["along", "method"])["value"].agg(lambda one: one.max() - one.min())
        lines.append(
            f"{name}: between {own['value'].min():.3f} and {own['value'].max():.3f}; "
            f"within a method, τ moves it by at most {spread['tau'].max():.3f}, δ by at "
            f"most {spread['delta'].max():.3f}."
        )
    return "\n".join(lines)


def finding_examples(measured: dict) -> str:
    """How often the pointing game says 1 while most of the heat lies outside, and the reverse."""
    rows = pd.concat(measured.values())
    hits, misses = (rows[rows["pg_hit"] == hit]["io_ratio"] for hit in (1, 0))
    return (
        f"Of {len(hits):,} hits, {(hits < 0.5).mean():.0%} have most of their heat outside the "
        f"boxes; of {len(misses):,} misses, {(misses > 0.5).mean():.0%} have most of it "
        "inside."
    )


def published_table() -> pd.DataFrame:
    """Table 1 of Q-GroundCAM as printed: OTHER models and data than those measured here."""
    rows = published(system="qgroundcam", table="Table 1")
    units = {"PG accuracy": "PG accuracy (%)", "PG uncertainty": "PG uncertainty (count)"}
    rows = rows.assign(metric=rows["metric"].replace(units))
    columns = list(dict.fromkeys(rows["metric"]))
    wide = rows.pivot(index=["dataset", "model"], columns="metric", values="printed")
    order = rows[["dataset", "model"]].drop_duplicates().apply(tuple, axis=1)
    return wide.reindex(index=pd.MultiIndex.from_tuples(order, names=wide.index.names))[columns]


# ---------------------------------------------------------------- heat-map methods


def finding_foil(maps: dict, foil_maps: dict) -> str:
    """How alike each method's maps of a phrase and of its foil are; raw maps by method."""
    alike = {name: rank_correlation(maps[name], foil_maps[name]) for name in maps}
    same = [name for name, value in alike.items() if value > 0.9999]
    rest = [f"{name} {value:.2f}" for name, value in alike.items() if name not in same]
    return (
        f"The very same map for phrase and foil: {listed(same)}. Rank correlation of the two "
        f"maps of the others: {listed(rest)}."
    )


def finding_areas(data, floor: str) -> str:
    """Which orders beat the random one, by deletion and by insertion; data: `deletion.summary`."""
    lines = []
    for kind, own in data[data["method"] != floor].groupby("kind", sort=False):
        better = own[own["gain_low"] > 0]["method"]
        worse = own[own["gain_high"] < 0]["method"]
        rest = own[~own["method"].isin([*better, *worse])]["method"]
        best = own.loc[own["gain"].idxmax()]
        gain = estimate({"value": best["gain"], "low": best["gain_low"], "high": best["gain_high"]})
        lines.append(
            f"{kind}: better than a random order: {listed(better)}; worse: "
            f"{listed(worse)}; not distinguishable from it: {listed(rest)}. "
            f"Best: {best['method']}, ahead by an area of {gain}, n = {best['n']}."
        )
    return "\n".join(lines)


def finding_sanity(data, same_weights: bool) -> str:
    """How far each method's maps depend on what the model learned; data: `sanity.by_depth`."""
    lines = []
    for method, own in data.groupby("method", sort=False):
        own = own.set_index("step")
        other, last = own.loc[-1], own.loc[own.index.max()]
        steps = own[own.index > 0]
        alike = steps[(steps["low"] <= other["high"]) & (steps["high"] >= other["low"])]["depth"]
        where = "told from another image's map at every depth"
        if len(alike):
            where = f"first not distinguishable from another image's map at {alike.iloc[0]}"
        lines.append(
            f"{method}: {estimate(own.loc[1])} after the {own.loc[1, 'depth']}, "
            f"{estimate(last)} in the end; {where}."
        )
    kept = "is unchanged" if same_weights else "HAS CHANGED"
    return "\n".join([*lines, f"The given model {kept}."])
