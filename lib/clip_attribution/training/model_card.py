"""Measure the embedded model and write its card: data/MODEL_CARD.md and data/model_card.json.

    python -m clip_attribution.training.model_card

Every number of the card is measured by this command, on scenes that were not trained on, each with
a 95 % bootstrap interval and the number of pairs, beside chance and the same architecture with
untrained weights.
"""

from ..errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.training.model_card")

import argparse
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from safetensors import safe_open

from ..attribution import attribute
from ..errors import UserError, exit_status
from ..io.images import open_image
from ..io.output import only_own
from ..io.tables import atomic_path, read_json, write_json
from ..metrics.intervals import (
    Estimate,
    foil_wins,
    in_words,
    location_chance,
    location_hits,
    mean_estimate,
)
from ..models.clip import load_clip
from ..scenes import KINDS, SWAPS, scene_pairs
from .contrastive import MODEL
from .pretrain import PRESETS

HEAD = "# The embedded model"
LAYERS = {"all layers": "all", "last three": -3, "last one": -1}


def measure(clip, n: int, seed: int, kinds, combinations: str = "seen") -> dict:
    """Foil-pair accuracy and location accuracy of each foil type, on n pairs a type.

    Returns {type: {measure: Estimate}}; location accuracy where one word was replaced.
    """
    result = {}
    for kind in kinds:
        pairs = scene_pairs(n, seed, kind, combinations)
        words, scored = attribute(clip, pairs, layers="all", per_layer=True, batch_size=64)
        if scored["error"].notna().any():
            raise UserError(f"scenes failed: {scored['error'].dropna().iloc[0]}")
        group = scored["pair_id"].str.rsplit(":", n=1).str[0]
        wins = foil_wins(scored["cosine"], scored["is_foil"], group)
        result[kind] = {"foil-pair accuracy": mean_estimate(wins)}
        if kind not in SWAPS:
            result[kind] |= locate(words, scored)
    return result


def locate(words: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Estimate]:
    """Location accuracy of CLIP4DM on the foils, for each choice of layers, and of chance."""
    foils = pairs[pairs["is_foil"]].set_index("pair_id")["foil_index"]
    own = words[words["pair_id"].isin(foils.index)].copy()
    columns = [c for c in own if c[0] == "L" and c[1:].isdigit()]
    result = {"chance": mean_estimate(location_chance(own, foils.index))}
    for name, layers in LAYERS.items():
        last = columns if layers == "all" else columns[layers:]
        own["attribution"] = own[last].mean(axis=1, skipna=False)
        result[name] = mean_estimate(location_hits(own, foils))
    return result


def retrieval(clip, seed: int, batch: int = 256, batches: int = 8) -> Estimate:
    """Top-1 of image to text among `batch` unrelated scenes, by their true captions."""
    hits = []
    for number in range(batches):
        pairs = scene_pairs(batch, seed + number, None)
        image = clip.encode_images([open_image(ref) for ref in pairs["image"]])
        text = clip.encode_texts(list(pairs["caption"]))
        hits += (image @ text.T).argmax(1).cpu().eq(torch.arange(batch)).float().tolist()
    return mean_estimate(hits)


def untrained(clip):
    """The same architecture with random weights: what no training gives."""
    return replace(clip, model=load_clip(clip.name, model_config=MODEL).model, pretrained="random")


def write_card(folder: Path, n: int, seed: int) -> Path:
    """Measure and write both files; returns the path of the card."""
    numbers = only_own(folder / "model_card.json", lambda path: "measured" in read_json(path))
    card = only_own(folder / "MODEL_CARD.md", lambda path: path.read_text("utf-8").startswith(HEAD))
    clip = load_clip()
    file = folder / "scenes-clip.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    measured = {
        "trained": measure(clip, n, seed, KINDS + SWAPS),
        "untrained": measure(untrained(clip), n, seed, KINDS + SWAPS),
        "novel": measure(clip, n, seed, ("noun", "colour"), "novel"),
        "retrieval": {"trained": retrieval(clip, seed), "chance": 1 / 256},
    }
    facts = {
        "weights_hash": clip.weights_hash,
        "size_mb": round(file.stat().st_size / 1e6, 1),
        "parameters": sum(p.numel() for p in clip.model.parameters()),
        "training": json.loads(metadata["training"]),
        "model_cfg": json.loads(metadata["model_cfg"]),
        "n": n,
        "seed": seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "numpy": np.__version__,
    }
    write_json({**facts, "measured": measured}, numbers)
    with atomic_path(card) as temporary:
        temporary.write_text(card_text(facts, measured), "utf-8")
    return card


def _cell(estimate: Estimate | None) -> str:
    return "" if estimate is None else in_words(estimate)


def preset(training: dict) -> str:
    """The option of the recipe by which a model of this batch is trained."""
    own = [name for name, one in PRESETS.items() if one["batch"] == training["batch"]]
    return f" --preset {own[0]}" if own and own[0] != "cpu" else ""


def seldom(training: dict) -> str:
    """Whether positions and states were varied too, in words."""
    weights = training.get("weights") or {}
    weight = training.get("w_position", weights.get("position"))
    return f"; seldom, with weight {weight:g}, position or state" if weight else ""


def card_text(facts: dict, measured: dict) -> str:
    """The card as Markdown."""
    training, top1 = facts["training"], measured["retrieval"]["trained"]
    lines = [
        HEAD,
        "",
        "Written by `make card`; every number below is measured by that command.",
        "",
        f"An open_clip `CLIP` of {facts['parameters'] / 1e6:.1f} M parameters "
        f"({facts['size_mb']} MB, weights {facts['weights_hash']}): "
        f"{facts['model_cfg']['vision_cfg']['image_size']}-pixel images in "
        f"{facts['model_cfg']['vision_cfg']['patch_size']}-pixel patches, "
        f"{facts['model_cfg']['vision_cfg']['layers']} vision and "
        f"{facts['model_cfg']['text_cfg']['layers']} text layers of width "
        f"{facts['model_cfg']['text_cfg']['width']}, "
        f"context {facts['model_cfg']['text_cfg']['context_length']}.",
        "",
        f"Trained on {training['scenes']:,} images of the embedded world "
        f"({training['steps']:,} steps of {training['batch']}) with the settings of "
        f"`python -m clip_attribution.training.pretrain{preset(training)}`: CLIP's contrastive "
        "loss over batches of *families*, scenes that differ in one stated fact (noun, colour, "
        "size, count, ground or name"
        f"{seldom(training)}), and a dense loss on the image patches (their noun and colour, from "
        f"step {training['facts_from']:,} on also size, count and name) whose heads were thrown "
        "away. Relations are its weakness, as they are in models of ordinary size. It knows "
        "nothing but this world.",
        "",
        f"Top-1 of image to text among 256 unrelated scenes: **{_cell(top1)}**, n = {top1.n}, "
        f"chance {1 / 256:.3f}.",
        "",
        f"## Foils, {facts['n']} pairs a type (seed {facts['seed']}, never trained on)",
        "",
        "Share of pairs in which the true caption scores higher than the false one (chance .5; "
        "brackets: 95 % bootstrap interval).",
        "",
        "| foil type | trained | untrained weights |",
        "|---|---|---|",
    ]
    for kind, row in measured["trained"].items():
        base = measured["untrained"][kind]["foil-pair accuracy"]
        lines.append(f"| {kind} | {_cell(row['foil-pair accuracy'])} | {_cell(base)} |")
    lines += [
        "",
        "Made of (noun, colour) pairs that training never showed:",
        "",
        "| foil type | foil-pair accuracy | location accuracy, all layers |",
        "|---|---|---|",
    ]
    for kind, row in measured["novel"].items():
        cells = _cell(row["foil-pair accuracy"]), _cell(row["all layers"])
        lines.append(f"| {kind} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "## Location accuracy of CLIP4DM",
        "",
        "Share of foils whose most negative word is the replaced one, by the text layers used.",
        "",
        "| foil type | " + " | ".join(LAYERS) + " | chance | untrained, all layers |",
        "|---|" + "---|" * (len(LAYERS) + 2),
    ]
    for kind in KINDS:
        row = measured["trained"][kind]
        cells = [_cell(row[name]) for name in LAYERS] + [f"{row['chance'].value:.3f}"]
        cells.append(_cell(measured["untrained"][kind]["all layers"]))
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    versions = f"Python {facts['python']}, torch {facts['torch']}, open_clip {facts['open_clip']}"
    lines += ["", f"Measured with {versions}. The same numbers stand in `model_card.json`.", ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=1000, help="foil pairs a type")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("data"))
    options = parser.parse_args(arguments)

    def run() -> None:
        print(f"wrote {write_card(options.folder, options.n, options.seed)}")

    return exit_status(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())
