"""Attribution methods behind one registry; `attribute` for the words of a caption.

Add a method by one file with one decorated function; see `registry`.
"""

from . import (
    attention,
    clip4dm,
    gae,
    gradcam,
    gradient,
    gradient_x_attention,
    integrated_gradients,
    perturbation,
    rollout,
)
from .engine import Ablation, attribute, attribute_all_variants
from .registry import METHODS, RELU_VARIANTS, get_method, layered_methods, resolve_layers

__all__ = [
    "METHODS",
    "RELU_VARIANTS",
    "Ablation",
    "attention",
    "attribute",
    "attribute_all_variants",
    "clip4dm",
    "gae",
    "get_method",
    "gradcam",
    "gradient",
    "gradient_x_attention",
    "integrated_gradients",
    "layered_methods",
    "perturbation",
    "resolve_layers",
    "rollout",
]
