"""Tables of the fine-tuning notebook, shaped as CAE's Tables 1, 2 and 5, and its sentences."""

import pandas as pd

from .ablation_findings import listed

ABLATION = {"CLIP": "none", "only L_attr": "only attribution", "CLIP-FT": "only contrastive",
            "CAE attention": "both"}  # fmt: skip
COLUMNS = ("relation accuracy", "attribute accuracy", "object accuracy", "I2T R@1", "T2I R@1")
KEYS = ["variant", "hard_negatives", "measure"]
CHANGE = ["change", "change_low", "change_high"]


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds of values, changes and interval ends, with `seeds` and `spread`.

    table: `comparison.evaluate_runs`. The interval is that of one model, over test pairs; spread
    (largest minus smallest value) says how much the seed of the training matters.
    """
    groups = table.groupby(KEYS, sort=False)
    found = groups[["value", "low", "high", "n", *CHANGE]].mean()
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


def finding_strength(data: pd.DataFrame, method: str = "attention") -> str:
    """What the strongest attribution loss does to lead, relations and retrieval; data: as in
    `finetuning_plots.strength_curves`."""
    share = max((v for v in dict.fromkeys(data["variant"]) if v != "CLIP"), key=float)
    rows = data.set_index(["variant", "measure"])
    lead = [rows["value"][v, f"a_obj {method}"] - rows["value"][v, f"a_comp {method}"]
            for v in ("CLIP", share)]  # fmt: skip
    said = ["{} {:+.1f} [{:+.1f}, {:+.1f}]".format(name, *rows.loc[(share, name), CHANGE])
            for name in ("relation accuracy", "T2I R@1")]  # fmt: skip
    return (f"With a share of {share} the lead goes from {lead[0]:.3f} to {lead[1]:.3f}; "
            f"since before tuning: {listed(said)} points.")  # fmt: skip


def is_clear(data: pd.DataFrame) -> pd.Series:
    """Whether the interval of the change since before tuning leaves out 0."""
    return (data["change_low"] > 0) | (data["change_high"] < 0)


def finding_accuracy(data: pd.DataFrame, measure: str) -> str:
    """Which variants changed one measure, by the interval of their paired change."""
    rows = data[data["measure"] == measure]
    before = rows[rows["variant"] == "CLIP"].iloc[0]
    tuned = rows[rows["variant"] != "CLIP"]
    clear, parts = tuned[is_clear(tuned)], []
    for word, own in (("Gained", clear[clear["change"] > 0]), ("Lost", clear[clear["change"] < 0])):
        said = [row["variant"] + " with hard negatives" * row["hard_negatives"]
                + " {:+.1f} [{:+.1f}, {:+.1f}]".format(*(row[name] for name in CHANGE))
                for row in own.to_dict("records")]  # fmt: skip
        parts += [f"{word}: {listed(said)}."] * bool(said)
    start = f"{measure} before tuning: {before['value']:.1f} [{before['low']:.1f}, " \
            f"{before['high']:.1f}]."  # fmt: skip
    rest = len(tuned) - len(clear)
    parts += [f"No clear change: {rest} of {len(tuned)} tuned models."] * bool(rest)
    return " ".join([start, *parts])
