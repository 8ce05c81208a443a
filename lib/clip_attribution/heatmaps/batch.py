"""One batch of (image, phrase) pairs, and the gradient of their scores at a layer."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..trace.hooks import HALF_SCALE
from .patches import repeated


@dataclass
class Batch:
    """B distinct images with P pairs.

    pixels [B, 3, h, w] preprocessed, on the model's device and in its precision; texts [P, D] unit
    text features, float32; image_of [P], the image of each pair.
    """

    pixels: Tensor
    texts: Tensor
    image_of: Tensor


def differentiate(
    clip, batch: Batch, at: nn.Module, inside: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """A layer's output for each pair, and the gradient of exp(logit_scale) * cosine there.

    at: the layer. inside: a module within it whose output is meant instead. Everything before `at`
    runs once an image and without a graph, everything after it once a pair.
    Returns (output, gradient), float32, of the layer's own shape with P items.
    """
    kept, own = [], inside is None

    def leaf(module, args, output):
        torch.set_grad_enabled(True)
        kept.append((output[batch.image_of] if own else output).detach().requires_grad_())
        return kept[0]

    with torch.no_grad(), repeated(at, None if own else batch.image_of):
        handle = (at if inside is None else inside).register_forward_hook(leaf)
        try:
            features = clip.model.encode_image(batch.pixels, normalize=False).float()
        finally:
            handle.remove()
        score = (normalize(features, dim=-1) * batch.texts).sum()
        scale = HALF_SCALE if kept[0].dtype == torch.float16 else 1.0
        (gradient,) = torch.autograd.grad(score * scale, kept)
    return kept[0].detach().float(), gradient.float() * (clip.logit_scale / scale)
