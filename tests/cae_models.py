"""A tiny CLIP and a handful of captions with concepts, for the tests of CAE's attributions."""

import cae_oracles
import numpy as np
import oracles
import torch
from PIL import Image
from tiny import config as tiny_config

from clip_attribution import load_clip

CONFIG = tiny_config(1, 3, patch=16, embed=24, quick_gelu=True)
CAPTIONS = [
    "a red cup on a table",
    "two dogs, one cat.",
    "the small blue anchor is next to an umbrella",
    "state-of-the-art!",
    'he said "stop"! and left...',
]
CANDIDATES = {
    "object": ["cup", "table", "dog", "big kite", "Umbrella"],
    "attribute": ["red", "blue", "small"],
    "relation": ["on", "next to", "below"],
}
SCENE = "a red cup on a table"
CONCEPTS = [(6, 9, "object"), (2, 5, "attribute"), (10, 12, "relation"), (15, 20, "object")]


def picture(seed):
    pixels = np.random.RandomState(seed).randint(0, 255, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sharpen(model, factor=2.0):
    """Scale queries, keys and embeddings, so that attention is uneven and captions differ, and
    gradients at the embeddings are small enough for a softmax."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "in_proj_weight" in name:
                weight[: 2 * len(weight) // 3] *= factor
        model.token_embedding.weight *= 50
    return model


def tiny(double=False):
    """The sharpened tiny model on the CPU, frozen, in float32 or float64."""
    loaded = load_clip("tiny", model_config=CONFIG, device="cpu")
    sharpen(loaded.model)
    loaded.model.to(torch.float64 if double else torch.float32)
    return loaded


def oracle_of(clip, grad=False):
    """CAE's attributions by plain autograd on this model's weights; with grad, those themselves."""
    w = dict(clip.model.named_parameters()) if grad else oracles.weights_of(clip.model)
    return cae_oracles.Oracle(w, 2, True, clip.model.logit_scale.detach().exp())
