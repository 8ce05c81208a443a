"""Which rows of a benchmark are measured, and where its files lie."""

from pathlib import Path

import pandas as pd


def folder_of(data) -> Path:
    """The folder of a dataset's files: `data` itself, or where the file lies."""
    return Path(data) if Path(data).is_dir() else Path(data).parent


def sample(pairs: pd.DataFrame, limit: int | None, seed: int, whole="pair") -> pd.DataFrame:
    """At most `limit` rows, but one group at least: rows that belong together, the same in the
    column `whole`, are drawn together, by `seed`."""
    if limit is None or limit >= len(pairs):
        return pairs
    key = pairs["case_id" if "case_id" in pairs else "pair_id"].astype(str)
    if whole in pairs:
        key = pairs[whole].astype(str).where(pairs[whole].notna(), "row " + key)
    order = pd.Series(key.unique()).sample(frac=1, random_state=seed)
    sizes = key.value_counts().reindex(order).cumsum()
    kept = sizes.index[: max(1, int((sizes <= limit).sum()))]
    return pairs[key.isin(kept)].reset_index(drop=True)
