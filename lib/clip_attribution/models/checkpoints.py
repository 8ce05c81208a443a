"""Checkpoints and model configs: where they are found and how they are read, never by unpickling.

A config is what open_clip calls one: a JSON object with `embed_dim`, `vision_cfg`, `text_cfg` and
perhaps `quick_gelu`, or the hub's `open_clip_config.json`, which holds it under `model_cfg` beside
`preprocess_cfg`. A `.safetensors` file may carry both in its metadata (`model_cfg`, `preprocess`).
"""

import json
import zipfile
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..errors import UserError, one_line

# An OpenAI archive stores these three numbers beside its weights.
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def read_config(source) -> dict:
    """A model config (a JSON file or a dict) as `{"model_cfg": ..., "preprocess": ...}`.

    Raises UserError when the file cannot be read or is not an open_clip model config.
    """
    data = source if isinstance(source, dict) else _read_json(Path(source))
    nested = isinstance(data, dict) and "model_cfg" in data
    preprocess = data.get("preprocess_cfg") or data.get("preprocess") if nested else None
    return _description(data["model_cfg"] if nested else data, preprocess, source)


def file_description(path: Path) -> dict | None:
    """What a checkpoint says of itself, in `read_config`'s form; None when it says nothing.

    Read from a `.safetensors` file's metadata, else from an `open_clip_config.json` beside it.
    """
    metadata = _read_metadata(path) if path.suffix == ".safetensors" else {}
    beside = path.parent / "open_clip_config.json"
    if "model_cfg" not in metadata:
        return read_config(beside) if beside.is_file() else None
    model_cfg = _parse_json(metadata["model_cfg"], path)
    preprocess = metadata.get("preprocess") or metadata.get("preprocess_cfg")
    return _description(model_cfg, preprocess and _parse_json(preprocess, path), path)


def _description(model_cfg, preprocess, source) -> dict:
    required = ("embed_dim", "vision_cfg", "text_cfg")
    missing = [key for key in required if not isinstance(model_cfg, dict) or key not in model_cfg]
    if missing:
        raise UserError(f"not an open_clip model config (no {', '.join(missing)}): {source}")
    return {"model_cfg": deepcopy(model_cfg), "preprocess": preprocess or {}}


def _read_json(path: Path):
    try:
        return _parse_json(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(f"cannot read the model config {path}: {one_line(reason)}") from reason


def _parse_json(text: str, source):
    try:
        return json.loads(text)
    except ValueError as reason:
        raise UserError(f"not JSON in {source}: {one_line(reason)}") from reason


def _read_metadata(path: Path) -> dict:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as reason:
        raise UserError(f"not a safetensors file: {path} ({one_line(reason)})") from reason


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A local checkpoint's state dict on the CPU, unwrapped from `state_dict` and `module.`.

    Reads safetensors, or torch files by the weights-only reader, which runs no code.
    Raises UserError for TorchScript archives, files with Python objects, and broken files.
    """
    state = _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise UserError(f"no state dict in {path}: expected a mapping of names to tensors")
    state = {str(k).removeprefix("module."): v for k, v in state.items() if k not in NOT_WEIGHTS}
    odd = [k for k, v in state.items() if not isinstance(v, torch.Tensor)]
    if odd:
        raise UserError(f"no state dict in {path}: {_some(odd)} is not a tensor")
    return state


def _load_safetensors(path: Path) -> dict:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as reason:
        raise UserError(f"not a safetensors file: {path} ({one_line(reason)})") from reason


def _load_torch(path: Path):
    if _is_torchscript(path):
        raise UserError(
            f"{path} is a TorchScript archive, which runs code when it is loaded. Convert it once: "
            f"s = torch.jit.load({path.name!r}, map_location='cpu').state_dict(); "
            "torch.save({k: v.clone() for k, v in s.items()}, 'weights.pt'); then pass "
            "weights.pt (OpenAI's own files need a model name that ends in -quickgelu)"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # torch documents no closed list of what a broken file raises
        raise UserError(
            f"cannot read {path} as weights only ({one_line(reason)}): save its state dict "
            "as safetensors"
        ) from reason


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            "/code/" in entry or entry.endswith("constants.pkl") for entry in archive.namelist()
        )


def load_weights(model: torch.nn.Module, path: Path, published: bool) -> None:
    """Copy a checkpoint into the model; every name and shape has to match.

    A published file goes through open_clip's own conversions. Raises UserError naming the first
    names that do not fit.
    """
    try:
        if published:
            open_clip.load_checkpoint(model, str(path), weights_only=True)
            return
        state = _rename(model, read_weights(path))
        _check_fit(model.state_dict(), state, path)
        model.load_state_dict(state)
    except (RuntimeError, SafetensorError, UnpicklingError, OSError) as reason:
        raise UserError(f"{path} does not fit the model: {one_line(reason)}") from reason


def _rename(model, state: dict) -> dict:
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    scale = state.get("logit_scale")
    if scale is not None and scale.numel() == model.logit_scale.numel():
        state["logit_scale"] = scale.reshape(model.logit_scale.shape)
    return state


def _check_fit(own: dict, state: dict, path: Path) -> None:
    shapes = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    found = {
        "missing": [k for k in own if k not in state],
        "not in the model": [k for k in state if k not in own],
        "shape": shapes,
    }
    problems = [f"{kind}: {_some(names)}" for kind, names in found.items() if names]
    if problems:
        hint = (
            "; these are Transformers names, open_clip's are needed"
            if (any(k.startswith(("text_model.", "vision_model.")) for k in state))
            else ""
        )
        raise UserError(f"{path} does not fit the model: {'; '.join(problems)}{hint}")


def _some(names: list) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(str, names[:3])) + more
