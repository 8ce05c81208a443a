"""The sentences under the figures of the notebook on ratings, computed from the frames."""

import pandas as pd

from ...datasets.ratings import LENGTH
from ...metrics.intervals import in_words, interval
from .tables import IMAGES, PRETRAINED, RAW


def finding_facts(found: pd.DataFrame) -> str:
    """Whether the score knows more of a text's content than its length does."""
    own = found.set_index(["of", "kind"])
    rest = own.loc["score", "given the other"]
    more = "knows more than" if rest["low"] > 0 else "is not distinguishable from"
    score, length = (in_words(own.loc[name, "all texts"]) for name in ("score", "length"))
    return (
        f"With the number of facts the score correlates at {score}, the length at {length}. Given "
        f"the length the score is left with {in_words(rest)}: it {more} a count of characters."
    )


def finding_studies(studies: pd.DataFrame) -> str:
    """How far apart two studies of 18 images lie, and how often the worse rival wins."""
    low, high = interval(studies["score"])
    wins = (studies["length"] > studies["score"]).mean()
    return (
        f"95 % of the studies of {IMAGES} images find an r of the score between {low:.2f} and "
        f"{high:.2f}; in {wins:.0%} of them the length has the higher r."
    )


def finding_people(found: pd.DataFrame | None) -> str:
    """For which questions this model, and for which the length, is distinguishable from 0."""
    if found is None:
        return "No ratings were given (parameter data), so nothing is measured on people here."
    said = []
    for scorer, name in ((RAW, "This model"), (LENGTH, "The number of characters")):
        own = found[found["scorer"] == scorer]
        clear = own[(own["image_low"] > 0) | (own["image_high"] < 0)]
        cells = [f"{r.group} {r.question} ({r.value:.2f})" for r in clear.itertuples()]
        listed = "; ".join(cells) if cells else "none"
        said.append(f"{name} differs from 0, over images, in {len(cells)} of {len(own)}: {listed}.")
    blv = found[found["group"] == "BLV"].drop_duplicates("question")
    worst = blv.loc[blv["reliability"].idxmin()]
    said.append(
        f"The least reliable BLV question is {worst['question']} ({worst['reliability']:.2f}): "
        f"no score can be expected above {worst['ceiling']:.2f} there."
    )
    return "\n".join(said)


def finding_published(printed: pd.DataFrame) -> str:
    """For how many printed cells 68 texts exclude 0, and exclude the pretrained model's value."""
    before = printed[printed["scorer"] == PRETRAINED].set_index(["group", "question"])["value"]
    tuned = printed[printed["scorer"] != PRETRAINED]
    old = before.reindex(pd.MultiIndex.from_frame(tuned[["group", "question"]])).to_numpy()
    clear = (tuned["low"] > 0) | (tuned["high"] < 0)
    moved = (tuned["low"] > old) | (tuned["high"] < old)
    wide, starts = ((tuned["high"] - tuned["low"]) / 2).mean(), tuned["over_starts"].mean()
    return (
        f"{len(tuned)} cells of tuned models are printed with ± {starts:.2f} on average; the few "
        f"texts make it ± {wide:.2f}. By the latter {clear.sum()} of them differ from 0, and "
        f"{moved.sum()} from the value printed for the pretrained model. (All were measured on the "
        "same texts, so a paired comparison, which needs the scores, could separate more.)"
    )
