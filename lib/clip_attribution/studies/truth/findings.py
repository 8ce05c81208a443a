"""What the ranking says, in sentences computed from its numbers."""

import pandas as pd

from ...evaluation.ranking import KNOWN
from ...metrics.intervals import in_words, mean_estimate
from .tables import COLUMNS, NOTHING

ASKS = {
    "locate": "Finds the false word (hits in foils less hits at that place in true captions)",
    "order_words": "Orders the facts of a caption as the score does (Kendall's tau)",
    "follow": "Sums over words follow the score over all coalitions (Pearson's r)",
    "point": "Hottest patch of a noun on its own thing, less on the other one",
    "match": "Heat of words on things follows their exact interaction (Pearson's r)",
    "order_things": "Orders the things by what the score loses without them (chance 0.5)",
}


def best(table: pd.DataFrame) -> pd.Series:
    """The first method of a `summary` that is no baseline."""
    return table[~table["method"].isin(NOTHING)].iloc[0]


def beaten(rows: pd.DataFrame, column: str, first: str, seed: int = 0) -> list[str]:
    """The methods whose paired difference to `first`, over images, lies below 0."""
    table = rows.pivot_table(index="image", columns="method", values=column)
    gaps = {name: mean_estimate(table[first] - table[name], seed) for name in table.columns}
    return [name for name, gap in gaps.items() if name != first and gap.low > 0]


def finding_ranks(tables: dict, rows: dict) -> str:
    """The best method by each measure, and how many others it is clearly ahead of."""
    return "\n".join(_first(ASKS[m], tables[m], rows[m], COLUMNS[m]) for m in tables)


def headline_words(tables: dict) -> str:
    """The finding as a figure's title."""
    names = {name: best(table)["method"] for name, table in tables.items()}
    found, order, sums = (names[m] for m in ("locate", "order_words", "follow"))
    return f"false words: {found}; order: {order}; sums: {sums}"


def _first(ask: str, table: pd.DataFrame, rows: pd.DataFrame, column: str) -> str:
    top = best(table)
    behind = [m for m in beaten(rows, column, top["method"]) if m not in NOTHING]
    others = [m for m in table["method"] if m not in NOTHING and m != top["method"]]
    level = [m for m in others if m not in behind]
    same = f"; not distinguishable from it: {', '.join(level)}" if level else ""
    return (
        f"{ask}: {top['method']} is first with {in_words(top, '.2f')} (n = {top['n']} images), "
        f"ahead of {len(behind)} of {len(others)} methods{same}."
    )


def finding_kinds(rows: pd.DataFrame, methods) -> str:
    """For each method the kinds of facts whose false word it finds (interval of net above 0)."""
    lines = []
    for name in methods:
        own = rows[rows["method"] == name]
        nets = {kind: mean_estimate(part["net"]) for kind, part in own.groupby("kind", sort=False)}
        found = [kind for kind, net in nets.items() if net.low > 0]
        always = own[~own["kind"].isin(KNOWN)]["net"].mean()
        lines.append(
            f"{name}: better than at the same place in true captions for {_listed(found)}; "
            f"on position and state, which the embedded model hardly knows, net {always:+.2f}."
        )
    return "\n".join(lines)


def finding_stability(agreement: pd.DataFrame) -> str:
    """How far the order of the methods is the same in other models and samples."""
    first = agreement.columns[0]
    others = agreement[first].drop(first)
    least = others.idxmin()
    return (
        f"Kendall's tau between the orders of methods: {others.min():.2f} at least, with {least}; "
        f"{others.max():.2f} at most, with {others.idxmax()} (1: the same order, 0: unrelated)."
    )


def advice(words: dict, regions: dict) -> str:
    """Which method for which question, read off the tables."""
    pick = {m: best(t) for m, t in (words | regions).items()}
    located = words["locate"]
    usual = located.loc[located["method"].eq("clip4dm"), "ms"].min()
    fast = located[~(located["ms"] > 3 * usual)]
    return "\n".join(
        [
            f"Which word is false? {pick['locate']['method']}; of the methods that take at most "
            f"three times as long as clip4dm, {best(fast)['method']}.",
            f"How much does each word contribute? {pick['follow']['method']}.",
            f"Which fact matters most to the score? {pick['order_words']['method']}.",
            f"Where in the image is a word seen? {pick['point']['method']}; and for which word a "
            f"region counts, {pick['match']['method']}.",
        ]
    )


def _listed(names) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "none"
