"""Words frames written by hand."""

import re

import pandas as pd

from clip_attribution.text.words import split_words


def words_of(captions: dict, rule="clip4dm") -> pd.DataFrame:
    """A words frame from {pair_id: (caption, attributions)}."""
    rows = [
        {
            "pair_id": i,
            "word_index": k,
            "word": w.text,
            "start": w.start,
            "end": w.end,
            "attribution": value,
            "seen": value == value,
        }
        for i, (text, values) in captions.items()
        for k, (w, value) in enumerate(zip(split_words(text, rule), values, strict=True))
    ]
    return pd.DataFrame(rows)


def tokens_of(caption: str) -> list[str]:
    return [t for t in re.split("|".join(map(re.escape, ',.?!":; ')), caption) if t]
