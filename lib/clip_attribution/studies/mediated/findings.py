"""The sentences under the figures on mediated attributions, computed from the frames."""

import pandas as pd

from ...metrics.intervals import in_words
from .runs import RANDOM
from .tables import COMPLETE


def finding_split(summary: pd.DataFrame) -> str:
    """In which model and subspace through lies above around, by the interval over starts."""
    lines = []
    for row in summary[summary["path"] == "through − around"].to_dict("records"):
        who = f"{row['model']}, {row['subspace']} subspace"
        kind = "random subspaces" if row["subspace"] == RANDOM else "starts"
        if pd.isna(row["low"]):
            said = f"{row['value']:+.2f} (one of the {kind}, no interval)"
        else:
            said = f"{in_words(row, '+.2f')} over {row['n']} {kind}"
            clear = row["low"] > 0 or row["high"] < 0
            said += "" if clear else ", not distinguishable from 0"
        lines.append(f"{who}: through less around {said}.")
    return "\n".join(lines)


def finding_gaps(gaps: pd.DataFrame, n_steps: int) -> str:
    """How complete the integrals are, and how much belongs to neither through nor around."""
    return (
        f"With {n_steps} points the attributions' sum differs from the change of the score by "
        f"{gaps['gap'].median():.2g} logits at the median, by {gaps['largest'].max():.2g} at most; "
        f"it is below {COMPLETE:g} for {gaps['complete'].mean():.0%} of the texts. "
        f"Other positions carry {gaps['share_of_rest'].min():.0%} to "
        f"{gaps['share_of_rest'].max():.0%} of the absolute values: the rest, which is neither "
        "through nor around."
    )


def finding_names(means: pd.DataFrame) -> str:
    """The signs of names, overall and through the subspace, for the last model."""
    own = means[means["model"] == means["model"].iloc[-1]]
    parts = [
        f"in {row['register']}s {row['whole']:+.2f} overall and {row['through']:+.2f} through"
        for row in own.to_dict("records")
    ]
    confirmed = ((own["whole"] > 0) & (own["through"] < 0)).all()
    verdict = "as" if confirmed else "which is not what"
    return (
        f"{own['model'].iloc[0]}: names on signs have {' and '.join(parts)}, {verdict} the paper "
        "shows for a person's name (positive overall, negative when mediated)."
    )
