"""What a model config may set: the fields of open_clip's own configs, each of its type and size.

A config may come from a stranger, inside a weights file or beside it. It describes an architecture
and nothing else: no path, no cache folder, no code of a tokenizer or of a tower.
"""

import math
import os
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Union, get_args, get_origin, get_type_hints

import timm
from open_clip.coca_model import MultimodalCfg
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from ..errors import UserError
from ..io.read import read_json

TOP = {
    "embed_dim": int,
    "vision_cfg": dict,
    "text_cfg": dict,
    "multimodal_cfg": dict,
    "quick_gelu": bool,
    "custom_text": bool,
    "init_logit_scale": float,
    "init_logit_bias": float | None,
    "nonscalar_logit_scale": bool,
}
PARTS = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg, "multimodal_cfg": MultimodalCfg}
INNER: dict[str, dict] = {
    "tokenizer_kwargs": {
        "clean": str,
        "strip_sep_token": bool,
        "language": str,
        "additional_special_tokens": list,
    },
    "act_kwargs": {"approximate": str},
    "norm_kwargs": {"eps": float, "elementwise_affine": bool, "bias": bool},
}
PREPROCESS = {
    "size": int | list | tuple,
    "mode": str,
    "mean": list | tuple,
    "std": list | tuple,
    "interpolation": str,
    "resize_mode": str,
    "fill_color": int,
}
# Several times what any model that open_clip publishes has.
LARGEST = {
    "layers": 256,
    "image_size": 2048,
    "patch_size": 256,
    "context_length": 8192,
    "vocab_size": 5_000_000,
    "mlp_ratio": 64,
}
LARGEST_OTHER = 16_384
MOST_WEIGHTS = 8e9
MAY_BE_0 = ("pad_id", "eos_id", "patch_dropout", "timm_drop", "timm_drop_path", "ls_init_value")
EMPTY = ("patch_size", "timm_pool", "timm_proj")  # may be null, as in open_clip's own
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
OWN_CODE = ("config.json", "tokenizer_config.json", "processor_config.json")


def check_config(model_cfg: dict, source, foreign: bool | None = False) -> None:
    """Raise UserError for a config that sets anything but an architecture of a sensible size.

    source: what to name in the error. foreign: it came with weights, so that a folder on this
    machine is none of its business; None: the names in it are not used.
    """
    label = source if not isinstance(source, dict) else "the dict"
    try:
        check_fields(model_cfg, TOP, "")
        for part, kind in PARTS.items():
            if part in model_cfg:
                check_fields(model_cfg[part], get_type_hints(kind), f"{part}.")
        if foreign is not None:
            check_names(model_cfg, foreign)
        weights = count_weights(model_cfg)
        if weights > MOST_WEIGHTS or 4 * weights > memory():
            raise ValueError(f"about {weights:.0e} weights, more than fit into memory")
    except (ValueError, TypeError) as reason:
        raise UserError(f"unusable model config: {reason} ({label})") from None


def check_preprocess(given, source) -> dict:
    """The preprocessing of a config, each field of its type and three colours. Raises UserError."""
    try:
        if not isinstance(given, dict):
            raise ValueError(f"preprocess must be an object, not {type(given).__name__}")
        given = {name: value for name, value in given.items() if value is not None}
        check_fields(given, PREPROCESS, "preprocess.")
        for name in ("mean", "std"):
            check_colours(name, given.get(name))
        allowed = {"mode": ("RGB",), "resize_mode": ("shortest", "longest", "squash")}
        allowed["interpolation"] = ("bicubic", "bilinear", "random")
        for name, known in allowed.items():
            if given.get(name, known[0]) not in known:
                raise ValueError(f"preprocess.{name} must be one of {', '.join(known)}")
    except (ValueError, TypeError) as reason:
        raise UserError(f"unusable model config: {reason} ({source})") from None
    return given


def check_colours(name: str, values) -> None:
    """Raise ValueError unless there are three finite numbers, none of them 0 in `std`."""
    numbers = values is None or (
        len(values) == 3
        and all(type(v) in (int, float) and math.isfinite(v) for v in values)
        and (name != "std" or all(v > 0 for v in values))
    )
    if not numbers:
        raise ValueError(f"preprocess.{name} must be three finite numbers")


def check_fields(given, known: dict, where: str) -> None:
    """Raise ValueError for a field that is not known, or not of its type and size."""
    if not isinstance(given, dict):
        raise ValueError(f"{where.rstrip('.') or 'it'} must be an object")
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{short(where + str(name))} is no field that a config may set")
        if name in INNER:
            check_fields(value or {}, INNER[name], f"{where}{name}.")
        elif not is_of(value, known[name]) and (value is not None or name not in EMPTY):
            raise ValueError(f"{where}{name} must not be {short(repr(value))}")
        for number in value if isinstance(value, list | tuple) else [value]:
            check_size(name, number, where)


def short(text: str) -> str:
    """At most 60 characters of a text, in one line."""
    text = " ".join(text[:400].split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_of(value, kind) -> bool:
    """Whether a value is of an annotated type; an int will do for a float."""
    if get_origin(kind) in (Union, types.UnionType):
        return any(is_of(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        return (
            isinstance(value, list | tuple)
            and len(value) == len(kinds)
            and all(is_of(one, own) for one, own in zip(value, kinds, strict=True))
        )
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def check_size(name: str, value, where: str) -> None:
    """Raise ValueError for a number that no model has."""
    if type(value) not in (int, float) or name in PREPROCESS and name != "size":
        return
    largest = LARGEST.get(name, LARGEST_OTHER)
    logit = name.startswith("init_logit")
    low = -100 if logit else 0 if name in MAY_BE_0 or "layers" in name else 1e-9
    if not low <= value <= (100 if logit else largest):
        raise ValueError(f"{where}{name} must not be {short(repr(value))}")


def check_names(model_cfg: dict, foreign: bool) -> None:
    """Raise ValueError for a tower or tokenizer that is a path, brings code or is not known."""
    trunk = model_cfg["vision_cfg"].get("timm_model_name")
    if trunk and not timm.is_model(trunk):
        raise ValueError(f"vision_cfg.timm_model_name: timm has no model {short(repr(trunk))}")
    text = model_cfg["text_cfg"]
    for field in ("hf_model_name", "hf_tokenizer_name"):
        name = text.get(field)
        if not name or (HUB_NAME.fullmatch(name) and not os.path.isdir(name)):
            continue
        if foreign or not os.path.isdir(name):
            raise ValueError(
                f"text_cfg.{field} must be a name on the hub, not {short(repr(name))}; a folder of "
                "your own goes into model_config="
            )
        refuse_code(name)


def refuse_code(folder) -> None:
    """Raise UserError for a folder of transformers that wants its own Python code run."""
    for name in OWN_CODE:
        file = os.path.join(folder, name)
        if os.path.isfile(file) and "auto_map" in read_json(file, dict):
            raise UserError(
                f"{file} names Python code of its own (auto_map), which is never run here: use a "
                "model of a class that transformers has"
            )


@contextmanager
def without_code() -> Iterator[None]:
    """Inside, transformers refuses a model with own code at once, where it would ask and wait."""
    try:
        from transformers import dynamic_module_utils as asked
    except ImportError:
        yield
        return
    before = asked.TIME_OUT_REMOTE_CODE
    asked.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        asked.TIME_OUT_REMOTE_CODE = before


def count_weights(model_cfg: dict) -> float:
    """About how many weights a model of this config has, without those of timm's towers."""
    embed, vision = model_cfg["embed_dim"], model_cfg["vision_cfg"]
    width, layers = vision.get("width", 768), vision.get("layers", 12)
    side, patch = vision.get("image_size", 224), vision.get("patch_size") or 16
    sides = side if isinstance(side, list | tuple) else [side, side]
    if isinstance(layers, int) and min(sides) < patch and not vision.get("timm_model_name"):
        raise ValueError("vision_cfg.patch_size must be at most image_size")
    places = math.prod(-(-one // patch) for one in sides)
    total = float(width * embed)
    if isinstance(layers, int):
        total += blocks(vision, 768, 12) + places * width + 3 * width * patch**2
    else:  # a ResNet: its last stage is 32 times as wide
        total += sum(n * 12 * (4 * width * 2**i) ** 2 for i, n in enumerate(layers))
    for part in ("text_cfg", "multimodal_cfg"):
        own = model_cfg.get(part, {"vocab_size": 0, "context_length": 0, "layers": 0})
        width = own.get("width", 512)
        rows = own.get("vocab_size", 49408) + own.get("context_length", 77) + embed
        total += blocks(own, 512, 12) + rows * width
    return total


def blocks(part: dict, width: int, layers: int) -> float:
    """The weights of a transformer's blocks."""
    width, layers = part.get("width", width), part.get("layers", layers)
    return layers * width**2 * (4 + 2 * part.get("mlp_ratio", 4.0))


def memory() -> float:
    """Bytes of memory that this machine has; infinite where it does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf
