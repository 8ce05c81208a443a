"""Small multiples for a paper: an image and a signed map of it for each word."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize

from ..errors import UserError
from .colours import cells, overlay, symmetric_limit
from .lettering import COLUMN, SMALL, short
from .style import new_figure

COLUMNS, LETTERS = 4, 14  # panels beside one another; of a word above its panel


def interaction_panels(found, image, words=None, limit: float | None = None):
    """The image, then the regions of each word over it in grey, on one scale centred on 0.

    Parameters
    ----------
    found
        Interactions of one pair, by `heatmaps.interactions`.
    image
        The PIL image that the maps cover: `display.as_seen`, or the whole image where they were
        computed with `preprocess="squash"`.
    words
        The words to show, as they stand in the caption (the first of that spelling) or by their
        number; by default every word that the model saw.
    limit
        The end of the scale, by default the largest |interaction| of the words shown.

    Returns
    -------
    matplotlib.figure.Figure
        One column (85 mm) wide.

    Raises
    ------
    UserError
        For interactions of several pairs, and for a word that has no map.
    """
    rows = rows_of(found.words, words)
    maps, names = found.maps[rows], short(found.words["word"].iloc[rows], LETTERS)
    limit = limit or symmetric_limit(maps)
    columns = min(COLUMNS, len(rows) + 1)
    lines = -(-(len(rows) + 1) // columns)
    side = (COLUMN / columns - 0.05) * image.height / image.width
    figure = new_figure(0.4 + lines * (side + 0.16))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    first, *panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in (first, *panels):
        ax.set_axis_off()
    first.imshow(image)
    first.set_title("image", size=SMALL, pad=2)
    for ax, data, name in zip(panels, maps, names, strict=False):
        ax.imshow(overlay(image, data, limit))
        ax.set_title(name, size=SMALL, pad=2, parse_math=False)
    scale_bar(figure, limit)
    return figure


def scale_bar(figure, limit: float) -> None:
    """The colours of `overlay` on white, from -limit to limit, below the panels."""
    colour = np.asarray(cells(np.linspace(-limit, limit, 255)[None], limit))[0] / 255
    shown = ListedColormap(1 - colour[:, 3:] * (1 - colour[:, :3]))
    bar = figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), shown),
        ax=figure.axes,
        location="bottom",
        fraction=0.05,
        pad=0.01,
        aspect=40,
        shrink=0.8,
        ticks=[-limit, 0, limit],
    )
    bar.ax.set_xticklabels([f"−{limit:.2g}", "0", f"+{limit:.2g}"])
    bar.set_label("interaction of word and region (cosine)", size=SMALL, labelpad=1)
    bar.outline.set_linewidth(0.4)


def rows_of(frame, words=None) -> list[int]:
    """The rows of a frame of one pair that hold these words."""
    if frame["pair_id"].nunique() != 1:
        raise UserError(f"interactions of {frame['pair_id'].nunique()} pairs: draw one pair a time")
    names, seen = frame["word"].tolist(), np.flatnonzero(frame["seen"]).tolist()
    if words is None:
        return seen
    rows = [next((r for r in seen if word in (r, names[r])), None) for word in words]
    if None in rows:
        word = list(words)[rows.index(None)]
        raise UserError(f"no map of {word!r}: choose of {', '.join(names[r] for r in seen)}")
    return rows
