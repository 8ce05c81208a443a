"""One registry for all attribution methods, and the meaning of `layers`.

A method is a function of a `View` (see `view.py`) that returns one value a token of the pooled
row's attention, layer by layer: a tensor [batch, layers, n]. What the layers add up to
is the method's `combine`. A method that reads no attention is a function of an `InputView`
(see `inputs.py`), has no layers, and returns [batch, 1, n]. A method knows no thresholds.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UserError

RELU_VARIANTS = (
    "signed",
    "negative_heads",
    "negative_layers",
    "negative_layers_gradient",
    "positive_heads",
    "absolute",
)


@dataclass(frozen=True)
class Method:
    """An attribution method and what the engine has to know about it.

    signed: values below zero speak against the match (False: the method cannot be negative).
    paper: where it comes from.
    layers: the default of the `layers` argument, None for a method without layers.
    towers: the towers it serves.
    gradient: False when it takes no gradient.
    score: the scalar that is differentiated, "cosine" or "logit" (exp(logit_scale) * cosine).
    combine: how the layers' values become one, "mean", "sum" or "lowest" (take the lowest layer).
    relu: True when the ReLU variants of CLIP4DM's ablation apply.
    reads: the rows of attention that it needs, "row" (the pooled one), "all", or "below" (the
    pooled row of the top layer used and all rows of those below it); "input" for none of them.
    unit: unit of its values, "cosine", "logit", "attention" or "share" (they sum to 1).
    options: names of the keyword arguments that it takes beside the view.
    prepare: None, or what has to be known of the whole table: a function of (pairs, tagger,
    options) that returns the options completed and {row: reason} for rows it cannot use.
    """

    name: str
    function: Callable
    signed: bool
    paper: str
    layers: int | str | None
    towers: tuple[str, ...] = ("text", "image")
    gradient: bool = True
    score: str = "cosine"
    combine: str = "mean"
    relu: bool = False
    reads: str = "row"
    unit: str = "cosine"
    options: tuple[str, ...] = ()
    prepare: Callable | None = None

    def row_is_enough(self, layers: list[int]) -> bool:
        """Whether the pooled row is all that the method reads of these layers."""
        return self.reads == "row" or (self.reads == "below" and len(layers) == 1)

    def values(self, view, relu: str = "signed", **options):
        """Values a token, float32 [batch, layers, n]."""
        options |= {"relu": relu} if self.relu else {}
        return self.function(view, **options)

    def total(self, values):
        """From [batch, layers, n] to [batch, n]."""
        if self.combine == "lowest":
            return values[:, 0]
        return values.mean(1) if self.combine == "mean" else values.sum(1)


METHODS: dict[str, Method] = {}
RENAMED = {"gradcam": "cae_gradcam"}  # Grad-CAM itself is a heat map


def method(name: str, **about: Any) -> Callable:
    """Register the decorated function as the attribution method `name`."""

    usual = about.get("score", "cosine") if about.get("gradient", True) else "attention"

    def register(function):
        known: dict[str, Any] = {"unit": usual} | about
        METHODS[name] = Method(name, function, **known)
        return function

    return register


def current_name(name: str) -> str:
    """The name that a method has now; an old one of `RENAMED` warns."""
    if name in RENAMED:
        warnings.warn(f"{name} is now {RENAMED[name]}", DeprecationWarning, stacklevel=3)
    return RENAMED.get(name, name)


def get_method(name: str, tower: str = "text", relu: str = "signed") -> Method:
    """Look a method up. Raises UserError on an unknown name, tower or ReLU variant."""
    name = current_name(name)
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; choose one of {', '.join(sorted(METHODS))}")
    found = METHODS[name]
    if tower not in found.towers:
        raise UserError(f"method {name!r} is not defined for the {tower} tower")
    if relu not in RELU_VARIANTS:
        raise UserError(f"unknown relu {relu!r}; choose one of {', '.join(RELU_VARIANTS)}")
    if relu != "signed" and not found.relu:
        raise UserError(f"method {name!r} has no ReLU variants; leave relu at 'signed'")
    return found


def layered_methods(tower: str = "text") -> list[str]:
    """Names of the methods of a tower that have a value a layer, sorted."""
    return sorted(m.name for m in METHODS.values() if m.layers is not None and tower in m.towers)


def check_options(chosen: Method, options: dict) -> None:
    """Raise UserError for an option that the method does not take."""
    for name in options:
        if name not in chosen.options:
            takes = f"it takes {', '.join(chosen.options)}" if chosen.options else "it takes none"
            raise UserError(f"method {chosen.name!r} has no option {name!r}: {takes}")


def resolve_layers(layers: int | str | list[int] | None, n_layers: int) -> list[int]:
    """The layers meant by `layers`, ascending, counted from 0 at the input.

    A bare number has the meaning of the public CLIP4DM code: negative, the last so many layers
    (more than there are: all); zero or positive: all. "all" says it plainly. A list names the
    layers themselves, negative ones from the end. Raises UserError on anything else.
    """
    if isinstance(layers, str) and layers == "all":
        return list(range(n_layers))
    if isinstance(layers, int) and not isinstance(layers, bool):
        return list(range(n_layers))[layers:] if layers < 0 else list(range(n_layers))
    if isinstance(layers, list | tuple | range) and len(layers):
        return _named_layers(layers, n_layers)
    raise UserError(f"layers must be a number, 'all' or a list of layers, not {layers!r}")


def _named_layers(layers, n_layers: int) -> list[int]:
    for layer in layers:
        if not isinstance(layer, int) or not -n_layers <= layer < n_layers:
            raise UserError(f"no layer {layer!r}: the tower has layers 0 to {n_layers - 1}")
    return sorted({layer % n_layers for layer in layers})
