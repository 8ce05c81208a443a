"""Attributions by role: what a caption's objects, attributes and relations get (CAE's a_obj, ...).

A token has the role of the concept in which it starts, and a role's attribution is the mean over
its tokens. "composition" is relation and attribute tokens together (Li et al., EMNLP 2024).
"""

import numpy as np
import pandas as pd

from ..text.concepts import concept_of_token, concepts_of_table
from ..text.words import caption_fault
from .frames import check_pairs

ROLES = ("object", "attribute", "relation")  # as in `roles`, which takes seconds to import


def with_concepts(pairs, nlp=None) -> tuple[pd.DataFrame, pd.Series, dict[int, str]]:
    """(checked pairs with a column `concepts`, by pair_id the spans, {row: fault}).

    The column is the pairs' own, a list of (start, end, role) a caption; without it the parser's
    (`roles.parse_captions` with the pipeline nlp). A role other than ROLES is a fault of its row.
    Raises UserError on unusable pairs, and for a pipeline without a parser.
    """
    pairs = check_pairs(pairs)
    if "concepts" not in pairs:
        from ..text.roles import parse_captions

        texts = ["" if caption_fault(caption) else caption for caption in pairs["caption"]]
        pairs["concepts"] = pd.Series(parse_captions(texts, nlp), pairs.index, dtype=object)
    spans, faults = concepts_of_table(pairs)
    for row, found in enumerate(spans):
        unknown = [span.role for span in found if span.role not in ROLES]
        if unknown:
            faults[row] = f"the role {unknown[0]!r} is none of {', '.join(ROLES)}"
    return pairs, pd.Series(spans, pairs["pair_id"], dtype=object), faults


def concept_numbers(words: pd.DataFrame, concepts: pd.Series) -> np.ndarray:
    """For each row of a words or tokens frame the number of its concept in its caption, -1: none.

    concepts: by pair_id a list of concepts. A row has the first in which it starts.
    """
    found = [
        pd.Series(concept_of_token(own["start"].to_numpy(), concepts[pair_id]), own.index)
        for pair_id, own in words.groupby("pair_id", sort=False)
    ]
    return pd.concat(found).reindex(words.index).to_numpy() if found else np.zeros(0, int)


def roles_of(words: pd.DataFrame, concepts: pd.Series) -> list[str]:
    """The role of each row of a words or tokens frame, "" for none; see `concept_numbers`."""
    rows = zip(words["pair_id"], concept_numbers(words, concepts), strict=True)
    return ["" if number < 0 else concepts[pair_id][number].role for pair_id, number in rows]


def role_masks(roles: pd.Series) -> dict[str, pd.Series]:
    """Which rows each role takes in, "composition" included."""
    masks = {role: roles.eq(role) for role in ROLES}
    return masks | {"composition": masks["relation"] | masks["attribute"]}


def roles_frame(tokens: pd.DataFrame, pairs: pd.DataFrame, spans: pd.Series) -> pd.DataFrame:
    """One row a role and caption without an error: pair_id, role, attribution (and L0, ...),
    n_tokens, n_concepts, all over tokens with a value; missing where a role has none.

    tokens, pairs: a tokens frame and its pairs; spans: of `with_concepts`.
    """
    values = [name for name in tokens if name == "attribution" or name.startswith("L")]
    known = tokens.assign(role=roles_of(tokens, spans), concept=concept_numbers(tokens, spans))
    known = known.dropna(subset=["attribution"])
    ids = pd.Index(pairs["pair_id"][pairs["error"].isna()])
    parts = [
        role_part(known[mask], ids, values).assign(role=role)
        for role, mask in role_masks(known["role"]).items()
    ]
    order = np.arange(len(parts) * len(ids)).reshape(len(parts), -1).T.ravel()  # caption by caption
    columns = ["pair_id", "role", *values, "n_tokens", "n_concepts"]
    frame = pd.concat(parts).rename_axis("pair_id").reset_index()
    return frame.iloc[order][columns].reset_index(drop=True)


def role_part(own: pd.DataFrame, ids: pd.Index, values: list[str]) -> pd.DataFrame:
    """Means and counts of one role's tokens by caption, for all ids."""
    groups = own.groupby("pair_id", sort=False)
    counts = {"n_tokens": groups.size(), "n_concepts": groups["concept"].nunique()}
    counts = pd.DataFrame(counts).reindex(ids, fill_value=0).astype(np.int64)
    return groups[values].mean().reindex(ids).join(counts)
