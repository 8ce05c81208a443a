"""The two tables: pairs (one row a pair) and words (one row a word)."""

import numpy as np
import pandas as pd

from ..errors import UserError
from .captions import Caption


def check_pairs(pairs) -> pd.DataFrame:
    """A copy of the pairs with a fresh index and `pair_id` first; rows keep their order.

    Raises UserError when a column is missing or an id occurs twice.
    """
    frame = any_frame(pairs.to_pandas() if hasattr(pairs, "to_pandas") else pairs)
    frame = frame.reset_index(drop=frame.index.name != "pair_id" or "pair_id" in frame)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"the pairs have two columns {twice!r}: rename one of them")
    missing = [name for name in ("image", "caption") if name not in frame]
    if missing:
        raise UserError(
            f"the pairs have no column {' and no column '.join(map(repr, missing))}; "
            "one row a pair with the columns 'image' and 'caption' is needed"
        )
    if "pair_id" not in frame:
        frame.insert(0, "pair_id", np.arange(len(frame)))
    if frame["pair_id"].isna().any():
        raise UserError("pair_id is empty in some rows: fill it or leave the column out")
    twice = frame["pair_id"][frame["pair_id"].duplicated()]
    if len(twice):
        raise UserError(f"pair_id {twice.iloc[0]!r} occurs twice: ids must be unique")
    return frame


def any_frame(data) -> pd.DataFrame:
    """A frame of any texts, also of half surrogate pairs, which pandas' type of text refuses."""
    try:
        return pd.DataFrame(data)
    except UnicodeEncodeError:
        with pd.option_context("future.infer_string", False):
            return pd.DataFrame(data)


class Facts:
    """What is learnt about each pair on the way: cosine, number of tokens, truncation, error, and
    what a method notes."""

    def __init__(self, n: int):
        self.cosine = np.full(n, np.nan)
        self.n_tokens = np.zeros(n, dtype=np.int64)
        self.truncated = np.zeros(n, dtype=bool)
        self.error = np.full(n, None, dtype=object)
        self.notes: dict[str, np.ndarray] = {}

    def note(self, name: str, rows: list[int], values: np.ndarray) -> None:
        self.notes.setdefault(name, np.full(len(self.cosine), np.nan))[rows] = values

    def frame(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """The pairs with these columns added."""
        errors = pd.Series(self.error, index=pairs.index, dtype=object)
        return pairs.assign(
            cosine=self.cosine,
            n_tokens=self.n_tokens,
            truncated=self.truncated,
            **self.notes,
            error=errors,
        )


def words_frame(pair_ids, captions: list[Caption], values: dict, tagger=None):
    """One row a word for captions in row order, without values; and the values [words, C].

    values: for each caption's row its word values [words, C]; NaN marks a word not seen.
    """
    table = np.concatenate([values[c.row] for c in captions])
    seen_tokens = np.concatenate([tokens_a_word(c) for c in captions])
    words = [word for c in captions for word in c.words]
    counts = [len(c.words) for c in captions]
    columns = {
        "pair_id": pair_ids.iloc[np.repeat([c.row for c in captions], counts)].to_numpy(),
        "word_index": np.concatenate([np.arange(count) for count in counts]),
        "word": [word.text for word in words],
        "start": np.array([word.start for word in words], dtype=np.int64),
        "end": np.array([word.end for word in words], dtype=np.int64),
        "seen": seen_tokens > 0,
        "n_tokens": seen_tokens,
    }
    if tagger is not None:
        columns["pos"] = tags(tagger, captions)
    return any_frame(columns), table


def no_words(channels: int, tagger=None):
    """The two results of `words_frame` for no captions at all."""
    columns = {"pair_id": object, "word_index": np.int64, "word": object, "start": np.int64}
    columns |= {"end": np.int64, "seen": bool, "n_tokens": np.int64}
    columns |= {} if tagger is None else {"pos": object}
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    return empty, np.zeros((0, channels), np.float32)


def tokens_a_word(caption: Caption) -> np.ndarray:
    """Number of tokens that CLIP saw of each word."""
    own = caption.word_of[caption.word_of >= 0]
    return np.bincount(own, minlength=len(caption.words))


def tags(tagger, captions: list[Caption]) -> list[str]:
    """Universal POS tag of each word of all captions, in order."""
    from ..text.pos import tag_many  # spaCy takes seconds to import and is often not needed

    found = tag_many(tagger, [c.caption for c in captions], [c.words for c in captions])
    return [tag for one in found for tag in one]
