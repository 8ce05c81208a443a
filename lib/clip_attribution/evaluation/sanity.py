"""Sanity check by weight randomisation: does a map change when the model forgets what it learned?

Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018:
the layers are re-initialised one after the other from the top (cascading), and each new map is
compared with the original one by Spearman's rank correlation. A method whose maps stay as they
were shows the image, not what the model knows of it.

    frame = randomisation(clip, images, texts, ["gae_image", "gradcam"])
    by_depth(frame)
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

from ..heatmaps import heatmap_rows
from ..heatmaps.tower import find_tower
from ..metrics.intervals import ratio_estimate

GIVEN, OTHER = "given", "other image"
AFTER = (
    "ln_post",
    "proj",
    "attn_pool",
    "attn_pool_contrastive",
    "attnpool",
    "norm",
    "fc_norm",
    "head",
)


def randomisation(
    clip, images: list, texts: list[str], methods, *, seed: int = 0, image_root=None, **options
) -> pd.DataFrame:
    """Rank correlation of every pair's map with its original, while the image tower forgets.

    The tower's parts (see `cascade`) are re-initialised from the top, on a copy: the given model
    stays as it is. The text tower is left alone. options: for `heatmap_rows`.

    Columns method, step (0: nothing yet), depth (its name; GIVEN at step 0), pair (row),
    correlation: Spearman's over the patches of the signed raw map, NaN for a constant map or a
    pair without one. Step -1, OTHER: with the original map of the next pair, that is how alike the
    maps of different images are anyway; without it a correlation above 0 says little.
    """
    copy = replace(clip, model=deepcopy(clip.model))
    generator = torch.Generator().manual_seed(seed)
    original = {name: maps_of(clip, images, texts, name, image_root, options) for name in methods}
    rows = []
    for name, maps in original.items():
        rows += compared(name, -1, OTHER, maps, np.roll(maps, -1, axis=0))
        rows += compared(name, 0, GIVEN, maps, maps)
    for step, (depth, parameters) in enumerate(cascade(copy.model), start=1):
        reinitialise(parameters, generator)
        for name, maps in original.items():
            again = maps_of(copy, images, texts, name, image_root, options)
            rows += compared(name, step, depth, maps, again)
    return pd.DataFrame(rows, columns=["method", "step", "depth", "pair", "correlation"])


def maps_of(clip, images, texts, method: str, image_root, options) -> np.ndarray:
    """Raw maps [n, rows, cols]; NaN for a pair without one."""
    found = np.full((len(texts), *find_tower(clip.model).grid), np.nan, np.float32)
    given = {"image_root": image_root, **options}
    for rows, maps, _ in heatmap_rows(clip, images, texts, method, **given):
        found[rows] = maps
    return found


def compared(method: str, step: int, depth: str, maps, others) -> list[tuple]:
    """One row a pair."""
    return [
        (method, step, depth, pair, rank_correlation(one, other))
        for pair, (one, other) in enumerate(zip(maps, others, strict=True))
    ]


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two maps; NaN where one is constant or not finite."""
    known = np.isfinite(one).all() and np.isfinite(other).all()
    if not known or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def cascade(model: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """The image tower's parameters in parts from the top: head, block n-1, ..., block 0, embedding.

    head: what comes after the blocks (last norm, pooler, projection); embedding: what comes before
    them. A ResNet's stages count as blocks. Raises UserError for a tower without known blocks.
    """
    visual, tower = model.visual, find_tower(model)
    blocks = tower.blocks or stages(visual)
    in_blocks = {parameter for block in blocks for parameter in block.parameters()}
    head, embedding = [], []
    for name, parameter in visual.named_parameters():
        if parameter not in in_blocks:
            first = name.removeprefix("trunk.").split(".")[0]
            (head if first in AFTER else embedding).append(parameter)
    named = [(f"block {n}", list(block.parameters())) for n, block in enumerate(blocks)]
    return [("head", head), *named[::-1], ("embedding", embedding)]


def stages(visual: nn.Module) -> list[nn.Module]:
    """The stages of a convolutional tower, in forward order."""
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        return list(getattr(trunk, "stages", getattr(trunk, "layers", None)))
    return [visual.layer1, visual.layer2, visual.layer3, visual.layer4]


@torch.no_grad()
def reinitialise(parameters, generator: torch.Generator) -> None:
    """Draw each tensor anew, normally distributed with its own mean and standard deviation.

    So every part keeps its scale, whatever its kind, and loses only what it learned.
    """
    for parameter in parameters:
        values = parameter.float()
        noise = torch.randn(parameter.shape, generator=generator).to(values.device)
        drawn = values.mean() + values.std(correction=0) * noise
        parameter.copy_(drawn.to(parameter.dtype))


def unchanged(clip) -> bool:
    """Whether the weights still are those that `clip.weights_hash` was first computed from."""
    return replace(clip).weights_hash == clip.weights_hash


def by_depth(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean correlation of each method and step: method, step, depth, value, low, high, n (pairs).

    frame: `randomisation`. Intervals: 95 % bootstrap over pairs; NaN is left out.
    """
    rows = []
    for (method, step, depth), part in frame.groupby(["method", "step", "depth"], sort=False):
        found = ratio_estimate(part["correlation"], seed=seed)
        rows.append({"method": method, "step": step, "depth": depth, **found._asdict()})
    return pd.DataFrame(rows)
