"""Figures from frames: signed bars, coloured captions, heat maps. Nothing is computed here.

Every function draws `data` on `ax` (a new figure where `ax` is None) and returns the Figure. Call
`use_style` once before. Colours are those of `colours`: one diverging scale, centred on 0.
"""

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .colours import (
    PALETTE,
    colours,
    layers_in_words,
    number,
    overlay,
    symmetric_limit,
    text_colour,
)
from .lettering import (
    COLUMN,
    NORMAL,
    SMALL,
    TITLE,
    flow,
    plain_labels,
    short,
    text_width,
    wrapped,
)

INK, GREY = "#1a1a1a", "#6b6b6b"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": NORMAL,
    "legend.fontsize": SMALL,
    "figure.titlesize": TITLE,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlepad": 4,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "figure.facecolor": "white",
}


def use_style() -> None:
    """Set the one theme of all figures: small sans-serif type for a column 85 mm wide."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", rc=STYLE)


def word_bars(data, ax=None, limit: float | None = None, unit: str = "cosine"):
    """One signed bar a word, in reading order from the top.

    data: a words frame; its column `misaligned`, where there is one, sets these words in bold.
    Words without a value (not seen) have no bar: they are counted below the axis.
    """
    seen = data[data["attribution"].notna()]
    ax = ax or new_axes(0.5 + 0.16 * len(seen))
    limit = limit or symmetric_limit(seen["attribution"])
    rows = np.arange(len(seen))
    bars = colours(seen["attribution"], limit)
    ax.barh(rows, seen["attribution"], color=bars, edgecolor=INK, linewidth=0.4, height=0.72)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.set(xlim=(-1.08 * limit, 1.08 * limit), ylim=(len(seen) - 0.4, -0.6))
    scale = scaled_axis(ax.xaxis, limit)
    ticks = ax.set_yticks(rows, short(seen["word"]))
    plain_labels(ticks, bold=list(seen.get("misaligned", [False] * len(seen))))
    missing = len(data) - len(seen)
    note = f"\n{missing} more word{'s' * (missing > 1)} without a value" if missing else ""
    ax.set_xlabel(f"attribution ({unit}{scale}){note}")
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax.figure


def scaled_axis(axis, limit: float) -> str:
    """Put few ticks on the axis, in units of a power of ten; return that unit for its label."""
    power = int(np.floor(np.log10(limit)))
    power = power if power < -2 else 0
    axis.set_major_locator(MaxNLocator(4, symmetric=True))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 10**power:g}".replace("-", "−")))
    return f" × 10$^{{{power}}}$" if power else ""


def named_rows(ax, names) -> None:
    """An axes of one row a name, from the top, at y = 0, 1, ...; few ticks below."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="y", length=0)
    ax.tick_params(labelsize=SMALL)
    sns.despine(ax=ax, left=True)


def caption_panel(data, ax=None, limit: float | None = None):
    """The caption as running text, each word on the colour of its attribution, its value below.

    data: a words frame. Misaligned words are bold, words without a value grey.
    """
    width = 72 * (ax.get_window_extent().width / ax.figure.dpi if ax else COLUMN - 0.2)
    limit = limit or symmetric_limit(data["attribution"])
    labels = [(row, number(row.attribution, limit)) for row in data.itertuples()]
    places = flow(
        [
            max(text_width(row.word, NORMAL), text_width(value, SMALL - 0.5)) + 5
            for row, value in labels
        ],
        width,
    )
    ax = ax or new_axes(0.1 + (places[-1][1] + 26) / 72 if places else 0.5)
    for (row, value), (x, y) in zip(labels, places, strict=True):
        seen = row.attribution == row.attribution
        back = colours(row.attribution if seen else 0, limit)
        strong = getattr(row, "misaligned", False)
        ink = text_colour(back) if seen else GREY
        at = {
            "xy": (0, 1),
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "ha": "left",
            "va": "top",
            "parse_math": False,
            "annotation_clip": False,
        }
        ax.annotate(
            row.word,
            xytext=(x + 1, -y - 2),
            **at,
            size=NORMAL,
            color=ink,
            weight="bold" if strong else "normal",
            bbox={"facecolor": to_hex(back), "edgecolor": "none", "pad": 1.5},
        )
        ax.annotate(value, xytext=(x + 1, -y - 13), **at, size=SMALL - 0.5, color=GREY)
    ax.set_axis_off()
    return ax.figure


def heatmap_panel(picture, data, ax=None, limit=None, unit="cosine", reason=None):
    """The signed map [rows, cols] over the image that it covers, with a colour bar.

    data None: the panel says why there is none (`reason`).
    """
    ax = ax or new_axes(COLUMN)
    ax.set_axis_off()
    if data is None:
        ax.text(
            0.5,
            0.5,
            f"no heat map:\n{reason}",
            ha="center",
            va="center",
            wrap=True,
            size=SMALL,
            color=GREY,
            parse_math=False,
            transform=ax.transAxes,
        )
        return ax.figure
    limit = limit or symmetric_limit(data)
    ax.imshow(overlay(picture, data, limit))
    scale = ScalarMappable(Normalize(-limit, limit), PALETTE)
    bar = ax.figure.colorbar(scale, ax=ax, fraction=0.05, pad=0.03, ticks=[-limit, 0, limit])
    bar.ax.set_yticklabels([f"−{limit:.1g}", "0", f"+{limit:.1g}"])
    bar.set_label(unit, size=SMALL, labelpad=-6)
    bar.outline.set_linewidth(0.4)
    return ax.figure


def layer_panel(data, ax=None, unit: str = "cosine"):
    """What each layer says: words from the top, layers from input (left) to output (right).

    data: a words frame with the columns L0, L1, ... of `attribute(..., per_layer=True)`.
    """
    layers = [name for name in data if name[:1] == "L" and name[1:].isdecimal()]
    seen = data[data["attribution"].notna()]
    ax = ax or new_axes(0.7 + 0.17 * max(4, len(seen)))
    limit = symmetric_limit(seen[layers])
    bar = {"label": unit, "pad": 0.02}
    sns.heatmap(
        seen[layers],
        cmap=PALETTE,
        vmin=-limit,
        vmax=limit,
        ax=ax,
        linewidths=0.3,
        linecolor="white",
        cbar_kws=bar,
    )
    ticks = ax.set_yticks(np.arange(len(seen)) + 0.5, short(seen["word"]), rotation=0)
    plain_labels(ticks, bold=list(seen.get("misaligned", [False] * len(seen))))
    ax.set_xticks(np.arange(len(layers)) + 0.5, [name[1:] for name in layers], rotation=0)
    ax.set(xlabel="layer of the text tower (0 = first)", ylabel="", title="attribution by layer")
    ax.tick_params(length=0)
    return ax.figure


def new_axes(height: float):
    """Axes on a new figure one column wide and `height` inches high."""
    return new_figure(height).subplots()


def new_figure(height: float):
    """An empty figure, closed for pyplot, so that a notebook shows it once: where it is named."""
    figure = plt.figure(figsize=(COLUMN, height), layout="constrained")
    plt.close(figure)
    return figure


def explanation_figure(explanation):
    """One pair: the image, its heat map, and the caption as signed bars; the finding on top."""
    words = explanation.words
    figure = new_figure(2.1 + 0.16 * words["attribution"].notna().sum())
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.55, figure.get_figheight() - 1.55])
    figure.suptitle(wrapped(explanation.finding()), parse_math=False)
    picture_and_map(top, explanation)
    word_bars(words, bottom.subplots(), unit=explanation.facts["unit"])
    footnote(figure, *made_with(explanation.facts))
    return figure


def contrast_figure(true, foil):
    """A caption and its foil on one image: image, the foil's heat map, and both as bars.

    true, foil: Explanations of the same image; their bars share one scale.
    """
    rows = max(len(true.words), len(foil.words))
    figure = new_figure(2.5 + 0.16 * rows)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.55, figure.get_figheight() - 1.55])
    figure.suptitle(wrapped(foil.finding()), parse_math=False)
    picture_and_map(top, foil)
    limit = symmetric_limit([*true.words["attribution"], *foil.words["attribution"]])
    for one, ax, title in zip(
        (true, foil), bottom.subplots(1, 2), ("true caption", "foil"), strict=True
    ):
        word_bars(one.words, ax, limit, one.facts["unit"])
        bottom.supxlabel(ax.get_xlabel(), size=NORMAL)
        ax.set(title=f"{title}\nCLIPScore {one.clip_score:.3f}", xlabel="")
    footnote(figure, *made_with(foil.facts))
    return figure


def footnote(figure, *facts: str) -> None:
    """Say in small print below a figure what it was made with: data, model, parameters."""
    text = wrapped(" · ".join(fact for fact in facts if fact), SMALL)
    figure.supxlabel(text, size=SMALL, color=GREY, parse_math=False)


def made_with(facts: dict) -> list[str]:
    """What an explanation was made with: image, model, method and layers."""
    return [facts["image"], facts["model"], facts["method"], layers_in_words(facts["layers"])]


def picture_and_map(figure, explanation) -> None:
    """The image as given on the left, its heat map on the right."""
    left, right = figure.subplots(1, 2)
    left.imshow(explanation.picture)
    left.set(title="image")
    left.set_axis_off()
    right.set(title="heat map")
    heatmap_panel(
        explanation.seen,
        explanation.heatmap,
        right,
        unit=explanation.facts["unit"],
        reason=explanation.no_heatmap,
    )
