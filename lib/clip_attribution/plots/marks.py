"""What figures draw again and again: an estimate as a dot with its interval."""

import numpy as np

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
