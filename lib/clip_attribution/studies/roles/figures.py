"""Figures of the composition notebook, from frames alone (see `role_measures`, `role_cases`).

One column wide; bars and bands are 95 % intervals. Call `plots.use_style` once before.
"""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...attribution import get_method
from ...plots.colours import overlay
from ...plots.style import (
    GREY,
    INK,
    NORMAL,
    SMALL,
    heatmap_panel,
    new_figure,
    plain_labels,
    short,
    wrapped,
)
from ..foils.figures import BLUE, ORANGE, legend_above

GREEN = sns.color_palette("colorblind")[2]
PALE = "#b5b5b5"
ROLE_COLOURS = {"object": BLUE, "relation": ORANGE, "attribute": GREEN, "other": PALE}
ROLE_NAMES = {
    "object": "object",
    "relation": "relation",
    "attribute": "attribute",
    "other": "other words",
}
TITLES = {
    "cae_gradcam": "CAE GradCAM",
    "integrated_gradients": "integrated gradients",
    "raw_attention": "raw attention",
    "gradient_x_attention": "gradient × attention",
}
UNITS = {"attention": "weight", "raw_attention": "weight"}


def titled(method: str) -> str:
    """A method's name for a reader."""
    return TITLES.get(method, method)


# ---------------------------------------------------------------- distributions


def role_boxes(means, shares):
    """Each method in a row: a caption's mean of each role, as it is and as a share of its sum.

    means, shares: `caption_means` and `normalised`. Boxes hold the middle half, whiskers reach from
    the 5th to the 95th percentile; the white dot is the mean.
    """
    methods = list(dict.fromkeys(means["method"]))
    figure = new_figure(0.75 + 0.82 * len(methods))
    axes = figure.subplots(len(methods), 2, squeeze=False, sharey=True)
    for row, method in zip(axes, methods, strict=True):
        for ax, data in zip(row, (means, shares), strict=True):
            boxes(ax, data[data["method"] == method])
        unit = UNITS.get(method, get_method(method).unit)
        row[0].set_title(f"{titled(method)} ({unit})", loc="left")
    axes[0][1].set_title("share of the sum", loc="left")
    legend_above(figure, *role_handles(), ncols=4)
    return figure


def boxes(ax, own) -> None:
    """One box a role, with its mean; own: the rows of one method."""
    for place, (role, colour) in enumerate(ROLE_COLOURS.items()):
        values = own[role].dropna()
        if len(values):
            ax.boxplot(
                [values],
                positions=[place],
                orientation="horizontal",
                widths=0.7,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": colour, "linewidth": 0.5},
                medianprops={"color": INK, "linewidth": 0.8},
                whiskerprops={"linewidth": 0.6},
                capprops={"linewidth": 0.6},
            )
            ax.plot(
                values.mean(),
                place,
                "o",
                color="white",
                markeredgecolor=INK,
                markersize=3,
                markeredgewidth=0.6,
                zorder=5,
            )
    ax.axvline(0, color=INK, linewidth=0.5, zorder=0)
    ax.set(ylim=(len(ROLE_COLOURS) - 0.45, -0.55), yticks=())
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    sns.despine(ax=ax, left=True)


def role_handles() -> list:
    """Legend entries of the roles."""
    return [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=ROLE_NAMES[role])
        for role, colour in ROLE_COLOURS.items()
    ]


# ---------------------------------------------------------------- accuracy against the ratio


def ratio_panels(curve):
    """Accuracy over all captions with a ratio up to x, one panel a method; grey: their share.

    curve: `ratio_curve`; a ratio that is never negative and spans decades is drawn on a
    logarithmic scale. None is drawn where too few captions have a foil.
    """
    methods = list(dict.fromkeys(curve["method"]))
    if not methods:
        return message("too few captions with a relation and a foil for this curve")
    rows = -(-len(methods) // 2)
    figure = new_figure(0.75 + 1.25 * rows)
    panels = figure.subplots(rows, 2, squeeze=False, sharey=True).ravel()
    for ax, method in zip(panels, methods, strict=False):
        ratio_lines(ax, curve[curve["method"] == method])
        ax.set_title(titled(method))
    for ax in panels[len(methods) :]:
        ax.set_axis_off()
    for ax in panels[max(0, len(methods) - 2) : len(methods)]:
        ax.set_xlabel("x = largest $a_{rel} / a_{obj}$")
    figure.supylabel("share", size=NORMAL)
    legend_above(
        figure,
        Line2D([], [], color=BLUE, linewidth=1.2, label="accuracy, ratio ≤ x"),
        Line2D([], [], color=GREY, linewidth=0.8, label="share of captions"),
        Line2D([], [], color=GREY, linestyle=":", linewidth=0.8, label="chance"),
        ncols=3,
    )
    return figure


def ratio_lines(ax, own) -> None:
    """The curve of one method with its band, and how many captions it counts."""
    x = own["ratio"].to_numpy()
    ax.fill_between(x, own["low"], own["high"], color=BLUE, alpha=0.25, linewidth=0)
    ax.plot(x, own["accuracy"], color=BLUE, linewidth=1.2)
    ax.plot(x, own["share"], color=GREY, linewidth=0.8)
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=0.8)
    ax.set(ylim=(0, 1.03), yticks=(0, 0.5, 1))
    if x[0] > 0 and x[-1] / x[0] > 100:
        ax.set_xscale("log")
    else:
        # the largest ratios are divisions by next to nothing: nine tenths of the rest fill the axis
        end = x[own["share"] <= 0.98][-1:] if (own["share"] <= 0.98).any() else x[-1:]
        ax.set_xlim(x[0], max(end[0], x[0] + 1e-6))
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax)


def message(text: str):
    """A figure that says why there is nothing to draw."""
    figure = new_figure(0.8)
    figure.text(0.5, 0.5, wrapped(text), ha="center", va="center", color=GREY)
    return figure


# ---------------------------------------------------------------- ingredients


def ingredient_histograms(data):
    """Cosines of captions with their own concepts (filled) and with others (line), a panel a role.

    data: `ingredients`. Strokes on the axis are the means.
    """
    roles = [role for role in ROLE_COLOURS if role in set(data["role"])]
    figure = new_figure(0.85 + 0.85 * len(roles))
    axes = figure.subplots(len(roles), 1, sharex=True, squeeze=False)[:, 0]
    ends = data[["own", "others"]].stack()
    bins = np.linspace(ends.min() - 0.01, ends.max() + 0.01, 41)
    for ax, role in zip(axes, roles, strict=True):
        part = data[data["role"] == role]
        ax.hist(part["own"], bins, color=ROLE_COLOURS[role], density=True, alpha=0.85)
        ax.hist(
            part["others"].dropna(), bins, color=INK, density=True, histtype="step", linewidth=0.8
        )
        for values, style in ((part["own"], "-"), (part["others"], ":")):
            ax.axvline(values.mean(), color=INK, linestyle=style, linewidth=1)
        ax.set(yticks=())
        ax.set_title(f"{role} ({len(part)} captions)", loc="left", pad=2)
        sns.despine(ax=ax, left=True)
    axes[-1].set_xlabel("cosine of the caption with the words alone")
    own = Patch(facecolor=PALE, label="its own words")
    other = Patch(facecolor="white", edgecolor=INK, linewidth=0.8, label="words of other captions")
    means = [
        Line2D([], [], color=INK, linestyle=s, linewidth=1, label=n)
        for s, n in (("-", "mean, own"), (":", "mean, others"))
    ]
    legend_above(figure, own, other, *means)
    return figure


# ---------------------------------------------------------------- one caption


def case_figure(case):
    """An image, its heat maps, and the caption token by token with the values of every method.

    case: `role_cases.case`. Every map and every method has a scale of its own.
    """
    methods = list(dict.fromkeys(case.tokens["method"]))
    words = case.tokens[case.tokens["method"] == methods[0]]
    title = wrapped(f"“{case.caption}”")
    top_height, below = 1.05, 0.75 + 0.17 * len(words)
    figure = new_figure(top_height + below + 0.16 * (title.count("\n") + 2))
    top, bottom = figure.subfigures(2, 1, height_ratios=[top_height, below])
    panels = top.subplots(1, 1 + len(case.maps))
    panels[0].imshow(case.picture)
    panels[0].set_axis_off()
    panels[0].set_title("image")
    for ax, (text, values) in zip(panels[1:], case.maps.items(), strict=True):
        map_panel(ax, case, values)
        ax.set_title("caption" if text == case.caption else f"“{short([text], 14)[0]}”")
    axes = bottom.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for ax, method in zip(axes, methods, strict=True):
        case_bars(ax, case.tokens[case.tokens["method"] == method])
        ax.set_title(titled(method).replace(" ", "\n"), size=SMALL)
    ticks = axes[0].set_yticks(range(len(words)), short(words["token"], 12))
    plain_labels(ticks, [role != "" for role in words["role"]])
    bottom.legend(
        handles=role_handles(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        columnspacing=1.2,
        handlelength=1.4,
    )
    figure.suptitle(title, parse_math=False)
    return figure


def map_panel(ax, case, values) -> None:
    """A heat map on a scale of its own; or the reason why there is none."""
    if values is None:
        heatmap_panel(case.seen, None, ax, reason=case.reason)
    else:
        ax.imshow(overlay(case.seen, values))
        ax.set_axis_off()


def case_bars(ax, own) -> None:
    """The values of one method, each word in the colour of its role; missing ones have no bar."""
    colours = [ROLE_COLOURS[role or "other"] for role in own["role"]]
    values = own["attribution"].to_numpy(float)
    ax.barh(
        range(len(own)),
        np.nan_to_num(values),
        color=colours,
        edgecolor=INK,
        linewidth=0.3,
        height=0.72,
    )
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.set(ylim=(len(own) - 0.4, -0.6))
    ax.xaxis.set_major_locator(MaxNLocator(2))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=SMALL - 0.5)
    sns.despine(ax=ax, left=True)
