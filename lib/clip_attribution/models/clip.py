"""`load_clip`: any open_clip model, a local checkpoint, or the embedded model.

A loaded `Clip` is frozen and in eval mode, and carries everything that its results depend on:
name, weights tag, activation, precision and a hash of the weights.

QuickGELU: OpenAI's and some other weights were trained with x * sigmoid(1.702 x) in place of GELU
and give wrong numbers without it. open_clip only warns; here `model_sources.quick_gelu` decides.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from torchvision.transforms import Compose

from ..errors import UserError, one_line
from . import checkpoints
from .arithmetic import bare, default_dtype, exact
from .configs import without_code
from .fingerprint import PROBE, fingerprint, hash_of_weights
from .hub import hub_without_waiting
from .locks import locked
from .sources import find_source
from .tokenizer import LinearTokenizer

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(eq=False)
class Clip:
    """A loaded model with all that attribution needs; n texts or images, D the embedding width."""

    model: Any = field(repr=False)  # of a class of open_clip, which the configuration chooses
    tokenizer: Callable = field(repr=False)
    preprocess: Callable = field(repr=False)
    name: str
    pretrained: str
    activation: str
    device: torch.device
    dtype: torch.dtype
    context_length: int
    embed_dim: int
    config: dict = field(default_factory=dict, repr=False)  # what a checkpoint says of a model

    def __setattr__(self, name, value):
        object.__setattr__(self, name, bare(value) if name == "model" else value)

    @locked
    @exact()
    @torch.no_grad()
    def encode_images(self, images: list[Image.Image]) -> torch.Tensor:
        """Unit-length image features, float32 [n, D], on the model's device."""
        if not images:
            return torch.zeros(0, self.embed_dim, device=self.device)
        pixels = torch.stack([self.preprocess(image) for image in images])
        features = self.model.encode_image(pixels.to(self.device, self.dtype), normalize=False)
        return F.normalize(features.float(), dim=-1)

    @locked
    @exact()
    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Unit-length text features, float32 [n, D]; over-long texts are cut as open_clip does."""
        if not texts:
            return torch.zeros(0, self.embed_dim, device=self.device)
        tokens = self.tokenizer(list(texts)).to(self.device)
        return F.normalize(self.model.encode_text(tokens, normalize=False).float(), dim=-1)

    @cached_property
    def weights_hash(self) -> str:
        """See `hash_of_weights`."""
        return hash_of_weights(self.model)

    def facts(self) -> dict[str, str]:
        """What is said of the model in the record of a result."""
        names = ("name", "pretrained", "activation", "weights_hash", "device", "dtype")
        return {name: str(getattr(self, name)) for name in names}

    def fingerprint(self) -> dict:
        """What decides the model's values (see `io.keys`): weights as they are now, the whole
        configuration, and what preprocessing and tokenizer make of a probe."""
        return fingerprint(self, self.tokenizer([PROBE])) | {"config": self.config}

    @property
    def logit_scale(self) -> float:
        """The factor (not its logarithm) that scales the cosine during training."""
        return self.model.logit_scale.detach().float().exp().item()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of a preprocessed image."""
        size = self.model.visual.image_size
        return tuple(size) if isinstance(size, tuple | list) else (size, size)

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the image tower's patches; None for a tower without patches."""
        trunk = getattr(self.model.visual, "trunk", None)
        holder = self.model.visual if trunk is None else getattr(trunk, "patch_embed", None)
        size = getattr(holder, "grid_size", None)
        return None if size is None else tuple(size)


@exact()
def load_clip(
    name: str | None = None,
    pretrained: str | os.PathLike | None = None,
    *,
    model_config: str | os.PathLike | dict | None = None,
    activation: str | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    seed: int = 0,
    tokenizer: Callable | None = None,
) -> Clip:
    """Load a CLIP model, frozen.

    `load_clip()` is the embedded model. `name` is any open_clip name (also `hf-hub:org/repo`),
    `pretrained` one of its tags or a local checkpoint; without it the weights are random, from
    `seed` (torch's own state stays). `model_config` (a JSON file or a dict) describes your own
    architecture, `activation` (gelu, quickgelu) that of weights that do not say it. `device` is
    auto, cpu or cuda, `precision` fp32, bf16 or fp16 (the whole model is cast). `tokenizer` (texts
    -> ids [n, context]) replaces the model's. Raises UserError: unknown name or tag, unusable file,
    an activation that contradicts the weights or is not known, no network, no such device.

    Examples
    --------
    >>> clip = load_clip()
    >>> clip.name, clip.image_size
    ('scenes-clip', (64, 64))
    >>> real = load_clip("ViT-B-32", "openai")  # doctest: +SKIP
    """
    device, dtype = _device(device), _dtype(precision)
    source = find_source(name, pretrained, model_config, activation)
    tokenizer = tokenizer or _tokenizer(source.model_cfg["text_cfg"])
    model = _build(source.model_cfg, seed)
    if source.weights is not None:
        checkpoints.load_weights(model, source.weights, source.published)
    _check_tokenizer(tokenizer, model)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    clip = Clip(
        model,
        tokenizer,
        _preprocess(model, source.preprocess),
        source.name,
        source.pretrained,
        _activation(model),
        device,
        dtype,
        source.model_cfg["text_cfg"].get("context_length", 77),
        source.model_cfg["embed_dim"],
        {"model_cfg": source.model_cfg, "preprocess": source.preprocess},
    )
    if hasattr(model.visual, "trunk"):
        _check_tower(clip)
    if device.type == "cpu" and dtype is not torch.float32:
        _check_runs(clip, precision)
    return clip


def _device(device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as reason:
        raise UserError(f"unknown device {device!r}: use auto, cpu or cuda") from reason
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"unsupported device {device.type!r}: use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"no device {str(device)!r} here ({torch.cuda.device_count()} CUDA "
            "devices): use device='cpu' or 'auto'"
        )
    return device


def _dtype(precision: str) -> torch.dtype:
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}: use {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def _build(model_cfg: dict, seed: int) -> torch.nn.Module:
    """A model on the CPU with random weights from `seed`; torch's random state is put back."""
    cfg = deepcopy(model_cfg)
    custom = cfg.pop("custom_text", False) or "hf_model_name" in cfg["text_cfg"]
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    kind = open_clip.CoCa if "multimodal_cfg" in cfg else kind
    _without_base_weights(cfg)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            _hub_for(cfg["text_cfg"].get("hf_model_name")),
            without_code(),
            default_dtype(torch.float32),
        ):
            torch.default_generator.manual_seed(seed)
            model = kind(**cfg)
    except OSError as reason:
        raise UserError(
            f"cannot get the config of the text tower {cfg['text_cfg'].get('hf_model_name')!r} (no "
            "network?): pass a model_config whose text_cfg.hf_model_name is a folder that holds it"
        ) from reason
    except Exception as reason:  # the constructors of open_clip, timm and transformers
        kind = type(reason).__name__
        raise UserError(f"unusable model config: {kind}: {one_line(reason)}") from reason
    checkpoints.remember_activation(model, bool(cfg.get("quick_gelu")))
    return model


def _without_base_weights(cfg: dict) -> None:
    # A tower pretrained for something else is neither the checkpoint nor random.
    if "timm_model_name" in cfg["vision_cfg"]:
        cfg["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in cfg["text_cfg"]:
        cfg["text_cfg"]["hf_model_pretrained"] = False


def _hub_for(name: str | None):
    return hub_without_waiting() if name and not os.path.isdir(name) else nullcontext()


def _tokenizer(text_cfg: dict) -> Callable:
    name, length = text_cfg.get("hf_tokenizer_name"), text_cfg.get("context_length", 77)
    options = text_cfg.get("tokenizer_kwargs") or {}
    try:
        if not name:
            return LinearTokenizer(context_length=length, **options)
        mode, options = text_cfg.get("tokenizer_mode"), options | {"trust_remote_code": False}
        with _hub_for(name), without_code():
            return HFTokenizer(name, context_length=length, tokenizer_mode=mode, **options)
    except Exception as reason:  # the loaders of several libraries, on whatever the files hold
        raise UserError(
            f"cannot get the tokenizer {name or 'of CLIP'!r} (no network, or transformers is not "
            f"installed?): pass tokenizer=, a callable from texts to ids [n, context] "
            f"({one_line(reason)})"
        ) from reason


def _check_tokenizer(tokenizer: Callable, model: torch.nn.Module) -> None:
    # An id beyond the table is an IndexError on the CPU and kills the process's CUDA context.
    ids, size = tokenizer(["a photo"]), getattr(model, "vocab_size", 0)
    if not isinstance(ids, torch.Tensor) or ids.ndim != 2:
        raise UserError("unusable tokenizer: it has to turn a list of texts into ids [n, context]")
    if size and ids.max() >= size:
        raise UserError(f"unusable tokenizer: id {ids.max()} for a model with {size} tokens")


def _preprocess(model: Any, given: dict) -> Callable:
    merged = merge_preprocess_dict(PreprocessCfg(), given) | {"size": model.visual.image_size}
    transform = image_transform_v2(PreprocessCfg(**merged), is_train=False)
    if merged["resize_mode"] != "shortest":
        return transform
    return Compose([_central_strip, *transform.transforms])


def _central_strip(image: Image.Image) -> Image.Image:
    """The middle of an image longer than 64:1, whose ends the centre crop drops anyway.

    Scaling a 1 x 20000 image to a short side of 224 first would take gigabytes.
    """
    width, height = image.size
    if max(width, height) <= (longest := 64 * min(width, height)):
        return image
    w, h = min(width, longest), min(height, longest)
    left, top = (width - w) // 2, (height - h) // 2
    return image.crop((left, top, left + w, top + h))


def _activation(model: torch.nn.Module) -> str:
    names = {type(module).__name__.lower() for module in model.modules()}
    return "quickgelu" if any("quickgelu" in name for name in names) else "gelu"


def _check_tower(clip: Clip) -> None:
    # open_clip builds some towers of timm whose output does not fit the projection behind it.
    try:
        clip.encode_images([Image.new("RGB", (8, 8))])
    except (RuntimeError, AttributeError, TypeError, ValueError, AssertionError) as reason:
        name = f"image tower {clip.config['model_cfg']['vision_cfg'].get('timm_model_name')}"
        raise UserError(f"the {name} does not run in open_clip: {one_line(reason)}") from reason


def _check_runs(clip: Clip, precision: str) -> None:
    try:
        clip.encode_images([Image.new("RGB", (8, 8))])
        clip.encode_texts(["a"])
    except (RuntimeError, NotImplementedError) as reason:
        raise UserError(f"{precision} does not run on this CPU: use precision='fp32'") from reason
