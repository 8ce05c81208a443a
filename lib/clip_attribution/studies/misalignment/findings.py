"""The sentences under the figures of the misalignment notebook, computed from the frames.

"More" and "less" are said only where the 95 % interval allows it, as in `ablation_findings`.
"""

import numpy as np

from ...datasets.protocol_rows import FREQUENT, GAIN, METHOD, OURS, THEIRS
from ...datasets.protocols import EVERY, WHOLE
from ...metrics.intervals import in_words
from ..foils.findings import FEW, estimate, listed, versus
from .cases import SPLITS
from .tables import TITLES, Measured, whole


def located(found: dict[str, Measured]) -> dict[str, tuple[dict, float]]:
    """The row of location accuracy of each benchmark that has one, and its better baseline."""
    rows = {name: whole(one.results, "LA", METHOD) for name, one in found.items()}
    often = {name: whole(one.results, "LA", FREQUENT) for name, one in found.items()}
    return {
        name: (row, max(row["chance"], often[name]["value"])) for name, row in rows.items() if row
    }


def headline(found: dict[str, Measured]) -> str:
    """Where false words are located more often than by either baseline, in one sentence."""
    rows = located(found)
    above = [TITLES[n] for n, (row, floor) in rows.items() if row["low"] > floor]
    below = [TITLES[n] for n, (row, floor) in rows.items() if row["high"] < floor]
    rest = [TITLES[n] for n in rows if TITLES[n] not in above + below]
    parts = [
        f"above both baselines on {listed(above)}" if above else "",
        f"below the better baseline on {listed(below)}" if below else "",
        f"no clear difference on {listed(rest)}" if rest else "",
    ]
    said = "; ".join(part for part in parts if part)
    return f"False words located: {said}" if rows else "None of these benchmarks locates words"


def finding_location(found: dict[str, Measured]) -> str:
    """Location accuracy against both baselines and the ceiling, a sentence a benchmark."""
    lines = []
    for name, (row, _) in located(found).items():
        often = whole(found[name].results, "LA", FREQUENT)
        most = f"; more than {row['ceiling']:.2f} is out of reach" if row["ceiling"] < 1 else ""
        lines.append(
            f"{TITLES[name]}: the false word is located in {estimate(row)} of foils "
            f"({row['n']} images); a random word would do it in {row['chance']:.2f}, the most "
            f"frequent answer in {often['value']:.2f}{most}."
        )
    return "\n".join(lines) or "None of these benchmarks locates words."


def finding_ranking(found: dict[str, Measured]) -> str:
    """AP and rank correlation of F-CLIPScore beside CLIPScore, a sentence a benchmark."""
    lines = []
    for name, one in found.items():
        for measure, said in (("AP", "average precision"), ("Spearman", "rank correlation")):
            own, other, gain = (whole(one.results, measure, n) for n in (OURS, THEIRS, GAIN))
            if gain:
                lines.append(
                    f"{TITLES[name]}, {said}: F-CLIPScore {estimate(own)}, CLIPScore "
                    f"{estimate(other)} (chance {own['chance']:.2f}); {gained(gain)}."
                )
    return "\n".join(lines) or "None of these benchmarks ranks captions."


def gained(row) -> str:
    """A paired difference to CLIPScore in words, on n images."""
    word = "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "not clearly different"
    return f"paired, F-CLIPScore is {word}: {in_words(row, '+.3f')}, n = {row['n']} images"


def finding_words(found: dict[str, Measured]) -> str:
    """F1 of the flagged words, against as many blind ones and against flagging all words."""
    lines = []
    for name, one in found.items():
        own = whole(one.results, "F1", METHOD)
        every = whole(one.results, "F1", WHOLE) or whole(one.results, "F1", EVERY)
        if own:
            lines.append(
                f"{TITLES[name]}: F1 {estimate(own)}; as many words picked blindly give "
                f"{own['chance']:.2f}; flagging every word, with recall 1 and no insight, "
                f"gives {every['value']:.2f}; "
                f"{versus(own, every, 'flagging all')}."
            )
    return "\n".join(lines) or "None of these benchmarks marks words."


def headline_groups(found: dict[str, Measured]) -> str:
    """Whether the best and the worst group of each benchmark part, in one sentence."""
    ends = {name: group_ends(one.results) for name, one in found.items()}
    ends = {TITLES[name]: both for name, both in ends.items() if both}
    part = [name for name, (best, worst) in ends.items() if best["low"] > worst["high"]]
    rest = [name for name in ends if name not in part]
    parts = [
        f"part on {listed(part)}" if part else "",
        f"overlap on {listed(rest)}" if rest else "",
    ]
    return "Intervals of best and worst group " + "; ".join(filter(None, parts)) if ends else ""


def group_ends(results):
    """The rows of the groups with the highest and the lowest LA or F1; None without two groups.

    Groups with fewer than FEW units are left out.
    """
    own = results[results["group"].ne("all") & results["scorer"].eq(METHOD)]
    own = own[own["measure"].isin(["LA", "F1"]) & own["value"].notna() & own["n"].ge(FEW)]
    if len(own) < 2:
        return None
    return own.loc[own["value"].idxmax()], own.loc[own["value"].idxmin()]


def finding_groups(found: dict[str, Measured]) -> str:
    """The best and worst group of each benchmark that has groups, and whether they part."""
    lines = []
    for name, one in found.items():
        if both := group_ends(one.results):
            best, worst = both
            lines.append(
                f"{TITLES[name]}, {best['measure']}: highest on {best['group']}, "
                f"{estimate(best)} (n = {best['n']}), lowest on {worst['group']}, "
                f"{estimate(worst)} (n = {worst['n']}); "
                f"{versus(best, worst, worst['group'])}."
            )
    return "\n".join(lines) or "None of these benchmarks has groups."


def finding_examples(table) -> str:
    """How often attribution and CLIPScore are right and wrong on the same foil.

    table: `agreement`.
    """
    n, (both, alone), (other, neither) = table.to_numpy().sum(), *table.to_numpy().tolist()
    return (
        f"Of {n} foils, the attribution locates the false word and CLIPScore is below its "
        f"rival's in {both}; CLIPScore alone is right in {other}, the attribution "
        f"alone in {alone}, neither in {neither}."
    )


def headline_examples(table) -> str:
    """In how many foils only one of the two is right; table: `agreement`."""
    n, (_, alone), (other, _) = table.to_numpy().sum(), *table.to_numpy().tolist()
    return f"Of {n} foils, {other} are noticed but not located, {alone} located but not noticed"


def headline_epsilon(alarms) -> str:
    """False alarms of the paper's epsilon and of the conformal one; alarms: `alarm_table`."""
    if alarms is None:
        return ""
    fixed, own = paper_row(alarms), conformal_row(alarms, 0.05)
    return (
        f"ε = {plain(fixed['epsilon'])} flags {fixed['false_alarms']:.1%} of true captions, "
        f"an ε calibrated for 5% flags {own['false_alarms']:.1%}"
    )


def plain(epsilon: float) -> str:
    """A threshold with two digits and without an exponent: "−0.00005"; −inf flags nothing."""
    if np.isinf(epsilon):
        return "−∞: too few captions"
    text = np.format_float_positional(float(f"{epsilon:.2g}"), trim="-")
    return text.replace("-", "−")


def paper_row(alarms) -> dict:
    """The row of the paper's first epsilon."""
    return alarms[alarms["rule"] == "paper"].iloc[0].to_dict()


def conformal_row(alarms, rate: float) -> dict:
    """The row of the conformal epsilon for this rate."""
    return alarms[(alarms["rule"] == "conformal") & (alarms["rate"] == rate)].iloc[0].to_dict()


def finding_epsilon(alarms) -> str:
    """What both rules flag in true and in false captions, and how far single splits scatter."""
    if alarms is None:
        return "No true captions with marked false words beside them: nothing to calibrate with."
    fixed, own = paper_row(alarms), conformal_row(alarms, 0.05)
    return "\n".join(
        [
            f"The paper's ε = {plain(fixed['epsilon'])} flags a word in "
            f"{fixed['false_alarms']:.1%} of true captions, "
            f"and {fixed['found']:.0%} of the false words.",
            f"The conformal ε for 5% (median {plain(own['epsilon'])}) flags "
            f"{own['false_alarms']:.1%} of true captions on average over {SPLITS} splits "
            f"(standard error {own['standard_error']:.1%}; "
            f"single splits {own['low']:.1%} to {own['high']:.1%}), "
            f"and {own['found']:.0%} of the false words.",
            f"{own['inside']:.0%} of the splits lie in the interval that theory gives for "
            "one split.",
        ]
    )


def finding_speed(table) -> str:
    """Pairs a second of this run; table: `throughput`."""
    if table.empty:
        return "All scores came from the cache: nothing was timed in this run."
    rate = table["pairs"].sum() / table["seconds"].sum()
    return (
        f"{table['pairs'].sum():,} pairs in {table['seconds'].sum():.0f} s, {rate:.0f} pairs a "
        "second on this machine as busy as it was."
    )
