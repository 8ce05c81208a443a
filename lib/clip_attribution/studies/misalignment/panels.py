"""Panels of the misalignment notebook: single captions with their images, and the choice of ε.

From frames alone (see `benchmark_cases`), one column wide. Call `plots.use_style` once before.
"""

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D

from ...io.images import open_image
from ...plots.colours import symmetric_limit
from ...plots.marks import dots
from ...plots.style import (
    COLUMN,
    GREY,
    INK,
    NORMAL,
    SMALL,
    TITLE,
    caption_panel,
    flow,
    new_figure,
    short,
    text_width,
)
from ..foils.figures import BLUE, ORANGE
from .cases import RATES, Example
from .figures import message, titled_legend, unbroken

PICTURE = 0.8  # inches: the side of an example's image
TEXT_WIDTH = COLUMN - PICTURE - 0.2

# ---------------------------------------------------------------- examples


def example_panels(shown: list[Example], images, title: str = ""):
    """Images with their captions, each word on the colour of its attribution; bold: false.

    shown: `examples`; images: the folder of the images.
    """
    if not shown:
        return message("no false word was seen by the model")
    title, heights = unbroken(title), [panel_height(one.words) for one in shown]
    top = 0.1 + 0.15 * (title.count("\n") + bool(title))
    total = top + sum(heights) + 0.3
    figure = new_figure(total)
    figure.set_layout_engine("none")  # every place is given in inches
    figure.text(0.5, 1 - 0.05 / total, title, ha="center", va="top", size=TITLE, parse_math=False)
    limit = symmetric_limit(np.concatenate([one.words["attribution"] for one in shown]))
    for one, height in zip(shown, heights, strict=True):
        draw_example(figure, one, images, total - top, limit)
        top += height
    return figure


def panel_height(words) -> float:
    """Inches of an example: its caption with the lines above and below it, and a gap."""
    values = [max(text_width(word, NORMAL), 27) + 5 for word in words["word"]]
    lines = flow(values, 72 * TEXT_WIDTH)[-1][1] / 24 + 1
    return 0.72 + lines / 3


def draw_example(figure, one: Example, images, top: float, limit: float) -> None:
    """The image on the left, the caption and what was found on the right; top: inches."""
    width, total = figure.get_size_inches()
    height, left = panel_height(one.words), PICTURE + 0.15
    picture = figure.add_axes(
        [0.05 / width, (top - PICTURE) / total, PICTURE / width, PICTURE / total]
    )
    picture.imshow(open_image(one.pair["image"], images))
    picture.set_axis_off()
    text = {"size": SMALL, "va": "top", "parse_math": False}
    figure.text(left / width, top / total, one.kind, weight="bold", **text)
    words = figure.add_axes(
        [left / width, (top - height + 0.5) / total, TEXT_WIDTH / width, (height - 0.65) / total]
    )
    caption_panel(one.words, words, limit)
    figure.text(
        left / width,
        (top - height + 0.53) / total,
        outcome(one),
        color=GREY,
        linespacing=1.25,
        **text,
    )


def outcome(one: Example) -> str:
    """What was predicted, what is false, and what CLIPScore says, a line each."""
    pair = one.pair
    (wrong,) = short([pair["foil_word"]], 38)
    against = "true caption" if pair.get("pair") else "average of others"
    scores = pair["clip_score"], pair["clip_score"] - pair["fooled"]
    return (
        f"most negative: {one.predicted}\nfalse: {wrong}\nCLIPScore {{:.2f}}, {{}} {{:.2f}}".format(
            scores[0], against, scores[1]
        )
    )


# ---------------------------------------------------------------- epsilon


def epsilon_panels(curve, marks, alarms, title: str = ""):
    """Precision against recall for all epsilons; measured false alarms against their target.

    curve, marks: `sweep`; alarms: `alarm_table`. All three None: the benchmarks allow neither.
    """
    if curve is None:
        return message("this needs foil, nocaps-foil or hat: true captions, and marked false words")
    title = unbroken(title)
    figure = new_figure(2.8 + 0.13 * (title.count("\n") + bool(title)))
    left, right = figure.subplots(1, 2)
    precision_recall(left, curve, marks)
    alarm_dots(right, alarms)
    looks = (ORANGE, "s", "ε of the paper"), (BLUE, "o", "conformal ε")
    entries = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=label)
        for colour, marker, label in looks
    ]
    chance = Line2D([], [], color=GREY, linestyle=":", linewidth=0.8, label="chance")
    target = Line2D([], [], color=INK, linestyle="--", linewidth=0.6, label="target met exactly")
    titled_legend(figure, title, *entries, chance, target)
    return figure


def precision_recall(ax, curve, marks) -> None:
    """The curve of all epsilons, those of both rules on it, and blind choice dotted."""
    ax.plot(curve["recall"], curve["precision"], color=GREY, linewidth=1)
    share = curve["chance"].iloc[0]
    ax.axhline(share, color=GREY, linestyle=":", linewidth=0.8)
    paper = marks[marks["rule"] == "paper"]
    ax.plot(paper["recall"], paper["precision"], "s", color=ORANGE, markersize=4)
    own = marks[marks["rule"] == "conformal"].dropna(subset=["precision"])
    ax.plot(own["recall"], own["precision"], "o", color=BLUE, markersize=4)
    for row in own.itertuples():
        ax.annotate(
            f"{row.rate:.0%}",
            (row.recall, row.precision),
            xytext=(4, 2),
            size=SMALL - 0.5,
            textcoords="offset points",
            color=BLUE,
        )
    ax.set(
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
        xlabel="recall of false words",
        ylabel="precision",
        title="all ε, held-out half",
    )
    ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax)


def alarm_dots(ax, alarms) -> None:
    """False alarms of each conformal epsilon against its target; the paper's on the right."""
    own, least = alarms[alarms["rule"] == "conformal"], 0.002  # a logarithmic scale has no 0
    names = ["false_alarms", "low", "high", "expected_low", "expected_high"]
    own = own.assign(**own[names].clip(lower=least))
    ax.fill_between(
        own["rate"], own["expected_low"], own["expected_high"], color=BLUE, alpha=0.2, linewidth=0
    )
    ends = [RATES[0] / 1.6, 1.6 * RATES[-1]]
    ax.plot(ends, ends, color=INK, linestyle="--", linewidth=0.6)
    dots(ax, own, own["rate"], BLUE, names=("false_alarms", "low", "high"), upright=True)
    for fixed in alarms[alarms["rule"] == "paper"]["false_alarms"]:
        ax.axhline(fixed, color=ORANGE, linewidth=0.9)
    ax.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=(least, 1.4),
        title="false alarms",
        xlabel="accepted (target)",
        ylabel="measured",
    )
    ax.set_xticks(RATES, [f"{rate:.0%}" if rate != 0.1 else "" for rate in RATES])
    ax.set_yticks((0.01, 0.1, 1), ("1%", "10%", "100%"))
    ax.minorticks_off()
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax)
