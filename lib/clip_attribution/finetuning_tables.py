"""Tables of the fine-tuning notebook, shaped as CAE's Tables 1, 2 and 5, and its sentences."""

import pandas as pd

from .ablation_findings import listed

ABLATION = {"CLIP": "none", "only L_attr": "only attribution", "CLIP-FT": "only contrastive",
            "CAE attention": "both"}  # fmt: skip
COLUMNS = ("relation accuracy", "attribute accuracy", "object accuracy", "I2T R@1", "T2I R@1")
KEYS = ["variant", "hard_negatives", "measure"]


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds of value and interval ends, with `seeds` and `spread` (max - min).

    table: `comparison.evaluate_runs`. The interval is that of one model, over test pairs; spread
    says how much the seed of the training matters.
    """
    groups = table.groupby(KEYS, sort=False)
    found = groups[["value", "low", "high", "n"]].mean()
    found["spread"] = groups["value"].max() - groups["value"].min()
    return found.assign(seeds=groups.size()).reset_index()


def wide(data: pd.DataFrame, hard_negatives: bool, names=None, columns=COLUMNS) -> pd.DataFrame:
    """One row a variant, one column a measure, "value [low, high]" in percent.

    names: {variant: label} for these rows alone, as in Table 5.
    """
    rows = data[(data["hard_negatives"] == hard_negatives) & data["measure"].isin(columns)]
    cells = ["{:.1f} [{:.1f}, {:.1f}]".format(*cell)
             for cell in rows[["value", "low", "high"]].to_numpy()]  # fmt: skip
    table = rows.assign(cell=cells).pivot(index="variant", columns="measure", values="cell")
    order = [v for v in (names or dict.fromkeys(rows["variant"])) if v in table.index]
    table = table.loc[order, [c for c in columns if c in table]]
    return table.rename(index=names or {}).rename_axis(None, axis=1)


def logs_of(runs) -> pd.DataFrame:
    """The logs of all runs below one another, with variant, hard_negatives, seed and `lead`.

    lead: a_obj - a_comp of a step as a share of that of the run's first step.
    """
    frames = []
    for run in runs:
        if len(run.log):
            gap = run.log["a_obj"] - run.log["a_comp"]
            facts = {"variant": run.variant, "hard_negatives": run.hard_negatives}
            frames.append(run.log.assign(**facts, seed=run.seed, lead=gap / gap.iloc[0]))
    return pd.concat(frames, ignore_index=True)


def weights_of(runs) -> pd.DataFrame:
    """The weight of the attribution loss that each CAE run calibrated or was given."""
    rows = [(r.variant, r.hard_negatives, r.seed, r.log["lam"].iloc[-1]) for r in runs
            if len(r.log) and r.log["lam"].iloc[-1]]  # fmt: skip
    return pd.DataFrame(rows, columns=["variant", "hard_negatives", "seed", "lam"])


def finding_deficiency(data: pd.DataFrame) -> str:
    """Whether each CAE variant brings a_obj and a_comp, by its own attribution, nearer."""
    own = data[~data["hard_negatives"]].set_index(["variant", "measure"])["value"]
    lines = []
    for variant in dict.fromkeys(v for v, _ in own.index if v.startswith("CAE ")):
        method = variant.removeprefix("CAE ")
        if ("CLIP", f"a_obj {method}") not in own.index:
            continue
        lead = {v: own[v, f"a_obj {method}"] - own[v, f"a_comp {method}"]
                for v in ("CLIP", "CLIP-FT", variant) if (v, f"a_obj {method}") in own.index}
        said = ", ".join(f"{value:.3g} after {name}" for name, value in lead.items()
                         if name != "CLIP")  # fmt: skip
        lines.append(f"By {method}, objects lead by {lead['CLIP']:.3g} before tuning, {said}.")
    return "\n".join(lines)


def finding_accuracy(data: pd.DataFrame, measure: str) -> str:
    """Which variants' intervals part from the untuned model's, in one measure."""
    rows = data[data["measure"] == measure]
    before = rows[rows["variant"] == "CLIP"].iloc[0]
    better, worse, level = [], [], 0
    for row in rows[rows["variant"] != "CLIP"].to_dict("records"):
        name = row["variant"] + " with hard negatives" * row["hard_negatives"]
        said = f"{name} ({row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}])"
        if row["low"] > before["high"]:
            better.append(said)
        elif row["high"] < before["low"]:
            worse.append(said)
        else:
            level += 1
    start = f"{measure} before tuning: {before['value']:.1f} [{before['low']:.1f}, " \
            f"{before['high']:.1f}]."  # fmt: skip
    parts = [f"Clearly above it: {listed(better)}."] * bool(better)
    parts += [f"Clearly below it: {listed(worse)}."] * bool(worse)
    return " ".join([start, *parts, f"Intervals of {level} tuned models overlap with it."])
