"""The foil pairs that the ablation notebooks share, and the facts by which a result names them.

A dataset is "scenes", the embedded world, or "pairs", a table of one's own (.csv, .jsonl or
.parquet) with the columns

    image, caption   as everywhere
    foil_word        the false word of a foil; empty, or ORIG as in FOIL, for a true caption
    foil_index       optional: its place among the caption's words; else the word is looked up
    foil_type        optional: what sort of word was replaced
    group            optional: what belongs together, a caption and its foils; else the image
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..io.tables import digest, read_pairs
from ..scenes import scene_pairs
from ..text.words import Word, split_words

DATASETS = ("scenes", "pairs")
TRUE_CAPTION = ("", "ORIG")
LABELS = ("pair_id", "image", "caption", "is_foil", "foil_type", "foil_index")


def load_pairs(dataset="scenes", data="", n_pairs=800, seed=0) -> pd.DataFrame:
    """A pairs frame of foil pairs, a true caption and its foil each.

    n_pairs: how many (of a table with fewer, all). seed: names the embedded world, or draws from
    the table. Returns at least the columns pair_id, image, caption, is_foil, foil_type, foil_word,
    foil_index (NaN for a word that is no single word of its caption: it can never be located).
    Raises UserError for an unknown dataset and an unusable table.
    """
    if dataset not in DATASETS:
        raise UserError(f"unknown dataset {dataset!r}: use scenes, or pairs with data=FILE")
    if dataset == "scenes":
        return scene_pairs(n_pairs, seed)
    if not data:
        raise UserError("the dataset 'pairs' needs data=FILE, a table with foils")
    return table_pairs(data, n_pairs, seed)


def table_pairs(path, n_pairs: int, seed: int) -> pd.DataFrame:
    """The foil pairs of a table, see the module's docstring. Raises UserError."""
    frame = read_pairs(path).to_pandas()
    if "foil_word" not in frame:
        raise UserError(f"{Path(path).name} has no column 'foil_word': the false word of each foil")
    group = frame["group" if "group" in frame else "image"].astype(str)
    frame["is_foil"] = ~frame["foil_word"].fillna("").isin(TRUE_CAPTION)
    if not frame["is_foil"].any():
        raise UserError(f"{Path(path).name} holds no foil: 'foil_word' is empty everywhere")
    if "foil_index" not in frame:
        frame["foil_index"] = [foil_place(row) for row in frame.itertuples()]
    types = frame["foil_type"] if "foil_type" in frame else pd.Series("foil", frame.index)
    types = types.mask(types.eq(""))
    frame["foil_type"] = types.fillna(types.groupby(group).transform("first")).fillna("foil")
    frame["pair_id"] = [f"{g}:{row}" for row, g in enumerate(group)]
    return frame[group.isin(drawn(group, n_pairs, seed))].reset_index(drop=True)


def foil_place(row) -> float:
    """Index of a foil's word among the words of its caption, lower-cased; NaN where it is none."""
    if not row.is_foil or not isinstance(row.caption, str):
        return np.nan
    texts = [word.text.lower() for word in split_words(row.caption)]
    wanted = str(row.foil_word).lower()
    return float(texts.index(wanted)) if wanted in texts else np.nan


def drawn(group: pd.Series, n: int, seed: int) -> np.ndarray:
    """n of the groups by chance; all of them where there are no more."""
    names = group.unique()
    rng = np.random.default_rng(seed)
    return names if n >= len(names) else rng.choice(names, n, replace=False)


def image_root(dataset: str, data: str, images: str) -> str | None:
    """The folder from which a table's image paths start: `images`, else the table's own."""
    return None if dataset == "scenes" else images or str(Path(data).parent)


def data_facts(pairs: pd.DataFrame, dataset: str, data: str = "") -> dict:
    """What was measured on, for the record: name, number of pairs and foils, hash of the rows."""
    rows = pairs[[name for name in LABELS if name in pairs]].astype(str).to_numpy().tolist()
    name = dataset if dataset == "scenes" else Path(data).name
    return {
        "name": name,
        "n": len(pairs),
        "foils": int(pairs["is_foil"].sum()),
        "hash": digest(rows),
    }


def true_tags(words: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """The part of speech of each word by the embedded world's own account; PUNCT where it has none.

    words: a words frame; pairs: of `scene_pairs`, whose `words` hold the truth.
    """
    known = {}
    for row in pairs.itertuples():
        known |= {(row.pair_id, word["start"]): word["pos"] for word in row.words}
    places = zip(words["pair_id"], words["start"], strict=True)
    return [known.get(place, "PUNCT") for place in places]


def tagged(words: pd.DataFrame, pairs: pd.DataFrame, tagger) -> list[str]:
    """The part of speech of each word of a words frame by a spaCy pipeline (`pos.load_tagger`)."""
    from ..text.pos import tag_many  # spaCy takes seconds to import, and only one notebook needs it

    groups = [own for _, own in words.groupby("pair_id", sort=False)]
    captions = pairs.set_index("pair_id")["caption"].loc[[own["pair_id"].iloc[0] for own in groups]]
    places = [list(map(Word, own["word"], own["start"], own["end"])) for own in groups]
    return [tag for tags in tag_many(tagger, captions, places) for tag in tags]
