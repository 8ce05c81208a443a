"""What a caption's text feature is made of, and one typical caption looked at closely (CAE,
Figures 3 and 5)."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ...display.explanation import as_seen, heat_map
from ...errors import UserError
from ...io.images import open_image
from ...metrics.intervals import mean_estimate
from ...text.roles import ROLES, Concept
from ...trace.encode import encode_texts

MAP_METHOD = "cae_gradcam"


def ingredients(clip, pairs: pd.DataFrame, batch_size=256) -> pd.DataFrame:
    """Cosine of each caption's text feature with those of its concepts, each encoded alone.

    pairs: pair_id, caption, concepts. Several concepts of a role are averaged. Returns pair_id,
    role, own, and others: the mean cosine with all concepts of that role that occur in the table
    but not in the caption (NaN where there is none). No template, as CLIP reads a text alone.
    """
    pairs = pairs[[isinstance(caption, str) for caption in pairs["caption"]]]
    captions = torch.stack(features(clip, pairs["caption"], batch_size)) if len(pairs) else None
    tables = []
    for role in ROLES:
        own = [
            sorted({c.text.lower() for c in found if c.role == role}) for found in pairs["concepts"]
        ]
        phrases = sorted({text for texts in own for text in texts})
        if phrases:
            alone = torch.stack(features(clip, phrases, batch_size))
            table = own_and_others((captions @ alone.T).numpy(), own, phrases)
            tables.append(table.assign(pair_id=pairs["pair_id"].to_numpy(), role=role))
    if not tables:
        raise UserError("no caption has an object, an attribute or a relation")
    found = pd.concat(tables, ignore_index=True).dropna(subset=["own"])
    return found[["pair_id", "role", "own", "others"]].reset_index(drop=True)


def features(clip, texts, batch_size) -> list:
    """The text feature of each text, each distinct one encoded once."""
    texts = list(texts)
    known = encode_texts(clip, dict.fromkeys(texts), batch_size=batch_size)
    return [known[text] for text in texts]


def own_and_others(cosines: np.ndarray, own: list[list[str]], phrases: list[str]) -> pd.DataFrame:
    """Mean over own and over other phrases of cosines [captions, phrases]."""
    place = {text: number for number, text in enumerate(phrases)}
    mine = np.zeros(cosines.shape, bool)
    for row, texts in enumerate(own):
        mine[row, [place[text] for text in texts]] = True
    sums = [np.where(part, cosines, 0).sum(1) for part in (mine, ~mine)]
    counts = [part.sum(1).astype(float) for part in (mine, ~mine)]
    means = [
        np.divide(top, n, out=np.full(len(n), np.nan), where=n > 0)
        for top, n in zip(sums, counts, strict=True)
    ]
    return pd.DataFrame({"own": means[0], "others": np.where(counts[0] > 0, means[1], np.nan)})


def ingredient_table(data: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means of `ingredients` over captions: role, measure (own, others, difference), value, low,
    high, n."""
    rows = []
    for role, part in data.groupby("role", sort=False):
        values = {
            "own": part["own"],
            "others": part["others"],
            "difference": part["own"] - part["others"],
        }
        rows += [
            {"role": role, "measure": name, **mean_estimate(one, seed)._asdict()}
            for name, one in values.items()
        ]
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- one caption


class Case(NamedTuple):
    """One caption: image as given and as the model saw it, its tokens with the values of all
    methods, and heat maps {text: float32 [rows, cols]} or the reason why there are none."""

    pair_id: object
    caption: str
    picture: Image.Image
    seen: Image.Image
    tokens: pd.DataFrame
    maps: dict
    reason: str | None


def typical(means: pd.DataFrame, method: str):
    """pair_id of the caption that stands in the middle: of those with objects, attributes and
    relations, the one whose a_obj - a_rel by this method is the median. Raises UserError."""
    own = means[means["method"] == method].dropna(subset=list(ROLES))
    if own.empty:
        raise UserError("no caption has an object, an attribute and a relation at once")
    gap = (own["object"] - own["relation"]).sort_values(kind="stable")
    return own.loc[gap.index[(len(gap) - 1) // 2], "pair_id"]


def case(clip, pairs: pd.DataFrame, tokens: pd.DataFrame, pair_id, image_root=None) -> Case:
    """Look at one caption; the maps show the caption, its first relation and its first object."""
    row = pairs.set_index("pair_id").loc[pair_id]
    picture = open_image(row["image"], image_root)
    maps = {}
    alone = [first(row["concepts"], role) for role in ("relation", "object")]
    for text in (row["caption"], *alone):
        maps[text], reason = heat_map(clip, picture, text, MAP_METHOD)
    own = tokens[tokens["pair_id"] == pair_id].reset_index(drop=True)
    return Case(pair_id, row["caption"], picture, as_seen(clip, picture), own, maps, reason)


def first(concepts: list[Concept], role: str) -> str:
    """The text of the first concept of a role in reading order."""
    return min((c for c in concepts if c.role == role), key=lambda c: c.start).text
