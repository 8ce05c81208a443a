"""Figures of the part-of-speech notebook, from frames alone (see `ablation_measures`).

One column wide; bars are 95 % intervals. Call `plots.use_style` once before.
"""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from ..plots.colours import symmetric_limit
from ..plots.style import GREY, INK, SMALL, new_figure
from .foils.figures import BLUE, ORANGE, legend_above, row_dots

MEASURES = ("precision", "recall", "F1")
WORDS = {"aligned": "#b5b5b5", "foiled": ORANGE}


def detection_dots(data, chance):
    """Precision, recall and F1 of each part of speech, and (grey) what blind picking finds.

    data: `detection_by_pos`; chance: `detection_chance`. Tags without a foiled word are left out;
    where no word of a tag lies below epsilon, precision is undefined and has no dot.
    """
    data = data[data["n"] > 0].merge(chance, on=["pos", "measure"])
    tags, names = by_number(data.drop_duplicates("pos"))
    figure = new_figure(1.0 + 0.2 * len(tags))
    for ax, measure in zip(figure.subplots(1, 3, sharey=True), MEASURES, strict=True):
        own = data[data["measure"] == measure]
        row_dots(ax, own, tags, names, "pos")
        blind = own.set_index("pos")["chance"].reindex(tags)
        ax.plot(blind, range(len(tags)), "|", color=GREY, markersize=8)
        ax.set(xlim=(-0.04, 1.04), xticks=(0, 0.5, 1), xlabel="share", title=measure)
    grey = {"color": GREY, "linestyle": "", "markersize": 8}
    dot = Line2D([], [], color=BLUE, marker="o", markersize=3, label="attribution below ε")
    legend_above(figure, dot, Line2D([], [], marker="|", label="picked blindly", **grey))
    return figure


def by_number(data) -> tuple[list[str], list[str]]:
    """Tags by falling number of foiled words `n`, and their labels "NOUN (241)"."""
    data = data.sort_values("n", ascending=False, kind="stable")
    return list(data["pos"]), [f"{row.pos} ({row.n})" for row in data.itertuples()]


def attribution_boxes(words, separation, epsilon: float):
    """Attributions of aligned and foiled words by part of speech; how well they are told apart.

    words: `label_words` with `pos`; separation: `separation_by_pos`. Boxes hold the middle half,
    whiskers reach from the 5th to the 95th percentile; the dashed line is epsilon. The scale is
    linear between -epsilon and epsilon and logarithmic beyond.
    """
    tags, names = by_number(separation)
    own = words[words["pos"].isin(tags)].dropna(subset=["attribution"])
    own = own.assign(word=np.where(own["foiled"], "foiled", "aligned"))
    figure = new_figure(1.05 + 0.3 * len(tags))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    sns.boxplot(
        own,
        x="attribution",
        y="pos",
        hue="word",
        order=tags,
        ax=left,
        whis=(5, 95),
        hue_order=WORDS,
        palette=list(WORDS.values()),
        showfliers=False,
        linewidth=0.6,
        gap=0.15,
    )
    left.get_legend().remove()
    left.axvline(0, color=INK, linewidth=0.6)
    left.axvline(epsilon, color=INK, linewidth=0.6, linestyle="--")
    ends = own.groupby(["pos", "word"])["attribution"].quantile([0.05, 0.95])
    signed_log(left, symmetric_limit(ends), abs(epsilon) or 1e-5)
    left.set(xlabel="attribution (cosine, log beyond ±ε)", ylabel="")
    row_dots(right, separation, tags, names, "pos", ORANGE)
    right.axvline(0.5, color=GREY, linestyle=":", linewidth=0.8)
    right.set(xlabel="foiled below\naligned (share)")
    sns.despine(ax=left, left=True)
    left.tick_params(axis="y", length=0)
    boxes = [Patch(facecolor=c, edgecolor=INK, linewidth=0.6, label=w) for w, c in WORDS.items()]
    threshold = Line2D([], [], color=INK, linestyle="--", linewidth=0.6, label="ε")
    chance = Line2D([], [], color=GREY, linestyle=":", linewidth=0.8, label="chance")
    legend_above(figure, *boxes, threshold, chance, ncols=4)
    return figure


def signed_log(ax, limit: float, linear: float) -> None:
    """An x axis from -limit to limit, logarithmic on both sides of a linear middle."""
    ax.set_xscale("symlog", linthresh=linear, linscale=0.5)
    top = int(np.floor(np.log10(limit)))
    powers = [power for power in (top, top - 2) if 10.0**power > 2 * linear] or [top]
    marks = [10.0**power for power in powers]
    labels = [f"10$^{{{power}}}$" for power in powers]
    ax.set_xticks([*(-m for m in marks), 0, *marks], [*(f"−{x}" for x in labels), "0", *labels])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(-1.2 * limit, 1.2 * limit)
    ax.tick_params(axis="x", labelsize=SMALL)
