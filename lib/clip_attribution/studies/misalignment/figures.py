"""The estimates of the misalignment notebook in rows, from frames alone (see `benchmark_tables`).

One column wide; bars are 95 % intervals, grey strokes what blind choice gives. Call
`plots.use_style` once before.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ...datasets.protocol_rows import FREQUENT, METHOD, RANDOM
from ...datasets.protocols import EVERY, WHOLE
from ...plots.marks import dots
from ...plots.style import GREY, SMALL, TITLE, new_figure, wrapped
from ..foils.figures import BLUE, ORANGE, legend_above

GREEN = sns.color_palette("colorblind")[2]


class Look(NamedTuple):
    """How one scorer is drawn, and its name in the legend."""

    colour: object
    marker: str
    label: str


OWN = Look(BLUE, "o", "attribution, F-CLIPScore")
ALL_WORDS = Look(GREY, "s", "all words")
LOOKS = {
    METHOD: OWN,
    "F-CLIPScore": OWN,
    "CLIPScore": Look(ORANGE, "D", "CLIPScore"),
    "RefCLIPScore": Look(GREEN, "v", "RefCLIPScore"),
    FREQUENT: Look(GREY, "^", "most frequent word"),
    WHOLE: ALL_WORDS,
    EVERY: ALL_WORDS,
    RANDOM: Look(GREY, "o", "one random word"),
}
PRINTED = {
    "CLIP4DM ViT-B/32": Look(BLUE, "o", "CLIP4DM ViT-B/32, published"),
    "CLIP4DM ViT-H/14": Look(BLUE, "D", "CLIP4DM ViT-H/14, published"),
}
OTHERS = Look(GREY, "o", "others, published")
NOT_MAIN = "epsilon -5e-5"  # the second epsilon of the paper's table of Rich-HF
PANELS = {
    "LA": ("location accuracy", (METHOD, FREQUENT)),
    "AP": ("average precision", ("F-CLIPScore", "CLIPScore", "RefCLIPScore")),
    "NLI": ("NLI score", (METHOD, WHOLE, RANDOM)),
    "F1": ("F1 of words or tokens", (METHOD, WHOLE, EVERY, RANDOM)),
    "Spearman": ("rank correlation with people", ("F-CLIPScore", "CLIPScore")),
}


def benchmark_dots(data, title: str = ""):
    """Each measure in a panel, each benchmark in a row, each scorer with its interval.

    data: `all_results`. Published values, where there are any, are hollow, without an interval.
    """
    data = data[(data["group"] == "all") & data["value"].notna()]
    return dot_panels(
        data, "benchmark", [(PANELS[m][0], m, data[data["measure"] == m]) for m in PANELS], title
    )


def group_dots(data, title: str = ""):
    """The groups of nocaps-FOIL and SeeTRUE-Feedback: each measure of each in a panel.

    data: `all_results` without the published. Rows: groups, with the number of units behind them.
    """
    data = data[(data["group"] != "all") & data["value"].notna()]
    panels = []
    for benchmark in data["benchmark"].unique():
        own = data[data["benchmark"] == benchmark]
        sizes = own.groupby("group")["n"].max()
        own = own.assign(group=[f"{g} ({sizes[g]:.0f})" for g in own["group"]])
        panels += [(f"{benchmark}: {PANELS[m][0]}", m, own[own["measure"] == m]) for m in PANELS]
    if not len(data):
        return message("none of these benchmarks has groups")
    return dot_panels(data, "group", panels, title)


def dot_panels(data, column: str, panels, title: str):
    """The panels (title, measure, rows) that have rows, one above the other, on one scale."""
    panels = [panel for panel in panels if drawn(*panel[1:]).any()]
    if not panels:
        return message("nothing was measured")
    title = unbroken(title)
    sizes = [own[column].nunique() for _, _, own in panels]
    lines = title.count("\n") + bool(title)
    figure = new_figure(1.1 + 0.13 * lines + 0.25 * len(panels) + 0.27 * sum(sizes))
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=sizes, squeeze=False)[:, 0]
    looks = {}
    for ax, (name, measure, own) in zip(axes, panels, strict=True):
        looks |= lanes(ax, own[drawn(measure, own)], column)
        ax.set_title(name, loc="left")
    axes[-1].set_xlabel("value with its 95% interval")
    low = min(0, *(own.loc[drawn(measure, own), "low"].min() for _, measure, own in panels))
    axes[-1].set(xlim=(1.1 * low - 0.02, 1.02))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.1f}".replace("-", "−")))
    chance = Line2D([], [], color=GREY, marker="|", linestyle="", markersize=6, label="chance")
    titled_legend(figure, title, *looks.values(), chance)
    return figure


def unbroken(title: str) -> str:
    """A title cut into lines, but not at the hyphen of a name."""
    return title and wrapped(title.replace("-", "\N{NON-BREAKING HYPHEN}"))


def titled_legend(figure, title: str, *handles) -> None:
    """The figure's title with the legend of all panels below it."""
    legend_above(figure, *handles)
    figure.legends[0].set_title(title, prop={"size": TITLE})
    figure.legends[0].get_title().set(multialignment="center", parse_math=False)


def drawn(measure: str, data) -> pd.Series:
    """Which rows a panel shows: its scorers, and published ones of the paper's main epsilon."""
    printed = data["published"].astype(bool) & ~data["note"].fillna("").eq(NOT_MAIN)
    return data["scorer"].isin(PANELS[measure][1]) & ~data["published"].astype(bool) | printed


def lanes(ax, data, column: str) -> dict:
    """Draw a panel's rows, their scorers one below the other; its legend entries by label."""
    rows, found = list(dict.fromkeys(data[column])), {}
    for number, row in enumerate(rows):
        own = data[data[column] == row]
        measured = own[~own["published"].astype(bool)].to_dict("records")
        printed = own[own["published"].astype(bool)]
        offsets = np.linspace(-0.28, 0.28, max(2, len(measured) + (len(printed) > 0)))
        for one, offset in zip(measured, offsets, strict=False):
            look = LOOKS[one["scorer"]]
            found[look.label] = estimate_dot(ax, one, number + offset, look)
        for one in printed.to_dict("records"):
            look = PRINTED.get(one["scorer"], OTHERS)
            (found[look.label],) = ax.plot(
                one["value"],
                number + offsets[-1],
                look.marker,
                mfc="none",
                mec=look.colour,
                markersize=3.5,
                mew=0.8,
                label=look.label,
            )
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", linewidth=0.3, color="#dddddd")
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax, left=True)
    return found


def estimate_dot(ax, row: dict, y: float, look: Look) -> Line2D:
    """One estimate with its interval, and its chance as a grey stroke; the legend's entry."""
    if row["chance"] == row["chance"]:
        ax.plot(row["chance"], y, "|", color=GREY, markersize=6, mew=1, zorder=1)
    dots(ax, row, y, look.colour, look.marker)
    return Line2D(
        [], [], color=look.colour, marker=look.marker, linestyle="", markersize=3, label=look.label
    )


def message(text: str):
    """A figure that says why there is none."""
    figure = new_figure(0.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY, parse_math=False)
    return figure
