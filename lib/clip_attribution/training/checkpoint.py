"""Checkpoints of a fine-tuning run as safetensors: a resumable state, and the tuned weights.

A run is known by its key, and a folder that holds another one is refused.

Nothing is pickled. The state holds the weights (model.*) and, for each parameter by its place, the
optimizer's tensors (optimizer.PLACE.NAME); step, log and key stand in the metadata.
"""

import json
from pathlib import Path

import torch

from ..errors import UserError
from ..io.keys import rows_key, run_key
from ..io.output import seal
from ..io.tables import atomic_path
from ..io.tensors import read_tensors, write_tensors

STATE, FINAL, LOG, FACTS = "checkpoint.safetensors", "model.safetensors", "log.jsonl", "run.json"


def key_of(clip, examples, cfg: dict) -> str:
    """What decides the result (see `io.keys`): model, pairs with their images and parse, options,
    code."""
    rows = examples.captions, [[tuple(span) for span in own] for own in examples.concepts]
    run = run_key(finetune_file(), [clip], **cfg)
    return rows_key(run, rows, examples.images, examples.pictures.root)


def finetune_file() -> str:
    """The module whose imports are the code of a run."""
    return str(Path(__file__).with_name("finetune.py"))


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


def save_final(out: Path, key: str, clip, facts: dict, log: list, more=()) -> None:
    """Write the tuned weights with what `load_clip` needs to know, log and facts; end the state.

    more: other files of the run, written before, which belong to what it has made.
    """
    description = {name: json.dumps(value) for name, value in clip.config.items()}
    metadata = {"format": "pt", "key": key, "training": json.dumps(facts), **description}
    write_log(out, log)
    write_tensors(out / FINAL, dict(clip.model.state_dict()), metadata)
    files = [out / FINAL, out / LOG, *more]
    seal(out / FACTS, files, {"key": key, "model": clip.name, **facts})
    (out / STATE).unlink(missing_ok=True)


def load_final(out: Path, model) -> list:
    """Load the weights of a finished run into the model; its log."""
    model.load_state_dict(read_tensors(out / FINAL)[0])
    return read_rows(out / LOG)


def write_log(out: Path, log: list) -> None:
    """Write the log, one JSON object a line, atomically."""
    with atomic_path(out / LOG) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in log), "utf-8")


def read_rows(path: Path) -> list:
    """The rows of a log; none where there is no file."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]
