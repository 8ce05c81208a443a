"""Figures of the grounding notebook, from frames alone (see `grounding_comparisons`).

One column wide; bars and bands are 95 % intervals, grey is what knows no image. Call
`plots.use_style` once before.
"""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ...evaluation.grounding import heat
from ...io.images import open_image
from ...metrics.maps import prepare
from ...plots.colours import overlay
from ...plots.marks import number_map
from ...plots.style import GREY, INK, SMALL, new_figure
from ..foils.figures import legend_above
from .comparisons import COMPARED, GRADED
from .marks import (
    FLOORS,
    LABELS,
    cumulative,
    floor_handles,
    in_order,
    method_dots,
    method_legend,
    palette,
)

SWEEPS = {
    "uncertain": "as stated",
    "uncertain_merged": "near tops merged",
    "contested": "all maxima",
}


# ---------------------------------------------------------------- distributions


def metric_distributions(measured: dict, table):
    """Cumulative distributions of every graded measure, and both shares of the pointing game.

    measured: {method: frame}; table: `grounding.estimates` without groups.
    """
    colours = palette(measured)
    figure = new_figure(6.6)
    upper, lower = figure.subfigures(2, 1, height_ratios=(4.5, 1.6))
    for ax, metric in zip(upper.subplots(4, 2, sharey=True).ravel(), GRADED, strict=True):
        cumulative(ax, measured, metric, colours)
        ax.set_title(LABELS[metric], pad=5)
        ax.set_yticks((0, 0.5, 1))
    upper.supylabel("share of phrases at or below", size=7.5)
    for ax, metric in zip(
        lower.subplots(1, 2, sharey=True), ("pg_hit", "pg_uncertain"), strict=True
    ):
        own = table[table["metric"] == metric]
        method_dots(ax, own, colours)
        ax.set(title=LABELS[metric], xlabel="share of phrases")
    method_legend(figure, colours, *floor_handles())
    return figure


def task_distributions(measured: dict):
    """The same cumulative distributions, a column for each task."""
    colours, frame = palette(measured), next(iter(measured.values()))
    tasks = in_order(frame["task"])
    figure = new_figure(6.9)
    panels = figure.subplots(len(GRADED), len(tasks), sharex=True, sharey=True, squeeze=False)
    for metric, row in zip(GRADED, panels, strict=True):
        for task, ax in zip(tasks, row, strict=True):
            own = {name: part[part["task"] == task] for name, part in measured.items()}
            cumulative(ax, own, metric, colours)
        row[0].set_ylabel(LABELS[metric].replace(", ", "\n"), size=SMALL)
        row[0].set_yticks((0, 0.5, 1))
    for task, ax in zip(tasks, panels[0], strict=True):
        ax.set_title(f"{task}\nn = {(frame['task'] == task).sum()}", pad=5)
    figure.supylabel("share of phrases at or below", size=7.5)
    method_legend(figure, colours)
    return figure


def role_dots(table):
    """PG accuracy and IO ratio of every method, a column a task; filled and hollow: the groups.

    table: `grounding.estimates` by "task" and "group"; at most two groups are drawn, the
    largest. The baselines' lines are those of the first.
    """
    order = [name for name in dict.fromkeys(table["scorer"]) if name not in FLOORS]
    colours, tasks = palette(order), in_order(table["task"])
    sizes = table.groupby("group", sort=False)["n"].max().sort_values(ascending=False)
    groups = [name for name in dict.fromkeys(table["group"]) if name in sizes.index[:2]]
    figure = new_figure(1.3 + 0.36 * len(order))
    panels = figure.subplots(2, len(tasks), sharey=True, sharex="row", squeeze=False)
    for metric, row in zip(COMPARED, panels, strict=True):
        for task, ax in zip(tasks, row, strict=True):
            own = table[(table["metric"] == metric) & (table["task"] == task)]
            for number, group in enumerate(groups):
                part = own[own["group"] == group]
                if number:
                    part = part[~part["scorer"].isin(FLOORS)]
                method_dots(
                    ax,
                    part,
                    {m: colours[m] for m in order},
                    0.3 * number - 0.15 * (len(groups) - 1),
                    bool(number),
                )
            ax.set_xlabel(LABELS[metric], size=SMALL)
    for task, ax in zip(tasks, panels[0], strict=True):
        ax.set_title(task)
    marks = [
        Line2D(
            [],
            [],
            color=INK,
            marker="o",
            markersize=3,
            linestyle="",
            label=str(group),
            markerfacecolor="white" if number else INK,
        )
        for number, group in enumerate(groups)
    ]
    legend_above(figure, *marks, *floor_handles(), ncols=4)
    return figure


# ---------------------------------------------------------------- correlations, uncertainty


def correlation_map(data):
    """The measures' correlation matrix, a number a cell; data: `correlations`."""
    names = [LABELS[name] for name in data]
    figure = new_figure(3.1)
    ax = figure.subplots()
    number_map(ax, data, "Spearman's correlation", size=5, short=True)
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90)
    ax.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0)
    return figure


def uncertainty_curves(data, tau: float, delta: float):
    """PG uncertainty against tau and against delta, in three readings; data: `sweep_all`."""
    colours = palette(list(dict.fromkeys(data["method"])))
    figure = new_figure(3.2)
    panels = figure.subplots(2, len(SWEEPS), sharey="col")
    for (along, at), row in zip({"tau": tau, "delta": delta}.items(), panels, strict=True):
        for measure, ax in zip(SWEEPS, row, strict=True):
            own = data[(data["along"] == along) & (data["measure"] == measure)]
            for method, part in own.groupby("method", sort=False):
                ax.fill_between(
                    part["at"],
                    part["low"],
                    part["high"],
                    color=colours[method],
                    alpha=0.12,
                    linewidth=0,
                )
                ax.plot(
                    part["at"],
                    part["value"],
                    color=colours[method],
                    linewidth=1,
                    marker="o",
                    markersize=2,
                )
            ax.axvline(at, color=GREY, linestyle=":", linewidth=0.8)
            ax.yaxis.set_major_locator(MaxNLocator(3))
            ax.tick_params(labelsize=SMALL)
            ax.set(ylim=(0, None), xticks=(0, 0.5, 1) if along == "tau" else (0, 0.1, 0.2, 0.3))
            ax.xaxis.set_major_formatter("{x:g}")
            sns.despine(ax=ax)
        row[1].set_xlabel("τ" if along == "tau" else "δ (share of the diagonal)")
    for ax, title in zip(panels[0], SWEEPS.values(), strict=True):
        ax.set_title(title)
    figure.supylabel("share of phrases that are undecided", size=7.5)
    method_legend(figure, colours)
    return figure


# ---------------------------------------------------------------- examples


def example_panels(data, maps: dict, images: str = ""):
    """Images with boxes and heat, the hottest point marked; data: `disagreements`.

    maps: {method: Maps}; the row of each example is its column `row`.
    """
    columns = -(-len(data) // 2)
    figure = new_figure(3.5)
    panels = figure.subplots(2, columns, squeeze=False).ravel()
    for ax in panels:
        ax.set_axis_off()
    for ax, example in zip(panels, data.itertuples(), strict=False):
        own = maps[example.method]
        raw = heat(own.maps[[example.row]], example.method)
        seen = prepare(raw, example.size, own.upsampling, clip=False)[0]
        picture = open_image(example.image, images or None)
        ax.imshow(
            overlay(picture, seen.clip(0, 1), 1), extent=(0, picture.width, picture.height, 0)
        )
        for x0, y0, x1, y1 in example.boxes:
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=INK))
        y, x = np.unravel_index(seen.argmax(), seen.shape)
        ax.plot(x + 0.5, y + 0.5, "+", color="white", markersize=7, markeredgewidth=2.2)
        ax.plot(x + 0.5, y + 0.5, "+", color=INK, markersize=6, markeredgewidth=1)
        ax.set_title(
            f"“{cut(example.phrase)}”\n{example.method}\nPG {example.pg_hit:.0f}, IO "
            f"{example.io_ratio:.2f}, IoU {example.iou_soft:.2f}",
            size=SMALL,
            parse_math=False,
        )
    return figure


def cut(text: str, most: int = 22) -> str:
    """The text, ended by an ellipsis where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
