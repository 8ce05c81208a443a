"""CAE's comparison: the same model tuned in several ways, with the same pairs and steps.

    runs = compare(clip, n_pairs=768, steps=24, batch=32, cache="runs/cae")
    table = evaluate_runs(clip, runs)        # of `finetuning_outcomes`

VARIANTS (Li et al., EMNLP 2024, Tables 1, 2 and 5): CLIP as it is; CLIP-FT, tuned by the
contrastive loss alone; CAE with each of the four attributions; the attribution loss alone (of
attention). All but the first and the last also with hard negatives. `of_share` makes others: CAE
with more or less weight on the attribution loss.
"""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from tqdm.auto import tqdm

from ...models.clip import Clip, load_clip
from ...scenes import scene_pairs
from ...training.attributions import TRAINABLE
from ...training.checkpoint import key_of
from ...training.examples import read_examples
from ...training.finetune import finetune
from ...training.finetune_options import check_options

UNTUNED, ALONE = "CLIP", "only L_attr"
VARIANTS = {
    UNTUNED: None,
    "CLIP-FT": {"objective": "contrastive"},
    **{f"CAE {m.removeprefix('cae_')}": {"method": m} for m in TRAINABLE},
    ALONE: {"method": "attention", "itc": 0.0},
}
TRAINING_SEED = 1000  # of the scenes; evaluation has small ones


class TunedRun(NamedTuple):
    """One tuned model: weights is its file (None for CLIP as it is), log one row a step."""

    variant: str
    hard_negatives: bool
    seed: int
    log: pd.DataFrame
    weights: Path | None


def compare(
    clip: Clip,
    *,
    cache,
    n_pairs=768,
    steps=24,
    batch=32,
    lr=3e-4,
    warmup=4,
    k=1,
    calibration=5,
    seeds=(0,),
    hard_negatives=(False, True),
    variants=VARIANTS,
    pairs=None,
    image_root=None,
    progress=False,
    **options,
) -> list[TunedRun]:
    """Tune `clip` in all ways, each in a folder of its own under `cache`; a second call reads back.

    variants: {name: its own options of `finetune`, None for no tuning}. pairs: the training table
    (default: n_pairs scenes). seeds decide order and draws. options: more of `finetune`, the same
    for all variants. Raises UserError as `finetune` and `read_examples` do.
    """
    pairs = scene_pairs(n_pairs, TRAINING_SEED, None) if pairs is None else pairs
    examples, _ = read_examples(clip, pairs, image_root, progress=progress)
    common = {
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "warmup": warmup,
        "k": k,
        "calibration": calibration,
        **options,
    }
    runs = [
        TunedRun(name, False, 0, pd.DataFrame(), None)
        for name, own in variants.items()
        if own is None
    ]
    jobs = [
        (name, hard, seed)
        for name, hard, seed in product(variants, hard_negatives, seeds)
        if is_possible(variants[name], hard)
    ]
    for variant, hard, seed in tqdm(jobs, "runs", disable=not progress):
        own = {**common, **variants[variant], "hard_negatives": hard, "seed": seed}
        cfg = check_options(own, clip, examples)
        kind = cfg["method"] if cfg["objective"] == "cae" else cfg["objective"]
        folder = Path(cache) / f"{kind}-{key_of(clip, examples, cfg)}"
        _, log = finetune(clip, examples, folder, save_every=steps, **own)
        runs.append(TunedRun(variant, hard, seed, log, folder / "model.safetensors"))
    return runs


def of_share(shares, method: str = "attention") -> dict:
    """Variants for `compare`: CAE's, where the attribution loss begins with each of these shares of
    the contrastive gradient; 0 is CLIP-FT. Named by the share."""
    return {
        f"{share:g}": {"method": method, "share": share} if share else VARIANTS["CLIP-FT"]
        for share in shares
    }


def is_possible(own: dict | None, hard_negatives: bool) -> bool:
    """CLIP as it is takes no training, the attribution loss alone no negatives."""
    return own is not None and not (hard_negatives and own.get("itc") == 0)


def load_run(clip: Clip, run: TunedRun) -> Clip:
    """The model of one run; `clip` itself for CLIP as it is."""
    if run.weights is None:
        return clip
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[clip.dtype]
    return load_clip(
        pretrained=run.weights, device=clip.device, precision=precision, tokenizer=clip.tokenizer
    )
