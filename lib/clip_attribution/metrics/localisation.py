"""Where a preference lives: what the interchange of a subspace does to the order of two texts.

C(cap) and C(des) are the scores of a caption and of a description for their image, DII(b <- s) that
of the base text b with the subspace of the source text s (`interchange`).

    interchange accuracy   up: share with DII(cap <- des) > C(cap)    down: DII(des <- cap) < C(des)
    gap moved              up: mean(DII(cap <- des) - C(cap)) / mean(C(des) - C(cap))
                           down: mean(DII(des <- cap) - C(des)) / mean(C(cap) - C(des))

    gap                    mean(C(des) - C(cap)), on the scale of the scores

1 is a gap closed, more than 1 is one overturned; the smaller the gap, the less either share means.
The measures are ours.
"""

import pandas as pd

from .intervals import ratio_estimate

DIRECTIONS = {"up": ("caption", "description", 1), "down": ("description", "caption", -1)}


def localisation(scores: pd.DataFrame, images=None, seed: int = 0) -> pd.DataFrame:
    """Interchange accuracy and gap moved, in both directions, and the gap itself.

    Parameters
    ----------
    scores
        Columns caption C(cap), description C(des), up DII(cap <- des), down DII(des <- cap), on one
        scale; a row with a NaN in what a measure needs is left out of it.
    images
        What is drawn whole by the bootstrap, [n]; each row alone by default.
    seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        A row a measure and direction: measure, direction, value, low, high (95 %), n images. An
        equal score is no success. Around a gap of 0 the ratio means nothing; its interval shows it.
    """
    rows = []
    for direction, (base, source, sign) in DIRECTIONS.items():
        moved, gap = scores[direction] - scores[base], scores[source] - scores[base]
        hits = (sign * moved > 0).astype(float).where(moved.notna())
        estimates = {
            "interchange accuracy": ratio_estimate(hits, groups=images, seed=seed),
            "gap moved": ratio_estimate(moved, gap, images, seed),
        }
        for measure, estimate in estimates.items():
            rows.append({"measure": measure, "direction": direction, **estimate._asdict()})
    gap = ratio_estimate(scores["description"] - scores["caption"], None, images, seed)
    rows.append({"measure": "gap", "direction": "both", **gap._asdict()})
    return pd.DataFrame(rows)
