"""One quadruple of Winoground, word by word: why this caption with this image."""

from typing import NamedTuple

import pandas as pd

from ...attribution import contrast

QUADRUPLES = "winoground"


class Case(NamedTuple):
    """The words of one quadruple by `contrast`, and its row of the pairs (None: not measured)."""

    words: pd.DataFrame
    pair: pd.Series | None


def typical_case(clip, found: dict, method: str = "columns") -> Case:
    """The quadruple of Winoground whose double difference of scores is the median.

    found: of `composition_results`. Without Winoground, or a quadruple that can be computed, the
    case is empty.
    """
    empty = Case(pd.DataFrame(columns=["word", "other_word", "contrast"]), None)
    if QUADRUPLES not in found:
        return empty
    frame = found[QUADRUPLES].frame
    rows = pd.DataFrame(
        {
            "image": [images[0] for images in frame["images"]],
            "other_image": [images[1] for images in frame["images"]],
            "caption": [captions[0] for captions in frame["captions"]],
            "other": [captions[1] for captions in frame["captions"]],
        }
    )
    words, pairs = contrast(clip, rows, method, image_root=found[QUADRUPLES].images)
    good = pairs[pairs["error"].isna()].sort_values("contrast", kind="stable")
    if good.empty:
        return empty
    pair = good.iloc[len(good) // 2]
    own = words[words["pair_id"] == pair["pair_id"]]
    return Case(own.drop(columns="pair_id").reset_index(drop=True), pair)


def finding_case(case: Case) -> str:
    """What the quadruple's score hangs on, in one sentence."""
    if case.pair is None:
        return "Winoground is not among the benchmarks that were measured."
    place = case.words.loc[case.words["contrast"].abs().idxmax()]
    shown = " / ".join(f"“{w}”" for w in (place["word"], place["other_word"]) if w)
    total = case.pair["contrast"]
    verdict = "each caption fits its own image better" if total > 0 else "the captions are confused"
    return (
        f"“{case.pair['caption']}” and “{case.pair['other']}”: double difference {total:+.3f}, so "
        f"{verdict}. Most of it is attributed to {shown} ({place['contrast']:+.5f})."
    )
