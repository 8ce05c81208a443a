"""What tells one model from another: its weights, its modules, and what it makes of a probe."""

import hashlib
import re
from typing import Any

import torch
from PIL import Image

# Whatever a tokenizer may do to a text: case, accents, signs, spaces, numbers, foreign letters.
PROBE = (
    "It's  A CAFE\u0301 &amp; caf\u00e9\u2026 \u201cIstanbul\u201d\u00a0(12,345) \u6d4b \U0001f642"
    "\n<b>re-do</b>!! aren't"
)


def hash_of_weights(model: torch.nn.Module) -> str:
    """First 16 hex digits of SHA-256 over sorted names, shapes and bytes of the state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def fingerprint(model: Any, ids) -> dict:
    """What a Clip and a Blip have in common of it; ids: what the tokenizer makes of `PROBE`."""
    noise = Image.frombytes("RGB", (97, 61), hashlib.shake_128(b"probe").digest(3 * 97 * 61))
    return {
        "weights": hash_of_weights(model.model),
        "modules": re.sub(r" at 0x[0-9a-f]+", "", repr(model.model)),
        "activation": model.activation,
        "device": model.device.type,
        "dtype": str(model.dtype),
        "pixels": model.preprocess(noise),
        "ids": ids,
    }
