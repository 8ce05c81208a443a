"""The sentences under the figures of the composition benchmarks, computed from the frames.

"Above" and "below" are said only where the 95 % interval allows it.
"""

from ...metrics.intervals import in_words
from ..foils.findings import listed

BOTH = ("text", "image", "group")  # scores of two images and two captions at once
KINDS = ("relation accuracy", "attribute accuracy", "object accuracy", "order accuracy")


def percent(row, name: str = "value", low: str = "low", high: str = "high") -> str:
    """A value with its interval: "62.5 [55.8, 69.1]"."""
    return in_words(row, ".1f", (name, low, high))


def beside_chance(rows, name="value", low="low", high="high") -> tuple[list, list, list]:
    """Names of the benchmarks above chance, below, and not distinguishable from it."""
    above = rows[rows[low] > rows["chance"]]["benchmark"]
    below = rows[rows[high] < rows["chance"]]["benchmark"]
    rest = [b for b in rows["benchmark"] if b not in {*above, *below}]
    return list(above), list(below), rest


def finding_accuracy(data) -> str:
    """For each kind of accuracy, where the model is above chance; data: `main_rows`."""
    lines = []
    for measure in KINDS:
        rows = data[data["measure"] == measure]
        if len(rows):
            lines.append(f"{measure.capitalize()}: {against_chance(*beside_chance(rows))}.")
    for title, both in data[data["measure"].isin(BOTH)].groupby("benchmark", sort=False):
        values = (
            f"{row['measure']} {percent(row)} (chance {row['chance']:.1f})"
            for row in both.to_dict("records")
        )
        lines.append(f"{title}: {', '.join(values)}.")
    return "\n".join(lines) or "None of these benchmarks has accuracies."


def against_chance(above, below, rest) -> str:
    """Where an estimate is above, below and at chance, in words."""
    parts = [
        f"above chance on {listed(above)}" if above else "",
        f"below chance on {listed(below)}" if below else "",
        f"not distinguishable from chance on {listed(rest)}" if rest else "",
    ]
    return "; ".join(part for part in parts if part)


def finding_gap(data) -> str:
    """Relations beside attributes where a benchmark has both; data: `main_rows`."""
    lines = []
    for family, own in data.groupby(data["benchmark"].str.split().str[0], sort=False):
        rows = [own[own["measure"] == f"{kind} accuracy"] for kind in ("relation", "attribute")]
        if all(len(one) for one in rows):
            relation, attribute = (one.iloc[0] for one in rows)
            apart = "the intervals overlap"
            if relation["high"] < attribute["low"]:
                apart = "relations lie clear below attributes"
            elif relation["low"] > attribute["high"]:
                apart = "relations lie clear above attributes"
            lines.append(
                f"{family}: relations {percent(relation)}, attributes "
                f"{percent(attribute)}: {apart}."
            )
    return "\n".join(lines) or "None of these benchmarks has both relations and attributes."


def finding_random(data) -> str:
    """Where random weights are at chance, and where they are not; data: `main_rows`."""
    own = data[data["measure"].isin(KINDS)]
    above, below, rest = beside_chance(own, "random", "random_low", "random_high")
    said = against_chance(listed_once(above), listed_once(below), listed_once(rest))
    text = f"Random weights, over {len(own)} accuracies: {said}." if len(own) else ""
    for row in data[data["measure"] == "group"].to_dict("records"):
        score = percent(row, "random", "random_low", "random_high")
        text += (
            f" Their group score on {row['benchmark']} is {score}, where blind guessing would have "
            f"{row['chance']:.1f}."
        )
    return text.strip() or "None of these benchmarks has accuracies."


def listed_once(names: list[str]) -> list[str]:
    """Names with the number of times that they occur, where that is more than one."""
    counts = {name: names.count(name) for name in names}
    return [name if count == 1 else f"{name} ({count} measures)" for name, count in counts.items()]


def finding_retrieval(data) -> str:
    """Recall of the right image and caption, a sentence a benchmark; data: `main_rows`."""
    lines = []
    recalls = data[data["measure"].str.contains("R@")]
    for title, rows in recalls.groupby("benchmark", sort=False):
        if len(rows := rows.set_index("measure")):
            to_image, to_text = rows.loc["T2I R@1"], rows.loc["I2T R@1"]
            lines.append(
                f"{title}: the right one of {100 / to_image['chance']:.0f} images comes "
                f"first for {percent(to_image)} % of {to_image['n']} captions (random weights "
                f"{to_image['random']:.1f}, chance {to_image['chance']:.1f}), a right caption for "
                f"{percent(to_text)} % of the images."
            )
    for row in data[data["measure"] == "Spearman"].to_dict("records"):
        better = "more" if row["low"] > row["random_high"] else "not clearly more"
        random = percent(row, "random", "random_low", "random_high")
        lines.append(
            f"{row['benchmark']}: rank correlation {percent(row)}, {better} than random weights, "
            f"{random}."
        )
    return "\n".join(lines) or "None of these benchmarks is about retrieval or similarity."
