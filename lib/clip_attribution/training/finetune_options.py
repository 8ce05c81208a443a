"""Options of fine-tuning: their defaults, what is possible, and the command line for them."""

import argparse
import math
from numbers import Real
from pathlib import Path

import torch

from ..attribution.registry import current_name
from ..errors import UserError
from ..trace.pooling import can_trim
from .attributions import TRAINABLE

DEFAULTS = {
    "objective": "cae",
    "method": "attention",
    "lam": None,
    "itc": 1.0,
    "margin": 0.0,
    "k": 4,
    "hard_negatives": False,
    "epochs": 5,
    "batch": 256,
    "accumulate": 1,
    "lr": 5e-7,
    "warmup": 50,
    "weight_decay": 0.2,
    "seed": 0,
    "precision": "fp32",
    "calibration": 20,
    "share": 0.1,
    "steps": None,
}
MEANING = {
    "objective": "contrastive, or cae: with the attribution loss beside it",
    "method": f"attribution that is trained on: {', '.join(TRAINABLE)}",
    "lam": "weight of the attribution loss (default: calibrated on the first batches)",
    "itc": "weight of the contrastive loss; 0 leaves it out",
    "margin": "margin of the attribution loss",
    "k": "replacements a concept, for perturbation",
    "hard_negatives": "add a false caption a pair, made from its parse",
    "epochs": "passes over the pairs",
    "batch": "pairs a step, over all processes",
    "accumulate": "parts in which a process computes its share of a batch",
    "lr": "learning rate after warm-up",
    "warmup": "steps of linear warm-up; a cosine to zero follows",
    "weight_decay": "of AdamW",
    "seed": "order of the pairs, draws",
    "precision": "fp32, or amp: forward passes in bfloat16",
    "calibration": "batches that the weight of the attribution loss is calibrated on",
    "share": "of the contrastive gradient, what calibration gives the attribution loss; 0: nothing",
    "steps": "number of steps in place of epochs",
}
OBJECTIVES, PRECISIONS = ("contrastive", "cae"), {"fp32": None, "amp": torch.bfloat16}
LEAST = {"batch": 1, "accumulate": 1, "epochs": 1, "k": 1, "calibration": 1, "warmup": 0, "seed": 0}
NOT_NEGATIVE = ("itc", "lr", "weight_decay", "share")
OPTIONAL = {"lam": float, "steps": int}  # None by default


def check_options(options: dict, clip, examples, world: int = 1) -> dict:
    """All options with their defaults. Raises UserError on an unknown or impossible one."""
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        raise UserError(f"unknown option {sorted(unknown)[0]!r}: choose from {', '.join(DEFAULTS)}")
    cfg = DEFAULTS | options
    check_values(cfg)
    if getattr(clip.model, "logit_bias", None) is not None:
        raise UserError(
            "the model has a logit_bias: its loss is a sigmoid one, and only the "
            "softmax loss is trained here; choose a model without"
        )
    if cfg["lam"] is None and cfg["itc"] and not cfg["share"]:
        cfg["lam"] = 0.0  # what calibration would give, if the attribution loss has a gradient
    pairs, parts = len(examples.captions), cfg["accumulate"] * world
    if cfg["batch"] > pairs:
        raise UserError(f"a batch of {cfg['batch']} of {pairs} usable pairs: take a smaller batch")
    if cfg["batch"] % parts:
        raise UserError(f"a batch of {cfg['batch']} cannot be cut into {parts} equal parts")
    if cfg["objective"] == "contrastive":
        return cfg | {"lam": 0.0}
    if not can_trim(clip.model):
        raise UserError("the objective cae needs a causal text tower that is pooled at EOT")
    if not (examples.objects.any(-1) & examples.composition.any(-1)).any():
        raise UserError(
            "no caption has both an object and a relation or attribute: nothing for "
            "the objective cae"
        )
    return cfg


def check_values(cfg: dict) -> None:
    """Raise UserError on an option that is impossible with any model and pairs.

    An old name of a method is replaced by the current one.
    """
    cfg["method"] = current_name(cfg["method"])
    known = {"objective": OBJECTIVES, "precision": tuple(PRECISIONS), "method": TRAINABLE}
    for name, values in known.items():
        if cfg[name] not in values:
            raise UserError(f"unknown {name} {cfg[name]!r}: choose from {', '.join(values)}")
    given = {name: 1 for name in ("steps",) if cfg[name] is not None}
    for name, least in (LEAST | given).items():
        if not isinstance(cfg[name], int) or cfg[name] < least:
            raise UserError(f"{name} must be a whole number of at least {least}")
    given = ("lam",) if cfg["lam"] is not None else ()
    for name in (*NOT_NEGATIVE, *given):
        if not is_number(cfg[name]) or cfg[name] < 0:
            raise UserError(f"{name} must be a number of at least 0")
    if not is_number(cfg["margin"]):
        raise UserError("margin must be a number")
    if not cfg["itc"] and (cfg["objective"] == "contrastive" or cfg["lam"] == 0):
        raise UserError("nothing to train: itc=0 leaves no loss")


def is_number(value) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


def build_parser(about: str) -> argparse.ArgumentParser:
    """The command line of fine-tuning."""
    parser = argparse.ArgumentParser(
        "python -m clip_attribution.training.finetune", description=about
    )
    parser.add_argument("pairs", metavar="PAIRS", help="a table with the columns image and caption")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    parser.add_argument("--images", help="folder of the images (default: that of PAIRS)")
    for name in ("model", "pretrained", "model-config", "activation"):
        parser.add_argument(f"--{name}", help="as for clip-attribution score")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--numerals", action="store_true", help="count numbers as attributes")
    parser.add_argument(
        "--save-every",
        type=int,
        default=100,
        metavar="STEPS",
        help="steps between checkpoints (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    for name, value in DEFAULTS.items():
        option = f"--{name.replace('_', '-')}"
        if value is False:
            parser.add_argument(option, action="store_true", help=MEANING[name])
            continue
        kind = OPTIONAL.get(name, type(value))
        shown = "" if value is None else " (default: %(default)s)"
        parser.add_argument(option, type=kind, default=value, help=MEANING[name] + shown)
    return parser
