"""A drawing of one training step of both objectives (the paper's Figure 1, drawn anew)."""

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from ...plots.style import GREY, INK, SMALL, new_figure
from ..foils.figures import BLUE, ORANGE

LEVELS = (0.36, 0.5, 0.64)  # the block below the site, the site, the block above


def training_step():
    """Left the behavioural objective, right the interchange intervention."""
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    for ax, title in ((left, "behavioural"), (right, "interchange (IIT-DAS)")):
        ax.set(xlim=(0, 1), ylim=(0.02, 1))
        ax.set_axis_off()
        ax.set_title(title)
    for x, word, colour in ((0.26, "caption", ORANGE), (0.74, "description", BLUE)):
        tower(left, x, word, colour)
        tower(right, x, {"caption": "base:\ncaption"}.get(word, "source:\n" + word), colour)
    score(left, 0.26, "C(cap)", ORANGE)
    score(left, 0.74, "C(des)", BLUE)
    left.text(0.5, 0.95, "lower     <     higher", ha="center", va="center", size=SMALL, color=INK)
    score(right, 0.26, "C(cap ← des)", ORANGE, half=0.24)
    swapped(right)
    above = "should exceed C(cap); the other way\nround, C(des ← cap) falls below C(des)"
    right.text(0.5, 0.95, above, ha="center", va="center", size=SMALL, color=INK)
    return figure


def tower(ax, x: float, word: str, colour) -> None:
    """A text, and the pooled states of three blocks above it."""
    ax.text(x, 0.2, word, ha="center", va="center", size=SMALL, color=colour)
    for level in LEVELS:
        ax.add_patch(Rectangle((x - 0.17, level), 0.34, 0.07, fc="none", ec=GREY, lw=0.6))
        ax.add_patch(Rectangle((x - 0.17, level), 0.34, 0.07, fc=colour, alpha=0.35, lw=0))
    for low, high in zip((0.26, *(level + 0.07 for level in LEVELS[:2])), LEVELS, strict=True):
        arrow(ax, (x, low), (x, high))


def score(ax, x: float, word: str, colour, half: float = 0.2) -> None:
    """The score that a tower ends in."""
    arrow(ax, (x, LEVELS[-1] + 0.07), (x, 0.785))
    box = FancyBboxPatch(
        (x - half, 0.8), 2 * half, 0.08, "round,pad=0.01", fc="white", ec=colour, lw=0.8
    )
    ax.add_patch(box)
    ax.text(x, 0.84, word, ha="center", va="center", size=SMALL, color=INK)


def swapped(ax) -> None:
    """The first k coordinates of the base's state at the site come from the source."""
    own = Rectangle((0.09, LEVELS[1]), 0.17, 0.07, fc=BLUE, ec=INK, lw=0.8)
    ax.add_patch(Rectangle((0.09, LEVELS[1]), 0.17, 0.07, fc="white", lw=0))
    ax.add_patch(own)
    ax.add_patch(Rectangle((0.57, LEVELS[1]), 0.17, 0.07, fc=BLUE, ec=INK, lw=0.8))
    arrow(ax, (0.57, LEVELS[1] + 0.035), (0.27, LEVELS[1] + 0.035), INK)
    note = "Z: first k coordinates of h W\nat one block, at EOT"
    ax.text(0.5, 0.07, note, ha="center", va="center", size=SMALL, color=INK)


def arrow(ax, begin, end, colour=GREY) -> None:
    """A thin arrow."""
    style = "-|>,head_length=2.2,head_width=1.2"
    ax.add_patch(
        FancyArrowPatch(begin, end, arrowstyle=style, color=colour, lw=0.7, shrinkA=0, shrinkB=0)
    )
