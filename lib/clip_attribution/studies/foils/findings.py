"""The sentences under the figures of the ablation notebooks, computed from the frames.

"More" and "less" are said only where the 95 % interval allows it; otherwise nothing is claimed, and
nothing of a part of speech with fewer than FEW foiled words, whose bootstrap interval says little.
"""

import os

import numpy as np

from ...metrics.intervals import in_words
from .figures import NAMES
from .measures import ALL, LOCATION, PRECISION

FEW = 10


def estimate(row, signed: bool = False) -> str:
    """A value with its interval: "0.25 [0.22, 0.28]"."""
    return in_words(row, "+.2f" if signed else ".2f")


def listed(names) -> str:
    """Names in a sentence: "a, b and c"; "none" for no name."""
    names = [str(name) for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names or ["none"])


def layers(count: int) -> str:
    """A number of last layers for a reader: "the last layer", "the last 3 layers"."""
    return "the last layer" if count == 1 else f"the last {count} layers"


def finding_layers(data) -> str:
    """Best number of layers, one layer and all layers, against chance and the bare cosine.

    data: `scores` of one variant and one group.
    """
    rows = {m: data[data["measure"] == m].set_index("layers") for m in (LOCATION, PRECISION)}
    found, precise = rows[LOCATION], rows[PRECISION]
    best, top = found["value"].idxmax(), precise["value"].idxmax()
    return " ".join(
        [
            f"The most negative word is the false one in {estimate(found.iloc[0])} of "
            f"{found['n'].iloc[0]} foils with {layers(1)} and in {estimate(found.iloc[-1])} with "
            f"all {len(found)} (a random word: {found['chance'].iloc[0]:.2f}).",
            f"The best count is {best}, {estimate(found.loc[best])}; "
            f"{versus(found.loc[best], found.iloc[0], f'{layers(1)} alone')}.",
            controlled(found.loc[best]),
            f"The average precision of F-CLIPScore is highest with {layers(top)}, "
            f"{estimate(precise.loc[top])}; {beside_cosine(precise.loc[top])}.",
        ]
    )


def net(row) -> str:
    """The paired difference to the true captions: "+0.25 [+0.22, +0.28]"."""
    return in_words(row, "+.2f", ("net", "net_low", "net_high"))


def controlled(row) -> str:
    """A location accuracy beside that of the same place in true captions, where nothing is wrong.

    Nothing where there are no true captions.
    """
    if row["net"] != row["net"]:
        return "There are no true captions to compare with."
    return (
        f"In the true captions the word at that place is the most negative one in "
        f"{row['control']:.2f}: that the word is false adds {net(row)}."
    )


def versus(row, other, name: str) -> str:
    """Whether the intervals of two estimates part."""
    apart = row["low"] > other["high"] or row["high"] < other["low"]
    if not apart:
        return f"its interval and that of {name} overlap"
    return f"its interval lies clear {'above' if row['low'] > other['high'] else 'below'} {name}"


def beside_cosine(row) -> str:
    """An average precision beside that of the bare cosine."""
    cosine = f"the bare cosine's {row['cosine']:.2f}"
    if row["low"] > row["cosine"]:
        return f"that is more than {cosine}"
    return f"that is less than {cosine}" if row["high"] < row["cosine"] else f"as good as {cosine}"


def finding_types(data, count: int) -> str:
    """For which foil types the falseness of a word is located, and what the control leaves of it.

    data: `scores` of one variant by foil type; count: the number of layers to speak of. Without
    true captions the comparison is with chance.
    """
    own = data[(data["measure"] == LOCATION) & (data["layers"] == count)]
    if own["net"].isna().all():
        ends, than = (own["low"] - own["chance"], own["high"] - own["chance"]), "by chance"
        own = own.assign(net=own["value"] - own["chance"], net_low=ends[0], net_high=ends[1])
    else:
        than = "the word at its place in the true caption"
    above, below = own[own["net_low"] > 0], own[own["net_high"] < 0]
    rest = own.drop([*above.index, *below.index])
    best, most = own.loc[own["net"].idxmax()], own.loc[own["value"].idxmax()]
    return (
        f"With {layers(count)}, the false word is the lowest more often than {than} for "
        f"{listed(above['group'])}; less often for {listed(below['group'])}; no difference can "
        f"be told for {listed(rest['group'])}. Largest difference: {best['group']}, {net(best)}; "
        f"most often the lowest: {most['group']}, {estimate(most)} of {most['n']} foils (chance "
        f"{most['chance']:.2f}), where the difference is {net(most)}."
    )


def finding_heads(by_layer, by_head) -> str:
    """The layer and the head that speak most clearly against a word because it is false.

    by_layer: `share_by_layer`; by_head: `contribution_by_head`.
    """
    least = by_head.loc[by_head["net"].idxmin()]
    against, speak_for = (by_head["net_high"] < 0).sum(), (by_head["net_low"] > 0).sum()
    clear = (by_head["low"] > 0) | (by_head["high"] < 0)
    alike = (clear & (np.sign(by_head["value"]) == np.sign(by_head["control"]))).sum()
    strongest = by_layer.loc[by_layer["net"].idxmin()]
    value = in_words(least, ".2g", ("net", "net_low", "net_high"))
    return (
        f"Of {len(by_head)} heads, {against} speak against a word because it is false (interval of "
        f"the difference to true captions below 0) and {speak_for} for it. Of the {clear.sum()} "
        f"heads that look clear without this control, {alike} have the same sign in true captions. "
        f"The lowest difference is that of head {least['head']:.0f} of layer "
        f"{least['layer']:.0f}: {value}, n = {least['n']:.0f}. Among layers and foil types, layer "
        f"{strongest['layer']} on {strongest['foil_type']} foils is the lowest."
    )


def finding_variants(data) -> str:
    """What each ReLU variant gains or loses beside `signed`; data: `differences`."""
    own = data[data["group"] == ALL]
    sentences = []
    for variant, rows in own.groupby("variant", sort=False):
        parts = [f"{row['measure']} {changed(row)}" for _, row in rows.iterrows()]
        sentences.append(f"{NAMES[variant]}: {'; '.join(parts)}.")
    return f"Beside signed, n = {own['n'].iloc[0]}:\n" + "\n".join(sentences)


def changed(row) -> str:
    """A paired difference in words, with its interval."""
    if row["low"] <= 0 <= row["high"]:
        return f"shows no clear change, {estimate(row, signed=True)}"
    return f"{'falls' if row['value'] < 0 else 'rises'}, {estimate(row, signed=True)}"


def finding_loss(data) -> str:
    """For which foil types a variant clearly changes location accuracy; data: `differences`."""
    own = data[(data["measure"] == LOCATION) & (data["group"] != ALL)]
    if own.empty:
        return "The data know only one type of foil."
    lines = []
    for variant, rows in own.groupby("variant", sort=False):
        worse, better = rows[rows["high"] < 0]["group"], rows[rows["low"] > 0]["group"]
        lines.append(f"{NAMES[variant]}: worse on {listed(worse)}; better on {listed(better)}.")
    return "\n".join(lines)


def finding_pos(detection, chance) -> str:
    """The best and worst F1, and the tags found better than blindly.

    detection: `detection_by_pos`; chance: `detection_chance`.
    """
    own = detection[(detection["measure"] == "F1") & (detection["n"] >= FEW)]
    own = own.merge(chance, on=["pos", "measure"]).dropna(subset=["value"])
    if own.empty:
        return f"No part of speech has {FEW} foiled words."
    best, worst = own.loc[own["value"].idxmax()], own.loc[own["value"].idxmin()]
    above = own[own["low"] > own["chance"]]["pos"]
    return (
        f"F1 is highest for {best['pos']}, {estimate(best)} (n = {best['n']} foiled words; "
        f"picked blindly {best['chance']:.2f}), and lowest for {worst['pos']}, "
        f"{estimate(worst)} (n = {worst['n']}). Found better than blindly: "
        f"{listed(above)}."
    )


def finding_separation(data) -> str:
    """For which tags foiled words lie below aligned ones; data: `separation_by_pos`."""
    data = data[data["n"] >= FEW]
    if data.empty:
        return f"No part of speech has {FEW} foiled words and aligned ones."
    best = data.loc[data["value"].idxmax()]
    below, above = data[data["low"] > 0.5]["pos"], data[data["high"] < 0.5]["pos"]
    return (
        f"A foiled word lies clearly below an aligned one of its kind for {listed(below)}, "
        f"clearly above for {listed(above)}. They part best for {best['pos']}: in "
        f"{estimate(best)} of all pairs the foiled word is lower (chance 0.50)."
    )


def finding_tagger(data, name: str) -> str:
    """How far a tagger agrees with the truth; data: `agreement`."""
    whole, tags = data.iloc[0], data.iloc[1:]
    worst = tags.loc[tags["value"].idxmin()]
    said = f", most often called {worst['said']}" if worst["said"] else ""
    return (
        f"{name} gives the true tag to {estimate(whole)} of {whole['n']:,} words. It does "
        f"worst on {worst['pos']}, {estimate(worst)} of {worst['n']}{said}."
    )


def made_with(clip, data: dict, *more: str) -> list[str]:
    """What a figure was made with, for its small print; data: `pairs.data_facts`."""
    model = f"{clip.name} ({os.path.basename(clip.pretrained)}, weights {clip.weights_hash[:8]})"
    return [f"{data['name']}: {data['foils']} foils (data {data['hash'][:8]})", model, *more]
