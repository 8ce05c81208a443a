"""Figures of the notebook on heat-map methods, from maps and frames (see `deletion`, `sanity`).

One column wide; bars and bands are 95 % intervals, grey is the baseline. Call `plots.use_style`
once before.
"""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...evaluation.deletion import KINDS, RANDOM
from ...evaluation.sanity import OTHER
from ...heatmaps import heatmaps
from ...plots.colours import overlay, symmetric_limit
from ...plots.marks import dots
from ...plots.style import GREY, INK, SMALL, new_figure
from ..foils.figures import legend_above
from ..grounding.figures import method_legend, palette

COLUMNS = 4  # images beside one another


def phrase_maps(clip, image, phrase: str, methods: list[str]) -> dict:
    """Every method's raw map of one phrase in one image, {method: float32 [rows, cols]}."""
    return {name: heatmaps(clip, [image], [phrase], name)[0] for name in methods}


def map_panels(picture, maps: dict, limits: dict | None = None):
    """The image, then every method's signed map over it, on a scale centred on 0.

    maps: {method: raw map [rows, cols]}; limits: {method: end of its scale}, by default the map's
    own largest |value|. Red speaks for the phrase, blue against it.
    """
    limits = limits or {name: symmetric_limit(data) for name, data in maps.items()}
    rows = -(-(len(maps) + 1) // COLUMNS)
    figure = new_figure(0.15 + 1.15 * rows)
    first, *panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax in (first, *panels):
        ax.set_axis_off()
    first.imshow(picture)
    first.set_title("picture\n", size=SMALL)
    for ax, (name, data) in zip(panels, maps.items(), strict=False):
        ax.imshow(overlay(picture, data, limits[name]))
        ax.set_title(f"{name}\n±{limits[name]:.2g}", size=SMALL)
    return figure


def limits_of(maps: dict) -> dict[str, float]:
    """The end of each method's scale, so that another phrase's maps can be drawn on the same."""
    return {name: symmetric_limit(data) for name, data in maps.items()}


def curve_panels(curves, summary, parts: str):
    """Mean deletion and insertion curves, and below what each method gains over a random order.

    curves: `deletion.mean_curves`; summary: `deletion.summary`; parts: "patches" or "words".
    """
    methods = [name for name in dict.fromkeys(curves["method"]) if name != RANDOM]
    colours = palette(methods)
    figure = new_figure(2.6 + 0.17 * len(methods))
    panels = figure.subplots(2, 2, sharey="row", height_ratios=(1.5, 0.12 * len(methods) + 0.3))
    for kind, upper, lower in zip(KINDS, *panels, strict=True):
        for method, own in curves[curves["kind"] == kind].groupby("method", sort=False):
            colour = colours.get(method, GREY)
            line = ":" if method == RANDOM else "-"
            upper.fill_between(
                own["share"], own["low"], own["high"], color=colour, alpha=0.12, linewidth=0
            )
            upper.plot(own["share"], own["value"], color=colour, linewidth=1, linestyle=line)
        verb = "taken away" if kind == "deletion" else "put back"
        upper.set(title=kind, xticks=(0, 0.5, 1))
        upper.set_xlabel(f"{parts} {verb} (share)", size=SMALL)
        upper.xaxis.set_major_formatter("{x:g}")
        gain_dots(lower, summary[summary["kind"] == kind].set_index("method"), colours)
        for ax in (upper, lower):
            ax.tick_params(labelsize=SMALL)
            sns.despine(ax=ax, left=ax is lower)
    panels[0, 0].set_ylabel("cosine")
    floor = Line2D([], [], color=GREY, linestyle=":", linewidth=1, label=RANDOM)
    method_legend(figure, colours, floor)
    return figure


def gain_dots(ax, data, colours: dict) -> None:
    """One dot with its interval a method: how far its area lies on the good side of random."""
    for y, (method, colour) in enumerate(colours.items()):
        row = data.loc[method]
        dots(ax, row, y, colour, names=("gain", "gain_low", "gain_high"))
    ax.axvline(0, color=GREY, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(colours)), list(colours))
    ax.set_ylim(len(colours) - 0.5, -0.5)
    ax.set_xlabel("area gained\nover random", size=SMALL)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="y", length=0)


def sanity_panels(data):
    """Rank correlation with the original map against what was re-initialised, a panel a method.

    data: `sanity.by_depth`. Dotted: the correlation with another image's original map.
    """
    colours = palette(list(dict.fromkeys(data["method"])))
    rows = -(-len(colours) // 3)
    figure = new_figure(0.9 + 1.15 * rows)
    panels = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False)
    for ax, (method, colour) in zip(panels.ravel(), colours.items(), strict=False):
        own = data[(data["method"] == method) & (data["step"] >= 0)]
        other = data[(data["method"] == method) & (data["depth"] == OTHER)]["value"].iloc[0]
        ax.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(own["step"], own["value"], color=colour, linewidth=1, marker="o", markersize=2.5)
        ax.axhline(other, color=GREY, linestyle=":", linewidth=1)
        ax.axhline(0, color=INK, linewidth=0.4)
        ax.set_title(method, pad=3, size=SMALL)
        ax.set_xticks(own["step"], own["depth"], rotation=90)
        ax.tick_params(labelsize=SMALL)
        sns.despine(ax=ax)
    for ax in panels.ravel()[len(colours) :]:
        ax.set_axis_off()
    panels[0, 0].set(ylim=(min(-0.55, *data["low"].dropna()), 1.05), yticks=(-0.5, 0, 0.5, 1))
    figure.supylabel("rank correlation with the original map", size=7.5)
    legend_above(
        figure,
        Line2D([], [], color=GREY, linestyle=":", linewidth=1, label="another image's map"),
    )
    return figure


def share_below_zero(maps: dict) -> dict[str, float]:
    """The share of each map's cells that speak against the phrase."""
    return {name: float(np.mean(np.asarray(data) < 0)) for name, data in maps.items()}
