"""What the ablation notebooks read off the one table: tidy frames with intervals and baselines.

The frames share their columns: measure, variant, layers, group, value, low, high (95 % bootstrap),
n (independent units), chance, and cosine (the average precision of the bare cosine).
"""

import numpy as np
import pandas as pd

from ...metrics.intervals import (
    bootstrap,
    gain_estimate,
    location_hits,
    mean_estimate,
)
from ...metrics.misalignment import EPSILON, f_clip_scores
from ...metrics.weighted import weighted_ap
from .table import (
    PUNCTUATION,
    AblationTable,
    contribution_by_head,
    location_by_layers,
    precision_by_layers,
    scene_id,
)

LOCATION, PRECISION = "location accuracy", "average precision"
ALL = "all foils"


def some(table: AblationTable, variants: list[str]) -> AblationTable:
    """The same table with some ReLU variants only, in the given order."""
    rows = [table.variants.index(variant) for variant in variants]
    return table._replace(variants=variants, values=table.values[rows])


def pooled(table: AblationTable) -> AblationTable:
    """The same table with all foils in one group."""
    return table._replace(pairs=table.pairs.assign(foil_type=ALL))


def layer_count(table: AblationTable, layers: int) -> int:
    """How many layers `layers` means: 0 all of them, -3 the last three."""
    n = table.values.shape[1]
    return n if layers >= 0 else min(-layers, n)


def scores(table: AblationTable) -> pd.DataFrame:
    """Location accuracy and average precision (of F-CLIPScore, variant `min`) in one frame.

    One row a measure, ReLU variant, number of layers and foil type.
    """
    located = location_by_layers(table).assign(measure=LOCATION, cosine=np.nan)
    precise = precision_by_layers(table).assign(measure=PRECISION, control=np.nan)
    return pd.concat([located, precise], ignore_index=True).rename(columns={"foil_type": "group"})


def scores_at(table: AblationTable, layers: int) -> pd.DataFrame:
    """`scores` for one number of layers only."""
    one = table._replace(values=table.values[:, layers - 1 : layers])
    return scores(one).assign(layers=layers)


def differences(table: AblationTable, layers: int, against: str = "signed") -> pd.DataFrame:
    """What each ReLU variant gains or loses beside `against`, on the same captions.

    The interval is that of the paired difference: captions (for the average precision, a caption
    with its foil) are drawn anew, and both variants see the same draw. One row a measure, variant
    and foil type, and one for all foils.
    """
    parts = [table._replace(pairs=part) for _, part in table.pairs.groupby("foil_type", sort=False)]
    parts = [pooled(table), *(parts if len(parts) > 1 else [])]
    rows = []
    for part in parts:
        group = part.pairs["foil_type"].iloc[0]
        for variant in table.variants:
            if variant != against:
                labels = {"variant": variant, "layers": layers, "group": group}
                rows += _paired(part, variant, against, layers, labels)
    return pd.DataFrame(rows)


def _paired(table, variant, against, layers, labels) -> list[dict]:
    pairs = table.pairs[table.pairs["error"].isna()]
    own = table.words["pair_id"].isin(pairs["pair_id"])
    one, other = (table.at(v, layers)[own] for v in (variant, against))
    foils = pairs[pairs["is_foil"]].set_index("pair_id")["foil_index"]
    hits = mean_estimate(location_hits(one, foils) - location_hits(other, foils))
    return [
        {"measure": LOCATION, **labels, **hits._asdict()},
        {"measure": PRECISION, **labels, **_precision_gain(pairs, one, other)},
    ]


def _precision_gain(pairs, one, other, seed: int = 0) -> dict:
    scores = (f_clip_scores(words, pairs, "min") for words in (one, other))
    true = ~pairs["is_foil"].to_numpy(bool)
    return gain_estimate(weighted_ap, true, *scores, scene_id(pairs), seed)._asdict()


def share_by_layer(table: AblationTable) -> pd.DataFrame:
    """What each layer (mean of its heads) says of the foiled word, next to its caption's others.

    One row a layer and foil type: layer, foil_type, value (cosine), low, high, n.
    """
    layers = table._replace(heads=table.heads.mean(axis=1, keepdims=True))
    return contribution_by_head(layers, "foil_type").drop(columns="head")


def detection_chance(words: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """What `detection_by_pos` would find if as many words of each tag were picked blindly.

    words: from `label_words` with `pos`. One row a tag and measure: pos, measure, chance.
    """
    own = words[words["pos"] != PUNCTUATION]
    found = (own["attribution"] < epsilon).groupby(own["pos"]).mean()
    foiled = own["foiled"].groupby(own["pos"]).mean()
    both = found + foiled
    table = pd.DataFrame(
        {
            "precision": foiled.where(found > 0),
            "recall": found,
            "F1": (2 * found * foiled / both).where(both > 0),
        }
    )
    table = table.rename_axis("pos").reset_index()
    return table.melt("pos", var_name="measure", value_name="chance")


def separation_by_pos(words: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How often a foiled word lies below an aligned word of the same part of speech (1 - ROC AUC).

    words: from `label_words` with `pos`; words not seen are left out. Chance is 0.5. One row a tag
    with foiled and aligned words: pos, value, low, high (over captions), n (foiled), aligned.
    """
    rows = []
    for tag, own in words.dropna(subset=["attribution"]).groupby("pos"):
        foiled = own["foiled"].to_numpy(bool)
        if tag != PUNCTUATION and foiled.any() and not foiled.all():
            low = own["attribution"].to_numpy(float)
            found = bootstrap(weighted_below, (low, foiled), own["pair_id"], seed)
            rows.append(
                {
                    "pos": tag,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "n": int(foiled.sum()),
                    "aligned": int((~foiled).sum()),
                }
            )
    return pd.DataFrame(rows)


def weighted_below(weights, values, foiled) -> np.ndarray:
    """P(foiled < aligned), ties half, of rows counted `weights` [r, n] times each, [r]."""
    order = np.argsort(values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    lower = np.cumsum((weights * foiled)[:, order], axis=1)[:, ends]  # foiled up to each value
    upto = np.cumsum((weights * ~foiled)[:, order], axis=1)[:, ends]
    tied = lower - np.diff(lower, axis=1, prepend=0) / 2
    with np.errstate(invalid="ignore"):
        return (np.diff(upto, axis=1, prepend=0) * tied).sum(1) / (lower[:, -1] * upto[:, -1])


def agreement(truth: list[str], tags: list[str], pair_ids) -> pd.DataFrame:
    """How often a tagger's tag is the true one, for all words and for each true tag.

    Returns one row a tag (first "all words"): pos, value, low, high (mean over captions), n
    (words), said (the tag most often given instead).
    """
    data = pd.DataFrame({"truth": truth, "tag": tags, "pair": list(pair_ids)})
    data = data[data["truth"] != PUNCTUATION]
    rows = []
    for tag, own in [("all words", data), *data.groupby("truth")]:
        right = own["truth"] == own["tag"]
        by_caption = mean_estimate(right.groupby(own["pair"]).mean())
        wrong = own["tag"][~right].value_counts()
        said = wrong.index[0] if len(wrong) else ""
        rows.append({"pos": tag, **by_caption._asdict(), "n": len(own), "said": said})
    return pd.DataFrame(rows)
