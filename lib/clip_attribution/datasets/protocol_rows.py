"""Rows of the protocols' results: parts of a pairs frame, and one function a kind of measure."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import UserError
from ..metrics.intervals import (
    average_precision,
    correlation_estimate,
    gain_estimate,
    ratio_estimate,
)
from ..metrics.weighted import WEIGHTED, weighted_ap
from ..metrics.words import detection_chance, detection_estimates

COLUMNS = (
    "measure",
    "scorer",
    "group",
    "value",
    "low",
    "high",
    "n",
    "n_errors",
    "chance",
    "ceiling",
    "note",
)
OURS, THEIRS = "F-CLIPScore", "CLIPScore"
GAIN = f"{OURS} less {THEIRS}"  # the paired difference
METHOD, RANDOM, FREQUENT = "attribution", "random word", "most frequent word"
FLOORS = {
    RANDOM: "expected value",
    FREQUENT: "most frequent answer in the other half of the pairs",
}


class Part(NamedTuple):
    """The usable rows of one group, and how many were left out for their error."""

    group: str
    rows: pd.DataFrame
    n_errors: int


def prepare(pairs: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The pairs numbered from 0, with `unit`, what is resampled together, and `good`: no error.

    All captions of an image are one unit. names: columns that the protocol needs; UserError where
    one is missing.
    """
    missing = [n for n in ("pair_id", "cosine", "error", *names) if n not in pairs]
    if missing:
        raise UserError(f"the pairs have no column {missing[0]!r}, which this protocol needs")
    pairs = pairs.reset_index(drop=True)
    name = next((name for name in ("image", "pair") if name in pairs), "pair_id")
    unit = pairs[name].map(str, "ignore")
    good = pairs["error"].isna() & pairs["cosine"].notna()
    return pairs.assign(unit=unit.where(unit.notna(), pairs["pair_id"]), good=good)


def parts(pairs: pd.DataFrame) -> list[Part]:
    """The whole ("all") and every named group of prepared pairs, in order of appearance."""
    named = pairs["group"].fillna("") if "group" in pairs else pd.Series("", pairs.index)
    members = {"all": pairs.index} | {
        name: pairs.index[named == name] for name in named.unique() if name
    }
    found = ((name, pairs.loc[index]) for name, index in members.items())
    return [Part(name, own[own["good"]], int((~own["good"]).sum())) for name, own in found]


def row(part: Part, measure, scorer, estimate=None, **more) -> dict:
    """One row of the results; without an estimate its numbers are missing and n is 0."""
    numbers = estimate._asdict() if estimate else {"n": 0}
    labels = {"measure": measure, "scorer": scorer, "group": part.group, "n_errors": part.n_errors}
    return labels | numbers | more


def tidy(rows: list[dict]) -> pd.DataFrame:
    """The results, with all columns."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(note=table["note"].fillna(""))


def location_rows(part: Part, located, measure, seed, note="") -> list[dict]:
    """Location accuracy of the method and of both baselines, over the rows that are in `located`.

    located: by the rows' index, for each of the three 1 for a hit and 0 for a miss, or the chance
    of one; `reachable`, whether any word would be a hit, whose mean is the ceiling.
    """
    own = located[located.index.isin(part.rows.index)]
    units = part.rows["unit"].reindex(own.index)
    best = {"chance": own[RANDOM].mean(), "ceiling": own["reachable"].mean()}
    rows = []
    for scorer in (METHOD, RANDOM, FREQUENT):
        found = ratio_estimate(own[scorer], None, units, seed)
        notes = "; ".join(filter(None, [note, FLOORS.get(scorer)]))
        rows.append(row(part, measure, scorer, found, **best, note=notes))
    return rows


def precision_rows(part: Part, scores: dict, positive, note, seed) -> list[dict]:
    """Average precision of each score over the rows that have it; chance: the positive share.

    scores: {name: [n_pairs], larger for the positive class}; positive: bool, one a row of the part.
    """
    rows, positive = [], np.asarray(positive, bool)
    for name, score in scores.items():
        own = score[part.rows.index]
        known = ~np.isnan(own)
        if known.any():
            found = average_precision(positive, own, part.rows["unit"], seed)
            rows.append(row(part, "AP", name, found, chance=positive[known].mean(), note=note))
    return rows + gain_rows(part, {"AP": weighted_ap}, positive, scores, note, seed)


def gain_rows(part: Part, statistics: dict, fixed, scores: dict, note, seed) -> list[dict]:
    """How much higher each measure is of F-CLIPScore than of CLIPScore, on the same draws.

    statistics: {measure: of `gain_estimate`}; fixed: what the scores are compared with.
    """
    if not {OURS, THEIRS} <= scores.keys():
        return []
    both = [scores[name][part.rows.index] for name in (OURS, THEIRS)]
    found = {
        measure: gain_estimate(statistic, fixed, *both, part.rows["unit"], seed)
        for measure, statistic in statistics.items()
    }
    notes = "; ".join(filter(None, [note, "paired difference"]))
    return [
        row(part, m, GAIN, own, chance=0.0, note=notes) for m, own in found.items() if own.n > 1
    ]


def correlation_rows(part: Part, scores: dict, seed, note) -> list[dict]:
    """Pearson and Spearman of each score with the annotators' score; chance: 0."""
    rows, theirs, units = [], part.rows["score"].astype(float), part.rows["unit"]
    for name, score in scores.items():
        for kind in ("pearson", "spearman"):
            found = correlation_estimate(score[part.rows.index], theirs, kind, units, seed)
            rows.append(row(part, kind.title(), name, found, chance=0.0, note=note))
    statistics = {kind.title(): weighted for kind, weighted in WEIGHTED.items()}
    return rows + gain_rows(part, statistics, theirs, scores, note, seed)


def judged_rows(part: Part, judged: dict, seed, note) -> list[dict]:
    """The NLI score of each prediction: the mean over all rows; chance: that of a random word."""
    index, units = part.rows.index, part.rows["unit"]
    chance, rows = judged[RANDOM].reindex(index).mean(), []
    for name, own in judged.items():
        found = ratio_estimate(own.reindex(index), None, units, seed)
        rows.append(row(part, "NLI", name, found, chance=chance, note=note))
    return rows


def detection_rows(part: Part, scorer, counts, every, seed, note) -> list[dict]:
    """Precision, recall and F1 of a prediction; counts and every: tp, fp, fn by pair_id.

    every: of predicting all words, from which follows what as many random ones would give.
    """
    ids = part.rows["pair_id"]
    own, most = counts.reindex(ids), every.reindex(ids)
    chance = detection_chance(own, most["tp"], most["tp"] + most["fp"])
    found = detection_estimates(own, part.rows["unit"], seed)
    return [
        row(part, name, scorer, one, chance=chance[name], note=note) for name, one in found.items()
    ]
