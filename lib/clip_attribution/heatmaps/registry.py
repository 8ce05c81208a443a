"""The heat-map methods by name, and what a user has to know of each."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UserError


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

METHODS: dict[str, Method] = {}


def method(name: str, **about) -> Callable:
    """Register the decorated `prepare` as the heat-map method `name`."""

    def register(prepare):
        METHODS[name] = Method(name, prepare, **about)
        return prepare

    return register


def find_method(name: str) -> Method:
    """Look a method up. Raises UserError on an unknown name."""
    if name not in METHODS:
        raise UserError(f"unknown heat-map method {name!r}: use {', '.join(METHODS)}")
    return METHODS[name]


def prepare(clip, name: str, layers, options: dict) -> Callable:
    """The method's function from a Batch to maps. Raises UserError on what it cannot serve."""
    chosen = find_method(name)
    known = set(inspect.signature(chosen.prepare).parameters) - {"clip", "layers"}
    if set(options) - known:
        given, takes = ", ".join(sorted(set(options) - known)), ", ".join(sorted(known)) or "none"
        raise UserError(f"{name} has no option {given}; its options: {takes}")
    return chosen.prepare(clip, layers=layers, **options)
