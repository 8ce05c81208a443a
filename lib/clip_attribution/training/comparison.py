"""CAE's comparison: the same model tuned in several ways, with the same pairs and steps, measured.

    runs = compare(clip, n_pairs=1280, steps=40, batch=32, cache="runs/cae")
    table = evaluate_runs(clip, runs)

VARIANTS (Li et al., EMNLP 2024, Tables 1, 2 and 5): CLIP as it is; CLIP-FT, tuned by the
contrastive loss alone; CAE with each of the four attributions; the attribution loss alone (of
attention). All but the first and the last also with hard negatives. `of_share` makes others: CAE
with more or less weight on the attribution loss. Training and test scenes differ.
"""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ..attribution.differentiable import TRAINABLE, masked_means, token_attributions
from ..attribution.features import encode_pixels
from ..attribution.inputs import encode_distinct
from ..composition import retrieval_ranks
from ..datasets.scenes import scene_pairs
from ..metrics import mean_estimate
from ..models import Clip, load_clip
from .examples import Examples, Pictures, read_examples
from .finetune import finetune, run_key
from .finetune_options import check_options
from .objective import Weights, make_part

UNTUNED, ALONE = "CLIP", "only L_attr"
VARIANTS = {
    UNTUNED: None,
    "CLIP-FT": {"objective": "contrastive"},
    **{f"CAE {method}": {"method": method} for method in TRAINABLE},
    ALONE: {"method": "attention", "itc": 0.0},
}
FOILS = {
    "relation": ("position", "state", "swap_relation"),
    "attribute": ("colour", "size", "swap_colour"),
    "object": ("noun", "swap_noun"),
}
TRAINING_SEED = 1000  # of the scenes; evaluation has small ones
BATCH = 64  # of the evaluation
COLUMNS = ["variant", "hard_negatives", "seed", "measure", "value", "low", "high", "n",
           "change", "change_low", "change_high"]  # fmt: skip


class TunedRun(NamedTuple):
    """One tuned model: weights is its file (None for CLIP as it is), log one row a step."""

    variant: str
    hard_negatives: bool
    seed: int
    log: pd.DataFrame
    weights: Path | None


def compare(
    clip: Clip, *, cache, n_pairs=1280, steps=40, batch=32, lr=3e-4, warmup=4, k=1,
    calibration=4, seeds=(0,), hard_negatives=(False, True), variants=VARIANTS, pairs=None,
    image_root=None, progress=False, **options,
) -> list[TunedRun]:  # fmt: skip
    """Tune `clip` in all ways, each in a folder of its own under `cache`; a second call reads back.

    variants: {name: its own options of `finetune`, None for no tuning}. pairs: the training table
    (default: n_pairs scenes). seeds decide order and draws. options: more of `finetune`, the same
    for all variants. Raises UserError as `finetune` and `read_examples` do.
    """
    pairs = scene_pairs(n_pairs, TRAINING_SEED, None) if pairs is None else pairs
    examples, _ = read_examples(clip, pairs, image_root, progress=progress)
    common = {"steps": steps, "batch": batch, "lr": lr, "warmup": warmup, "k": k,
              "calibration": calibration, **options}  # fmt: skip
    runs = [TunedRun(name, False, 0, pd.DataFrame(), None)
            for name, own in variants.items() if own is None]  # fmt: skip
    jobs = [(name, hard, seed) for name, hard, seed in product(variants, hard_negatives, seeds)
            if is_possible(variants[name], hard)]  # fmt: skip
    for variant, hard, seed in tqdm(jobs, "runs", disable=not progress):
        own = {**common, **variants[variant], "hard_negatives": hard, "seed": seed}
        cfg = check_options(own, clip, examples)
        kind = cfg["method"] if cfg["objective"] == "cae" else cfg["objective"]
        folder = Path(cache) / f"{kind}-{run_key(clip, examples, cfg)}"
        _, log = finetune(clip, examples, folder, save_every=steps, **own)
        runs.append(TunedRun(variant, hard, seed, log, folder / "model.safetensors"))
    return runs


def of_share(shares, method: str = "attention") -> dict:
    """Variants for `compare`: CAE's, where the attribution loss begins with each of these shares of
    the contrastive gradient; 0 is CLIP-FT. Named by the share."""
    return {f"{share:g}": {"method": method, "share": share} if share else VARIANTS["CLIP-FT"]
            for share in shares}  # fmt: skip


def is_possible(own: dict | None, hard_negatives: bool) -> bool:
    """CLIP as it is takes no training, the attribution loss alone no negatives."""
    return own is not None and not (hard_negatives and own.get("itc") == 0)


def load_run(clip: Clip, run: TunedRun) -> Clip:
    """The model of one run; `clip` itself for CLIP as it is."""
    if run.weights is None:
        return clip
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[clip.dtype]
    return load_clip(pretrained=run.weights, device=clip.device, precision=precision,
                     tokenizer=clip.tokenizer)  # fmt: skip


def evaluate_runs(
    clip: Clip, runs: list[TunedRun], *, n: int = 100, n_scenes: int = 256, n_attributed: int = 128,
    seed: int = 1, foils=FOILS, methods=TRAINABLE, k: int = 1, progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Measure every run on the same scenes: variant, hard_negatives, seed, measure, value, low,
    high, n, change, change_low, change_high, with 95 % bootstrap intervals over pairs or scenes.

    change is value minus that of `clip` itself, its interval that of the differences pair by pair:
    far narrower than the distance of two intervals suggests, since all see the same pairs.

    Measures: "relation accuracy", "attribute accuracy", … and "TYPE accuracy" of each foil type (n
    pairs a type, percent, a tie is wrong); "I2T R@1", "I2T R@5", "T2I R@1", "T2I R@5" among
    n_scenes scenes, percent; "a_obj METHOD" and "a_comp METHOD", means over the captions of the
    first n_attributed scenes that have both (k replacements a concept for perturbation). seed: of
    the scenes.
    """
    tables = {kind: scene_pairs(n, seed, kind) for kinds in foils.values() for kind in kinds}
    examples, _ = read_examples(clip, scene_pairs(n_scenes, seed, None), progress=progress)
    refs = [ref for table in tables.values() for ref in table["image"]]
    pictures, rows = Pictures(clip, refs), []

    def measured(model: Clip) -> dict:
        values = foil_values(model, tables, foils, pictures) | retrieval_values(model, examples)
        for method in methods:
            values |= attribution_values(model, examples, method, k, n_attributed)
        return values

    before = measured(clip)
    for run in tqdm(runs, "evaluation", disable=not progress):
        found = before if run.weights is None else measured(load_run(clip, run))
        facts = (run.variant, run.hard_negatives, run.seed)
        for name, values in found.items():
            change = mean_estimate(values - before[name])
            rows.append((*facts, name, *mean_estimate(values), *change[:3]))
    return pd.DataFrame(rows, columns=COLUMNS)


def foil_values(clip, tables: dict, foils: dict, pictures: Pictures) -> dict:
    """100 for each pair in which the true caption scores above the false one, else 0."""
    of_type = {}
    for kind, table in tables.items():
        images = encode_pictures(clip, pictures, table["image"].tolist()[::2])
        texts = encode_distinct(clip, table["caption"].tolist()).cpu()
        true, false = ((images * texts[start::2]).sum(-1) for start in (0, 1))
        of_type[kind] = 100 * (true > false).double().numpy()
    groups = {name: np.concatenate([of_type[k] for k in kinds]) for name, kinds in foils.items()}
    return {f"{name} accuracy": found for name, found in (groups | of_type).items()}


def retrieval_values(clip, examples: Examples) -> dict:
    """100 for each query whose right answer is among the first k, else 0."""
    images = encode_pictures(clip, examples.pictures, examples.images)
    texts = encode_distinct(clip, examples.captions).cpu()
    ranks = retrieval_ranks(images, texts, np.arange(len(texts)))
    found = {}
    for name, own in zip(("T2I", "I2T"), ranks, strict=True):
        found |= {f"{name} R@{k}": 100.0 * (own < k) for k in (1, 5)}
    return found


def attribution_values(clip, examples: Examples, method: str, k: int, n: int) -> dict:
    """a_obj and a_comp of each of the first n captions that has both kinds of tokens."""
    found, n = [], min(n, len(examples.captions))
    for start in range(0, n, BATCH):
        rows = list(range(start, min(start + BATCH, n)))
        part = make_part(clip, examples, rows, [], Weights(lam=1.0, method=method), k, 0)
        if part.used:
            images = encode_pixels(clip, list(part.pixels)).to(clip.device)
            values = token_attributions(
                clip.model, images, part.ids, method, False, replacements=part.replacements
            ).values
            both = [masked_means(values, mask) for mask in (part.objects, part.composition)]
            found.append(torch.stack(both).cpu())
    means = torch.cat(found, 1) if found else torch.zeros(2, 0)
    means = means[:, ~means.isnan().any(0)].double().numpy()
    return {f"a_obj {method}": means[0], f"a_comp {method}": means[1]}


def encode_pictures(clip, pictures: Pictures, refs: list) -> torch.Tensor:
    """Unit features [n, D], float32 on the CPU."""
    parts = [refs[i : i + BATCH] for i in range(0, len(refs), BATCH)]
    return torch.cat([encode_pixels(clip, list(pictures.batch(part))) for part in parts])
