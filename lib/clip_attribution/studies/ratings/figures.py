"""Figures of the notebook on ratings, from frames (see `tables`).

One column wide; bars are 95 % intervals. Call `plots.use_style` once before.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D

from ...datasets.ratings import CELLS, GROUPS, LENGTH
from ...plots.marks import dots
from ...plots.style import GREY, INK, SMALL, new_figure
from ..foils.figures import legend_above
from .tables import IMAGES, RAW, SIDES, STORED

OWN = {  # colour, marker and label of what is measured here
    RAW: (INK, "o", "this model"),
    STORED: (GREY, "o", STORED),
    LENGTH: (INK, "s", LENGTH),
}


def table_dots(printed: pd.DataFrame, found: pd.DataFrame | None = None):
    """Table 2 as dots: printed values with the interval of 68 texts, and what was measured here.

    printed: `published_rows`; found: `people`'s correlations, or None.
    """
    models = list(dict.fromkeys(printed["scorer"]))
    tints = dict(zip(models, [GREY, *sns.color_palette("colorblind", 4)], strict=True))
    own = [] if found is None else [name for name in OWN if name in set(found["scorer"])]
    lines = len(models) + len(own)
    counts = [sum(group == name for group, _ in CELLS) for name in GROUPS]
    figure = new_figure(1.6 + 0.055 * (lines + 1.5) * sum(counts))
    panels = figure.subplots(3, 1, sharex=True, height_ratios=counts)
    for ax, name in zip(panels, GROUPS, strict=True):
        questions = [question for group, question in CELLS if group == name]
        for y, question in enumerate(questions):
            cells = (
                one[(one["group"] == name) & (one["question"] == question)].set_index("scorer")
                for one in (printed, printed if found is None else found)
            )
            places = y + (np.arange(lines) - (lines - 1) / 2) / (lines + 1.5)
            _question_dots(ax, *cells, tints, own, places)
        ax.axvline(0, color=GREY, linestyle=":", linewidth=0.8)
        ax.set_yticks(range(len(questions)), questions)
        ax.set(ylim=(len(questions) - 0.45, -0.55), title=name)
        ax.tick_params(axis="y", length=0)
        sns.despine(ax=ax, left=True)
    panels[-1].set_xlabel("Pearson's r with the mean rating")
    legend_above(figure, *table_handles(tints, own))
    return figure


def _question_dots(ax, printed, found, tints: dict, own: list, places) -> None:
    """The dots of one question: printed and measured rows, by scorer."""
    for at, (name, tint) in zip(places, tints.items(), strict=False):
        row = printed.loc[name]
        dots(ax, row, at, tint, face="white")
        if not pd.isna(row["over_starts"]):
            ends = row["value"] - row["over_starts"], row["value"] + row["over_starts"]
            ax.plot(ends, (at, at), color=tint, linewidth=2.5, alpha=0.5)
    for at, name in zip(places[len(tints) :], own, strict=True):
        colour, marker, _ = OWN[name]
        dots(ax, found.loc[name], at, colour, marker, names=("value", "image_low", "image_high"))
        ends = places[0], places[-1]
        ax.plot([found.loc[name, "ceiling"]] * 2, ends, color=INK, linewidth=1, alpha=0.5)


def table_handles(tints: dict, own: list) -> list[Line2D]:
    """The legend of `table_dots`."""
    handles = [
        Line2D([], [], color=c, marker="o", markersize=3, markerfacecolor="white", label=name)
        for name, c in tints.items()
    ]
    thick = Line2D([], [], color=GREY, linewidth=2.5, alpha=0.5, label="printed ±, over starts")
    mine = [
        Line2D([], [], color=OWN[name][0], marker=OWN[name][1], markersize=3, label=OWN[name][2])
        for name in own
    ]
    ceiling = Line2D([], [], color=INK, linewidth=1, alpha=0.5, label="√reliability (upright)")
    return [*handles, thick, *mine, *([ceiling] if own else [])]


def facts_panels(found: pd.DataFrame, studies: pd.DataFrame):
    """Left, r of score and length with the facts; right, the r that studies of 18 images find.

    found: `against_facts`; studies: `small_studies`.
    """
    tints = dict(zip(SIDES, sns.color_palette("colorblind", 2), strict=True))
    figure = new_figure(2.1)
    left, right = figure.subplots(1, 2)
    kinds = list(dict.fromkeys(found["kind"]))
    for shift, name in enumerate(SIDES):
        own = found[found["of"] == name].set_index("kind").loc[kinds]
        dots(left, own, np.arange(len(kinds)) + 0.22 * shift - 0.11, tints[name])
        sns.histplot(studies[name], ax=right, color=tints[name], element="step", linewidth=0.8)
        value = own.loc["all texts", "value"]
        right.axvline(value, color=tints[name], linestyle="--", linewidth=1)
    left.set_yticks(range(len(kinds)), ["all\ntexts", "within\nimages", "given\nthe other"])
    left.set_ylim(len(kinds) - 0.5, -0.5)
    left.set(xlim=(min(0, found["low"].min()) - 0.03, 1), xlabel="r with the number of facts")
    left.axvline(0, color=GREY, linestyle=":", linewidth=0.8)
    right.set(xlabel=f"r, {IMAGES} images a study", ylabel="studies")
    for ax in (left, right):
        ax.tick_params(labelsize=SMALL)
        sns.despine(ax=ax, left=ax is left)
    handles = [
        Line2D([], [], color=tints[name], marker="o", markersize=3, label=label)
        for name, label in SIDES.items()
    ]
    legend_above(figure, *handles)
    return figure
