"""What figures draw again and again: an estimate as a dot, a signed table as a map of numbers."""

import numpy as np
import seaborn as sns

from .colours import PALETTE
from .lettering import SMALL

ENDS = ("value", "low", "high")


def dots(
    ax,
    estimates,
    places,
    colour,
    marker: str = "o",
    face=None,
    names: tuple[str, str, str] = ENDS,
    upright: bool = False,
    joined: bool = False,
) -> None:
    """Estimates as dots with their intervals.

    Parameters
    ----------
    ax
        The axes.
    estimates
        A frame, a row or an `Estimate`-like dict with the columns `names`: value, low, high.
    places
        Where each lies on the other axis: y, or x where `upright`.
    colour, marker, face
        Of the dot; face is its filling, by default the colour.
    upright
        Whether the values run along y.
    joined
        Whether a line joins the dots.
    """
    value, low, high = (np.atleast_1d(np.asarray(estimates[name], float)) for name in names)
    around = np.abs([value - low, high - value])
    x, y = (places, value) if upright else (value, places)
    ax.errorbar(
        x,
        y,
        **{"yerr" if upright else "xerr": around},
        fmt=marker + "-" * joined,
        color=colour,
        markersize=3,
        markerfacecolor=face or colour,
        linewidth=1,
        capsize=1.5,
        capthick=0.8,
    )


def number_map(
    ax,
    values,
    label: str,
    limit: float = 1.0,
    form: str = ".2f",
    size: float = SMALL,
    short=False,
    **options,
) -> None:
    """A signed table as a map with its numbers, on the diverging scale centred on 0.

    Parameters
    ----------
    ax
        The axes.
    values
        A frame, rows and columns as they are to stand.
    label
        Of the colour bar, with the unit.
    limit
        End of the scale on both sides, in the unit of the values.
    form, size
        Of the numbers.
    short
        Whether the zero before the point is left out, where cells are narrow.
    **options
        More of seaborn's `heatmap`, as `mask`.
    """
    sns.heatmap(
        values,
        cmap=PALETTE,
        center=0,
        vmin=-limit,
        vmax=limit,
        ax=ax,
        linewidths=0.3,
        linecolor="white",
        annot=True,
        fmt=form,
        annot_kws={"size": size},
        cbar_kws={"label": label, "pad": 0.02},
        **options,
    )
    for text in ax.texts:
        shown = text.get_text().replace("-", "−")
        text.set_text(shown.replace("0.", ".") if short else shown)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, labelsize=SMALL)
    ax.tick_params(axis="y", rotation=0)
    bar = ax.collections[0].colorbar.ax
    bar.tick_params(labelsize=SMALL)
    bar.yaxis.label.set_size(SMALL)
