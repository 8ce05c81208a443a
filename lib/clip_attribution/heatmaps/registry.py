"""The heat-map methods by name, and what a user has to know of each."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..errors import UserError
from . import attention, gradcam, gscorecam, value_path


@dataclass(frozen=True)
class Method:
    """A heat-map method.

    prepare: function of (clip, layers, **options) that returns a function from a Batch to maps
    [P, rows, cols]. signed: values below zero speak against the phrase. towers: those it serves.
    relu: whether its paper drops what is below zero before a map is shown. upsampling: "cubic", or
    "linear" where the method brings its own.
    """

    name: str
    prepare: Callable
    signed: bool
    towers: str
    paper: str
    about: str
    relu: bool = False
    upsampling: str = "cubic"


ROW = "ViT with class token or attention pooler (EVA, SigLIP, CoCa), ResNet (its attention pool)"
ATTENTION = "ViT of every pooling, ResNet (its attention pool)"
EVERY = "ViT of every pooling, ResNet, ConvNeXt and other convolutional towers"

METHODS = {
    method.name: method
    for method in (
        Method(
            "gae_image",
            partial(attention.prepare, "gae"),
            False,
            ROW,
            "Chefer et al., ICCV 2021",
            "positive gradient times attention, followed through the layers used",
        ),
        Method(
            "rollout",
            partial(attention.prepare, "rollout"),
            False,
            ROW,
            "arXiv 2005.00928",
            "attention followed through the layers; does not know the phrase",
        ),
        Method(
            "clip4dm_image",
            partial(attention.prepare, "clip4dm"),
            True,
            ROW,
            "arXiv 2412.18404",
            "signed gradient times attention, averaged over heads and layers",
        ),
        Method(
            "gradcam",
            gradcam.prepare,
            True,
            EVERY,
            "Selvaraju et al., ICCV 2017",
            "channels weighted by the mean of their gradient",
            relu=True,
        ),
        Method(
            "gscorecam",
            gscorecam.prepare,
            False,
            EVERY,
            "Chen et al., ACCV 2022",
            "channels weighted by the score of the picture seen through them",
            upsampling="linear",
        ),
        Method(
            "value_path",
            value_path.prepare,
            True,
            ATTENTION,
            "Zhou et al., ECCV 2022",
            "cosine of phrase and patch, each patch read by itself",
        ),
    )
}


def find_method(name: str) -> Method:
    """Look a method up. Raises UserError on an unknown name."""
    if name not in METHODS:
        raise UserError(f"unknown heat-map method {name!r}: use {', '.join(METHODS)}")
    return METHODS[name]


def prepare(clip, name: str, layers, options: dict) -> Callable:
    """The method's function from a Batch to maps. Raises UserError on what it cannot serve."""
    method = find_method(name)
    known = set(inspect.signature(method.prepare).parameters) - {"clip", "layers"}
    if set(options) - known:
        given, known = ", ".join(sorted(set(options) - known)), ", ".join(sorted(known)) or "none"
        raise UserError(f"{name} has no option {given}; its options: {known}")
    return method.prepare(clip, layers=layers, **options)
