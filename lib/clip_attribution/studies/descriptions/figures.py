"""Figures of the notebook on descriptions, from frames; one column wide.

Call `plots.use_style` once before.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...plots.marks import dots
from ...plots.style import GREY, INK, SMALL, new_figure
from ..foils.figures import legend_above
from .runs import FROZEN, VARIANTS
from .tables import OTHER, RANDOM, TRAINED, over_starts

COLOURS = dict(zip(VARIANTS, sns.color_palette("colorblind", len(VARIANTS)), strict=True))
MARKERS = dict(zip(VARIANTS, "osD^v", strict=True))
SHIFTS = {TRAINED: ("o", None), RANDOM: ("o", "white"), OTHER: ("x", None)}
LINES = {"interchange accuracy": (0.5,), "gap moved": (0, 1)}  # with lines for the eye
ARROWS = {"up": "caption ← description", "down": "description ← caption"}


def handles(variants) -> list[Line2D]:
    """Legend entries of ways of training."""
    return [
        Line2D([], [], color=COLOURS[v], marker=MARKERS[v], markersize=3, linewidth=1, label=v)
        for v in variants
    ]


def in_order(logs: pd.DataFrame) -> list[str]:
    """The ways of training among `VARIANTS` that a frame holds."""
    return [name for name in VARIANTS if name in set(logs["variant"])]


def curves(logs: pd.DataFrame):
    """Preference and each task's F1 over training: mean of the starts, band from least to most."""
    panels = {"preference": "descriptions over\ncaptions"}
    panels |= {n: f"F1 {n.removeprefix('f1_')}" for n in logs if n.startswith("f1_")}
    rows = -(-len(panels) // 2)
    figure, variants = new_figure(0.7 + 1.35 * rows), in_order(logs)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, (column, title) in zip(axes, panels.items(), strict=False):
        for name in variants:
            own = logs[logs["variant"] == name].groupby("step")[column]
            mean, low, high = own.mean(), own.min(), own.max()
            ax.plot(
                mean.index, mean, color=COLOURS[name], marker=MARKERS[name], markersize=2.5, lw=1
            )
            ax.fill_between(mean.index, low, high, color=COLOURS[name], alpha=0.18, linewidth=0)
        if column == "preference":
            ax.axhline(0.5, color=GREY, linestyle=":", linewidth=0.8)
        else:
            widen(ax)
        ax.set_title(title)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.tick_params(labelsize=SMALL)
        sns.despine(ax=ax)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    figure.supxlabel("step")
    legend_above(figure, *handles(variants))
    return figure


def widen(ax, least: float = 0.1) -> None:
    """Let the axis of values span at least 0.1: a few images should not look like a change."""
    low, high = ax.get_ylim()
    middle, half = (low + high) / 2, max(high - low, least) / 2
    ax.set_ylim(middle - half, middle + half)


def trade_off_dots(logs: pd.DataFrame):
    """Transfer score over preference, one dot an evaluated step of a start; the base in black."""
    figure, variants = new_figure(2.7), in_order(logs)
    ax = figure.subplots()
    for name in variants:
        own = logs[(logs["variant"] == name) & (logs["step"] > 0)]
        place = own["preference"], own["transfer"].astype(float)
        ax.scatter(*place, s=14, color=COLOURS[name], marker=MARKERS[name], alpha=0.8, lw=0)
    base = logs[logs["step"] == 0]
    ax.scatter(base["preference"], base["transfer"].astype(float), s=36, color=INK, marker="*")
    widen(ax)
    ax.axhline(1, color=GREY, linestyle=":", linewidth=0.8)
    ax.set(xlabel="share of descriptions scored above captions", ylabel="transfer score")
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax)
    star = Line2D([], [], color=INK, marker="*", linestyle="", markersize=6, label="base")
    legend_above(figure, *handles(variants), star)
    return figure


def localisation_dots(localised: pd.DataFrame):
    """Interchange accuracy and share of the gap moved, a row a way of training; mean over starts.

    Filled: the trained subspace; hollow: random ones of its size; crosses: sources of another
    image, which change the subject as well, so that no share of this image's gap is given for them.
    Bars: Student's t over starts. The frozen base has no gap to be moved.
    """
    order = [name for name in (*VARIANTS, FROZEN) if name in set(localised["variant"])]
    figure = new_figure(1.2 + 0.5 * len(order))
    axes = figure.subplots(2, 2, sharey=True, sharex="row")
    for row, measure in zip(axes, LINES, strict=True):
        for ax, direction in zip(row, ARROWS, strict=True):
            own = localised[
                (localised["measure"] == measure) & (localised["direction"] == direction)
            ]
            for y, name in enumerate(order):
                part = own[own["variant"] == name]
                if measure == "gap moved":
                    part = part[(part["subspace"] != OTHER) & (part["variant"] != FROZEN)]
                start_dots(ax, part, y, COLOURS.get(name, INK))
            for at in LINES[measure]:
                ax.axvline(at, color=GREY, linestyle=":", linewidth=0.7, zorder=0)
            ax.set_title(f"{measure}\n{ARROWS[direction]}")
            ax.tick_params(axis="y", length=0)
            ax.tick_params(labelsize=SMALL)
            sns.despine(ax=ax, left=True)
    ax.set_yticks(range(len(order)), order)
    ax.set_ylim(len(order) - 0.5, -0.5)
    marks = [
        Line2D([], [], color=GREY, linestyle="", marker=m, markersize=3.5, mfc=f or GREY, label=n)
        for n, (m, f) in SHIFTS.items()
    ]
    legend_above(figure, *marks)
    return figure


def start_dots(ax, own: pd.DataFrame, y: float, colour) -> None:
    """One way of training: a dot with its interval over starts for each kind of subspace."""
    for place, (subspace, (marker, face)) in enumerate(SHIFTS.items()):
        part = own[own["subspace"] == subspace]
        if part.empty:
            continue
        value, low, high = over_starts(part.groupby("start")["value"].mean())
        low, high = (value if np.isnan(end) else end for end in (low, high))
        row = {"value": value, "low": low, "high": high}
        dots(ax, row, y + 0.22 * (place - 1), colour, marker, face)
