"""What a method has to beat: random words, frequent words, plain scores, the wrong images.

Scores of published systems that nothing here computes are in data/published.csv (`published`).
"""

from collections import Counter

import numpy as np
import pandas as pd

from ..errors import UserError
from .misalignment import PUNCTUATION, clip_score, f_clip_scores, ref_clip_score

PLAIN = ("CLIPScore", "RefCLIPScore")
PUBLIC_REFERENCE = "RefCLIPScore public_reference"


def spoken_words(words: pd.DataFrame) -> np.ndarray:
    """Which words the threshold rule looks at: those seen that are no punctuation, bool [n]."""
    own = np.array([word not in PUNCTUATION for word in words["word"]], dtype=bool)
    return own & words["attribution"].notna().to_numpy()


def seen_words(words: pd.DataFrame, spoken: bool = False) -> pd.Series:
    """The words of each caption that CLIP has seen, as lower-case lists by pair_id.

    spoken: only `spoken_words`.
    """
    kept = words[spoken_words(words) if spoken else words["attribution"].notna()]
    return kept["word"].str.lower().groupby(kept["pair_id"], sort=False).agg(list)


def share(own: list[str], hit) -> float:
    """Chance that a uniformly random one of these words is a hit; 0 where there is no word."""
    return float(np.mean([hit(word) for word in own])) if own else 0.0


def random_words(words: pd.DataFrame, seed: int = 0) -> pd.Series:
    """One word of each caption, drawn from those seen that are no punctuation, by pair_id."""
    kept = words[spoken_words(words)].sample(frac=1, random_state=seed)
    return kept.drop_duplicates("pair_id").set_index("pair_id")["word"]


def halves(groups, seed: int = 0) -> np.ndarray:
    """A random half of the groups: True for each row [n] in it. Rows of a group stay together."""
    codes, names = pd.factorize(np.asarray(groups))
    side = np.zeros(len(names), dtype=bool)
    side[np.random.default_rng(seed).permutation(len(names))[: (len(names) + 1) // 2]] = True
    return side[codes]


def frequent_words(wanted: pd.Series, groups, seed: int = 0) -> pd.Series:
    """For each row the word that is wanted most often in the other half of the groups.

    wanted: lists of words, such as a caption's foil word; groups [n]: rows that stay together. No
    row's own answer, nor that of its group, is used. The first in the alphabet of equals; None
    where the other half wants nothing.
    """
    side, found = halves(groups, seed), pd.Series(index=wanted.index, dtype=object)
    for half in (True, False):
        counts = Counter(word for own in wanted[side != half] for word in own)
        found[side == half] = min(counts, key=lambda word: (-counts[word], word), default=None)
    return found


def caption_scores(words, pairs, epsilon: float, variant: str, public: bool = False) -> dict:
    """Scores of every pair, {name: float array [n]}, larger for captions that match.

    F-CLIPScore as the paper defines it and in the public code's `variant`, CLIPScore, and where the
    pairs have `ref_clip_score`, RefCLIPScore. public: adds RefCLIPScore as the public code computes
    it from `ref_cosines`: the first reference alone, times 2.5 as well.
    """
    cosine = pairs["cosine"].to_numpy(float)
    scores = {
        "F-CLIPScore": f_clip_scores(words, pairs, "paper", epsilon),
        f"F-CLIPScore public_{variant}": f_clip_scores(words, pairs, variant, epsilon),
        "CLIPScore": np.where(np.isnan(cosine), np.nan, clip_score(cosine)),
    }
    if "ref_clip_score" in pairs:
        scores["RefCLIPScore"] = pairs["ref_clip_score"].to_numpy(float)
    if public and "ref_cosines" in pairs:
        scores[PUBLIC_REFERENCE] = public_ref_clip_score(cosine, pairs["ref_cosines"])
    return scores


def public_ref_clip_score(cosine, ref_cosines) -> np.ndarray:
    """RefCLIPScore as the public CLIP4DM code has it: the first reference alone, and times 2.5.

    cosine [n]; ref_cosines: n lists of cosines, NaN for one that is None or empty.
    """
    known = [own is not None and np.ndim(own) == 1 and len(own) > 0 for own in ref_cosines]
    first = [[2.5 * own[0]] if has else [] for own, has in zip(ref_cosines, known, strict=True)]
    return ref_clip_score(np.asarray(cosine, float), first)


def shuffled(pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The pairs frame with every caption beside a wrong image.

    The distinct images are passed on in one random cycle, so that none keeps its captions and
    captions that shared an image still do. Rows with an error keep theirs. Whatever else the frame
    says of an image (boxes, references) stays with the caption.
    Raises UserError for fewer than two images.
    """
    usable = pairs["error"].isna() if "error" in pairs else pairs["image"].notna()
    codes, images = pd.factorize(pairs.loc[usable, "image"])
    if len(images) < 2:
        raise UserError("shuffling needs at least two different images")
    order = np.random.default_rng(seed).permutation(len(images))
    passed = np.empty(len(images), dtype=int)
    passed[order] = np.roll(order, 1)
    result = pairs.copy()
    result.loc[usable, "image"] = np.asarray(images, dtype=object)[passed[codes]]
    return result
