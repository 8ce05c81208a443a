"""Checkpoints and model configs: where they are found and how they are read, never by unpickling.

A config is what open_clip calls one: a JSON object with `embed_dim`, `vision_cfg`, `text_cfg` and
perhaps `quick_gelu`, or the hub's `open_clip_config.json`, which holds it under `model_cfg` beside
`preprocess_cfg`. A `.safetensors` file may carry both in its metadata (`model_cfg`, `preprocess`).
"""

import re
import zipfile
from copy import deepcopy
from functools import partial
from pathlib import Path

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..errors import UserError, one_line
from ..io.pickles import check_pickle
from ..io.read import parse_json, read_json
from .configs import check_config, check_preprocess

# An OpenAI archive stores these three numbers beside its weights.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PASSED_ON = re.compile(
    r"^(module\.)+|\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def read_config(source, foreign: bool | None = False) -> dict:
    """A model config (a JSON file or a dict) as `{"model_cfg": ..., "preprocess": ...}`.

    foreign: see `check_config`. Raises UserError when the file cannot be read, is not an open_clip
    model config, or sets what a config may not.
    """
    data = source if isinstance(source, dict) else read_json(Path(source))
    nested = isinstance(data, dict) and "model_cfg" in data
    preprocess = data.get("preprocess_cfg") or data.get("preprocess") if nested else None
    return _description(data["model_cfg"] if nested else data, preprocess, source, foreign)


def file_description(path: Path, used: bool = True) -> dict | None:
    """What a checkpoint says of itself, in `read_config`'s form; None when it says nothing.

    used: whether the model is built from it, so that its names of towers and tokenizers count.

    Read from a `.safetensors` file's metadata, else from an `open_clip_config.json` beside it.
    """
    metadata = _read_metadata(path) if path.suffix == ".safetensors" else {}
    beside = path.parent / "open_clip_config.json"
    if "model_cfg" not in metadata:
        return read_config(beside, used or None) if beside.is_file() else None
    model_cfg = parse_json(metadata["model_cfg"], path)
    preprocess = metadata.get("preprocess") or metadata.get("preprocess_cfg")
    return _description(model_cfg, preprocess and parse_json(preprocess, path), path, used or None)


def _description(model_cfg, preprocess, source, foreign) -> dict:
    required = ("embed_dim", "vision_cfg", "text_cfg")
    missing = [key for key in required if not isinstance(model_cfg, dict) or key not in model_cfg]
    if missing:
        label = "the dict" if isinstance(source, dict) else source
        raise UserError(f"not an open_clip model config (no {', '.join(missing)}): {label}")
    check_config(model_cfg, source, foreign)
    return {
        "model_cfg": deepcopy(model_cfg),
        "preprocess": check_preprocess(preprocess or {}, source),
    }


def _read_metadata(path: Path) -> dict:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as reason:
        raise UserError(f"not a safetensors file: {path} ({one_line(reason)})") from reason


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A local checkpoint's state dict on the CPU, freed of what training wraps around it.

    Reads safetensors, or torch files by the weights-only reader, which runs no code. Wrappers are
    `{"state_dict": ...}` and the like, and prefixes of DataParallel, FSDP, torch.compile and so on.
    Raises UserError for TorchScript archives, files with Python objects, and broken files.
    """
    state = _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    while isinstance(state, dict):
        inner = (state[key] for key in WRAPPERS if isinstance(state.get(key), dict))
        if (own := next(inner, None)) is None:
            break
        state = own
    if not isinstance(state, dict) or not state:
        raise UserError(f"no state dict in {path}: expected a mapping of names to tensors")
    odd = [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))]
    if odd:
        raise UserError(f"no state dict in {path}: {str(odd[0])[:60]!r} is not a tensor")
    state = {PASSED_ON.sub("", k): v for k, v in state.items() if k not in NOT_WEIGHTS}
    while (scale := next((k for k in state if k.endswith(".logit_scale")), None)) is not None:
        prefix = scale.removesuffix("logit_scale")
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def says_quick_gelu(path: Path) -> bool | None:
    """What a torch file says of its activation; None for nothing.

    OpenAI's archives, all with QuickGELU, hold three numbers beside the weights; and state dicts of
    models of `load_clip` carry the activation (see `remember_activation`).
    """
    if path.suffix == ".safetensors":
        keys = _safetensors_keys(path)
        return True if set(NOT_WEIGHTS) <= keys else None
    state = _load_torch(path, mmap=zipfile.is_zipfile(path))  # its numbers are not read
    for key in WRAPPERS if isinstance(state, dict) else ():
        state = state[key] if isinstance(state.get(key), dict) else state
    if not isinstance(state, dict):
        return None
    if set(NOT_WEIGHTS) <= state.keys():
        return True
    facts = getattr(state, "_metadata", None)
    said = facts.get("", {}) if isinstance(facts, dict) else {}
    said = said.get("quick_gelu") if isinstance(said, dict) else None
    return said if isinstance(said, bool) else None


def remember_activation(model: torch.nn.Module, quick_gelu: bool) -> None:
    """Let the model's state dict, saved by torch.save, say its activation: names alone do not."""

    model._register_state_dict_hook(partial(_note, quick_gelu))


def _note(quick_gelu, module, state, prefix, facts):
    facts["quick_gelu"] = quick_gelu


def _safetensors_keys(path: Path) -> set[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as reason:
        raise UserError(f"not a safetensors file: {path} ({one_line(reason)})") from reason


def _load_safetensors(path: Path) -> dict:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as reason:
        raise UserError(f"not a safetensors file: {path} ({one_line(reason)})") from reason


def _load_torch(path: Path, mmap: bool = False):
    if _is_torchscript(path):
        raise UserError(
            f"{path} is a TorchScript archive, which runs code when it is loaded. Convert it once: "
            f"s = torch.jit.load({path.name!r}, map_location='cpu').state_dict(); "
            "torch.save({k: v.clone() for k, v in s.items()}, 'weights.pt'); then pass "
            "weights.pt (OpenAI's own files need a model name that ends in -quickgelu)"
        )
    check_pickle(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
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
    except UserError:
        raise
    except Exception as reason:  # open_clip's conversions on whatever the file holds
        raise UserError(f"{path} does not fit the model: {one_line(reason)}") from reason


def _rename(model, state: dict) -> dict:
    state = convert_state_dict(model, state)
    known = model.state_dict().keys()
    # older transformers kept these numbers 0, 1, 2 ... among the weights
    state = {k: v for k, v in state.items() if k in known or not k.endswith(".position_ids")}
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
