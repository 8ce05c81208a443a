"""Figures of the ranking: dots with 95 % intervals, one column wide; grey is what knows nothing."""

import numpy as np
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from ...evaluation.ranking import KNOWN
from ...plots.marks import dots, number_map
from ...plots.style import GREY, INK, SMALL, named_rows, new_figure
from .findings import best
from .tables import NOTHING

TITLES = {
    "locate": "finds the\nfalse word",
    "order_words": "orders facts\nas the score",
    "follow": "sums follow\nthe score",
    "point": "points at\nits thing",
    "match": "follows exact\ninteraction",
    "order_things": "orders things\nas the score",
}
AXES = {
    "locate": "net share",
    "order_words": "Kendall's τ",
    "follow": "Pearson's r",
    "point": "net share",
    "match": "Pearson's r",
    "order_things": "share in order",
}
CHANCE = {"order_things": 0.5}


def rank_dots(tables: dict, title: str):
    """One panel a measure, one row a method in the order of the first measure.

    tables: {measure: `summary`}.
    """
    order = list(next(iter(tables.values()))["method"])
    figure = new_figure(1.0 + 0.15 * len(order))
    panels = figure.subplots(1, len(tables), sharey=True)
    blue = sns.color_palette("colorblind")[0]
    for ax, (measure, table) in zip(panels, tables.items(), strict=True):
        table = table.set_index("method").reindex(order)
        for row, name in enumerate(order):
            colour = GREY if name in NOTHING else blue
            dots(ax, table.loc[name], [row], colour, "s" if name in NOTHING else "o")
        ax.axvline(CHANCE.get(measure, 0), color=INK, linewidth=0.6, linestyle=":")
        ax.set_title(TITLES[measure], size=SMALL)
        ax.set_xlabel(AXES[measure], size=SMALL)
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.xaxis.set_major_locator(MaxNLocator(2))
        ax.grid(axis="y", color="0.93", linewidth=0.5)
    named_rows(panels[0], order)
    for ax in panels[1:]:
        ax.tick_params(axis="y", left=False)
    sns.despine(figure)
    figure.suptitle(title, size=SMALL + 1)
    return figure


def region_dots(tables: dict):
    """The heat-map methods, with the finding as its title."""
    return rank_dots(
        tables, f"{best(tables['match'])['method']} follow the model's own interactions best"
    )


def kind_map(rows, methods):
    """Net hits of each method for each kind of fact; a number a cell, 0 in the middle."""
    kinds = [*KNOWN, "position", "state"]
    table = rows.pivot_table(index="method", columns="kind", values="net").loc[list(methods), kinds]
    figure = new_figure(0.9 + 0.16 * len(table))
    ax = figure.subplots()
    number_map(ax, table, "hit in the foil − in the true caption", size=SMALL - 1.5, short=True)
    ax.tick_params(axis="x", rotation=40)
    return figure


def stability_map(agreement):
    """Kendall's tau between the rankings of all models and samples."""
    figure = new_figure(1.0 + 0.22 * len(agreement))
    ax = figure.subplots()
    hidden = np.triu(np.ones(agreement.shape, bool), 1)
    number_map(ax, agreement, "Kendall's τ", mask=hidden)
    ax.set_xticklabels(ax.get_xticklabels(), rotation=30, ha="right")
    return figure
