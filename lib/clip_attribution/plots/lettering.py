"""Sizes of type and of a column, and text set by them: measured, cut, wrapped."""

import textwrap
from functools import lru_cache

from matplotlib import rc_context
from matplotlib.textpath import TextPath

COLUMN = 85 / 25.4  # inches: the width of one column of a two-column paper
SMALL, NORMAL, TITLE = 6.5, 7.5, 8  # points


def short(words, most: int = 20) -> list[str]:
    """The words, over-long ones cut and ended by an ellipsis."""
    return [word if len(word) <= most else word[: most - 1] + "…" for word in words]


def plain_labels(ticks, bold) -> None:
    """Show tick labels letter by letter (a caption's $ is no formula), some of them bold."""
    for tick, strong in zip(ticks, bold, strict=True):
        tick.label1.set_parse_math(False)
        tick.label1.set_fontweight("bold" if strong else "normal")


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Width of a line of plain text in points."""
    with rc_context({"text.parse_math": False}):
        return TextPath((0, 0), text, size=size).get_extents().width


def flow(widths: list[float], line: float, height: float = 24) -> list[tuple[float, float]]:
    """Left and top in points, from the upper left corner, of boxes set like words on lines."""
    places, x, y = [], 0.0, 0.0
    for width in widths:
        if x and x + width > line:
            x, y = 0.0, y + height
        places.append((x, y))
        x += width
    return places


def wrapped(title: str, size: float = TITLE) -> str:
    """A title cut into lines that fit the column; a word stays with its value."""
    title = title.replace("” (", "”\u00a0(")
    for width in range(90, 0, -5):
        lines = textwrap.wrap(title, width) or [""]
        if max(text_width(line, size) for line in lines) < 72 * COLUMN - 12:
            break
    return "\n".join(lines)
