"""The sentences under the figures on descriptions, computed from the frames."""

import numpy as np
import pandas as pd

from ...metrics.intervals import in_words
from ..foils.findings import listed
from .runs import FROZEN, Prepared
from .tables import BASE, GIVEN, OTHER, PREFERENCE, RANDOM, TRAINED, TRANSFER, over_starts

NAMED = {
    TRAINED: "its own subspace",
    RANDOM: "random subspaces",
    OTHER: "its own subspace, source of another image",
}
LEAST, MOST = 0.9, 0.7  # shares of the gap that a trained subspace, and a random one, should move
CEILING = 0.99  # macro-F1 above which a task has no room left
EVEN = 0.45, 0.62  # the preference that counts as none


def finding_base(prepared: Prepared, table: pd.DataFrame) -> str:
    """What the training begins with, and what the even base cost."""
    own = table[table["measure"] == PREFERENCE].set_index("variant")
    base = f"{in_words(own.loc[BASE])} of the test images"
    if prepared.cost is None:
        return f"The base prefers descriptions on {base}."
    steps = prepared.cost["steps"]
    fits = EVEN[0] <= own.loc[BASE, "value"] <= EVEN[1]
    verdict = "it is even" if fits else "it is NOT even: train it longer, or otherwise"
    return (
        f"The model as given prefers descriptions on {in_words(own.loc[GIVEN])} of the test "
        f"images. After {steps} steps the base prefers them on {base}: {verdict} "
        f"({EVEN[0]} to {EVEN[1]} counts as even)."
    )


def finding_preference(table: pd.DataFrame) -> str:
    """How often each way of training ends with descriptions preferred, over images and starts."""
    own = table[(table["measure"] == PREFERENCE) & ~table["variant"].isin([BASE, GIVEN])]
    lines = []
    for row in own.to_dict("records"):
        said = f"{row['variant']}: {in_words(row)} over {row['n']:.0f} images"
        if row["starts"] > 1:
            ends = f"[{row['start_low']:.3f}, {row['start_high']:.3f}]"
            said += f", {ends} over {row['starts']} starts"
        lines.append(said)
    return "\n".join(lines)


def finding_trade_off(table: pd.DataFrame) -> str:
    """What each way keeps of the base's zero-shot classification."""
    own = table[table["measure"] == TRANSFER].set_index("variant")
    own = own.drop(index=[name for name in (GIVEN, BASE) if name in own.index])
    if own.empty:
        return "There are no zero-shot tasks here, so nothing is known of transfer."
    order = own["value"].sort_values(ascending=False)
    parts = [f"{name} {value:.0%}" for name, value in order.items()]
    lost = [name for name, value in order.items() if value < 1]
    tasks = table[table["measure"].str.startswith("F1 ")]
    base = tasks[tasks["variant"] == BASE]
    full = base.loc[base["value"] >= CEILING, "measure"].str.removeprefix("F1 ").tolist()
    top = f"At its ceiling in the base, so unable to show a gain: {listed(full)}. " if full else ""
    half = 50 * (tasks["high"] - tasks["low"]).mean()
    return (
        f"Of the base's macro-F1 over the tasks remain {listed(parts)}. "
        f"Below the base: {listed(lost)}. {top}"
        f"With {tasks['n'].max():.0f} images a task the F1 of one model is known to "
        f"± {half:.1f} points on average: read smaller differences as none."
    )


def finding_gap(localised: pd.DataFrame) -> str:
    """How wide the gap is that is moved, way by way, and which shares reach what is asked of them.

    Asked: a trained subspace moves at least 0.9 of it both up and down, a random one at most 0.7.
    """
    lines = []
    own = localised[
        (localised["variant"] != FROZEN) & localised["subspace"].isin([TRAINED, RANDOM])
    ]
    for (variant, subspace), part in own.groupby(["variant", "subspace"], sort=False):
        gaps = part[part["measure"] == "gap"].groupby("start")["value"].mean()
        moved = part[part["measure"] == "gap moved"].groupby(["start", "direction"])["value"].mean()
        ends = moved.unstack()
        met = (ends >= LEAST).all(axis=1) if subspace == TRAINED else (ends <= MOST).all(axis=1)
        asked = f"at least {LEAST}" if subspace == TRAINED else f"at most {MOST}"
        gap = " to ".join(dict.fromkeys(f"{end:.1f}" for end in (gaps.min(), gaps.max())))
        lines.append(
            f"{variant}, {NAMED[subspace]}: of a gap of {gap} logits {asked} is moved both ways "
            f"in {met.sum()} of {len(met)} starts"
        )
    return "\n".join(lines)


def finding_localisation(localised: pd.DataFrame) -> str:
    """How much of the gap each subspace moves, and for the frozen base how often the right way."""
    lines = []
    for (variant, subspace), part in localised.groupby(["variant", "subspace"], sort=False):
        frozen = variant == FROZEN
        measure = "interchange accuracy" if frozen else "gap moved"
        own, said = part[part["measure"] == measure], []
        for direction in ("up", "down"):
            values = own[own["direction"] == direction].groupby("start")["value"].mean()
            mean, low, high = over_starts(values)
            ends = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
            said.append(f"{direction} {mean:.2f}{ends}")
        lines.append(f"{variant}, {NAMED.get(subspace, subspace)}: {measure} {', '.join(said)}")
    return "\n".join(lines)
