"""Figures of the ablation notebooks, from frames alone (see `ablation_measures`).

Every function returns a Figure one column wide. Bands and bars are 95 % intervals; what is dotted
is chance. Call `plots.use_style` once before.
"""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...plots.colours import PALETTE, symmetric_limit
from ...plots.marks import dots, number_map
from ...plots.style import GREY, INK, SMALL, named_rows, new_figure
from .measures import ALL, LOCATION, PRECISION

BLUE, ORANGE = sns.color_palette("colorblind")[:2]
COLOURS = {LOCATION: BLUE, PRECISION: ORANGE}
AXES = {LOCATION: "share of foils", PRECISION: "AP of F-CLIPScore"}
BASELINES = {"chance": ":", "cosine": "--"}
CONTROL = {"linestyle": (0, (3, 1, 1, 1)), "linewidth": 0.8}
NAMES = {
    "signed": "signed",
    "negative_heads": "negative heads",
    "negative_layers": "negative layers, a",
    "negative_layers_gradient": "negative layers, b",
    "positive_heads": "positive heads*",
    "absolute": "absolute*",
}
OURS = "* ours; the others: the paper's"


# ---------------------------------------------------------------- curves against layers


def layer_curves(data):
    """Both measures against the number of last text layers, one panel each.

    data: `scores` of one ReLU variant and one group.
    """
    figure = new_figure(2.1)
    for ax, measure in zip(figure.subplots(1, 2), COLOURS, strict=True):
        curve(ax, data[data["measure"] == measure], COLOURS[measure])
        ax.set(xlabel="last text layers", ylabel=AXES[measure], title=measure)
    legend_above(figure, *baseline_handles())
    return figure


def curve(ax, data, colour, label: str = "") -> None:
    """One line with its band; dotted chance, dashed the cosine, dash-dotted the true captions.

    data: rows of one measure.
    """
    data = data.sort_values("layers")
    x = data["layers"].to_numpy()
    ax.fill_between(x, data["low"], data["high"], color=colour, alpha=0.25, linewidth=0)
    ax.plot(x, data["value"], color=colour, marker="o", markersize=2.5, linewidth=1, label=label)
    for column, style in BASELINES.items():
        if data[column].notna().any():
            ax.axhline(data[column].iloc[0], color=colour, linestyle=style, linewidth=0.8)
    if data["control"].notna().any():
        ax.plot(x, data["control"], color=colour, **CONTROL)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax)


def legend_above(figure, *handles, ncols: int = 2) -> None:
    """One legend for all panels, above them."""
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=ncols,
        frameon=False,
        columnspacing=1.2,
        handlelength=1.8,
    )


def baseline_handles(colour=GREY) -> list[Line2D]:
    """Legend entries of the reference lines of a curve."""
    names = {"chance": "chance", "cosine": "AP of the bare cosine"}
    lines = [
        Line2D([], [], color=colour, linestyle=style, linewidth=0.8, label=names[column])
        for column, style in BASELINES.items()
    ]
    return [*lines, Line2D([], [], color=colour, **CONTROL, label="location, true captions")]


def layer_curves_by_type(data):
    """The same for each foil type, a small panel each, on one scale.

    data: `scores` of one ReLU variant, several groups.
    """
    groups = list(dict.fromkeys(data["group"]))
    rows = -(-len(groups) // 2)
    figure = new_figure(0.75 + 0.85 * rows)
    panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, group in zip(panels, groups, strict=False):
        own = data[data["group"] == group]
        for measure, colour in COLOURS.items():
            curve(ax, own[own["measure"] == measure], colour, label=measure)
        ax.set_title(f"{group} (n = {own['n'].max()})", pad=2)
    for ax in panels[len(groups) :]:
        ax.set_axis_off()
    panels[0].set(ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
    lines = [
        Line2D([], [], color=colour, marker="o", markersize=2.5, label=measure)
        for measure, colour in COLOURS.items()
    ]
    legend_above(figure, *lines, *baseline_handles())
    figure.supylabel("share of foils · average precision", size=7.5)
    for ax in panels[max(0, len(groups) - 2) : len(groups)]:
        ax.set_xlabel("last text layers")
        ax.tick_params(labelbottom=True)
    return figure


def variant_curves(data):
    """Location accuracy against the number of layers, one panel a ReLU variant.

    data: `location_by_layers` of one group. Grey: the signed attribution, for comparison.
    """
    variants = list(dict.fromkeys(data["variant"]))
    signed = data[data["variant"] == "signed"]
    rows = -(-len(variants) // 3)
    figure = new_figure(0.5 + 1.0 * rows)
    panels = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, variant in zip(panels, variants, strict=False):
        ax.plot(signed["layers"], signed["value"], color=GREY, linewidth=0.8)
        curve(ax, data[data["variant"] == variant].assign(cosine=np.nan, control=np.nan), BLUE)
        ax.set_title(NAMES[variant], pad=3, size=SMALL)
    for ax in panels[len(variants) :]:
        ax.set_axis_off()
    panels[3 * (rows - 1) + 1].set_xlabel("last text layers averaged")
    figure.supylabel("location accuracy (share of foils)", size=7.5)
    return figure


# ---------------------------------------------------------------- maps


def contribution_maps(by_layer, by_head):
    """What layers (by foil type) and heads say of the foiled word because it is false.

    by_layer: `share_by_layer`; by_head: `contribution_by_head`, whose `net` is drawn. Blue: against
    the false word, more than against the true one in its place. A dot marks cells whose interval
    leaves out 0. Each map has a scale of its own.
    """
    rows = by_layer["foil_type"].nunique(), by_head["layer"].nunique()
    figure = new_figure(1.5 + 0.15 * sum(rows))
    upper, lower = figure.subplots(2, 1, height_ratios=rows)
    signed_map(upper, by_layer, "foil_type", "layer")
    upper.set(xlabel="layer of the text tower (0 = first)", ylabel="", title="mean of all heads")
    signed_map(lower, by_head, "layer", "head")
    lower.set(xlabel="head", ylabel="layer", title="each head, all foil types")
    return figure


def signed_map(ax, data, row: str, column: str) -> None:
    """A map of `net` (cosine) on the diverging scale centred on 0, in the frame's order."""
    order = list(dict.fromkeys(data[row]))
    values, low, high = (
        data.pivot(index=row, columns=column, values=name).loc[order]
        for name in ("net", "net_low", "net_high")
    )
    limit = symmetric_limit(values)
    power = int(np.floor(np.log10(limit)))
    sns.heatmap(
        values / 10.0**power,
        cmap=PALETTE,
        center=0,
        vmin=-limit / 10.0**power,
        vmax=limit / 10.0**power,
        ax=ax,
        linewidths=0.3,
        linecolor="white",
        cbar_kws={"label": f"cosine × 10$^{{{power}}}$", "pad": 0.02},
    )
    ax.collections[0].colorbar.ax.tick_params(labelsize=SMALL)
    y, x = np.nonzero((low > 0).to_numpy() | (high < 0).to_numpy())
    ax.scatter(x + 0.5, y + 0.5, s=3, color=INK, linewidths=0)
    ax.tick_params(length=0, labelsize=SMALL)
    ax.set_yticks(np.arange(len(order)) + 0.5, order, rotation=0)
    ax.set_xticks(np.arange(values.shape[1]) + 0.5, values.columns, rotation=0)
    if values.shape[1] > 16:
        ax.set_xticks(np.arange(0, values.shape[1], 4) + 0.5, values.columns[::4], rotation=0)


def difference_map(data):
    """What each variant changes for each foil type, in location accuracy; a number a cell.

    data: `differences`. Bold: the interval of the paired difference leaves out 0.
    """
    own = data[(data["measure"] == LOCATION) & (data["group"] != ALL)]
    groups, variants = list(dict.fromkeys(own["group"])), list(dict.fromkeys(own["variant"]))
    table = own.set_index(["group", "variant"])
    values = table["value"].unstack().loc[groups, variants]
    figure = new_figure(1.25 + 0.17 * len(groups))
    ax = figure.subplots()
    number_map(ax, values, "difference to signed", symmetric_limit(values), "+.2f")
    for text, (group, variant) in zip(ax.texts, np.ndindex(values.shape), strict=True):
        cell = table.loc[(groups[group], variants[variant])]
        text.set_fontweight("bold" if cell["low"] > 0 or cell["high"] < 0 else "normal")
    ax.set_xticklabels([NAMES[v].replace(" ", "\n", 1) for v in variants], rotation=0)
    ax.set_title(f"{LOCATION}, compared with signed")
    return figure


# ---------------------------------------------------------------- dots with their intervals


def row_dots(ax, data, rows: list[str], names: list[str], column: str, colour=BLUE) -> None:
    """One dot with its interval for each of `rows` in `column`, from the top."""
    dots(ax, data.set_index(column).reindex(rows), np.arange(len(rows)), colour)
    named_rows(ax, names)


def variant_dots(data):
    """Both measures of every ReLU variant; data: `scores_at` of one group."""
    figure = _two_panels(data)
    for ax, measure in zip(figure.axes, COLOURS, strict=True):
        own = data[data["measure"] == measure]
        for column, style in BASELINES.items():
            if own[column].notna().all():
                ax.axvline(own[column].iloc[0], color=GREY, linestyle=style, linewidth=0.8)
        ax.set_xlabel(AXES[measure])
    legend_above(figure, *baseline_handles()[: len(BASELINES)])
    return figure


def difference_dots(data):
    """The paired difference of every variant to `signed`, both measures; data: `differences`."""
    figure = _two_panels(data[data["group"] == ALL])
    for ax in figure.axes:
        ax.axvline(0, color=INK, linewidth=0.6)
        ax.set_xlabel("difference to signed")
    return figure


def _two_panels(data):
    variants = list(dict.fromkeys(data["variant"]))
    figure = new_figure(0.8 + 0.2 * len(variants))
    for ax, measure in zip(figure.subplots(1, 2, sharey=True), COLOURS, strict=True):
        own = data[data["measure"] == measure]
        row_dots(ax, own, variants, [NAMES[v] for v in variants], "variant", COLOURS[measure])
        ax.set_title(measure)
    return figure
