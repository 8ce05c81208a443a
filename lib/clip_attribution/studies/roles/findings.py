"""The sentences under the figures of the composition notebook, computed from the frames.

"More" and "less" are said only where the 95 % interval allows it. Published values are named as
such, with what they were measured on.
"""

from pathlib import Path

import numpy as np

from ...datasets.published import published
from ..foils.findings import estimate, listed
from .figures import titled

PLURAL = {"relation": "relation words", "attribute": "attribute words"}
VERDICTS = ("the deficiency holds", "the reverse holds", "no difference can be told")


def three(row, prefix: str = "value", ends=("low", "high"), form: str = ".3g") -> str:
    """A value with its interval, three digits each: "0.251 [0.222, 0.283]"."""
    numbers = (row[name] for name in (prefix, *ends))
    return "{} [{}, {}]".format(*(f"{value:{form}}" for value in numbers))


def small_print(clip, facts: dict, what: str, *more: str) -> list[str]:
    """What a figure was made with; facts: name, n and hash of the data; what: "captions"."""
    model = f"{clip.name} ({Path(clip.pretrained).name}, weights {clip.weights_hash[:8]})"
    return [f"{facts['name']}: {facts['n']} {what} (data {facts['hash'][:8]})", model, *more]


def finding_parser(agreement, name: str) -> str:
    """How far the parser agrees with the grammar; agreement: `role_agreement`."""
    if agreement.empty:
        return f"No truth to compare the parser on {name} with."
    own = agreement.set_index(["role", "measure"])
    whole = own.loc["all roles"]
    f1 = own.xs("F1", level="measure").drop("all roles")
    worst = f1["value"].idxmin()
    said = [f"{measure} {three(whole.loc[measure], form='.3f')}" for measure in whole.index]
    return (
        f"On {name}, the parser's roles have {listed(said)} over {whole['n'].iloc[0]:,} words. "
        f"It does worst on {worst}s, F1 {three(f1.loc[worst], form='.3f')}."
    )


def verdict(gap) -> str:
    """What an interval of a_obj less another allows to say; gap: a row of `gap_table`."""
    holds, reverse, unsure = VERDICTS
    return holds if gap["low"] > 0 else reverse if gap["high"] < 0 else unsure


def finding_deficiency(table, gaps) -> str:
    """Means, difference, effect size and verdict, a line a method.

    table: `role_table`; gaps: `gap_table`.
    """
    lines = []
    for method, own in gaps.groupby("method", sort=False):
        means = table[table["method"] == method].set_index("role")
        gap = own.set_index("role").loc["composition"]
        if not gap["n"]:
            lines.append(f"{titled(method)}: no caption has objects and composition words.")
            continue
        parts = [
            f"a_{short} {three(means.loc[role])}"
            for short, role in (("obj", "object"), ("rel", "relation"), ("attr", "attribute"))
        ]
        lines.append(
            f"{titled(method)}: {', '.join(parts)}; a_obj − a_comp {three(gap, form='+.3g')}, "
            f"d = {effect(gap)}, objects ahead in "
            f"{three(gap, 'share', ('share_low', 'share_high'), '.2f')} of {gap['n']} captions: "
            f"{verdict(gap)}."
        )
    return "\n".join(lines)


def effect(gap) -> str:
    """Cohen's d with its interval."""
    return three(gap, "d", ("d_low", "d_high"), ".2f")


def finding_roles(gaps) -> str:
    """For which methods each kind of word has less than objects, in two sentences."""
    sentences = []
    for role in ("relation", "attribute"):
        own = gaps[(gaps["role"] == role) & (gaps["n"] > 0)]
        said = [(titled(row["method"]), verdict(row)) for row in own.to_dict("records")]
        less, more, unsure = ([name for name, one in said if one == kind] for kind in VERDICTS)
        parts = [
            f"less than objects by {listed(less)}" if less else "",
            f"more by {listed(more)}" if more else "",
            f"no clear difference by {listed(unsure)}" if unsure else "",
        ]
        found = "; ".join(part for part in parts if part) or "not found in these captions"
        sentences.append(f"{PLURAL[role].capitalize()}: {found}.")
    return " ".join(sentences)


def finding_entropy(noted: dict) -> str:
    """How sharp the gradient's softmax is; noted: {method: pairs} of `attribute_roles`."""
    pairs = noted.get("gradient")
    if pairs is None:
        return "The gradient method was not asked for."
    entropy = pairs["attribution_entropy"]
    even = np.log(np.maximum(pairs["n_tokens"] - 2, 1))
    return (
        f"The softmax of the gradient method has a mean entropy of {entropy.mean():.2f} nats; "
        f"equal shares would have {even.mean():.2f}, one token with everything 0."
    )


def published_means() -> str:
    """CAE's means of its Figure 1, as published."""
    rows = published(system="cae", table="Figure 1")
    values = {row.metric.split()[-2]: row.printed for row in rows.itertuples()}
    return (
        f"Published (CAE, Figure 1; {rows['model'][0]}, {rows['dataset'][0]}; other data and "
        f"model than here): {', '.join(f'{k} {v}' for k, v in values.items())}."
    )


def finding_ratio(halves, overall) -> str:
    """Accuracy against foils, and whether it differs with the ratio.

    halves: `ratio_halves`; overall: an Estimate of the accuracy.
    """
    if not overall.n:
        return "These captions have no foils, so there is no accuracy to compare with."
    lines = [
        f"The true caption beats its foil in {three(overall._asdict())} of {overall.n} "
        "images (chance 0.5)."
    ]
    for row in halves.to_dict("records"):
        apart = "no difference can be told"
        if row["low"] > 0:
            apart = "more attribution to relations goes with more accuracy"
        elif row["high"] < 0:
            apart = "more attribution to relations goes with less accuracy"
        lines.append(
            f"{titled(row['method'])}: {row['below']:.2f} up to the median ratio "
            f"{row['median']:.2g}, {row['above']:.2f} above it, difference "
            f"{estimate(row, signed=True)}: {apart}."
        )
    return "\n".join(lines)


def published_ratio() -> str:
    """CAE's range of ratios in its Figure 4, as published."""
    rows = published(system="cae", table="Figure 4")
    low, high = rows["printed"]
    return (
        f"Published (CAE, Figure 4; {rows['model'][0]} on {rows['dataset'][0]}, "
        f"{rows['note'][0]}): the bulk of the ratios lies between {low} and {high}, and the "
        "accuracy rises there."
    )


def finding_ingredients(table) -> str:
    """How near captions are to their own words beside others' words; table: `ingredient_table`."""
    lines = []
    for role, own in table.groupby("role", sort=False):
        rows = own.set_index("measure")
        gap = rows.loc["difference"]
        known = "own words are nearer" if gap["low"] > 0 else "own words are not nearer"
        mine, others = (three(rows.loc[name]) for name in ("own", "others"))
        lines.append(
            f"{role}: own {mine}, others {others}, difference "
            f"{three(gap, form='+.3g')} (n = {gap['n']}): {known}."
        )
    return "\n".join(lines)
