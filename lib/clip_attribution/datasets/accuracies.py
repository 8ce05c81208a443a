"""The accuracies, recalls and correlations of the composition benchmarks, all in percent.

Every table is tidy: measure, group, value, low, high, n, chance, missing. The measures have the
names of the published tables ("relation accuracy", "I2T R@1", ...), group is "all" for what a
paper prints and a relation, subset or set for its parts, and missing lists the parts that a mean
of parts has to do without ("" when it is complete).

Intervals are over images: decisions about one image are drawn together. A part that a draw leaves
empty takes no part in that draw's mean. chance is what a random choice among the options gives,
averaged as the value is.
"""

from math import comb

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix

from ..errors import UserError
from ..metrics.intervals import RESAMPLES, correlation_estimate, interval, resampled

COLUMNS = ("measure", "group", "value", "low", "high", "n", "chance", "missing")


def accuracies(scored: pd.DataFrame, means: dict, seed: int = 0) -> pd.DataFrame:
    """Means of groups first, then the measure "accuracy" of each group.

    means: {measure: tree}, a tree being a group's name or a list of trees whose mean is taken;
    groups and lists that are not there are left out and named in `missing`.
    """
    good = scored[scored["error"].isna()]
    groups = sorted(good["group"].astype(str).unique())
    trees = {(name, "all"): tree for name, tree in means.items()}
    trees |= {("accuracy", group): group for group in groups}
    weights = {key: nested_weights(tree, set(groups)) for key, tree in trees.items()}
    table = _table(good, {key: w for key, w in weights.items() if w}, groups, seed)
    absent = [
        [g for g in _leaves(trees[tuple(key)]) if g not in groups]
        for key in table[["measure", "group"]].to_numpy()
    ]
    return table.assign(missing=[", ".join(names) for names in absent])


def nested_weights(tree, present: set[str]) -> dict[str, float]:
    """The weight of each group in a mean of means; lists that are wholly absent do not count."""
    if isinstance(tree, str):
        return {tree: 1.0} if tree in present else {}
    parts = [part for part in (nested_weights(t, present) for t in tree) if part]
    return {name: weight / len(parts) for part in parts for name, weight in part.items()}


def _leaves(tree) -> list[str]:
    return [tree] if isinstance(tree, str) else [leaf for t in tree for leaf in _leaves(t)]


def macro_mean(scored, measure, exclude: set, least: int, cases, seed) -> pd.DataFrame:
    good = scored[scored["error"].isna()]
    cases = good["group"].value_counts() if cases is None else cases
    counted = sorted(set(cases.index[cases >= least]) - exclude)
    kept = good[good["group"].isin(counted)]
    if len(good) and not counted:
        listed = " outside the list of those to exclude" if exclude else ""
        raise UserError(f"no group{listed} has {least} cases: lower at_least (--at-least)")
    if len(good) and not len(kept):
        raise UserError(f"the {len(good)} cases are of no group that counts: take a larger sample")
    return accuracies(kept, {measure: counted}, seed)


def pooled(scored, measure, seed) -> pd.DataFrame:
    return accuracies(scored.assign(group="all"), {measure: ["all"]}, seed).iloc[:1]


def _table(good, weights: dict, groups: list[str], seed) -> pd.DataFrame:
    """One row a weighted mean of group accuracies; weights: {(measure, label): {group: weight}}."""
    if not weights:
        return pd.DataFrame(columns=COLUMNS)
    code = pd.Categorical(good["group"].astype(str), groups).codes
    unit = pd.factorize(good["images"].map(lambda names: names[0]))[0]
    shares = resampled_shares(good["correct"].to_numpy(float), code, unit, len(groups), seed)
    counts = np.bincount(code, minlength=len(groups))
    options = [max(len(c), len(i)) for c, i in zip(good["captions"], good["images"], strict=True)]
    chance = np.bincount(code, 1 / np.array(options), minlength=len(groups)) / counts
    rows = []
    for (measure, label), part in weights.items():
        at = [groups.index(name) for name in part]
        weight = np.array(list(part.values()))
        values = 100 * weighted_mean(shares[:, at], weight)
        low, high = interval(values[1:])
        expected = 100 * float(chance[at] @ weight)
        rows.append((measure, label, values[0], low, high, counts[at].sum(), expected, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


def pooled_accuracy(scored, measure: str = "relation accuracy", seed=0) -> pd.DataFrame:
    """Share of all decisions (SVO-Probes, ComVG), and of those of each group."""
    table = accuracies(scored, {}, seed)
    return pd.concat([pooled(scored, measure, seed), table], ignore_index=True)


def order_accuracy(scored, seed=0) -> pd.DataFrame:
    """Share of captions that score above all their shuffles; chance is one in the options."""
    return pooled(scored, "order accuracy", seed)


def winoground_correct(scores) -> tuple[bool, bool]:
    """(text, image): both images find their caption; both captions find their image.

    scores [2, 2]: image i, caption j; i belongs to i. Thrush et al. 2022, equations 1 and 2.
    """
    (a, b), (c, d) = np.asarray(scores)
    return bool(a > b and d > c), bool(a > c and d > b)


def rule_notes(table: pd.DataFrame, rule: str) -> list[str]:
    """A note for each row of a table whose groups count by a rule.

    It is the rule where a paper prints the value, and empty elsewhere.
    """
    absent = [len(text.split(", ")) if text else 0 for text in table["missing"]]
    notes = [
        rule + (f"; {n} of these, counted in the whole file, have no case here" if n else "")
        for n in absent
    ]
    return [
        note if group == "all" else "" for note, group in zip(notes, table["group"], strict=True)
    ]


def resampled_shares(hits, group, unit, n_groups: int, seed: int = 0) -> np.ndarray:
    """Share of hits in each group [1 + RESAMPLES, n_groups]: first as it is, then resampled.

    hits, group, unit [n]: 1.0 or 0.0, number of the group, number of the unit that is drawn with
    replacement, all its rows together. A group without a row in a draw is NaN there.
    """
    if not len(hits):
        return np.full((1 + RESAMPLES, n_groups), np.nan)
    shape = (int(unit.max()) + 1, n_groups)
    count = coo_matrix((np.ones(len(hits)), (unit, group)), shape).tocsr()
    right = coo_matrix((hits, (unit, group)), shape).tocsr()
    with np.errstate(invalid="ignore"):
        return resampled(
            lambda weights, top, bottom: (weights @ top) / (weights @ bottom),
            (right, count),
            seed=seed,
        )


def weighted_mean(shares, weight) -> np.ndarray:
    """Weighted mean of the columns [r, k] that are no NaN, [r]."""
    there = ~np.isnan(shares)
    with np.errstate(invalid="ignore"):
        return np.where(there, shares, 0) @ weight / (there @ weight)


def recall_table(of_text, of_image, owner, seed: int = 0) -> pd.DataFrame:
    """R@1 and R@5 of text-to-image (T2I) and image-to-text (I2T) retrieval from ranks.

    of_text [n], of_image [m], owner [n]: see `composition.retrieval_ranks`. Captions of one image
    are drawn together. Chance is a random order: k/m, and for an image with c of n captions one
    minus the chance that none of them is among the first k.
    """
    rows, m, n = [], len(of_image), len(of_text)
    own = np.bincount(owner, minlength=m)
    for name, ranks, unit in (("I2T", of_image, np.arange(m)), ("T2I", of_text, owner)):
        for k in (1, 5):
            none = [comb(n - c, k) / comb(n, k) if n >= k else 0.0 for c in own]
            chance = 100 * (1 - np.mean(none) if name == "I2T" else min(k / m, 1)) if m else np.nan
            hits = (ranks < k).astype(float)
            shares = 100 * resampled_shares(hits, np.zeros(len(hits), int), unit, 1, seed)[:, 0]
            low, high = interval(shares[1:])
            rows.append((f"{name} R@{k}", "all", shares[0], low, high, len(hits), chance, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


def correlation_table(cosine, score, seed: int = 0) -> pd.DataFrame:
    """Spearman and Pearson correlation times 100 of [n] and [n], resampled by pairs.

    NaN where there are fewer than three pairs or one side has no spread.
    """
    rows = []
    for kind in ("spearman", "pearson"):
        value, low, high, _ = correlation_estimate(cosine, score, kind, seed=seed)
        scaled = (100 * value, 100 * low, 100 * high)
        rows.append((kind.capitalize(), "all", *scaled, len(cosine), 0.0, ""))
    return pd.DataFrame(rows, columns=COLUMNS)
