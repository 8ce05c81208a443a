"""What `load_clip`'s arguments mean: which architecture, which weights, which activation."""

import difflib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import open_clip

from ..errors import UserError
from . import checkpoints, hub

EMBEDDED_NAME = "scenes-clip"
ACTIVATIONS = {None: None, "gelu": False, "quickgelu": True}
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class Source(NamedTuple):
    """An architecture and where its weights are; no weights means random ones."""

    name: str
    pretrained: str
    model_cfg: dict
    preprocess: dict
    weights: Path | None = None
    published: bool = False  # a hub file, which open_clip converts; a local one has to fit exactly


def find_source(name=None, pretrained=None, model_config=None, activation=None) -> Source:
    """Resolve the arguments of `load_clip`; downloads a tag's weights. Raises UserError."""
    if not (activation is None or isinstance(activation, str)) or activation not in ACTIVATIONS:
        raise UserError(f"unknown activation {activation!r}: use gelu or quickgelu")
    stated = ACTIVATIONS[activation]
    name = name.replace("/", "-") if name and ":" not in name else name or None
    pretrained = None if pretrained in ("", "random") else pretrained
    if name is None and pretrained is None and model_config is None:
        source = _from_file(None, embedded_path(), None, stated)
        return source._replace(name=EMBEDDED_NAME, pretrained="embedded")
    if name and name.startswith("hf-hub:"):
        return _from_hub(name, pretrained, model_config, stated)
    if pretrained is None:
        return _random(name, model_config, stated)
    if _is_path(name, pretrained):
        return _from_file(name, Path(pretrained), model_config, stated)
    return _from_tag(name, pretrained, model_config, stated)


def embedded_path() -> Path:
    """The embedded model's file: in `data/`, or where the variable CLIP_ATTRIBUTION_DATA points.

    The variable names the data folder or the file itself. Raises UserError when there is no file.
    """
    default = Path(__file__).resolve().parents[3] / "data"
    path = Path(os.environ.get("CLIP_ATTRIBUTION_DATA") or default)
    path = path if path.suffix == ".safetensors" else path / f"{EMBEDDED_NAME}.safetensors"
    if not path.is_file():
        raise UserError(
            f"the embedded model is missing at {path}: train it with `python -m "
            "clip_attribution.training.pretrain`, or set CLIP_ATTRIBUTION_DATA to its folder"
        )
    return path


def quick_gelu(
    name: str,
    model_cfg: dict,
    tag: str | None = None,
    weights: dict | None = None,
    stated: bool | None = None,
) -> bool:
    """Whether to build with QuickGELU.

    Five places may say so: the name (`-quickgelu`), the architecture's config, the published tag,
    the checkpoint's own config (`weights`) and the user (`stated`). Silence means GELU. Raises
    UserError when two of them disagree, because the model would run and every number would be
    wrong.
    """
    said = {
        f"the name {name!r}": True if name.endswith("-quickgelu") else None,
        "the model config": model_cfg.get("quick_gelu"),
        f"the tag {tag!r}": _tag_says(name, tag) if tag else None,
        "the checkpoint": (weights or {}).get("quick_gelu"),
        "the argument activation": stated,
    }
    yes = [source for source, value in said.items() if value is True]
    no = [source for source, value in said.items() if value is False]
    if yes and no:
        raise UserError(
            f"activation mismatch: {' and '.join(yes)} mean QuickGELU, {' and '.join(no)} GELU; "
            "the results would be wrong: change the name (with or without -quickgelu) or the config"
        )
    return bool(yes)


def _tag_says(name: str, tag: str) -> bool | None:
    # open_clip lists under a -quickgelu name only tags that need it; any other tag means GELU.
    silent = False if name.endswith("-quickgelu") else None
    return _tag_config(name, tag).get("quick_gelu", silent)


def _tag_config(name: str, tag: str) -> dict:
    base = name.removesuffix("-quickgelu")
    config = open_clip.get_pretrained_cfg(name, tag) or open_clip.get_pretrained_cfg(base, tag)
    if config:
        return config
    tags = [t for n, t in open_clip.list_pretrained() if n == name]
    hint = f"nearest: {_nearest(tag, tags)}" if tags else "open_clip publishes none for it"
    raise UserError(f"unknown weights {tag!r} for {name!r}; {hint} (or pass a local file)")


def _registered(name: str) -> dict:
    config = open_clip.get_model_config(name) if ":" not in name else None
    if config is None:
        nearest = _nearest(name, open_clip.list_models())
        raise UserError(f"unknown model {name!r}; nearest: {nearest} (or pass model_config=...)")
    return config


def _nearest(word: str, known: list[str]) -> str:
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=4, cutoff=0.0)
    return ", ".join(by_lower[k] for k in found)


def _shared_preprocess(name: str) -> dict:
    """The preprocessing on which all published tags of a model agree; else open_clip's default."""
    tags = [
        open_clip.get_pretrained_cfg(name, tag)
        for model, tag in open_clip.list_pretrained()
        if model == name
    ]
    keys = ("mean", "std", "interpolation", "resize_mode")
    found = {tuple(tag.get(key) for key in keys) for tag in tags}
    return dict(zip(keys, found.pop(), strict=True)) if len(found) == 1 else {}


def _is_path(name: str | None, pretrained) -> bool:
    if isinstance(pretrained, os.PathLike):
        return True
    if name and open_clip.is_pretrained_cfg(name, pretrained):
        return False
    slash = "/" in pretrained or os.sep in pretrained
    return slash or pretrained.endswith(WEIGHT_SUFFIXES) or Path(pretrained).is_file()


def _random(name, model_config, stated) -> Source:
    name, model_cfg, preprocess = _architecture(name, model_config)
    model_cfg["quick_gelu"] = quick_gelu(name, model_cfg, stated=stated)
    return Source(name, "random", model_cfg, preprocess)


def _architecture(name, model_config) -> tuple[str, dict, dict]:
    if model_config is None:
        return name, _registered(name), _shared_preprocess(name)
    said = checkpoints.read_config(model_config)
    label = "custom" if isinstance(model_config, dict) else Path(model_config).stem
    return name or label, said["model_cfg"], said["preprocess"]


def _from_file(name, path: Path, model_config, stated) -> Source:
    if "\0" in str(path) or not path.is_file():
        raise UserError(f"no such file: {path}")
    own = checkpoints.file_description(path, used=not name and model_config is None)
    if name or model_config is not None:
        name, model_cfg, preprocess = _architecture(name, model_config)
    elif own:
        name, model_cfg, preprocess = path.stem, dict(own["model_cfg"]), {}
    else:
        raise UserError(
            f"{path} does not say which model it is: pass its open_clip name, "
            "or model_config='config.json'"
        )
    weights = dict((own or {}).get("model_cfg", {}))
    if weights.get("quick_gelu") is None:
        weights["quick_gelu"] = checkpoints.says_quick_gelu(path)
    said = {weights["quick_gelu"], model_cfg.get("quick_gelu"), stated} != {None}
    if not (said or own):  # a config that is silent means GELU, as in open_clip
        _check_said(name, path, model_cfg)
    if own:
        model_cfg["quick_gelu"] = quick_gelu(name, model_cfg, weights=weights)
    model_cfg["quick_gelu"] = quick_gelu(name, model_cfg, weights=weights, stated=stated)
    preprocess = preprocess | (own["preprocess"] if own else {})
    return Source(name, str(path), model_cfg, preprocess, path)


def _check_said(name: str, path: Path, model_cfg: dict) -> None:
    """Refuse bare weights of a name that open_clip knows with both activations: the wrong one runs
    too, and every number is wrong. A silent config of one's own means GELU, with a warning."""
    if name.endswith("-quickgelu") or "timm_model_name" in model_cfg["vision_cfg"]:
        return
    if f"{name}-quickgelu" in open_clip.list_models():
        raise UserError(
            f"{path} does not say its activation, and the wrong one gives wrong values: pass "
            f"activation='gelu' (--activation gelu), or name the model {name}-quickgelu if it was "
            "trained with QuickGELU, as OpenAI's were"
        )
    line = f"{path} does not say its activation: GELU is taken; if it was trained with QuickGELU, "
    warnings.warn(f"{line}name the model {name}-quickgelu", stacklevel=5)


def _from_tag(name, tag: str, model_config, stated) -> Source:
    if name is None or model_config is not None:
        raise UserError(
            f"{tag!r} is not a local file; a published tag needs an open_clip model "
            "name and takes no model_config"
        )
    model_cfg, tag_config = _registered(name), _tag_config(name, tag)
    model_cfg["quick_gelu"] = quick_gelu(name, model_cfg, tag=tag)  # a silent tag means GELU
    quick_gelu(name, model_cfg, stated=stated)
    path = hub.download_tag(name, tag, model_cfg["quick_gelu"])
    return Source(name, tag, model_cfg, tag_config, path, published=True)


def _from_hub(name, pretrained, model_config, stated) -> Source:
    if pretrained is not None or model_config is not None:
        raise UserError(f"{name!r} brings its own weights and config: pass no others")
    config, path = hub.download_repository(name.removeprefix("hf-hub:"))
    said = checkpoints.read_config(config, foreign=True)
    model_cfg, preprocess = said["model_cfg"], said["preprocess"]
    model_cfg["quick_gelu"] = quick_gelu(name, model_cfg, stated=stated)
    return Source(name, "hub", model_cfg, preprocess, path, published=True)
