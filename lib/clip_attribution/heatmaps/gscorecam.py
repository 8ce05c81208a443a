"""gScoreCAM: the channels with the largest gradient, each weighted by the score it leaves over.

    chosen   = the k channels with the largest signed mean of dS/dA_c
    score_c  = S of the image times the upsampled, min-max scaled A_c        (0 if not chosen)
    map      = max(0, sum_c softmax(score)_c A_c), min-max scaled

Chen, Li, Biaz, Bui, Nguyen, "gScoreCAM: What objects is CLIP looking at?", ACCV 2022; the steps
are those of its public code. A is the output of a ResNet's last block, or a transformer's last
block, patch tokens as a grid. For a tower pooled at its class token the importance is the
gradient of the class token, since the last block's patch tokens have none; otherwise it is the mean
over the patches. Channels are upsampled bilinearly with the corners aligned, as the code does, and
it is the normalised input tensor that is masked. S = exp(logit_scale) * cosine, without the bias
that SigLIP adds: channels not chosen count with S = 0, which only means little where S > 0.

A masked image's feature does not depend on the phrase, so all phrases of an image share it.

Sign: never negative. Known weakness: hundreds of forward passes an image; at S around 20 the
softmax leaves a handful of channels.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ..errors import UserError
from .batch import Batch, differentiate
from .registry import EVERY, method
from .tower import find_tower


@method(
    "gscorecam",
    signed=False,
    towers=EVERY,
    paper="Chen et al., ACCV 2022",
    about="channels weighted by the score of the image seen through them",
    upsampling="linear",
)
def prepare(clip, layers=None, k: int = 300, mask_batch: int = 128):
    """A function from a Batch to its maps.

    k: channels that are scored (all where a layer has fewer); mask_batch: masked images a forward
    pass. layers has to be None: the last one.
    """
    if layers is not None:
        raise UserError("gscorecam reads the last layer: leave layers at None")
    for name, number in (("k", k), ("mask_batch", mask_batch)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UserError(f"{name} must be a whole number of at least 1, not {number!r}")
    tower = find_tower(clip.model)

    def maps(batch: Batch) -> Tensor:
        output, gradient = differentiate(clip, batch, tower.last)
        output = tower.to_grid(output)
        pooled_at_token = tower.blocks and tower.pool == "token"
        importance = gradient[:, 0] if pooled_at_token else tower.to_grid(gradient).mean((2, 3))
        chosen = importance.topk(min(k, importance.shape[1])).indices
        found = torch.zeros(len(output), *output.shape[2:], device=output.device)
        for image in range(len(batch.pixels)):
            rows = (batch.image_of == image).nonzero()[:, 0]
            channels = output[rows[0]]
            weights = _weights(
                clip, batch.pixels[image], channels, chosen[rows], batch.texts[rows], mask_batch
            )
            found[rows] = torch.einsum("pc,chw->phw", weights, channels).clamp(min=0)
        return _scaled(found)

    return maps


def _weights(clip, pixels: Tensor, channels: Tensor, chosen: Tensor, texts: Tensor, size: int):
    """Weights [P, C] of one image's channels [C, h, w]; chosen [P, k], texts [P, D]."""
    every, position = chosen.unique(return_inverse=True)
    features = torch.cat(
        [_masked_features(clip, pixels, channels[part]) for part in every.split(size)]
    )
    scores = (clip.logit_scale * texts @ features.T).gather(1, position).nan_to_num(nan=0.0)
    full = torch.zeros(len(chosen), len(channels), device=chosen.device)
    return full.scatter(1, chosen, scores).softmax(-1)


@torch.no_grad()
def _masked_features(clip, pixels: Tensor, channels: Tensor) -> Tensor:
    """Unit features [k, D] of one image [3, h, w] seen through each of k channels."""
    size = pixels.shape[-2:]
    masks = interpolate(channels[:, None], size, mode="bilinear", align_corners=True)
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    masked = pixels.float() * ((masks - low) / (high - low + 1e-6))
    features = clip.model.encode_image(masked.to(pixels.dtype), normalize=False)
    return normalize(features.float(), dim=-1)


def _scaled(maps: Tensor) -> Tensor:
    moved = maps - maps.amin((1, 2), keepdim=True)
    return moved / (moved.amax((1, 2), keepdim=True) + 1e-8)
