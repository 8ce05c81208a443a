"""What became of tuned models: foils, retrieval, attributions, with intervals and paired changes.

    table = evaluate_runs(clip, compare(clip, cache="runs/cae"))

All runs are measured on the same scenes, which none was tuned on.
"""

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ...evaluation.composition import retrieval_ranks
from ...metrics.intervals import ratio_estimate
from ...scenes import scene_pairs
from ...trace.features import encode_pixels
from ...trace.inputs import encode_distinct
from ...training.attributions import TRAINABLE, masked_means, token_attributions
from ...training.examples import Examples, Pictures, read_examples
from ...training.objective import Weights, make_part
from ..roles.cases import ingredients
from .comparison import UNTUNED, TunedRun, load_run

FOILS = {
    "relation": ("position", "state", "swap_relation"),
    "attribute": ("colour", "size", "swap_colour"),
    "object": ("noun", "swap_noun"),
}
BATCH = 64
INTERVALS = ("value", "change", "gain")
COLUMNS = [
    "variant",
    "hard_negatives",
    "measure",
    "n",
    "seeds",
    "spread",
    *(name + end for name in INTERVALS for end in ("", "_low", "_high")),
    "change_agrees",
    "gain_agrees",
]


def evaluate_runs(
    clip,
    runs: list[TunedRun],
    *,
    n: int = 100,
    n_scenes: int = 256,
    n_attributed: int = 96,
    seed: int = 1,
    foils=FOILS,
    methods=TRAINABLE,
    k: int = 4,
    baseline: str = "CLIP-FT",
    progress: bool = False,
) -> pd.DataFrame:
    """Measure every run on the same scenes; COLUMNS, a row a variant, hard_negatives and measure.

    value is the mean over seeds; change is value minus that of `clip` itself, gain minus that of
    the variant `baseline` with the same hard_negatives and seeds, both taken pair by pair. _low,
    _high: 95 % bootstrap interval over the n images, of the means over seeds. spread: largest
    minus smallest value of a seed; agrees: all seeds have the same sign.

    Measures: "relation accuracy", "attribute accuracy", … and "TYPE accuracy" of each foil type (n
    pairs a type, percent, a tie is wrong); "I2T R@1", "I2T R@5", "T2I R@1", "T2I R@5" among
    n_scenes scenes, percent; "a_obj METHOD", "a_comp METHOD" and "gap METHOD" (their difference)
    of the captions of the first n_attributed scenes that have both (k replacements a concept for
    perturbation); "near ROLE", cosine of a caption's text feature with those of its own concepts of
    the role, each encoded alone (CAE, Figure 3). seed: of the scenes.
    """
    tables = {kind: scene_pairs(n, seed, kind) for kinds in foils.values() for kind in kinds}
    examples, _ = read_examples(clip, scene_pairs(n_scenes, seed, None), progress=progress)
    pictures = Pictures(clip, [ref for table in tables.values() for ref in table["image"]])

    def measured(model) -> dict:
        values = foil_values(model, tables, foils, pictures) | retrieval_values(model, examples)
        for method in methods:
            values |= attribution_values(model, examples, method, k, n_attributed)
        return values | ingredient_values(model, examples)

    before, found = measured(clip), {}
    for run in tqdm(runs, "evaluation", disable=not progress):
        values = before if run.weights is None else measured(load_run(clip, run))
        found.setdefault((run.variant, run.hard_negatives), []).append(values)
    rows = []
    for (variant, hard), of_seeds in found.items():
        beside = found.get((baseline, hard)) if variant not in (UNTUNED, baseline) else None
        rows += [
            (variant, hard, name, *estimates(name, of_seeds, before, beside)) for name in before
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def estimates(name: str, of_seeds: list[dict], before: dict, beside: list[dict] | None) -> tuple:
    """COLUMNS from `n` on, of one measure of one variant; each dict: {measure: Series}."""
    values = [own[name].to_numpy() for own in of_seeds]
    changes = [own - before[name].to_numpy() for own in values]
    gains = [
        own - other[name].to_numpy()
        for own, other in zip(values, beside or (), strict=bool(beside))
    ]
    gains = gains or [np.full(len(values[0]), np.nan)]
    three = [
        ratio_estimate(np.mean(one, 0), groups=before[name].index)
        for one in (values, changes, gains)
    ]
    intervals = [number for one in three for number in one[:3]]
    agree = [all_agree(changes), all_agree(gains)]
    return three[0].n, len(values), float(np.ptp(means_of(values))), *intervals, *agree


def means_of(of_seeds: list[np.ndarray]) -> np.ndarray:
    """The mean of each seed, what is missing left out (the same captions in all seeds)."""
    kept = np.stack(of_seeds)
    kept = kept[:, ~np.isnan(kept).any(0)]
    return kept.mean(1) if kept.size else np.full(len(kept), np.nan)


def all_agree(of_seeds: list[np.ndarray]) -> bool:
    """Whether the means of all seeds have the same sign; not where one is 0 or missing."""
    return bool(abs(np.sign(means_of(of_seeds)).sum()) == len(of_seeds))


def foil_values(clip, tables: dict, foils: dict, pictures: Pictures) -> dict[str, pd.Series]:
    """100 for each pair in which the true caption scores above the false one, else 0; by image.

    tables: {foil type: `scene_pairs`}; foils: {group: its types}.
    """
    of_type = {}
    for kind, table in tables.items():
        refs = table["image"].tolist()[::2]
        images = encode_pictures(clip, pictures, refs)
        texts = encode_distinct(clip, table["caption"].tolist()).cpu()
        true, false = ((images * texts[start::2]).sum(-1) for start in (0, 1))
        of_type[kind] = pd.Series(100 * (true > false).double().numpy(), refs)
    groups = {name: pd.concat([of_type[kind] for kind in kinds]) for name, kinds in foils.items()}
    return {f"{name} accuracy": found for name, found in (groups | of_type).items()}


def retrieval_values(clip, examples: Examples) -> dict[str, pd.Series]:
    """100 for each query whose right answer is among the first k, else 0."""
    images = encode_pictures(clip, examples.pictures, examples.images)
    texts = encode_distinct(clip, examples.captions).cpu()
    ranks = retrieval_ranks(images, texts, np.arange(len(texts)))
    found = {}
    for name, own in zip(("T2I", "I2T"), ranks, strict=True):
        found |= {f"{name} R@{k}": pd.Series(100.0 * (own < k), examples.images) for k in (1, 5)}
    return found


def attribution_values(clip, examples: Examples, method: str, k: int, n: int) -> dict:
    """a_obj, a_comp and their difference of each of the first n captions; NaN without both."""
    found, n = [], min(n, len(examples.captions))
    for start in range(0, n, BATCH):
        rows = list(range(start, min(start + BATCH, n)))
        part = make_part(clip, examples, rows, [], Weights(lam=1.0, method=method), k, 0)
        both = torch.full((2, len(rows)), torch.nan)
        if part.used:
            images = encode_pixels(clip, list(part.pixels)).to(clip.device)
            values = token_attributions(
                clip.model, images, part.ids, method, False, replacements=part.replacements
            ).values
            both = torch.stack([masked_means(values, m) for m in (part.objects, part.composition)])
        found.append(both.double().cpu())
    objects, composition = torch.cat(found, 1).numpy()
    gap = objects - composition  # NaN where either is: the same captions in all three
    values = {"a_obj": objects + 0 * gap, "a_comp": composition + 0 * gap, "gap": gap}
    short = method.removeprefix("cae_")  # as in the names of the variants
    return {f"{name} {short}": pd.Series(own, examples.images[:n]) for name, own in values.items()}


def ingredient_values(clip, examples: Examples) -> dict[str, pd.Series]:
    """Cosine of each caption with its own concepts of a role, each alone; NaN where it has none."""
    frame = pd.DataFrame(
        {
            "pair_id": range(len(examples.captions)),
            "caption": examples.captions,
            "concepts": examples.concepts,
        }
    )
    near = ingredients(clip, frame).pivot(index="pair_id", columns="role", values="own")
    near = near.reindex(frame["pair_id"]).set_axis(examples.images)
    return {f"near {role}": near[role] for role in near}


def encode_pictures(clip, pictures: Pictures, refs: list) -> torch.Tensor:
    """Unit features [n, D], float32 on the CPU."""
    parts = [refs[i : i + BATCH] for i in range(0, len(refs), BATCH)]
    return torch.cat([encode_pixels(clip, list(pictures.batch(part))) for part in parts])
