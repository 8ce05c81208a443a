"""Mediated attributions of words against what is known of the words, model by model.

In the embedded world the truth of a word is known: it names something that is seen (1), or it does
not (0): the themes and frames of captions, and the names on signs. With real weights two lists of
human norms take its place.
"""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ...attribution.mediated import PATHS, attribute_paths
from ...datasets import concadia
from ...datasets.norms import load_concreteness, load_imageability
from ...evaluation.norms import norm_correlations, norm_rows, token_values
from ...io.tables import digest
from ...metrics.word_types import type_correlation
from ...scenes import scene_caption
from .runs import RANDOM, Tuned

REGISTERS = {"seen": "description", "about": "caption"}
COMPLETE = 1e-3  # logits: a gap below it is none
CONTENT = ("NOUN", "ADJ", "PROPN")


def visible(word, register: str) -> float | None:
    """Whether a word of a scene's caption names something seen: 1, 0, or None for a grammar word.

    word: `scenes.grammar.Word`. Names on signs are 0: they are read, and belong to both registers.
    """
    if word.kind == "name":
        return 0.0
    if word.kind or word.text.lower() == "sign":
        return 1.0
    return 0.0 if register == "about" and word.pos in CONTENT else None


def scene_rows(n_scenes: int = 30, seed: int = 0) -> pd.DataFrame:
    """Description and caption of each scene: pair_id, image, caption, register, words.

    words: for each word its start, text, kind and truth (`visible`).
    """
    rows = []
    for index in range(n_scenes):
        for register in REGISTERS:
            caption = scene_caption(seed, index, register=register)[1]
            words = [
                {"start": w.start, "text": w.text, "kind": w.kind, "truth": visible(w, register)}
                for w in caption.words
            ]
            row = {"pair_id": f"{index}:{register}", "image": f"scene:{seed}:{index}"}
            rows.append(row | {"caption": caption.text, "register": register, "words": words})
    return pd.DataFrame(rows)


def rows_facts(rows: pd.DataFrame, seed: int) -> dict:
    """What was measured on, for the record."""
    content = rows[["image", "caption"]].to_numpy().tolist()
    return {"name": f"embedded world, seed {seed}", "n": len(rows), "hash": digest(content)}


def word_values(clip, rows: pd.DataFrame, alignment, n_steps: int = 50, rule: str = "gauss"):
    """(words, pairs): every word with its value by every path, its kind, register and truth."""
    words, pairs = attribute_paths(clip, rows, alignment, n_steps, rule, template="")
    known = pd.DataFrame(
        [
            {"pair_id": row.pair_id, "image": row.image, "register": row.register} | word
            for row in rows.itertuples()
            for word in row.words
        ]
    )
    words = words.drop(columns=["word"]).merge(known, on=["pair_id", "start"], how="inner")
    return words.assign(word=words["text"].str.lower().str.rstrip(".")), pairs


def truth_correlations(
    models: list[Tuned], rows: pd.DataFrame, n_steps: int = 50, seed: int = 0, rule: str = "gauss"
):
    """(correlations, words, gaps) of every model.

    correlations: one row a model, start, subspace and path: Pearson's r over word types of the mean
    attribution and the truth, its interval over images, the number of types, and the band of r with
    the truth handed to random words. words: `word_values` of all of them. gaps: per model the
    median and the largest completeness gap in logits, the share of texts whose gap is below
    `COMPLETE`, and the mean share of the rest. n_steps, rule: of `attribution.path_points`.
    """
    found, every, gaps = [], [], []
    for one in models:
        words, pairs = word_values(one.clip, rows, one.alignment, n_steps, rule)
        labels = {"model": one.name, "start": one.start, "subspace": one.subspace}
        every.append(words.assign(**labels))
        gap, rest = pairs["completeness_gap"].abs(), pairs["share_of_rest"].mean()
        found_gaps = {
            "gap": gap.median(),
            "largest": gap.max(),
            "complete": (gap < COMPLETE).mean(),
        }
        gaps.append(labels | found_gaps | {"share_of_rest": rest})
        truth = words.dropna(subset=["truth"]).groupby("word")["truth"].mean()
        for path in PATHS:
            values = words.rename(columns={path: "value"})[["image", "word", "value"]]
            r = type_correlation(values, truth, seed)
            chance = dict(zip(("chance_low", "chance_high"), r.chance, strict=True))
            numbers = r.estimate._asdict() | {"types": r.types} | chance
            found.append(labels | {"path": path} | numbers)
    return pd.DataFrame(found), pd.concat(every, ignore_index=True), pd.DataFrame(gaps)


def over_starts(correlations: pd.DataFrame) -> pd.DataFrame:
    """Mean r of each model, subspace and path, with Student's 95 % interval over starts.

    The path "through − around" is the difference in each start. With one start the interval is
    that over images, and of the difference there is none.
    """
    keys = ["model", "subspace", "start"]
    wide = correlations.pivot(index=keys, columns="path", values="value")
    both = (wide["through"] - wide["around"]).rename("value").reset_index()
    every = pd.concat([correlations, both.assign(path="through − around")], ignore_index=True)
    rows = []
    for labels, own in every.groupby(["model", "subspace", "path"], sort=False):
        n, mean = len(own), own["value"].mean()
        half = student.ppf(0.975, n - 1) * own["value"].std() / np.sqrt(n) if n > 1 else np.nan
        low, high = (mean - half, mean + half) if n > 1 else own[["low", "high"]].iloc[0]
        row = dict(zip(("model", "subspace", "path"), labels, strict=True))
        rows.append(row | {"value": mean, "low": low, "high": high, "n": n})
    return pd.DataFrame(rows)


def name_means(words: pd.DataFrame) -> pd.DataFrame:
    """Mean attribution of the names on signs, by model, register and path, over all starts."""
    names = words[(words["kind"] == "name") & (words["subspace"] != RANDOM)]
    means = names.groupby(["model", "register"], sort=False)[list(PATHS)].mean().reset_index()
    return means.assign(register=means["register"].map(REGISTERS))


def with_norms(models: list[Tuned], norms: str, files: str, split: str, n_steps=50, seed=0):
    """Figure 2a with the real lists: r of each model, path and list; None without both folders.

    norms: the folder of both lists; files: that of Concadia. One row a model, start, subspace,
    path, list, and whether only the words of both lists count.
    """
    if not norms or not files:
        return None
    lists = {"concreteness": load_concreteness(norms), "imageability": load_imageability(norms)}
    rows = norm_rows(concadia.load(files, files, split=split), lists.values())
    found = []
    for one in models:
        tokens, _ = token_values(one.clip, rows, one.alignment, n_steps=n_steps, image_root=files)
        labels = {"model": one.name, "start": one.start, "subspace": one.subspace}
        for both in (False, True):
            table = norm_correlations(tokens, lists, both_lists=both, seed=seed)
            found.append(table.assign(both_lists=both, **labels))
    return pd.concat(found, ignore_index=True)
