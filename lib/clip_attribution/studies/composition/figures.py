"""Figures of the composition benchmarks, from frames alone (see `composition_tables`).

One column wide; bars are 95 % intervals. Call `plots.use_style` once before.
"""

import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator

from ...plots.marks import dots
from ...plots.style import GREY, new_figure
from ..foils.figures import BLUE, ORANGE, legend_above
from ..roles.figures import message
from .tables import MAIN

LINE = 0.21  # inches a row
NAMES = {"text": "text score", "image": "image score", "group": "group score"}


def accuracy_dots(data):
    """Every accuracy in a row, the measures in panels: the model, random weights and chance.

    data: `composition_tables.main_rows`.
    """
    data = data[data["measure"].isin(MAIN)]
    panels = []
    for measure in MAIN[:4]:
        own = data[data["measure"] == measure]
        panels.append(
            (
                measure,
                own,
                [name.removesuffix(f" {measure.split()[0]}") for name in own["benchmark"]],
            )
        )
    own = data[data["benchmark"] == "Winoground"]
    panels.append(("Winoground", own, [NAMES[measure] for measure in own["measure"]]))
    return dot_panels(panels, "percent right")


def retrieval_dots(data):
    """R@1 and R@5 in both directions, and the correlations of sentence similarity.

    data: `composition_tables.main_rows`. T2I: text to image, I2T: image to text.
    """
    panels = []
    recalls = data[data["measure"].str.contains("R@")]
    for _, own in recalls.groupby("name", sort=False):
        panels += [
            (f"retrieval, {own['benchmark'].iloc[0]}", own, list(own["measure"]))
            for _ in range(bool(len(own)))
        ]
    own = data[data["measure"].isin(("Spearman", "Pearson"))]
    labels = [f"{row.benchmark}, {row.measure}" for row in own.itertuples()]
    panels.append(("similarity of sentences", own, labels))
    return dot_panels(panels, "percent; correlation × 100")


def dot_panels(panels, unit: str):
    """Panels (title, rows, labels) that have rows, one above the other, on one scale."""
    panels = [panel for panel in panels if len(panel[1])]
    if not panels:
        return message("none of the benchmarks that were asked for belongs here")
    sizes = [len(rows) for _, rows, _ in panels]
    figure = new_figure(0.85 + 0.22 * len(panels) + LINE * sum(sizes))
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=sizes, squeeze=False)[:, 0]
    for ax, (title, rows, labels) in zip(axes, panels, strict=True):
        lanes(ax, rows.reset_index(drop=True), labels)
        ax.set_title(title, loc="left", pad=2)
    lowest = min(rows[["low", "random_low"]].min().min() for _, rows, _ in panels)
    axes[-1].set(xlabel=unit, xlim=(min(-2, lowest - 2), 102))
    axes[-1].xaxis.set_major_locator(MultipleLocator(25))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    legend_above(figure, *handles(), ncols=3)
    return figure


def lanes(ax, rows, labels) -> None:
    """One row of a panel a line: chance, random weights a little lower, the model."""
    for place, row in rows.iterrows():
        ax.plot([row["chance"]] * 2, [place - 0.36, place + 0.36], color=GREY, linewidth=1.2)
        random = ("random", "random_low", "random_high")
        dots(ax, row, place + 0.17, ORANGE, "D", names=random)
        dots(ax, row, place - 0.13, BLUE)
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", linewidth=0.3, alpha=0.6)
    sns.despine(ax=ax, left=True)


def handles() -> list:
    """Legend entries."""
    return [
        Line2D([], [], color=BLUE, marker="o", markersize=3.5, linewidth=1, label="the model"),
        Line2D(
            [], [], color=ORANGE, marker="D", markersize=3.5, linewidth=1, label="random weights"
        ),
        Line2D(
            [],
            [],
            color=GREY,
            marker="|",
            markersize=7,
            linestyle="",
            markeredgewidth=1.2,
            label="chance",
        ),
    ]
