"""Options of training on descriptions: presets, what is possible, and the command line for them."""

import argparse
from numbers import Real
from pathlib import Path

from ...errors import UserError
from ...interchange import FEATURES
from ...interchange.engine import pooled_rows, site_width
from ...trace.sites import find_blocks
from .examples import TEST, VAL

BEHAVIOURAL, IIT, JOINT, EVEN = OBJECTIVES = ("behavioural", "iit", "joint", "even")
FULL, LORA, NONE = ADAPTERS = ("full", "lora", "none")
LAST = "last"
DEFAULTS = {
    "objective": IIT,
    "adapters": LORA,
    "rank": 64,
    "lr": 1e-5,
    "weight_decay": 0.0,
    "falling": False,
    "epochs": 10,
    "steps": None,
    "batch": 12,
    "singly": False,
    "same_order": False,
    "sample": None,
    "random_source": False,
    "site": None,
    "size": None,
    "rotation": "trained",
    "alpha": 0.5,
    "seed": 0,
    "eval_every": 500,
    "n_val": 5000,
    "select_on": VAL,
}
MEANING = {
    "objective": "behavioural, iit, joint, or even: unlearn the preference",
    "adapters": "full: the whole text tower; lora; none: the rotation alone",
    "rank": "of the adapters",
    "lr": "learning rate of Adam, constant",
    "weight_decay": "L2, as a part of the gradient",
    "falling": "let the learning rate fall to zero in a line",
    "epochs": "passes over the training rows",
    "steps": "number of steps in place of epochs",
    "batch": "texts a step, of all processes; a triplet has two, an example taken singly one",
    "singly": "shuffle the two directions of a triplet apart (iit, joint)",
    "same_order": "the same order in every epoch",
    "sample": "train on this many rows drawn with replacement, the same for every seed",
    "random_source": "take the source text from another image",
    "site": "block after which to interchange, from 0, or features (default: the last but one)",
    "size": "coordinates to interchange (default: half of them)",
    "rotation": "trained, or identity",
    "alpha": "weight of iit in joint",
    "seed": "order, first rotation, first adapters",
    "eval_every": "steps between evaluations",
    "n_val": "rows of the validation split that are used, the same for every seed",
    "select_on": "val, test (as published) or last: which evaluated step is kept",
}
SINGLY = {"singly": True, "sample": 100_000}
SCENES = {"rank": 16, "lr": 5e-4, "steps": 300, "eval_every": 100}
FULL_SCENES = SCENES | {"lr": 5e-5}
EVEN_SCENES = {
    "lr": 2e-4,
    "falling": True,
    "steps": 200,
    "batch": 64,
    "eval_every": 100,
    "select_on": LAST,
}
PRESETS: dict[str, dict] = {
    "scripts": {
        (BEHAVIOURAL, FULL): {"lr": 5e-6},
        (BEHAVIOURAL, LORA): {"rank": 128},
        **{(name, LORA): {"rank": 64, **SINGLY} for name in (IIT, JOINT)},
        **{(name, kind): SINGLY for name in (IIT, JOINT) for kind in (FULL, NONE)},
    },
    "paper": {
        (BEHAVIOURAL, FULL): {"lr": 0.5e-6},
        (BEHAVIOURAL, LORA): {"rank": 64},
        **{(name, LORA): {"rank": 128, **SINGLY} for name in (IIT, JOINT)},
        **{(name, kind): SINGLY for name in (IIT, JOINT) for kind in (FULL, NONE)},
    },
    "scenes": {
        **{(name, LORA): SCENES for name in (BEHAVIOURAL, IIT, JOINT)},
        **{(name, FULL): FULL_SCENES for name in (BEHAVIOURAL, IIT, JOINT)},
        (IIT, NONE): SCENES | {"lr": 5e-3},
        (EVEN, FULL): EVEN_SCENES,
    },
}
CHOICES = {
    "objective": OBJECTIVES,
    "adapters": ADAPTERS,
    "rotation": ("trained", "identity"),
    "select_on": (VAL, TEST, LAST),
}
LEAST = {"rank": 1, "epochs": 1, "batch": 1, "seed": 0, "eval_every": 1, "n_val": 1}
OPTIONAL = {"steps": int, "sample": int, "size": int, "site": str}


def with_preset(preset: str, options: dict) -> dict:
    """All options: those given, else the preset's for this objective and adapters, else DEFAULTS.

    An option of None counts as not given. Raises UserError on unknown names.
    """
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}: choose from {', '.join(PRESETS)}")
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        raise UserError(f"unknown option {sorted(unknown)[0]!r}: choose from {', '.join(DEFAULTS)}")
    given = {name: value for name, value in options.items() if value is not None}
    kind = tuple((DEFAULTS | given)[name] for name in ("objective", "adapters"))
    return DEFAULTS | PRESETS[preset].get(kind, {}) | given


def check_options(cfg: dict, clip, texts: dict, world: int = 1) -> dict:
    """The options with site and size filled in. Raises UserError on what cannot be."""
    check_values(cfg)
    objective, adapters = cfg["objective"], cfg["adapters"]
    if adapters == NONE and (objective not in (IIT, JOINT) or cfg["rotation"] == "identity"):
        raise UserError(
            "adapters none train the rotation alone: take the objective iit and the rotation "
            "trained"
        )
    if objective in (IIT, JOINT):
        cfg = cfg | place_of(clip, cfg["site"], cfg["size"])
    else:  # decides nothing, and is no part of what tells runs apart
        cfg = cfg | {"site": None, "size": None, "singly": False, "random_source": False}
    if cfg["singly"] is False and cfg["batch"] % (2 * world):
        raise UserError(
            f"a batch of {cfg['batch']} texts cannot be cut into triplets of two texts for "
            f"{world} processes"
        )
    if cfg["batch"] % world:
        raise UserError(f"a batch of {cfg['batch']} cannot be cut into {world} equal parts")
    if "train" not in texts:
        raise UserError("no row of the split train can be used")
    if cfg["select_on"] != LAST and cfg["select_on"] not in texts:
        raise UserError(
            f"no row of the split {cfg['select_on']} can be used: take select_on='last'"
        )
    return cfg


def place_of(clip, site, size) -> dict:
    """Site and size with their defaults: the last block but one, half of the coordinates.

    Raises UserError for a site that the tower lacks, and one that pools over several positions.
    """
    if isinstance(site, str) and site.isdecimal():
        site = int(site)
    site = len(find_blocks(clip.model, "text")) - 2 if site is None else site
    width = site_width(clip, site)
    if site != FEATURES:
        pooled_rows(clip.model, clip.tokenizer(["a"], clip.context_length).to(clip.device))
    size = width // 2 if size is None else size
    if not isinstance(size, int) or not 0 < size <= width:
        raise UserError(f"size must be a whole number from 1 to {width}, not {size!r}")
    return {"site": site, "size": size}


def check_values(cfg: dict) -> None:
    """Raise UserError on an option that is impossible with any model and table."""
    for name, values in CHOICES.items():
        if cfg[name] not in values:
            raise UserError(f"unknown {name} {cfg[name]!r}: choose from {', '.join(values)}")
    optional = {name: 1 for name in ("steps", "sample") if cfg[name] is not None}
    for name, least in (LEAST | optional).items():
        if not isinstance(cfg[name], int) or cfg[name] < least:
            raise UserError(f"{name} must be a whole number of at least {least}")
    for name in ("lr", "weight_decay"):
        if not isinstance(cfg[name], Real) or not 0 <= cfg[name] < float("inf"):
            raise UserError(f"{name} must be a number of at least 0")
    if not isinstance(cfg["alpha"], Real) or not 0 <= cfg["alpha"] <= 1:
        raise UserError("alpha must be a number from 0 to 1")


def build_parser(about: str) -> argparse.ArgumentParser:
    """The command line of training on descriptions."""
    parser = argparse.ArgumentParser(
        "python -m clip_attribution.training.descriptions", description=about
    )
    parser.add_argument(
        "--data",
        help="Concadia's folder or wiki_split.json, or a table (csv, jsonl, parquet) with the "
        "columns image, caption, description, split (default: the embedded world)",
    )
    parser.add_argument("--images", help="folder of the images (default: beside the file)")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    for name in ("model", "pretrained", "model-config", "activation"):
        parser.add_argument(f"--{name}", help="as for clip-attribution score")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--preset", choices=PRESETS, help="default: scripts, or scenes without --data"
    )
    parser.add_argument(
        "--even",
        type=Path,
        metavar="DIR",
        help="begin from the even base, which is made in this folder, or read from it",
    )
    parser.add_argument("--keep-identical", action="store_true", help="also pairs of equal tokens")
    parser.add_argument("--save-every", type=int, default=100, metavar="STEPS")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    for name, value in DEFAULTS.items():
        option = f"--{name.replace('_', '-')}"
        if value is False:
            parser.add_argument(option, action="store_true", default=None, help=MEANING[name])
            continue
        kind = OPTIONAL.get(name, type(value))
        shown = "" if value is None else f" (usually {value})"
        choices = CHOICES.get(name)
        parser.add_argument(option, type=kind, choices=choices, help=MEANING[name] + shown)
    return parser
