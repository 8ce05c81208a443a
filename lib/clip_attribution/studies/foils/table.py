"""One table behind every ablation, and what is read off it.

`ablation_table` runs CLIP4DM once over a set of pairs and keeps, for every word, the attribution by
every number of last layers under every ReLU variant, and the share of every layer and head. The
rest of this room are reductions of that table: accuracy against the number of layers, contribution
maps, part-of-speech tables. Nothing here runs the model twice.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from ...attribution.batch import run
from ...attribution.clip4dm import REDUCE, all_variants
from ...attribution.engine import text_layers
from ...attribution.registry import get_method
from ...io.keys import rows_key, run_key
from ...io.parts import kept
from ...metrics.intervals import (
    Estimate,
    average_precision,
    location_chance,
    location_hits,
    mean_estimate,
    ratio_estimate,
)
from ...metrics.misalignment import EPSILON, f_clip_scores

PUNCTUATION = "PUNCT"


class AblationTable(NamedTuple):
    """Attributions of the same words under every setting.

    words, pairs: the frames of `attribute`, less the attribution. values: float32 [variants,
    layers, words], values[v, k-1] with relu=variants[v] and layers=-k; NaN for a word not seen.
    heads: float32 [layers, heads, words], gradient times attention of each head, which averages
    to `signed`.
    """

    words: pd.DataFrame
    pairs: pd.DataFrame
    values: np.ndarray
    heads: np.ndarray
    variants: list[str]

    def at(self, variant: str = "signed", layers: int = 3) -> pd.DataFrame:
        """The words frame with the attribution of one setting (the last `layers` layers)."""
        chosen = self.values[self.variants.index(variant), layers - 1]
        return self.words.assign(attribution=chosen.astype(np.float64))


def ablation_table(clip, pairs, cache: str | Path | None = None, **options) -> AblationTable:
    """Attribute the pairs once for all ablations.

    options: those of `attribute` except method, layers, relu and per_layer. With `cache`, a folder,
    the table is kept there as parquet under its key (`io.keys`), and read back when it is asked
    for again.
    """
    pairs = pd.DataFrame(pairs)
    if cache is None:
        return _compute(clip, pairs, options)
    place = Path(cache) / f"{_key(clip, pairs, options)}.ablation"
    made: list = []

    def one(number: int):
        made.extend([] if made else _tables(_compute(clip, pairs, options)))
        return made[number]

    words, results = (
        kept(place.with_name(f"{place.name}.{name}.parquet"), partial(one, number))
        for number, name in enumerate(("words", "pairs"))
    )
    return _read(words.to_pandas(), results.to_pandas(), pairs)


_RESULTS = ["pair_id", "cosine", "n_tokens", "truncated", "error"]


def _key(clip, pairs, options) -> str:
    """Key of a table: no batch is so composed that its size shows beyond rounding."""
    left_out = ("progress", "tagger", "batch_size", "image_root")
    shown = {name: value for name, value in options.items() if name not in left_out}
    if tagger := options.get("tagger"):
        from ...text.pos import tagger_name  # spaCy takes seconds to import

    run = run_key(__file__, [clip], tagger=tagger and tagger_name(tagger), **shown)
    rows = [pairs[name].tolist() for name in ("pair_id", "caption") if name in pairs]
    return rows_key(run, rows, pairs["image"].tolist(), options.get("image_root"))


def _compute(clip, pairs, options) -> AblationTable:
    n = text_layers(clip)

    def channels(view):
        shares = [view.attention(k) * view.gradient(k) for k in view.layers]
        heads = torch.stack(shares, 1)  # [B, L, H, n]
        return torch.cat([all_variants(view).flatten(1, 2), heads.flatten(1, 2)], 1)

    words, pairs, values = run(
        clip, pairs, channels, list(range(n)), get_method("clip4dm"), **options
    )
    split = len(REDUCE) * n
    last_first = values[:, :split].T.reshape(len(REDUCE), n, -1)[:, ::-1]
    counts = np.arange(1, n + 1, dtype=np.float32)[:, None]
    means = last_first.cumsum(axis=1, dtype=np.float32) / counts
    heads = values[:, split:].T.reshape(n, -1, len(words))
    return AblationTable(words, pairs, means, heads, list(REDUCE))


def _tables(table: AblationTable) -> tuple[pa.Table, pa.Table]:
    """What is kept of a table: the words with all values, and what was found of the pairs."""
    frame = pa.Table.from_pandas(table.words, preserve_index=False)
    for variant, rows in zip(table.variants, table.values, strict=True):
        for k, row in enumerate(rows, start=1):
            frame = frame.append_column(f"{variant}:{k}", pa.array(row))
    for layer, rows in enumerate(table.heads):
        for head, row in enumerate(rows):
            frame = frame.append_column(f"head:{layer}:{head}", pa.array(row))
    return frame, pa.Table.from_pandas(table.pairs[_RESULTS], preserve_index=False)


def _read(frame: pd.DataFrame, results: pd.DataFrame, pairs: pd.DataFrame) -> AblationTable:
    named = [c for c in frame if ":" in c]
    heads = [c for c in named if c.startswith("head:")]
    rest = [c for c in named if not c.startswith("head:")]
    variants = list(dict.fromkeys(c.split(":")[0] for c in rest))
    layers = len(rest) // len(variants)
    if "pair_id" not in pairs:
        pairs = pairs.reset_index(drop=True).assign(pair_id=results["pair_id"].to_numpy())
    pairs = pairs.merge(results, on="pair_id", how="left", validate="1:1")
    return AblationTable(
        frame.drop(columns=named),
        pairs,
        frame[rest].to_numpy(np.float32).T.reshape(len(variants), layers, -1),
        frame[heads].to_numpy(np.float32).T.reshape(layers, -1, len(frame)),
        variants,
    )


def scene_id(pairs: pd.DataFrame) -> pd.Series:
    """What belongs together: the pair_id of a caption and its foil without its last part."""
    return pairs["pair_id"].astype(str).str.rsplit(":", n=1).str[0]


def twins(table: AblationTable) -> pd.Series:
    """By the pair_id of each foil, that of its true caption: of the same scene, as many words long.

    Nothing is wrong there at the place of the false word, which makes it the control of whatever
    is said of that place. Missing for a foil without one.
    """
    pairs = table.pairs[table.pairs["error"].isna()]
    count = table.words.groupby("pair_id").size().reindex(pairs["pair_id"]).to_numpy()
    same = pd.MultiIndex.from_arrays([scene_id(pairs), count])
    ids, foil = pairs["pair_id"].to_numpy(), pairs["is_foil"].to_numpy(bool)
    true = pd.Series(ids[~foil], same[~foil])
    found = true[~true.index.duplicated()].reindex(same[foil])
    return pd.Series(found.to_numpy(), ids[foil])


def _row(estimate: Estimate, **labels) -> dict:
    return {**labels, **estimate._asdict()}


def _controlled(own: pd.Series, control: pd.Series) -> dict:
    """The mean of a control, and of the paired difference to it with its interval."""
    net = mean_estimate(own - control)
    ends = {"net": net.value, "net_low": net.low, "net_high": net.high}
    return {"control": control.mean(), **ends}


def location_by_layers(table: AblationTable, by: str = "foil_type") -> pd.DataFrame:
    """Location accuracy for every ReLU variant, layer count and group of foils.

    pairs need is_foil, foil_index and the column `by`. Returns one row a setting and group:
    variant, layers, the group, value, low, high, n, and `chance`, a random word's accuracy;
    `control`, how often the word at that place is the lowest of the true caption (`twins`), where
    nothing is wrong, and `net` with net_low and net_high, the paired difference.
    """
    foils = table.pairs[table.pairs["is_foil"] & table.pairs["error"].isna()].set_index("pair_id")
    place, rows = foils["foil_index"], []
    true = twins(table).reindex(foils.index)
    own = table.words["pair_id"].isin([*foils.index, *true.dropna()]).to_numpy()
    words = table.words[own]
    groups = foils.groupby(by, sort=False).groups
    chance = location_chance(words.assign(attribution=table.values[0, 0, own]), foils.index)
    for v, variant in enumerate(table.variants):
        for k in range(table.values.shape[1]):
            scored = words.assign(attribution=table.values[v, k, own])
            hits = location_hits(scored, place)
            control = location_hits(scored, place.set_axis(true)).set_axis(foils.index)
            control = control.where(true.notna())
            for group, ids in groups.items():
                labels = {"variant": variant, "layers": k + 1, by: group}
                labels |= {"chance": chance[ids].mean()} | _controlled(hits[ids], control[ids])
                rows.append(_row(mean_estimate(hits[ids]), **labels))
    return pd.DataFrame(rows)


def precision_by_layers(
    table: AblationTable, by: str = "foil_type", score: str = "min", epsilon: float = EPSILON
) -> pd.DataFrame:
    """Average precision of F-CLIPScore, the true caption being the positive class.

    score: the F-CLIPScore variant (`misalignment.VARIANTS`). Columns as `location_by_layers`;
    `cosine` is the average precision of the bare cosine and `chance` the share of true captions.
    """
    pairs = table.pairs[table.pairs["error"].isna()]
    rows = []
    for group, part in pairs.groupby(by, sort=False):
        ids, positive = scene_id(part), ~part["is_foil"].to_numpy(bool)
        plain = average_precision(positive, part["cosine"], ids).value
        own = table.words["pair_id"].isin(part["pair_id"]).to_numpy()
        for v, variant in enumerate(table.variants):
            for k in range(table.values.shape[1]):
                words = table.words[own].assign(attribution=table.values[v, k, own])
                found = f_clip_scores(words, part, score, epsilon)
                labels = {"variant": variant, "layers": k + 1, by: group}
                estimate = average_precision(positive, found, ids)
                rows.append(_row(estimate, **labels, cosine=plain, chance=positive.mean()))
    return pd.DataFrame(rows)


def contribution_by_head(table: AblationTable, by: str | None = None) -> pd.DataFrame:
    """What each head of each layer says of the foiled word, next to the other words.

    Returns one row a layer and head (and group): value is the mean over foils of the foiled
    word's gradient times attention minus the mean of the caption's other words, with its interval;
    below zero the head speaks against the word at that place. `control` is the same of the true
    caption (`twins`), `net` with net_low and net_high their paired difference: below zero the head
    speaks against the word because it is false.
    """
    foils = table.pairs[table.pairs["is_foil"] & table.pairs["error"].isna()].set_index("pair_id")
    true = twins(table).reindex(foils.index)
    sides = [_gaps(table, list(ids), foils["foil_index"].to_numpy()) for ids in (foils.index, true)]
    groups = foils[by].to_numpy() if by else np.zeros(len(foils))
    rows = []
    for layer, head in np.ndindex(table.heads.shape[:2]):
        own, control = (pd.Series(side[layer, head]) for side in sides)
        for group in pd.unique(groups):
            labels = {"layer": layer, "head": head} | ({by: group} if by else {})
            some = groups == group
            labels |= _controlled(own[some], control[some])
            rows.append(_row(mean_estimate(own[some]), **labels))
    return pd.DataFrame(rows)


def _gaps(table: AblationTable, captions, place) -> np.ndarray:
    """What each head gives the word at a place less the mean of the others, [layers, heads, n].

    captions, place: n pair_ids and indices of words; NaN where one of them is missing.
    """
    rows = pd.DataFrame({"pair_id": captions, "place": place, "row": range(len(captions))})
    words = table.words[["pair_id", "word_index"]].assign(at=range(len(table.words)))
    own = words[table.words["seen"]].merge(rows.dropna(), on="pair_id")
    shape = table.heads.shape[:2]
    values = pd.DataFrame(table.heads.reshape(-1, len(words))[:, own["at"]].T.astype(float))
    chosen = own["word_index"] == own["place"]
    false, others = (values[some].groupby(own["row"][some]).mean() for some in (chosen, ~chosen))
    return (false - others).reindex(rows["row"]).to_numpy().T.reshape(*shape, -1)


def label_words(words: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The words of foils with the column `foiled`; the true captions' words are left out."""
    foils = pairs[pairs["is_foil"]].set_index("pair_id")["foil_index"]
    own = words[words["pair_id"].isin(foils.index)]
    wrong = foils.reindex(own["pair_id"]).to_numpy()
    return own.assign(foiled=own["word_index"].to_numpy() == wrong)


def detection_by_pos(words: pd.DataFrame, epsilon: float = EPSILON, seed: int = 0) -> pd.DataFrame:
    """Precision, recall and F1 of "attribution < epsilon" for each part of speech.

    words: from `label_words`, with the column `pos`; each word counts under its own tag, words not
    seen count as not found (CLIP4DM, Table 10). Returns one row a tag and measure: pos, measure,
    value, low, high (95 % bootstrap over captions), n (foiled words of the tag), words (all).
    """
    own = words[words["pos"] != PUNCTUATION]
    found = (own["attribution"] < epsilon).to_numpy()
    foiled = own["foiled"].to_numpy(bool)
    rows = []
    for tag in sorted(own["pos"].unique()):
        mine = (own["pos"] == tag).to_numpy()
        hit, miss = mine & found & foiled, mine & ~found & foiled
        false, n = mine & found & ~foiled, int((mine & foiled).sum())
        over = {"precision": hit + false * 1.0, "recall": hit + miss * 1.0}
        over["F1"] = hit + (miss + false * 1.0) / 2
        for measure, bottom in over.items():
            value, low, high, _ = ratio_estimate(hit, bottom, own["pair_id"], seed)
            ends = {"low": low, "high": high} if n else {"low": np.nan, "high": np.nan}
            row = {"pos": tag, "measure": measure, "value": value, **ends, "n": n}
            rows.append(row | {"words": int(mine.sum())})
    return pd.DataFrame(rows)
