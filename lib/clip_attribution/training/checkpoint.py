"""Checkpoints of a fine-tuning run as safetensors: a resumable state, and the tuned weights.

A run is known by its key, and a folder that holds another one is refused.

Nothing is pickled. The state holds the weights (model.*) and, for each parameter by its place, the
optimizer's tensors (optimizer.PLACE.NAME); step, log and key stand in the metadata.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError
from ..io.parts import picture_state
from ..io.tables import atomic_path, digest, write_json

STATE, FINAL, LOG, FACTS = "checkpoint.safetensors", "model.safetensors", "log.jsonl", "run.json"


def run_key(clip, examples, cfg: dict) -> str:
    """What decides the result: weights, pairs with their images and parse, options."""
    root = examples.pictures.root
    images = [picture_key(ref, root) for ref in examples.images]
    rows = images, examples.captions, examples.concepts
    return digest(clip.weights_hash, rows, sorted(cfg.items()))


def picture_key(ref, root) -> tuple:
    """A path with the size and time of its file (None for a scene), or what an image shows."""
    if hasattr(ref, "tobytes"):
        return ref.size, ref.mode, digest(ref.tobytes())
    return str(ref), picture_state(ref, root)


def save_checkpoint(out: Path, key: str, model, optimizer, state: dict, step: int, log: list):
    """Write what a resumed run needs, atomically, and the log so far."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for place, parts in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": torch.as_tensor(v) for name, v in parts.items()}
    metadata = {"key": key, "step": str(step), "state": json.dumps(state)}
    write_log(out, log)
    write_tensors(out / STATE, tensors, metadata)


def load_checkpoint(out: Path, key: str, model, optimizer, state: dict) -> tuple[int, list]:
    """Put a checkpoint back in place; (the step to go on with, the log), (0, []) without one.

    Raises UserError when the folder holds another run or an unreadable file.
    """
    if not (out / STATE).is_file():
        return 0, []
    tensors, metadata = read_tensors(out / STATE)
    if metadata.get("key") != key:
        raise UserError(
            f"{out} holds a run with other options, weights or pairs: choose another folder"
        )
    own = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    model.load_state_dict(own)
    parts: dict = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, place, part = name.split(".", 2)
            parts.setdefault(int(place), {})[part] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": parts})
    state |= json.loads(metadata["state"])
    step = int(metadata["step"])
    return step, [row for row in read_rows(out / LOG) if row["step"] < step]


def save_final(out: Path, key: str, clip, facts: dict, log: list) -> None:
    """Write the tuned weights with what `load_clip` needs to know, log and facts; end the state."""
    description = {name: json.dumps(value) for name, value in clip.config.items()}
    metadata = {"format": "pt", "key": key, "training": json.dumps(facts), **description}
    write_log(out, log)
    write_tensors(out / FINAL, dict(clip.model.state_dict()), metadata)
    write_json({"key": key, "model": clip.name, **facts}, out / FACTS)
    (out / STATE).unlink(missing_ok=True)


def load_final(out: Path, key: str, model) -> list | None:
    """Load the weights of a finished run with this key into the model; its log, or None."""
    if not (out / FINAL).is_file() or not (out / FACTS).is_file():
        return None
    tensors, metadata = read_tensors(out / FINAL)
    if metadata.get("key") != key:
        raise UserError(
            f"{out} holds a finished run with other options, weights or pairs: choose "
            "another folder"
        )
    model.load_state_dict(tensors)
    return read_rows(out / LOG)


def write_tensors(path: Path, tensors: dict, metadata: dict) -> None:
    """Write a safetensors file, atomically."""
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, temporary, metadata)


def read_tensors(path: Path) -> tuple[dict, dict]:
    """The tensors and the metadata of a safetensors file. Raises UserError."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as reason:
        raise UserError(f"cannot read {path}: remove it to begin anew ({reason})") from None


def write_log(out: Path, log: list) -> None:
    """Write the log, one JSON object a line, atomically."""
    with atomic_path(out / LOG) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in log), "utf-8")


def read_rows(path: Path) -> list:
    """The rows of a log; none where there is no file."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]
