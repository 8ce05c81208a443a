"""Models: any open_clip model, local checkpoints, the embedded model; BLIP and NLI beside them."""

from .clip import PRECISIONS, Clip, load_clip

__all__ = ["PRECISIONS", "Clip", "load_clip"]
