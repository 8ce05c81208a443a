"""`load_blip`: BLIP with its image-text matching head, a second kind of model beside CLIP.

CLIP compares one feature of an image with one of a text. BLIP lets every word look at every patch
(cross-attention) and then says how likely text and image match (ITM). The library transformers
is an optional extra: pip install 'clip-attribution[hf]'.

Li et al., "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language
Understanding and Generation", ICML 2022. Text and images are prepared as in LAVIS, and the first
token becomes [ENC], the one that BLIP was trained to match with; transformers' own forward pass
leaves [CLS] there and gives other scores.
"""

import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import PreprocessCfg, image_transform_v2

from ..errors import UserError, one_line
from ..text.words import caption_fault
from .clip import _device
from .configs import refuse_code, without_code
from .fingerprint import PROBE, fingerprint, hash_of_weights
from .hub import hub_without_waiting

# The weights behind LAVIS' `blip_image_text_matching`: fine-tuned for retrieval on COCO.
SIZES = {"base": "Salesforce/blip-itm-base-coco", "large": "Salesforce/blip-itm-large-coco"}
MAX_WORDS, MAX_TOKENS = 50, 35
PUNCTUATION = re.compile(r'[.!"()*#:;~]')
FILES = "config.json, model.safetensors (or pytorch_model.bin), tokenizer_config.json and vocab.txt"


@dataclass(frozen=True, eq=False)
class Blip:
    """A loaded BLIP, float32 and in eval mode, with all that its results depend on.

    tokenizer: of transformers. preprocess: from a PIL image to a tensor [3, h, w]. pretrained: the
    hub's name or the folder. image_size, grid: pixels and patches, (rows, columns). layers: blocks
    of the text encoder. enc_token_id: the id of [ENC].
    """

    model: Any = field(repr=False)  # transformers' BlipForImageTextRetrieval
    tokenizer: Callable = field(repr=False)
    preprocess: Callable = field(repr=False)
    name: str
    pretrained: str
    activation: str
    device: torch.device
    image_size: tuple[int, int]
    grid: tuple[int, int]
    layers: int
    enc_token_id: int
    dtype: torch.dtype = torch.float32

    @cached_property
    def weights_hash(self) -> str:
        """As of a `Clip`."""
        return hash_of_weights(self.model)

    def fingerprint(self) -> dict:
        """As of a `Clip`."""
        return fingerprint(self, self.tokenizer(PROBE)["input_ids"])


def load_blip(
    name_or_folder: str | os.PathLike = "base", device: str | torch.device = "auto"
) -> Blip:
    """Load a BLIP with a matching head, frozen.

    name_or_folder: "base" or "large" (see SIZES), another name on the Hugging Face hub, or a local
    folder as transformers saves it. device: auto, cpu or cuda.

    Raises UserError: transformers is missing, no such folder, no network or no such name, files
    that cannot be read, weights without matching head, no such device.
    """
    device, source = _device(device), _source(name_or_folder)
    model, tokenizer = _read(source)
    _check_attention(model, source)
    vision, text = model.config.vision_config, model.config.text_config
    size, rows = vision.image_size, vision.image_size // vision.patch_size
    return Blip(
        model.float().to(device).eval().requires_grad_(False),
        tokenizer,
        _preprocess(size),
        Path(source).absolute().name,
        source,
        text.hidden_act,
        device,
        (size, size),
        (rows, rows),
        text.num_hidden_layers,
        _enc_token_id(tokenizer, text.vocab_size, source),
    )


def _preprocess(size: int) -> Callable:
    given = PreprocessCfg(
        size=(size, size),
        mean=OPENAI_DATASET_MEAN,
        std=OPENAI_DATASET_STD,
        interpolation="bicubic",
        resize_mode="squash",
    )
    return image_transform_v2(given, is_train=False)


def _source(given) -> str:
    """A folder or a name on the hub."""
    source = SIZES.get(given, os.fspath(given))
    looks_local = isinstance(given, os.PathLike) or source.count("/") > 1 or source[:1] in "./~"
    if looks_local and not os.path.isdir(source):
        raise UserError(f"no such folder: {source}: give the folder of a BLIP, with {FILES}")
    return source


def _read(source: str) -> tuple[Any, Callable]:
    kind, tokenizer_kind = _transformers()
    local = os.path.isdir(source)
    refuse_code(source)
    try:
        with nullcontext() if local else hub_without_waiting(), without_code():
            tokenizer = tokenizer_kind.from_pretrained(source, trust_remote_code=False)
            model, report = kind.from_pretrained(
                source, output_loading_info=True, attn_implementation="eager"
            )
    except Exception as reason:  # the loaders of several libraries, on whatever the files hold
        wrong = (
            f"cannot load a BLIP from the folder {source} ({one_line(reason)}): it has to hold "
            f"{FILES}"
            if local
            else f"cannot download {source!r} (no network, or no BLIP of that name?): download it "
            f"on another machine and pass the folder, load_blip('folder'), with {FILES}"
        )
        raise UserError(wrong) from reason
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{source} is no BLIP with a matching head ({len(missing)} weights are "
            f"missing, {missing[0]} first): use for instance {SIZES['base']}"
        )
    return model, tokenizer


def _transformers() -> tuple:
    try:
        from transformers import AutoTokenizer, BlipForImageTextRetrieval
    except ImportError as reason:
        raise UserError(
            "BLIP needs the library transformers: pip install 'clip-attribution[hf]'"
        ) from reason
    return BlipForImageTextRetrieval, AutoTokenizer


def _check_attention(model: Any, source: str) -> None:
    for layer in model.text_encoder.encoder.layer:
        attention = getattr(getattr(layer, "crossattention", None), "self", None)
        if not hasattr(attention, "dropout"):
            raise UserError(
                f"{source}: no cross-attention from text to image (set is_decoder to "
                "true in text_config; known to work with transformers 5.23)"
            )


def _enc_token_id(tokenizer, vocab_size: int, source: str) -> int:
    """The id of [ENC]. LAVIS appends [DEC] and [ENC] to BERT's words; the hub's vocabulary has
    neither, although the weights have a row for each."""
    known = tokenizer.get_vocab()
    number = known.get("[ENC]", len(known) + ("[DEC]" not in known))
    if number >= vocab_size or len(known) < 10:  # without its vocabulary a tokenizer has 5 words
        raise UserError(
            f"{source}: a vocabulary of {len(known)} does not go with weights for "
            f"{vocab_size}, of which the last two are [DEC] and [ENC]"
        )
    return number


# ---------------------------------------------------------------- text


def clean_text(text: str) -> str:
    """A text as LAVIS gives it to BLIP: lower case, . ! " ( ) * # : ; ~ as spaces, 50 words."""
    return " ".join(PUNCTUATION.sub(" ", text.lower()).split()[:MAX_WORDS])


def read_text(blip: Blip, text) -> list[int] | str:
    """Ids of a text, [ENC] first and [SEP] last, 35 at most; or the reason why there are none."""
    if fault := caption_fault(text):
        return fault
    ids = blip.tokenizer(clean_text(text), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    if len(ids) < 3:
        return "no word of the text is left after cleaning"
    return [blip.enc_token_id, *ids[1:]]
