"""Attribution methods ranked by how well they tell what is true (see `truths`).

Words: does the method find the false word (and is it quiet at that place in the true caption), does
it order the words of a caption by what the score loses with them, and does the sum of its values
follow the score over all coalitions of words. Regions: does the map of a phrase that names one of
two things lie on that thing, and does it order the things by what the score loses without them.
Every measure with its interval over images, and with baselines that know nothing.
"""

from itertools import combinations
from time import perf_counter

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from ..attribution import METHODS, attribute
from ..attribution.coalitions import standing
from ..heatmaps import METHODS as MAPS
from ..heatmaps import heatmaps, image_attribution, interactions
from ..heatmaps.tower import find_tower
from ..metrics.intervals import location_chance, location_hits, mean_estimate
from ..scenes import KINDS, scene_pairs
from .truths import boxes, word_truths

KNOWN = ("noun", "colour", "size", "count", "ground", "name")
BASELINES = ("random", "length", "position")
MAP_BASELINES = ("random", "centre")
PARTS = ("mediated",)  # its whole is integrated gradients; its parts need a trained subspace
SETTINGS = {  # what differs from `attribute`'s defaults; the key is the name in tables
    "clip4dm_all": ("clip4dm", {"layers": "all"}),
    "integrated_gradients": ("integrated_gradients", {"n_steps": 20}),
    "perturbation": ("perturbation", {"k": 8}),
}


def word_methods() -> list[str]:
    """Every registered text method, CLIP4DM over all layers, and the baselines."""
    own = [n for n, method in METHODS.items() if "text" in method.towers and n not in PARTS]
    return [*own, "clip4dm_all", *BASELINES]


def image_methods() -> dict[str, str]:
    """{name in tables: name} of the attribution methods of the image tower that are no heat maps of
    the registry as well."""
    own = {f"{n}_image": n for n, method in METHODS.items() if "image" in method.towers}
    return {name: n for name, n in own.items() if not {name, n} & set(MAPS)}


def map_methods() -> list[str]:
    """Every registered heat map, every attribution method of the image tower, the interactions of
    the phrase's noun, and the baselines."""
    return [*MAPS, *image_methods(), "interactions", *MAP_BASELINES]


def word_values(clip, pairs: pd.DataFrame, name: str, seed: int = 0) -> tuple[pd.DataFrame, float]:
    """A words frame by one method or baseline, and its milliseconds a pair."""
    method, options = SETTINGS.get(name, (name, {}))
    start = perf_counter()
    if name in BASELINES:
        words, _ = attribute(clip, pairs, "raw_attention")
        words = words.assign(attribution=baseline(words, name, seed))
    else:
        words, _ = attribute(clip, pairs, method, **options)
    return words, 1000 * (perf_counter() - start) / max(len(pairs), 1)


def baseline(words: pd.DataFrame, name: str, seed: int = 0) -> np.ndarray:
    """Attributions that know neither image nor model: by chance, by length, by place."""
    if name == "random":
        values = np.random.default_rng(seed).random(len(words))
    else:
        values = -(words["word"].str.len() if name == "length" else words["word_index"])
    return np.where(words["attribution"].isna(), np.nan, values)


def with_concepts(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of the world whose concepts are the words of the grammar, each of its own kind."""
    facts = [
        [(word["start"], word["end"], word["kind"]) for word in words if word["kind"]]
        for words in pairs["words"]
    ]
    return pairs.assign(concepts=facts)


def locate(clip, methods, n: int = 40, seed: int = 0, values=word_values) -> pd.DataFrame:
    """Whether each method's lowest word is the false one, n foils of each kind.

    One row a method and foil: method, kind, image, hit (in the foil), control (in the true caption
    the word at that place is the lowest; nothing is wrong there), net, chance, ms.
    """
    pairs = with_concepts(scene_pairs(n * len(KINDS), seed, KINDS))
    foils = pairs[pairs["is_foil"]].set_index("pair_id")
    place = foils["foil_index"].astype(int)
    twins = place.set_axis(place.index.str.replace(":foil", ":true"))
    parts = []
    for name in methods:
        words, ms = values(clip, pairs, name, seed)
        hit, control = (location_hits(words, index).to_numpy() for index in (place, twins))
        chance = location_chance(words, place.index).to_numpy()
        own = {"method": name, "kind": foils["foil_type"].to_numpy(), "image": foils["image"]}
        own |= {"hit": hit, "control": control, "net": hit - control, "chance": chance, "ms": ms}
        parts.append(pd.DataFrame(own).reset_index(drop=True))
    return pd.concat(parts, ignore_index=True)


def order_words(clip, methods, n: int = 60, seed: int = 0, values=word_values) -> pd.DataFrame:
    """How each method orders the facts of a true caption, against what the score loses with them.

    One row a method and caption with at least three facts: method, image, tau (Kendall's tau-b of
    the attributions and the drops), rho (Spearman's), sign (share of the words whose sign agrees).
    """
    truth = word_truths(clip, n, seed)
    counts = truth.groupby("pair_id")["word"].transform("size")
    truth = truth[counts >= 3]
    index = truth["pair_id"].str.split(":").str[1].astype(int)
    pairs = with_concepts(scene_pairs(int(index.max()) + 1, seed, None))
    pairs = pairs[pairs["pair_id"].isin(truth["pair_id"])].reset_index(drop=True)
    rows = []
    for name in methods:
        words, _ = values(clip, pairs, name, seed)
        joined = truth.merge(words[["pair_id", "start", "attribution"]], on=["pair_id", "start"])
        for pair_id, own in joined.dropna(subset="attribution").groupby("pair_id"):
            signs = np.sign(own["attribution"]) == np.sign(own["drop"])
            ranks = rank_correlations(own["attribution"], own["drop"])
            rows.append((name, pair_id, *ranks, signs.mean()))
    return pd.DataFrame(rows, columns=["method", "image", "tau", "rho", "sign"])


def rank_correlations(one, other) -> tuple[float, float]:
    """Kendall's tau-b and Spearman's rho; 0 where one side has no order."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0, 0.0
    return float(kendalltau(one, other).statistic), float(spearmanr(one, other).statistic)


def follow(clip, methods, played, seed: int = 0, values=word_values) -> pd.DataFrame:
    """How the sum of a method's values over a coalition of words follows the score of it.

    played: games (see `truths`). One row a method and caption: method, image, r (Pearson's, over
    all coalitions with every thing drawn).
    """

    pairs = pd.DataFrame(
        {"image": [g.image for g in played], "caption": [g.caption for g in played]}
    )
    rows = []
    for name in methods:
        words, _ = values(clip, pairs, name, seed)
        for row, one in enumerate(played):
            own = words[words["pair_id"] == row].set_index("word_index")["attribution"].fillna(0)
            sums = standing(len(one.words)) @ own.loc[[i for i, *_ in one.words]].to_numpy()
            r = np.corrcoef(sums, one.worth[:, -1])[0, 1] if np.ptp(sums) > 0 else 0.0
            rows.append((name, one.image, r))
    return pd.DataFrame(rows, columns=["method", "image", "r"])


def map_values(clip, asked: pd.DataFrame, name: str, seed: int = 0) -> tuple[np.ndarray, float]:
    """Maps [n, rows, cols] of what is asked, and ms a map.

    asked: image, caption, word_index and word; word_index -1 asks for the whole caption.
    """
    start, n = perf_counter(), len(asked)
    if name == "interactions":
        maps = interaction_maps(clip, asked)
    elif name in MAPS:
        maps = heatmaps(clip, list(asked["image"]), list(asked["word"]), name)
    elif name in image_methods():
        texts = list(asked["word"])
        maps = image_attribution(clip, list(asked["image"]), texts, image_methods()[name])
    else:
        maps = known_maps(name, n, find_tower(clip.model).grid, seed)
    return maps, 1000 * (perf_counter() - start) / max(n, 1)


def interaction_maps(clip, asked: pd.DataFrame) -> np.ndarray:
    """The interactions of each word asked for; of a whole caption, the sum over its words."""
    captions = asked[["image", "caption"]].drop_duplicates(ignore_index=True)
    found = interactions(clip, captions)
    number = captions.reset_index(names="pair_id").merge(asked, how="right")["pair_id"]
    places = found.words[["pair_id", "word_index"]].itertuples(index=False, name=None)
    rows = {place: row for row, place in enumerate(places)}
    whole = {i: np.nansum(found.maps[found.words["pair_id"] == i], axis=0) for i in captions.index}
    wanted = zip(number, asked["word_index"], strict=True)
    return np.stack([whole[i] if k < 0 else found.maps[rows[i, k]] for i, k in wanted])


def known_maps(name: str, n: int, grid: tuple[int, int], seed: int) -> np.ndarray:
    """Maps that know nothing: random values, or the distance to the centre."""
    if name == "random":
        return np.random.default_rng(seed).random((n, *grid))
    y, x = (np.abs(np.arange(side) - (side - 1) / 2) for side in grid)
    return np.broadcast_to(-np.hypot(y[:, None], x[None]), (n, *grid))


def inside(scene, thing, grid: tuple[int, int]) -> np.ndarray:
    """Share [rows, cols] of each patch that lies in a box of the thing."""
    covered = np.zeros((64, 64))
    for x0, y0, x1, y1 in boxes(scene, thing):
        covered[y0:y1, x0:x1] = 1
    rows, cols = grid  # each sixty-fourth in so many parts that any grid's patches are whole
    return covered.repeat(rows, 0).repeat(cols, 1).reshape(rows, 64, cols, 64).mean((1, 3))


def point(clip, methods, played, seed: int = 0, values=map_values) -> pd.DataFrame:
    """Whether the hottest patch of a noun's map lies on its own thing, and not on the other.

    One row a method and noun of a scene with two entities: method, image, right, wrong (which thing
    covers more of the patch), net, ms, and share, the part of the patches that the thing touches.
    """
    asked = asked_words(played, lambda one, thing: len(one.scene.entities) == 2 and thing in (0, 1))
    parts = []
    for name in methods:
        maps, ms = values(clip, asked, name, seed)
        for row, heat in zip(asked.itertuples(), maps, strict=True):
            scene, at = played[row.game].scene, np.unravel_index(heat.argmax(), heat.shape)
            own, other = (inside(scene, t, heat.shape) for t in (row.thing, 1 - row.thing))
            hit, miss = float(own[at] > other[at]), float(other[at] > own[at])
            parts.append((name, row.image, hit, miss, hit - miss, ms, (own > 0).mean()))
    columns = ["method", "image", "right", "wrong", "net", "ms", "share"]
    return pd.DataFrame(parts, columns=columns)


def asked_words(played, wanted) -> pd.DataFrame:
    """The words of the games for which wanted(game, thing that the word names) holds."""
    rows = [
        (number, one.image, one.caption, index, text, thing)
        for number, one in enumerate(played)
        for index, text, thing in one.words
        if wanted(one, thing)
    ]
    columns = ["game", "image", "caption", "word_index", "word", "thing"]
    return pd.DataFrame(rows, columns=columns)


def match(clip, methods, played, seed: int = 0, values=map_values) -> pd.DataFrame:
    """How the heat of each word on each thing follows their exact interaction, `interactions`.

    One row a method and game: method, image, r (Pearson's over words x things).
    """
    asked = asked_words(played, lambda one, thing: True)
    rows = []
    for name in methods:
        maps, _ = values(clip, asked, name, seed)
        for number, own in asked.groupby("game").groups.items():
            one = played[number]
            covered = [inside(one.scene, thing, maps.shape[1:]) for thing in one.things]
            heat = np.einsum("wrc,trc->wt", maps[own], np.stack(covered))
            r = np.corrcoef(heat.ravel(), one.interactions().ravel())[0, 1] if np.ptp(heat) else 0.0
            rows.append((name, one.image, r))
    return pd.DataFrame(rows, columns=["method", "image", "r"])


def order_things(clip, methods, played, seed: int = 0, values=map_values) -> pd.DataFrame:
    """Whether the heat of a caption's map orders the things as the score does that loses them.

    One row a method and game: method, image, right (share of the pairs of things in the order of
    what the caption's score falls by when a thing is not drawn; 0.5 by chance).
    """
    asked = pd.DataFrame(
        {
            "image": [one.image for one in played],
            "caption": [one.caption for one in played],
            "word_index": -1,
            "word": [one.caption for one in played],
        }
    )
    rows = []
    for name in methods:
        maps, _ = values(clip, asked, name, seed)
        for one, heat in zip(played, maps, strict=True):
            covered = [inside(one.scene, thing, heat.shape) for thing in one.things]
            mean = [(heat * share).sum() / share.sum() for share in covered]
            drop = one.drops()
            pairs = list(combinations(range(len(mean)), 2))
            agree = [(mean[a] - mean[b]) * (drop[a] - drop[b]) for a, b in pairs]
            rows.append((name, one.image, np.mean((np.sign(agree) + 1) / 2)))
    return pd.DataFrame(rows, columns=["method", "image", "right"])


def summary(rows: pd.DataFrame, column: str, by=("method",), seed: int = 0) -> pd.DataFrame:
    """Mean of a column by method, with its interval over images, and ms; the best first."""
    found = []
    for names, own in rows.groupby(list(by), sort=False):
        per_image = own.groupby("image")[column].mean()
        ms = {"ms": own["ms"].mean()} if "ms" in own else {}
        estimate = mean_estimate(per_image, seed)._asdict()
        found.append(dict(zip(by, names, strict=True)) | estimate | ms)
    return pd.DataFrame(found).sort_values("value", ascending=False, ignore_index=True)
