"""What the figures of the grounding notebook share: names, colours, curves, dots, legends."""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D

from ...evaluation.grounding import NAMES
from ...plots.marks import dots
from ...plots.style import GREY, SMALL, named_rows
from ..foils.figures import legend_above

LABELS = {
    "iou_soft": "IoU, soft",
    "iou_binary": "IoU, binary",
    "dice_soft": "Dice, soft",
    "dice_binary": "Dice, binary",
    "wdp_soft": "WDP, soft",
    "wdp_binary": "WDP, binary",
    "wdp_norm": "WDP, normalised",
    "io_ratio": "IO ratio",
    "pg_hit": "PG accuracy",
    "pg_uncertain": "PG uncertainty",
}
FLOORS = dict(zip(NAMES.values(), ("--", ":"), strict=True))  # baselines and their lines
TASKS = ("object", "attribute", "relation")


def palette(methods) -> dict[str, tuple]:
    """The colour of each method, the same in every figure."""
    return dict(zip(methods, sns.color_palette("colorblind", len(methods)), strict=True))


def method_legend(figure, colours: dict, *more, ncols: int = 3) -> None:
    """One legend for all panels: the methods' colours, then further entries."""
    lines = [Line2D([], [], color=c, linewidth=1.4, label=m) for m, c in colours.items()]
    legend_above(figure, *lines, *more, ncols=ncols)


def cumulative(ax, measured: dict, metric: str, colours: dict) -> None:
    """One line a method: the share of its phrases whose measure is at most x."""
    for method, frame in measured.items():
        values = np.sort(frame[metric].dropna())
        share = np.arange(1, len(values) + 1) / max(1, len(values))
        ax.plot(
            [0, *values, 1],
            [0, *share, 1],
            color=colours[method],
            linewidth=0.9,
            drawstyle="steps-post",
        )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1))
    ax.set_xticklabels(("0", "0.5", "1"))
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax)


def in_order(tasks) -> list[str]:
    """The distinct tasks, those of TASKS first and in its order."""
    return sorted(set(tasks), key=[*TASKS, *sorted(set(tasks) - set(TASKS))].index)


def method_dots(ax, table, colours: dict, shift: float = 0, hollow: bool = False) -> None:
    """One dot with its interval a method, from the top; grey marks for the baselines."""
    order = list(colours)
    for y, (method, colour) in enumerate(colours.items()):
        row = table[table["scorer"] == method].iloc[0]
        dots(ax, row, y + shift, colour, face="white" if hollow else None)
    for name in FLOORS:
        for value in table[table["scorer"] == name]["value"]:
            ax.axvline(value, color=GREY, linewidth=0.8, linestyle=FLOORS[name])
    named_rows(ax, order)


def floor_handles() -> list[Line2D]:
    """Legend entries of the baselines."""
    return [
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=style, label=name)
        for name, style in FLOORS.items()
    ]
