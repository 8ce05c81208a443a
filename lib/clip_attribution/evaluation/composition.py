"""The accuracies of the composition benchmarks, with intervals: `methods.md` 4.5, all in percent.

Every table is tidy: measure, group, value, low, high, n, chance, missing. The measures have the
names of the published tables ("relation accuracy", "I2T R@1", ...), group is "all" for what a
paper prints and a relation, subset or set for its parts, and missing lists the parts that a mean
of parts has to do without ("" when it is complete).

Intervals are 95 % percentile bootstrap intervals over pictures: decisions about one picture are
drawn together. A part that a draw leaves empty takes no part in that draw's mean. chance is what
a random choice among the options gives, averaged as the value is.
"""

import numpy as np
import pandas as pd

from ..datasets.aro import find_excluded
from ..errors import UserError
from ..metrics.composition import COLUMNS, resampled_shares, weighted_mean
from ..metrics.intervals import interval, mean_estimate
from .choices import retrieval_scores, score_choices, sts_scores, winoground_correct

ATTRIBUTES = ("action", "color", "material", "size", "state")
VL_CHECKLIST = {
    "relation accuracy": [
        [f"Relation/action/{s}" for s in ("hake", "swig", "vg")],
        "Relation/spatial/vg",
    ],
    "attribute accuracy": [[f"Attribute/{a}/{s}" for s in ("vaw", "vg")] for a in ATTRIBUTES],
}
SUGARCREPE = {
    "relation accuracy": ["replace_rel"],
    "attribute accuracy": ["add_att", "replace_att", "swap_att"],
    "object accuracy": ["add_obj", "replace_obj", "swap_obj"],
}
VALSE = {
    False: ["actant-swap", "action-replacement", "relations"],
    True: [["actant-swap", "action-replacement"], "relations"],
}
RETRIEVAL, SIMILARITY = ("coco-retrieval", "flickr30k-retrieval"), ("sts-b", "sick-r")
ARO_PARTS = {"aro-relation": "relations", "aro-attribute": "attribute pairs"}
LEAST = 25  # cases that an attribute pair needs in ARO
WINOGROUND_CHANCE = {"text": 25.0, "image": 25.0, "group": 100 / 6}


def summarise(scored: pd.DataFrame, benchmark: str, seed: int = 0, **options) -> pd.DataFrame:
    """The table of a benchmark from `composition.score_choices`; rows with an error take no part.

    benchmark: one of `BENCHMARKS`; options: those of its function. Raises UserError.
    """
    if benchmark not in BENCHMARKS:
        raise UserError(f"unknown benchmark {benchmark!r}: there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[benchmark](scored, seed=seed, **options)


def measure(clip, benchmark: str, frame, images=None, template="", seed=0, options=None, **run):
    """Score a model on the frame of any composition benchmark, retrieval and similarity included.

    options: those of the benchmark's summary (`summarise`); run: batch_size, progress, keep.
    Returns (table, frame): the tidy table and the frame with its scores. Raises UserError.
    """
    run |= {"template": template}
    if benchmark in RETRIEVAL:
        return retrieval_scores(clip, frame, images, seed=seed, **run)
    if benchmark in SIMILARITY:
        return sts_scores(clip, frame, seed=seed, **run)
    scored = score_choices(clip, frame, images, **run)
    return summarise(scored, benchmark, seed, **(options or {})), scored


def aro_relation(scored, exclude=None, at_least=None, cases=None, seed=0) -> pd.DataFrame:
    """Macro mean over VG-Relation's relations.

    exclude: relations to leave out; `datasets.aro.excluded_relations` reads ARO's own 157 from its
    notebook. Without it the relations with fewer than 25 cases are left out, our choice, as ARO
    does with attribute pairs; at_least sets another number. cases: of each relation in the whole
    file, where scored is a sample of it; those that count and have none here are named in missing.
    """
    least = at_least or (LEAST if exclude is None else 1)
    return _macro(scored, "relation accuracy", set(exclude or ()), least, cases, seed)


def aro_attribute(scored, at_least=None, cases=None, seed=0) -> pd.DataFrame:
    """Macro mean over VG-Attribution's attribute pairs with at least 25 cases, as in ARO.

    at_least, cases: as for `aro_relation`.
    """
    return _macro(scored, "attribute accuracy", set(), at_least or LEAST, cases, seed)


def aro_rule(benchmark: str, whole, data, exclude=None, at_least=None) -> tuple[dict, str]:
    """(options for `summarise`, the same in words): which groups of an ARO file count.

    whole: the frame of the whole file, before a sample is drawn of it, so that the rule is the same
    for a sample. data: the file or its folder, where ARO's list is looked for if exclude is None
    (`datasets.aro.find_excluded`). Raises UserError when that is no list.
    """
    cases = whole["group"][whole["error"].isna()].astype(str).value_counts()
    options = {"at_least": at_least, "cases": cases}
    known = "; ARO asks for 25" if at_least not in (None, LEAST) else ""
    if benchmark == "aro-relation":
        exclude = find_excluded(data) if exclude is None else list(exclude)
        options["exclude"] = exclude
        known = "; ARO's own list was not given"
        if exclude is not None:
            known = f", less the {len(exclude)} of the given list"
    least = at_least or (LEAST if exclude is None else 1)
    said = f" with >= {least} case{'s' * (least > 1)}" if least > 1 or exclude is None else ""
    return options, ARO_PARTS[benchmark] + said + known


def aro_notes(table: pd.DataFrame, rule: str) -> list[str]:
    """A note for each row of an ARO table: the rule where a paper prints the value, else none."""
    absent = [len(text.split(", ")) if text else 0 for text in table["missing"]]
    notes = [
        rule + (f"; {n} of these, counted in the whole file, have no case here" if n else "")
        for n in absent
    ]
    return [
        note if group == "all" else "" for note, group in zip(notes, table["group"], strict=True)
    ]


def sugarcrepe(scored, seed=0) -> pd.DataFrame:
    """Relation, attribute and object: unweighted means of SugarCrepe's subsets."""
    return accuracies(scored, SUGARCREPE, seed)


def vl_checklist(scored, seed=0) -> pd.DataFrame:
    """Relation: mean of spatial and of the mean of three action sets. Attribute: mean over five
    aspects of the mean of VAW and VG."""
    return accuracies(scored, VL_CHECKLIST, seed)


def valse(scored, nested: bool = False, seed=0) -> pd.DataFrame:
    """Relation: plain mean of VALSE's three sets; nested averages the two action sets first."""
    return accuracies(scored, {"relation accuracy": VALSE[bool(nested)]}, seed)


def pooled(scored, measure: str = "relation accuracy", seed=0) -> pd.DataFrame:
    """Share of all decisions (SVO-Probes, ComVG), and of those of each group."""
    table = accuracies(scored, {}, seed)
    return pd.concat([_pool(scored, measure, seed), table], ignore_index=True)


def order(scored, seed=0) -> pd.DataFrame:
    """Share of captions that score above all their shuffles; chance is one in the options."""
    return _pool(scored, "order accuracy", seed)


def winoground(scored, seed=0) -> pd.DataFrame:
    """Text, image and group score, of all cases, of each group, and of the clean ones.

    Chance is that of four independent scores. Random weights stay far below it, because they give
    all images nearly the same feature: then both images prefer the same caption.
    "clean": the cases without a tag of Diwan et al. 2022 (172 of 400); "clean without 313": the
    171 of MACCO's list. Only where the loader found the tags.
    """
    good = scored[scored["error"].isna()]
    subsets = {"all": good} | {str(name): part for name, part in good.groupby("group") if name}
    if len(good) and good["tags"].notna().all():
        clean = good[good["tags"].map(len) == 0]
        subsets |= {"clean": clean, "clean without 313": clean[clean["case_id"] != "313"]}
    rows = []
    for name, part in subsets.items():
        hits = np.array([winoground_correct(s) for s in part["scores"]], float).reshape(-1, 2)
        hits = np.column_stack([hits, hits.all(1)])
        for measure, values in zip(WINOGROUND_CHANCE, hits.T, strict=True):
            value, low, high, n = mean_estimate(values, seed)
            chance = WINOGROUND_CHANCE[measure]
            rows.append((measure, name, 100 * value, 100 * low, 100 * high, n, chance, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


BENCHMARKS = {
    "aro-relation": aro_relation,
    "aro-attribute": aro_attribute,
    "coco-order": order,
    "flickr30k-order": order,
    "sugarcrepe": sugarcrepe,
    "vl-checklist": vl_checklist,
    "valse": valse,
    "svo-probes": pooled,
    "comvg": pooled,
    "winoground": winoground,
}


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


def _macro(scored, measure, exclude: set, least: int, cases, seed) -> pd.DataFrame:
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


def _pool(scored, measure, seed) -> pd.DataFrame:
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
