"""Figures of the fine-tuning notebook, from `training.comparison` alone; one column wide.

Bars are 95 % intervals over pairs or scenes. Call `plots.use_style` once before.
"""

import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...plots.marks import dots
from ...plots.style import GREY, INK, SMALL, named_rows, new_figure
from ..foils.figures import BLUE, ORANGE, legend_above
from .tables import is_clear

SERIES = {False: ("without hard negatives", BLUE, "o"), True: ("with hard negatives", ORANGE, "s")}
CHANCE = {"relation accuracy": 50, "attribute accuracy": 50}
ROLES = {"a_obj": ("objects", BLUE, "o"), "a_comp": ("relations and attributes", ORANGE, "s")}


def outcome_dots(
    data, measures=("relation accuracy", "attribute accuracy", "T2I R@1"), unit: str = "percent"
):
    """What each variant scores after tuning, one panel a measure; data: `evaluate_runs`.

    Hollow: no clear difference from CLIP-FT, pair by pair (`finetuning_tables.is_clear`).
    """
    variants = list(dict.fromkeys(data["variant"]))
    figure = new_figure(0.95 + 0.3 * len(variants))
    for ax, measure in zip(figure.subplots(1, len(measures), sharey=True), measures, strict=True):
        own = data[data["measure"] == measure]
        for hard, (_, colour, marker) in SERIES.items():
            rows = own[own["hard_negatives"] == hard]
            for kind, part in rows.groupby(is_clear(rows) | rows["gain"].isna()):
                shift, face = 0.14 if hard else -0.14, colour if kind else "white"
                interval_dots(ax, part, variants, shift, colour, marker, face)
        before = own[own["variant"] == "CLIP"]["value"]
        if len(before):
            ax.axvline(before.iloc[0], color=INK, linewidth=0.6, linestyle="--")
        if measure in CHANCE:
            ax.axvline(CHANCE[measure], color=GREY, linewidth=0.8, linestyle=":")
        named_rows(ax, variants)
        ax.set(title=measure.replace(" ", "\n", 1), xlabel=unit)
    handles = [
        Line2D([], [], color=c, marker=m, markersize=3, label=label)
        for label, c, m in SERIES.values()
    ]
    hollow = Line2D(
        [],
        [],
        color=GREY,
        marker="o",
        markersize=3,
        markerfacecolor="white",
        linestyle="",
        label="not clearly unlike CLIP-FT",
    )
    chance = [] if CHANCE.keys().isdisjoint(measures) else [reference_lines()[1]]
    legend_above(figure, *handles, reference_lines()[0], hollow, *chance)
    return figure


def reference_lines() -> list:
    """Legend entries of the two reference lines."""
    styles = (("--", INK, "before tuning"), (":", GREY, "chance"))
    return [
        Line2D([], [], color=colour, linestyle=style, linewidth=0.8, label=label)
        for style, colour, label in styles
    ]


def interval_dots(ax, data, variants: list[str], shift: float, colour, marker, face=None) -> None:
    """One dot with its interval a row, moved down by `shift` of a row; face: its filling."""
    y = [variants.index(name) + shift for name in data["variant"]]
    dots(ax, data, y, colour, marker, face, ("value", "value_low", "value_high"))


def deficiency_dots(data):
    """a_obj and a_comp by each attribution, after each tuning without hard negatives.

    data: `evaluate_runs`. One panel an attribution, on its own scale.
    """
    methods = [
        m.removeprefix("a_obj ") for m in dict.fromkeys(data["measure"]) if m.startswith("a_obj ")
    ]
    own = data[~data["hard_negatives"]]
    variants = list(dict.fromkeys(own["variant"]))
    rows = -(-len(methods) // 2)
    figure = new_figure(0.5 + rows * (0.55 + 0.16 * len(variants)))
    panels = figure.subplots(rows, 2, sharey=True, squeeze=False).ravel()
    for ax, method in zip(panels, methods, strict=False):
        for name, (_, colour, marker) in ROLES.items():
            part = own[own["measure"] == f"{name} {method}"]
            shift = 0.12 if name == "a_comp" else -0.12
            interval_dots(ax, part, variants, shift, colour, marker)
        named_rows(ax, variants)
        ax.set_title(f"by {method}")
    for ax in panels[len(methods) :]:
        ax.set_axis_off()
    figure.supxlabel("mean attribution of a token")
    handles = [
        Line2D([], [], color=c, marker=m, markersize=3, linestyle="", label=label)
        for label, c, m in ROLES.values()
    ]
    legend_above(figure, *handles)
    return figure


def strength_curves(data, method: str = "attention"):
    """Attributions, accuracy and retrieval against the share of the attribution loss.

    data: `evaluate_runs` of `comparison.of_share`, and of CLIP, whose values are dashed.
    """
    shares = [name for name in dict.fromkeys(data["variant"]) if name != "CLIP"]
    lines = {
        "mean attribution": {
            f"{name} {method}": (label, colour, marker)
            for name, (label, colour, marker) in ROLES.items()
        },
        "relation accuracy": {"relation accuracy": ("", INK, "o")},
        "T2I R@1": {"T2I R@1": ("", INK, "o")},
    }
    figure = new_figure(1.9)
    for ax, (title, measures) in zip(figure.subplots(1, 3), lines.items(), strict=True):
        for measure, (_, colour, marker) in measures.items():
            own = data[data["measure"] == measure].set_index("variant")
            ax.axhline(own["value"]["CLIP"], color=colour, linewidth=0.6, linestyle="--")
            own = own.loc[shares]
            names = ("value", "value_low", "value_high")
            places = range(len(shares))
            dots(ax, own, places, colour, marker, None, names, upright=True, joined=True)
        ax.set_xticks(range(len(shares)), shares)
        ax.set(
            title=title,
            xlim=(-0.4, len(shares) - 0.6),
            ylabel="" if len(measures) > 1 else "percent",
        )
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.tick_params(labelsize=SMALL)
        sns.despine(ax=ax)
    figure.axes[1].set_xlabel("first gradient of the attribution loss / the contrastive one's")
    handles = [
        Line2D([], [], color=c, marker=m, markersize=3, label=label)
        for label, c, m in ROLES.values()
    ]
    legend_above(figure, *handles, reference_lines()[0])
    return figure


def training_curves(logs):
    """Both losses while training without hard negatives; logs: `finetuning_tables.logs_of`."""
    own = logs[~logs["hard_negatives"]]
    variants = list(dict.fromkeys(own["variant"]))
    colours = dict(zip(variants, sns.color_palette("colorblind", len(variants)), strict=True))
    figure = new_figure(2.5)
    titles = {
        "itc": "contrastive loss\n",
        "gap": "object–composition gap,\nas a share of its start",
    }
    for ax, (column, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for name in variants:
            rows = own[(own["variant"] == name) & own[column].notna()]
            if len(rows):
                smooth = rows.groupby("step")[column].mean().rolling(5, 1).mean()
                ax.plot(smooth, color=colours[name], linewidth=1)
        ax.set(title=title, xlabel="step")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.tick_params(labelsize=SMALL)
        sns.despine(ax=ax)
    handles = [Line2D([], [], color=colours[name], label=name) for name in variants]
    legend_above(figure, *handles)
    return figure
