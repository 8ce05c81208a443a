"""Contrasts: why this caption and not that one, word by word.

For one image i and two captions c, d the difference of the scores S(c, i) - S(d, i) is attributed:
the words of both are aligned, and each place has the attribution of its word in c less that of its
word in d. With a second image j it is the double difference by which Winoground (Thrush et al.,
CVPR 2022) asks whether a model binds captions to images,

    S(c, i) - S(d, i) - S(c, j) + S(d, j)

where each word's attribution is that with i less that with j. A place that one caption leaves empty
has the other's value alone. Exchanging the captions changes the sign of everything.
"""

from itertools import product, zip_longest

import numpy as np
import pandas as pd

from ..errors import UserError
from .engine import attribute
from .frames import check_pairs


def contrast(clip, pairs, method: str = "clip4dm", **options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attribute the difference of two captions' scores to their words.

    Parameters
    ----------
    clip
        A model by `load_clip`.
    pairs
        Columns `image`, `caption` and `other`, the caption it is compared with; with a column
        `other_image`, quadruples of two captions and two images. A `pair_id` if wanted.
    method, **options
        As for `attribute`.

    Returns
    -------
    words
        One row a place of the two aligned captions: pair_id, place, word, other_word (None where
        a caption has none there), attribution, other_attribution, contrast. With two images both
        attributions are differences between the images.
    pairs
        The input with cosine and other_cosine (differences too), contrast, and error.

    Raises
    ------
    UserError
        On unusable arguments, as `attribute` does.

    Examples
    --------
    >>> from clip_attribution import contrast, load_clip
    >>> row = {"image": "scene:1:3", "caption": "a yellow sun", "other": "a yellow envelope"}
    >>> words, pairs = contrast(load_clip(), [row])
    >>> words.loc[words.contrast.idxmax(), ["word", "other_word"]].tolist()
    ['sun', 'envelope']
    """
    frame = check_pairs(pairs)
    if "other" not in frame:
        raise UserError("the pairs have no column 'other': the caption to compare with")
    images = [name for name in ("image", "other_image") if name in frame]
    sides = [(image, caption) for image in images for caption in ("caption", "other")]
    asked = pd.concat(
        [pd.DataFrame({"image": frame[i], "caption": frame[c]}) for i, c in sides],
        ignore_index=True,
    )
    if "level" in options:
        raise UserError("a contrast is one of words: leave level out")
    if "concepts" in frame:
        raise UserError("a contrast reads no column 'concepts': leave it out")
    words, scored = attribute(clip, asked, method, **options)
    return _differences(frame, words, scored, len(images))


def _differences(frame: pd.DataFrame, words, scored, n_images: int):
    """Both frames from the words and scores of all sides, one side below the other."""
    n, texts = len(frame), words.groupby("pair_id")
    signs = (1, -1)[:n_images]
    errors = scored["error"].to_numpy().reshape(-1, n)
    cosines = scored["cosine"].to_numpy().reshape(n_images, 2, n)
    own, other = (
        np.sum([s * c[k] for s, c in zip(signs, cosines, strict=True)], 0) for k in (0, 1)
    )
    error = [next((e for e in column if e is not None), None) for column in errors.T]
    places = []
    for row in (row for row in range(n) if error[row] is None):
        sides = [[texts.get_group(row + n * (2 * i + k)) for i in range(n_images)] for k in (0, 1)]
        values = [
            sum(s * one["attribution"].to_numpy() for s, one in zip(signs, side, strict=True))
            for side in sides
        ]
        spelled = [side[0]["word"].tolist() for side in sides]
        for place, (a, b) in enumerate(align_words(*spelled)):
            places.append(
                {
                    "pair_id": frame["pair_id"].iloc[row],
                    "place": place,
                    "word": None if a is None else spelled[0][a],
                    "other_word": None if b is None else spelled[1][b],
                    "attribution": np.nan if a is None else float(values[0][a]),
                    "other_attribution": np.nan if b is None else float(values[1][b]),
                }
            )
    columns = ["pair_id", "place", "word", "other_word", "attribution", "other_attribution"]
    found = pd.DataFrame(places, columns=columns)
    filled = found[columns[4:]].fillna(0.0)
    found["contrast"] = filled["attribution"] - filled["other_attribution"]
    error = pd.Series(error, index=frame.index, dtype=object)
    return found, frame.assign(cosine=own, other_cosine=other, contrast=own - other, error=error)


def align_words(one: list[str], other: list[str]) -> list[tuple[int | None, int | None]]:
    """Places of two captions side by side, None where one has no word.

    The longest common subsequence of words (whatever their case) stands together; between its words
    those that differ stand in order. Exchanging the captions exchanges the two sides.
    """
    if one > other:
        return [(a, b) for b, a in align_words(other, one)]
    places: list[tuple[int | None, int | None]] = []
    start = (0, 0)
    for a, b in [*common_words(one, other), (len(one), len(other))]:
        places += zip_longest(range(start[0], a), range(start[1], b))
        places += [(a, b)] * (a < len(one) or b < len(other))
        start = (a + 1, b + 1)
    return places


def common_words(one: list[str], other: list[str]) -> list[tuple[int, int]]:
    """Places (in one, in other) of a longest common subsequence, in order."""
    same = [[a.lower() == b.lower() for b in other] for a in one]
    longest = np.zeros((len(one) + 1, len(other) + 1), int)  # of what follows each place
    for a, b in product(reversed(range(len(one))), reversed(range(len(other)))):
        longer = longest[a + 1, b + 1] + 1 if same[a][b] else 0
        longest[a, b] = max(longer, longest[a + 1, b], longest[a, b + 1])
    found, a, b = [], 0, 0
    while a < len(one) and b < len(other):
        if same[a][b]:
            found.append((a, b))
            a, b = a + 1, b + 1
        elif longest[a + 1, b] >= longest[a, b + 1]:
            a += 1
        else:
            b += 1
    return found
