"""The measures of every method, each kept under its key, and how far rankings agree."""

from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from scipy.stats import kendalltau

from ...errors import UserError
from ...evaluation import ranking
from ...evaluation.ranking import BASELINES, KNOWN, MAP_BASELINES
from ...evaluation.truths import games
from ...io.keys import run_key
from ...io.parts import kept
from ...io.tables import digest
from ...models.untrained import random_weights
from ..finetuning.comparison import ALONE, VARIANTS, compare, load_run

WORDS = {"locate": "net", "order_words": "tau", "follow": "r"}
REGIONS = {"point": "net", "match": "r", "order_things": "right"}
COLUMNS = WORDS | REGIONS  # the column of each measure that methods are ranked by
PLAYED = ("follow", "point", "match", "order_things")  # measures that take games
NOTHING = (*BASELINES, *MAP_BASELINES)  # what knows neither model nor image
MOST = 7  # content words of a game


def chosen(methods: str, known: list[str]) -> list[str]:
    """The methods meant: all, or the named ones with every baseline. Raises UserError."""
    if methods == "all":
        return known
    named = methods.split()
    unknown = [name for name in named if name not in known]
    if unknown or not named:
        raise UserError(f"unknown method {(unknown or [methods])[0]!r}: choose {' '.join(known)}")
    return list(dict.fromkeys([*named, *(name for name in known if name in NOTHING)]))


def ranked(clip, measure: str, methods, n: int, seed: int, cache: str = "") -> pd.DataFrame:
    """The rows of one measure of `evaluation.ranking` for these methods, kept in `cache`.

    n: foils of each kind (locate), captions (order_words) or games (all others).
    """
    make = partial(_rows, clip, measure, list(methods), n, seed)
    if not cache:
        return make()
    key = run_key(__file__, [clip], measure=measure, methods=list(methods), n=n, seed=seed)
    path = Path(cache, "truth", f"{key}.parquet")
    return kept(path, lambda: pa.Table.from_pandas(make(), preserve_index=False)).to_pandas()


def _rows(clip, measure: str, methods, n: int, seed: int) -> pd.DataFrame:
    if measure in PLAYED:
        return getattr(ranking, measure)(clip, methods, games(clip, n, seed, MOST), seed)
    return getattr(ranking, measure)(clip, methods, n, seed)


def known_kinds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `locate` for the kinds of facts that the embedded model knows."""
    return rows[rows["kind"].isin(KNOWN)]


def more_models(clip, cache: str) -> dict:
    """The models whose rankings are compared: as given, tuned for 24 steps as in notebook 08 (by
    the contrastive loss, by the attribution loss alone), and with random weights."""
    variants = {name: VARIANTS[name] for name in ("CLIP-FT", ALONE)}
    folder = Path(cache) / "cae"
    runs = compare(clip, cache=folder, n_pairs=384, hard_negatives=(False,), variants=variants)
    tuned = {run.variant: load_run(clip, run) for run in runs}
    return {"another sample": clip, **tuned, "random weights": random_weights(clip)}


def rank_agreement(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Kendall's tau-b between the orders of methods in tables of `summary`, without baselines."""
    values = pd.DataFrame({name: t.set_index("method")["value"] for name, t in tables.items()})
    values = values.drop(index=[name for name in NOTHING if name in values.index])
    return values.corr(lambda one, other: kendalltau(one, other).statistic)


def facts_of(rows: pd.DataFrame, seed: int) -> dict:
    """What was measured on, for the record."""
    images = sorted(rows["image"].unique())
    return {"name": "scenes", "n": len(images), "seed": seed, "hash": digest(images)}
