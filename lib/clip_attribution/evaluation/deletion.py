"""Deletion and insertion: does what a map or an attribution calls important carry the score?

    curves = picture_curves(clip, images, texts, {"gradcam": maps})
    summary(areas(curves))

Deletion takes the parts of an image (or the words of a caption) away in the order of their value,
the highest first, and watches the cosine fall; insertion puts them back in the same order. A good
order makes the area under the first curve small and under the second large. Petsiuk, Das, Saenko,
"RISE", BMVC 2018, with the cosine in place of a class probability, and with parts in random order
as the baseline: without it a curve says as much of the model as of the map. An image with parts
missing is like none that the model was trained on, and its score is only as good as that.
"""

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate, normalize
from torchvision.transforms.functional import gaussian_blur

from ..attribution import attribute
from ..errors import UserError
from ..heatmaps.pixels import read_pixels, transform_of
from ..io.images import open_image
from ..metrics.intervals import ratio_estimate
from ..models.locks import locked
from ..text.words import split_words

FILLS = ("mean", "blur")
KINDS = ("deletion", "insertion")
RANDOM = "random order"
COLUMNS = ["pair", "method", "kind", "share", "cosine", "error"]


def picture_curves(
    clip,
    images: list,
    texts: list[str],
    maps: dict,
    *,
    steps: int = 16,
    fill: str = "mean",
    image_root=None,
    seed: int = 0,
    batch_size: int = 256,
) -> pd.DataFrame:
    """The cosine of every pair while its image loses or gains patches, as one long frame.

    maps: {method: raw maps [n, rows, cols], or a tuple that begins with them, such as
    `grounding_tables.Maps`}, whose signed values give the order; a random order is added. steps:
    how many times something is taken away. fill: what comes in its place, the image's own mean
    colour or the image blurred (sigma an eighth of its side). The image is squashed to the
    model's input, as for `heatmaps`.

    Columns pair (row), method, kind (deletion, insertion), share (taken away, or put back, so far:
    0 to 1), cosine, error. A pair whose image cannot be read or that has NaN in a map is one row
    with the reason in `error`, which the summaries leave out. Raises UserError: unknown fill, steps
    below 1, lists of different lengths.
    """
    maps = {name: one[0] if isinstance(one, tuple) else one for name, one in maps.items()}
    if fill not in FILLS:
        raise UserError(f"fill {fill!r}: use one of {', '.join(FILLS)}")
    if steps < 1 or len({len(images), len(texts), *map(len, maps.values())}) > 1:
        raise UserError("deletion needs at least one step, and a text and a map for each image")
    rng, transform, frames = np.random.default_rng(seed), transform_of(clip), []
    shares = np.linspace(0, 1, steps + 1)
    for pair, ref in enumerate(images):
        pixels = read_pixels(ref, image_root, transform)
        own = {method: np.asarray(values[pair]) for method, values in maps.items()}
        if reason := no_curve(pixels, own):
            frames.append(failed(pair, reason))
            continue
        grid = next(iter(own.values())).shape
        orders = {name: np.argsort(-one.ravel(), kind="stable") for name, one in own.items()}
        orders[RANDOM] = rng.permutation(grid[0] * grid[1])
        masks = np.concatenate([both(order, shares) for order in orders.values()])
        given = pixels, filled(pixels, fill), masks.reshape(-1, *grid)
        cosines = masked_cosines(clip, *given, clip.encode_texts([texts[pair]])[0], batch_size)
        frames.append(labelled(pair, orders, shares, cosines))
    return joined(frames)


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """The frames one below the other; none of them is a frame without rows."""
    if not frames:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.concat([frame.astype(object) for frame in frames], ignore_index=True)
    return found.astype({"share": float, "cosine": float})


def no_curve(pixels, maps: dict) -> str | None:
    """Why an image has no curves: it cannot be read, or a method has no map of it."""
    if isinstance(pixels, str):
        return pixels
    absent = [method for method, one in maps.items() if np.isnan(one).any()]
    return f"no map by {', '.join(absent)}" if absent else None


def failed(pair, reason: str) -> pd.DataFrame:
    """The one row of a pair that cannot be computed."""
    return pd.DataFrame([{"pair": pair, "error": reason}], columns=COLUMNS)


def both(order: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Which parts are there after each step, bool [2 * steps, parts]: deletion, then insertion."""
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    taken = rank < np.rint(shares * len(order))[:, None]
    return np.concatenate([~taken, taken])


def labelled(pair, orders, shares, cosines) -> pd.DataFrame:
    """The cosines [orders * kinds * shares] of one pair as rows."""
    index = pd.MultiIndex.from_product([orders, KINDS, shares], names=COLUMNS[1:4])
    frame = pd.DataFrame({"cosine": cosines}, index).reset_index()
    return frame.assign(pair=pair, error=None)[COLUMNS]


def filled(pixels: torch.Tensor, fill: str) -> torch.Tensor:
    """What an image [3, h, w] shows where nothing of it is left."""
    if fill == "mean":
        return pixels.mean((1, 2), keepdim=True).expand_as(pixels)
    sigma = min(pixels.shape[1:]) / 8
    return gaussian_blur(pixels, [2 * (side // 4) + 1 for side in pixels.shape[:0:-1]], [sigma] * 2)


@locked
@torch.no_grad()
def masked_cosines(clip, pixels, base, masks, text, batch_size: int) -> np.ndarray:
    """Cosine of one text [D] with an image of which masks [n, rows, cols] say what is left."""
    found = []
    for part in torch.from_numpy(masks).float()[:, None].split(batch_size):
        kept = interpolate(part, pixels.shape[1:], mode="nearest")
        batch = (kept * pixels + (1 - kept) * base).to(clip.device, clip.dtype)
        features = normalize(clip.model.encode_image(batch, normalize=False).float(), dim=-1)
        found.append((features @ text).cpu())
    return torch.cat(found).double().numpy()


# ---------------------------------------------------------------- words


def word_curves(clip, pairs, methods, *, image_root=None, seed: int = 0, **options):
    """The same for captions that lose or gain their words, which keep their places.

    pairs: a pairs frame. methods: names of `attribution.METHODS`; options: for `attribute`. Each
    caption has as many steps as words. The text's `template`, by default none, stays throughout.
    Columns, and the fate of a pair with an error, as of `picture_curves`.
    """
    options = {"template": "", **options}
    pairs = pd.DataFrame(pairs).reset_index(drop=True)
    pairs = pairs.assign(pair_id=np.arange(len(pairs)))
    found = {
        name: attribute(clip, pairs, name, image_root=image_root, **options) for name in methods
    }
    errors = pd.concat(own.set_index("pair_id")["error"].dropna() for _, own in found.values())
    by_pair = {name: dict(list(words.groupby("pair_id"))) for name, (words, _) in found.items()}
    rng, frames = np.random.default_rng(seed), []
    for pair in pairs.itertuples():
        if pair.pair_id in errors.index:
            frames.append(failed(pair.pair_id, errors.loc[[pair.pair_id]].iloc[0]))
            continue
        orders = {
            name: np.argsort(-groups[pair.pair_id]["attribution"].to_numpy(), kind="stable")
            for name, groups in by_pair.items()
        }
        words = split_words(pair.caption)
        orders[RANDOM] = rng.permutation(len(words))
        shares = np.arange(len(words) + 1) / len(words)
        masks = np.concatenate([both(order, shares) for order in orders.values()])
        texts = [options["template"] + left_over(pair.caption, words, mask) for mask in masks]
        image = clip.encode_images([open_image(pair.image, image_root)])[0]
        cosines = text_cosines(clip, texts, image)
        frames.append(labelled(pair.pair_id, orders, shares, cosines))
    return joined(frames)


def left_over(caption: str, words, mask) -> str:
    """The caption without the words whose mask is False, runs of white space made one space."""
    letters = list(caption)
    for word, stays in zip(words, mask, strict=True):
        if not stays:
            letters[word.start : word.end] = [""] * (word.end - word.start)
    return " ".join("".join(letters).split())


def text_cosines(clip, texts: list[str], image: torch.Tensor) -> np.ndarray:
    """Cosine of each text with one image feature [D]; equal texts are encoded once."""
    distinct = list(dict.fromkeys(texts))
    cosines = (clip.encode_texts(distinct) @ image).double().cpu().tolist()
    return np.array([dict(zip(distinct, cosines, strict=True))[text] for text in texts])


# ---------------------------------------------------------------- areas


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """The area under each curve (trapezoids): columns pair, method, kind, area."""
    keys = ["pair", "method", "kind"]
    rows = [
        (*key, np.trapezoid(part["cosine"], part["share"]))
        for key, part in curves.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*keys, "area"])


def summary(found: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean area of each method and kind, and how far it lies from the random order's.

    found: `areas`. Columns method, kind, value, low, high, n (pairs), gain, gain_low, gain_high:
    the mean paired difference in favour of the method (random minus method for deletion, method
    minus random for insertion), above 0 for a method that knows more than chance. Intervals:
    95 % bootstrap over pairs.
    """
    rows = []
    for (kind, method), part in found.groupby(["kind", "method"], sort=False):
        own = part.set_index("pair")["area"]
        chance = found[(found["kind"] == kind) & (found["method"] == RANDOM)]
        gain = (own - chance.set_index("pair")["area"]) * (1 if kind == "insertion" else -1)
        value, gained = ratio_estimate(own, seed=seed), ratio_estimate(gain, seed=seed)
        rows.append(
            {
                "method": method,
                "kind": kind,
                **value._asdict(),
                "gain": gained.value,
                "gain_low": gained.low,
                "gain_high": gained.high,
            }
        )
    return pd.DataFrame(rows)


def mean_curves(curves: pd.DataFrame, points: int = 11, seed: int = 0) -> pd.DataFrame:
    """Mean cosine at `points` shares from 0 to 1, between steps interpolated.

    Columns method, kind, share, value, low, high, n (pairs): 95 % bootstrap over pairs.
    """
    shares, rows = np.linspace(0, 1, points), []
    for (method, kind), own in curves.groupby(["method", "kind"], sort=False):
        each = np.array(
            [np.interp(shares, part["share"], part["cosine"]) for _, part in own.groupby("pair")]
        )
        for share, column in zip(shares, each.T, strict=True):
            found = ratio_estimate(column, seed=seed)
            rows.append({"method": method, "kind": kind, "share": share, **found._asdict()})
    return pd.DataFrame(rows)
