"""The baseline of a model that has learnt nothing."""

from dataclasses import replace

from .clip import Clip, load_clip


def random_weights(clip: Clip, seed: int = 0) -> Clip:
    """A Clip of the same architecture, preprocessing and tokenizer, with random weights."""
    other = load_clip(
        model_config=clip.config["model_cfg"],
        device=clip.device,
        seed=seed,
        tokenizer=clip.tokenizer,
    )
    return replace(other, preprocess=clip.preprocess)
