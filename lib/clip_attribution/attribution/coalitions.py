"""Captions with some of their words left out: the game behind leave-one-out and Shapley values.

The players are words of the caption, and v(T) is the cosine of the image and the caption in which
of the players only T stand. Words that are no players always stand, and so does the template.
"""

import re

import numpy as np
from torch import Tensor

from ..trace.inputs import encode_distinct

# words that hold a sentence together: leaving one out changes its grammar, not what it says
FUNCTION_WORDS = frozenset(
    "a an the this that these those there here it its he she they his her their is are was were be "
    "been being am has have had do does did and or but nor so as of to with by for from in on at "
    "into than which who whose what it's there's".split()
)


def is_content(word: str) -> bool:
    """Whether a word says something by itself: not punctuation, article, auxiliary or the like."""
    bare = word.lower().strip("".join({c for c in word if not c.isalnum()}))
    return bare != "" and bare not in FUNCTION_WORDS


def players(caption, content: bool = True) -> list[int]:
    """Numbers of the words of a caption that the model sees; of its content words alone."""
    seen = sorted(set(caption.word_of[caption.word_of >= 0].tolist()))
    return [i for i in seen if not content or is_content(caption.words[i].text)]


def without(caption, left_out) -> str:
    """The text that the model reads when these words (numbers) are left out of the caption."""
    lead = caption.text[: len(caption.text) - len(caption.caption)]
    letters = np.array(list(caption.caption))
    for number in left_out:
        letters[caption.words[number].start : caption.words[number].end] = ""
    return (lead + re.sub(" +", " ", "".join(letters)).strip()).strip()


def worth(view, row: int, who: list[int], joined: np.ndarray) -> np.ndarray:
    """v of each coalition, float64 [K]; joined: bool [K, players], who of the players stand."""
    caption = view.captions[row]
    texts = [
        without(caption, [w for w, stands in zip(who, one, strict=True) if not stands])
        for one in joined
    ]
    return cosines(view, texts, [row] * len(texts)).double().cpu().numpy()


def cosines(view, texts: list[str], rows: list[int]) -> Tensor:
    """Cosine [K] of each text and the image of its row of the batch."""
    return (encode_distinct(view.clip, texts) * view.images[rows]).sum(-1)


def spread(view, found: dict[int, dict[int, float]]) -> Tensor:
    """Token values [B, 1, n] from {row: {word: value}}: every token of a word has its value, every
    other token of the caption 0."""
    values = view.images.new_zeros(view.ids.shape)
    for row, of_word in found.items():
        caption = view.captions[row]
        for word, value in of_word.items():
            values[row, np.flatnonzero(caption.word_of == word) + caption.first] = value
    return values[:, None]


def standing(n: int) -> np.ndarray:
    """All coalitions of n players, bool [2**n, n]; the first is empty, the last is everyone."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
