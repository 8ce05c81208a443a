"""Tables of the fine-tuning notebook, shaped as CAE's Tables 1, 2 and 5, and its sentences."""

import pandas as pd

from ...metrics.intervals import in_words
from ..foils.findings import listed

ABLATION = {
    "CLIP": "none",
    "only L_attr": "only attribution",
    "CLIP-FT": "only contrastive",
    "CAE attention": "both",
}
COLUMNS = ("relation accuracy", "attribute accuracy", "object accuracy", "I2T R@1", "T2I R@1")


def wide(data: pd.DataFrame, hard_negatives: bool, names=None, columns=COLUMNS) -> pd.DataFrame:
    """One row a variant, one column a measure, "value [low, high]" in percent.

    names: {variant: label} for these rows alone, as in Table 5.
    """
    rows = data[(data["hard_negatives"] == hard_negatives) & data["measure"].isin(columns)]
    cells = [
        "{:.1f} [{:.1f}, {:.1f}]".format(*cell)
        for cell in rows[["value", "value_low", "value_high"]].to_numpy()
    ]
    table = rows.assign(cell=cells).pivot(index="variant", columns="measure", values="cell")
    order = [v for v in (names or dict.fromkeys(rows["variant"])) if v in table.index]
    table = table.loc[order, [c for c in columns if c in table]]
    return table.rename(index=names or {}).rename_axis(None, axis=1)


def logs_of(runs) -> pd.DataFrame:
    """The logs of all runs below one another, with variant, hard_negatives, seed and `gap`.

    gap: a_obj - a_comp of a step as a share of that of the run's first step.
    """
    frames = []
    for run in runs:
        if len(run.log):
            gap = run.log["a_obj"] - run.log["a_comp"]
            facts = {"variant": run.variant, "hard_negatives": run.hard_negatives}
            frames.append(run.log.assign(**facts, seed=run.seed, gap=gap / gap.iloc[0]))
    return pd.concat(frames, ignore_index=True)


def weights_of(runs) -> pd.DataFrame:
    """The weight of the attribution loss that each CAE run calibrated or was given."""
    rows = [
        (r.variant, r.hard_negatives, r.seed, r.log["lam"].iloc[-1])
        for r in runs
        if len(r.log) and r.log["lam"].iloc[-1]
    ]
    return pd.DataFrame(rows, columns=["variant", "hard_negatives", "seed", "lam"])


def is_clear(data: pd.DataFrame, name: str = "gain") -> pd.Series:
    """Whether the interval of a change or gain leaves out 0 and all seeds agree in its sign."""
    outside = (data[f"{name}_low"] > 0) | (data[f"{name}_high"] < 0)
    return outside & data[f"{name}_agrees"]


def signed(row, name: str, form: str = "+.1f") -> str:
    """A change or gain with its interval, as in "-2.7 [-4.3, -1.2]"."""
    return in_words(row, form, (name, f"{name}_low", f"{name}_high"))


def finding_deficiency(data: pd.DataFrame, form: str = "+.3f") -> str:
    """What each CAE variant does to the object–composition gap by its own attribution."""
    rows = data[~data["hard_negatives"]].set_index(["variant", "measure"])
    lines = []
    for variant in dict.fromkeys(v for v, _ in rows.index if v.startswith("CAE ")):
        measure = "gap " + variant.removeprefix("CAE ")
        if ("CLIP", measure) in rows.index:
            before, own = rows.loc[("CLIP", measure)], rows.loc[(variant, measure)]
            line = (
                f"By {variant.removeprefix('CAE ')}, objects exceed compositions by "
                f"{signed(before, 'value', form)} before tuning; {variant} changes that by "
                f"{signed(own, 'change', form)}"
            )
            beside = f", {signed(own, 'gain', form)} more than CLIP-FT does"
            lines.append(line + beside * bool(own["gain"] == own["gain"]) + ".")
    return "\n".join(lines)


def finding_strength(data: pd.DataFrame, method: str = "attention") -> str:
    """What the strongest attribution loss does to the gap, relations and retrieval; data: as in
    `finetuning_plots.strength_curves`."""
    share = max((v for v in dict.fromkeys(data["variant"]) if v != "CLIP"), key=float)
    rows = data.set_index(["variant", "measure"])
    gap = [signed(rows.loc[(v, f"gap {method}")], "value", "+.3f") for v in ("CLIP", share)]
    said = [
        f"{name} {signed(rows.loc[(share, name)], 'change')}"
        for name in ("relation accuracy", "T2I R@1")
    ]
    return (
        f"With a share of {share} the gap goes from {gap[0]} to {gap[1]}; "
        f"since before tuning: {listed(said)} points."
    )


def finding_accuracy(data: pd.DataFrame, measure: str) -> str:
    """What contrastive tuning alone did to a measure, and which variants differ clearly from it."""
    rows = data[data["measure"] == measure]
    lines = []
    for hard, own in rows.groupby("hard_negatives"):
        alone = own[own["variant"] == "CLIP-FT"]
        others = own[own["gain"].notna()]
        if len(alone):
            clear = others[is_clear(others)]
            said = [f"{row['variant']} {signed(row, 'gain')}" for row in clear.to_dict("records")]
            lines.append(
                f"With{'' if hard else 'out'} hard negatives, CLIP-FT changes it by "
                f"{signed(alone.iloc[0], 'change')}; clearly different from CLIP-FT: "
                f"{listed(said)} ({len(clear)} of {len(others)})."
            )
    before = rows[rows["variant"] == "CLIP"].iloc[0]
    start = f"{measure} before tuning: {signed(before, 'value', '.1f')}."
    return " ".join([start, *lines])


def finding_ingredients(data: pd.DataFrame) -> str:
    """Whether captions' features come nearer to those of their relations and attributes."""
    rows = data[~data["hard_negatives"]].set_index(["variant", "measure"])
    names = [m for m in dict.fromkeys(data["measure"]) if m.startswith("near ")]
    lines = []
    for name in names:
        own = rows.xs(name, level="measure")
        clear = own[is_clear(own)]
        said = [f"{variant} {signed(row, 'gain', '+.3f')}" for variant, row in clear.iterrows()]
        lines.append(
            f"Cosine of a caption with its own {name.removeprefix('near ')} words: "
            f"{own.loc['CLIP', 'value']:.3f} before tuning; clearly different from "
            f"CLIP-FT: {listed(said)}."
        )
    return "\n".join(lines)
