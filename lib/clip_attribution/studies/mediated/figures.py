"""Figures of the notebook on mediated attributions, from frames (see `tables`).

One column wide. Call `plots.use_style` once before.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D

from ...plots.colours import symmetric_limit
from ...plots.marks import dots
from ...plots.style import GREY, SMALL, caption_panel, new_figure
from ..foils.figures import legend_above
from .runs import RANDOM
from .tables import REGISTERS

SHOWN = ("whole", "through", "around")
TINTS = dict(zip(SHOWN, sns.color_palette("colorblind", 3), strict=True))


def path_dots(summary: pd.DataFrame, correlations: pd.DataFrame):
    """r of each path with the truth (or a norm), a row a model and subspace.

    summary: `over_starts`; correlations: of which the grey band is taken, what r is by chance.
    Hollow: random subspaces.
    """
    rows = summary[["model", "subspace"]].drop_duplicates().to_records(index=False).tolist()
    figure = new_figure(0.9 + 0.36 * len(rows))
    ax = figure.subplots()
    band = correlations[["chance_low", "chance_high"]].mean()
    ax.axvspan(*band, color=GREY, alpha=0.15, linewidth=0)
    ax.axvline(0, color=GREY, linestyle=":", linewidth=0.8)
    table = summary.set_index(["model", "subspace", "path"])
    for y, (model, subspace) in enumerate(rows):
        for shift, path in enumerate(SHOWN):
            face = "white" if subspace == RANDOM else None
            at = y + 0.24 * (shift - 1)
            dots(ax, table.loc[model, subspace, path], at, TINTS[path], face=face)
    ax.set_yticks(range(len(rows)), [f"{model}\n{subspace}" for model, subspace in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("r with “names what is seen”")
    ax.tick_params(axis="y", length=0, labelsize=SMALL)
    sns.despine(ax=ax, left=True)
    handles = [
        Line2D([], [], color=c, marker="o", markersize=3, label=name) for name, c in TINTS.items()
    ]
    legend_above(figure, *handles, ncols=3)
    return figure


def text_panels(words: pd.DataFrame, image: str, paths=("whole", "through")):
    """Both texts of one image, their words coloured by two paths, on one scale.

    words: of `truth_correlations`, those of one model, start and subspace.
    """
    own = words[words["image"] == image]
    limit = symmetric_limit(own[list(paths)])
    figure = new_figure(2.6)
    panels = figure.subplots(2, 2)
    for row, (register, name) in zip(panels, REGISTERS.items(), strict=True):
        for ax, path in zip(row, paths, strict=True):
            text = own[own["register"] == register].assign(attribution=lambda f, p=path: f[p])
            caption_panel(text.assign(word=text["text"]), ax, limit)
            ax.set_title(f"{name}, {path}", size=SMALL)
    return figure


def best_image(words: pd.DataFrame) -> str:
    """The first image whose two texts both name the place on its sign."""
    names = words[words["kind"] == "name"].groupby("image", sort=False)["register"].nunique()
    return names.index[np.argmax(names == len(REGISTERS))]
