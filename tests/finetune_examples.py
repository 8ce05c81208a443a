"""A tiny model and a few captioned images that the tests of fine-tuning share."""

import json

import numpy as np
import pandas as pd
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from clip_attribution import load_clip
from clip_attribution.training.examples import read_examples

CONFIG = tiny.config(1, 2, patch=16, context=24, embed=16)
CAPTIONS = [
    "a red cup on a blue table",
    "a small dog is above an umbrella",
    "two cats",
    "a black horse next to a white house",
    "an orange kite is to the left of a green car",
    "rain",
    "a tall man sitting on a wooden bench",
    "a yellow bird below a large tree",
]


def picture(seed: int) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 255, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tiny_clip():
    """Random weights, scaled so that attention is uneven, captions differ, and gradients at the
    embeddings are small enough for a softmax."""
    clip = load_clip("tiny", model_config=CONFIG, device="cpu")
    with torch.no_grad():
        for name, weight in clip.model.named_parameters():
            if "in_proj_weight" in name:
                weight[: 2 * len(weight) // 3] *= 2
        clip.model.token_embedding.weight *= 20
    return clip


def save(clip, path):
    """Write a model as a checkpoint that says what it is; its path."""
    metadata = {name: json.dumps(value) for name, value in clip.config.items()}
    save_file(clip.model.state_dict(), path, metadata)
    return path


def table(captions=CAPTIONS) -> pd.DataFrame:
    pictures = [picture(i) for i in range(len(captions))]
    return pd.DataFrame({"pair_id": range(len(captions)), "image": pictures, "caption": captions})


def examples_of(clip, captions=CAPTIONS):
    found, left_out = read_examples(clip, table(captions))
    assert not len(left_out)
    return found
