"""Captions with the roles of their words: objects, attributes and relations, and a false twin.

A dataset is "scenes", the embedded world, whose grammar knows every word's role, or "pairs", a
table of one's own (.csv, .jsonl or .parquet) with the columns

    image, caption   as everywhere
    foil             optional: a false caption of the image, for instance the relation reversed
    pair_id          optional

whose roles the parser of `roles` finds, numerals left out as in CAE.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from ...evaluation.composition import score_choices
from ...io.tables import digest, read_pairs
from ...scenes import scene_pairs
from ...text.roles import Concept, parse_captions

DATASETS = ("scenes", "pairs")


def load_captions(dataset="scenes", data="", n=400, seed=0, nlp=None) -> pd.DataFrame:
    """One row an image: pair_id, image, caption, foil (None where there is none) and concepts.

    n: how many captions (of a table with fewer, all). seed: names the embedded world, or draws from
    the table. In the embedded world every caption names two things and where they are, the foil
    says the opposite place, the column words holds the grammar's account, and the concepts are its;
    of a table they are the parser's. Raises UserError for an unknown dataset or unusable table.
    """
    if dataset not in DATASETS:
        raise UserError(f"unknown dataset {dataset!r}: use scenes, or pairs with data=FILE")
    if dataset == "scenes":
        pairs = scene_pairs(n, seed, "swap_relation")
        true = pairs[~pairs["is_foil"]].reset_index(drop=True)
        true["foil"] = pairs["caption"][pairs["is_foil"]].to_numpy()
        known = zip(true["caption"], true["words"], strict=True)
        true["concepts"] = [world_concepts(caption, words) for caption, words in known]
        return true[["pair_id", "image", "caption", "foil", "words", "concepts"]]
    if not data:
        raise UserError("the dataset 'pairs' needs data=FILE, a table with image and caption")
    frame = read_pairs(data).to_pandas()
    rows = np.sort(np.random.default_rng(seed).permutation(len(frame))[:n])
    frame = frame.iloc[rows].reset_index(drop=True)
    foils = frame["foil"] if "foil" in frame else pd.Series("", frame.index)
    frame["foil"] = foils.astype(object).where(foils.notna() & foils.ne(""), None)
    return frame.assign(concepts=parse_captions([readable(c) for c in frame["caption"]], nlp))


def readable(caption) -> str:
    """The caption, or nothing where there is none: such a row gets its error when it is scored."""
    return caption if isinstance(caption, str) else ""


def world_concepts(caption: str, words: list[dict]) -> list[Concept]:
    """The concepts of a caption of the embedded world; neighbouring relation words are one."""
    found, before = [], None
    for word in words:
        if before == word["role"] == "relation":
            start = found.pop().start
        else:
            start = word["start"]
        before = word["role"]
        if before:
            found.append(Concept(before, caption[start : word["end"]], start, word["end"]))
    return found


def foil_loses(clip, pairs: pd.DataFrame, image_root=None) -> pd.Series:
    """By pair_id: 1.0 where the true caption scores above the foil, 0.0 where not (a tie counts as
    wrong). Rows without a foil or with an unusable image or caption are left out."""
    texts = pairs[["image", "caption", "foil"]]
    own = pairs[[all(isinstance(text, str) for text in row) for row in texts.to_numpy()]]
    frame = pd.DataFrame(
        {
            "images": [[image] for image in own["image"]],
            "captions": [list(both) for both in zip(own["caption"], own["foil"], strict=True)],
            "truth": 0,
            "kind": "text",
            "crop": None,
            "error": None,
        }
    )
    correct = score_choices(clip, frame, image_root)["correct"].to_numpy(float)
    return pd.Series(correct, own["pair_id"], name="correct").dropna()


def caption_facts(pairs: pd.DataFrame, dataset: str, data: str = "") -> dict:
    """What was measured on, for the record: name, number of captions and foils, hash of rows."""
    rows = pairs[["pair_id", "image", "caption", "foil"]].astype(str).to_numpy().tolist()
    name = dataset if dataset == "scenes" else Path(data).name
    return {
        "name": name,
        "n": len(pairs),
        "foils": int(pairs["foil"].notna().sum()),
        "hash": digest(rows),
    }
