"""Mediated attributions of words against what people say of the words (arXiv 2406.09458, Fig. 2a).

Rows of Concadia whose caption and description each hold a word of both lists are drawn; every token
of both texts gets its integrated gradients; a word's value is the mean over its occurrences; and
Pearson's r runs over the words of a list, for each list apart.
"""

import numpy as np
import pandas as pd

from ..attribution.mediated import PATHS, attribute_paths
from ..errors import UserError
from ..metrics.word_types import type_correlation

TEXTS = ("caption", "description")
ROWS, STATE = 100, 42


def norm_rows(frame: pd.DataFrame, norms, n: int = ROWS, state: int = STATE) -> pd.DataFrame:
    """At most n rows of a frame of Concadia whose two texts each hold a word of every list.

    norms: the lists, by word. Words are what stands between blanks, case and punctuation kept.
    Raises UserError where no row qualifies.
    """
    known = set.intersection(*(set(norm.index) for norm in norms))
    good = frame[frame["error"].isna()]
    held = [
        all(known & set(row[name].split()) for name in TEXTS) for row in good.to_dict("records")
    ]
    good = good[held]
    if good.empty:
        raise UserError("no row has a listed word in its caption and in its description")
    return good.sample(min(n, len(good)), random_state=state)


def token_values(
    clip, rows: pd.DataFrame, alignment=None, fragments: bool = False, **options
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(tokens, pairs): every token of both texts of each row, with its value by every path.

    rows: with image, caption and description. tokens: image, text (which of the two), word (the
    token in lower case) and a column a path. fragments: keep tokens that are only a part of a word,
    as the public code does. options: of `attribute_paths`. No template.
    """
    rows = rows.reset_index(drop=True)
    texts = [rows[["image", name]].rename(columns={name: "caption"}) for name in TEXTS]
    pairs = pd.concat([one.assign(text=name) for one, name in zip(texts, TEXTS, strict=True)])
    pairs = pairs.reset_index(drop=True)
    tokens, done = attribute_paths(clip, pairs, alignment, template="", level="token", **options)
    of = done.set_index("pair_id")
    facts = of.loc[tokens["pair_id"], ["image", "caption", "text"]].reset_index(drop=True)
    whole = [
        is_whole(caption, start, end)
        for caption, start, end in zip(
            facts["caption"], tokens["start"], tokens["end"], strict=True
        )
    ]
    found = facts[["image", "text"]].assign(word=tokens["word"].str.lower().to_numpy())
    found[list(PATHS)] = tokens[list(PATHS)].to_numpy()
    return found[np.array(whole, bool) | fragments].reset_index(drop=True), done


def is_whole(text: str, start: int, end: int) -> bool:
    """Whether no letter stands before or after the characters of a token."""
    return not (text[:start][-1:].isalpha() or text[end : end + 1].isalpha())


def norm_correlations(
    tokens: pd.DataFrame, norms: dict, paths=PATHS, both_lists: bool = False, seed: int = 0
) -> pd.DataFrame:
    """One row a path and list: Pearson's r over word types with its interval over images.

    tokens: of `token_values`. norms: {name: a list by word}. both_lists: only words that all lists
    hold, so that the lists can be compared; otherwise each list has words, and an n, of its own.
    Columns path, norm, value, low, high, n (images), types (words), chance_low and chance_high (the
    middle 95 % with the norms handed to random words).
    """
    common = set.intersection(*(set(norm.index) for norm in norms.values()))
    rows = []
    for path in paths:
        values = tokens.rename(columns={path: "value"})[["image", "word", "value"]]
        for name, norm in norms.items():
            own = norm[norm.index.isin(common)] if both_lists else norm
            found = type_correlation(values, own, seed)
            low, high = found.chance
            labels = {"path": path, "norm": name} | found.estimate._asdict()
            rows.append(labels | {"types": found.types, "chance_low": low, "chance_high": high})
    return pd.DataFrame(rows)
