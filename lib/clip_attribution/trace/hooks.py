"""Read attention and its gradient out of a tower, while the model's own fast forward runs.

    with trace(model, tower="text", start=9) as t:
        score = (image_features * model.encode_text(ids, normalize=True)).sum()
        t.backward(score)
    t.attention(11, rows=eot)          # [B, H, n] probabilities of one query row
    t.attention_grads(11, rows=eot)    # [B, H, n] dS/dA of that row

Hooks note what each attention module was given and one gradient a layer, dS/dy; the rest follows:
with o = A V and y = concat(o) W_oᵀ, dS/do = (dS/dy) W_o cut into heads and dS/dA = (dS/do) Vᵀ.
So no n×n tensor is part of the autograd graph. Blocks below `start` build no graph.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial, wraps
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.locks import lock_of
from .layouts import Layout, layout_of
from .reading import (
    Reading,
    TraceError,
    against,
    head_gradients,
    pick,
    probabilities,
    project,
    widen,
)
from .sites import Site, check_state, count_layers, find_sites, held_flags

__all__ = ["Trace", "TraceError", "count_layers", "trace"]

HALF_SCALE = 1024.0  # float16 gradients of a cosine sink below its smallest number without it


@cache
def _parameters(forward: Callable) -> inspect.Signature:
    return inspect.signature(forward)


def _by_name(module: nn.Module, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call by their names, those in **kwargs included."""
    given = dict(_parameters(type(module).forward).bind(module, *args, **kwargs).arguments)
    return given | given.pop("kwargs", {})


def _layout(module: nn.Module) -> Layout:
    """The layout of a site's module, which has one by `find_sites`."""
    return cast(Layout, layout_of(module))


def _accessor(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run an accessor without a graph, unless the trace was opened with create_graph."""

    @wraps(method)
    def read(self: "Trace", *args: Any, **kwargs: Any) -> Tensor:
        with torch.set_grad_enabled(self.create_graph):
            return method(self, *args, **kwargs)

    return read


def _thin(x: Tensor, rows: Tensor | None) -> Tensor:
    return x if rows is None else x.squeeze(2)


class Trace:
    """What one forward of one tower left behind; made by `trace`, readable after its block ends.

    Layers count the tower's residual blocks from 0 in forward order; layer="pooler" is the
    attention pooler where the tower has one. Everything comes back in float32 or wider, and
    detached unless create_graph was asked for. B items, H heads, n positions, dh a head's width.
    """

    def __init__(self, sites: list[Site], start: int, tower: str, create_graph: bool = False):
        self.tower, self.create_graph = tower, create_graph
        self.n_layers = sum(site.key != "pooler" for site in sites)
        self._names = {s.key: s.name for s in sites if isinstance(s.key, str) or s.key >= start}
        self._readings: dict[int | str, Reading] = {}
        self._points: dict[int | str, tuple[Tensor, int]] = {}
        self._gradients: dict[int | str, Tensor] = {}

    @property
    def layers(self) -> list[int]:
        """Absolute indices of the captured blocks."""
        return [key for key in self._names if isinstance(key, int)]

    @property
    def names(self) -> list[str]:
        """Module paths of the captured blocks' attention, in the order of `layers`."""
        return [self._names[key] for key in self.layers]

    @property
    def pooler(self) -> str | None:
        """Module path of the attention pooler, None where the tower has none."""
        return self._names.get("pooler")

    def backward(self, score: Tensor, retain_graph: bool = False) -> None:
        """Take dS/dy of every captured layer; S is a scalar (sum a batch: items do not mix)."""
        self._check_complete()
        if not self._points:
            raise TraceError("the graph of this trace is spent: pass retain_graph=True before")
        if score.dim() or not score.requires_grad:
            raise TraceError("backward needs a scalar that depends on the traced forward")
        keys, points = list(self._points), [point for point, _ in self._points.values()]
        self._check_untouched()
        scale = HALF_SCALE if any(p.dtype == torch.float16 for p in points) else 1.0
        keep = retain_graph or self.create_graph
        found = torch.autograd.grad(
            score * scale,
            points,
            retain_graph=keep,
            create_graph=self.create_graph,
            allow_unused=True,
        )
        pairs = zip(keys, found, strict=True)
        self._gradients = {k: self._arranged(k, g) / scale for k, g in pairs if g is not None}
        if not keep:
            self._points = {}

    @_accessor
    def attention(self, layer: int | str, rows: Tensor | None = None) -> Tensor:
        """Probabilities [B, H, n, n]; with rows [B], one query position an item: [B, H, n]."""
        return _thin(probabilities(self._reading(layer), rows), rows)

    @_accessor
    def values(self, layer: int | str) -> Tensor:
        """V [B, H, n, dh]."""
        return project(self._reading(layer).value)

    @_accessor
    def head_outputs(self, layer: int | str, rows: Tensor | None = None) -> Tensor:
        """A V [B, H, n, dh], or [B, H, dh] at rows."""
        reading = self._reading(layer)
        return _thin(probabilities(reading, rows) @ project(reading.value), rows)

    @_accessor
    def head_output_grads(self, layer: int | str, rows: Tensor | None = None) -> Tensor:
        """dS/d(A V) [B, H, n, dh], or [B, H, dh] at rows."""
        return _thin(self._head_gradients(layer, rows), rows)

    @_accessor
    def attention_grads(self, layer: int | str, rows: Tensor | None = None) -> Tensor:
        """dS/dA [B, H, n, n], or [B, H, n] at rows (Chefer et al. 2021 call it ∇A)."""
        return _thin(against(self._head_gradients(layer, rows), self._reading(layer).value), rows)

    def _head_gradients(self, layer: int | str, rows: Tensor | None) -> Tensor:
        reading = self._reading(layer)
        if layer not in self._gradients:
            why = "S does not depend on it" if self._gradients else "call backward(S) first"
            raise TraceError(f"no gradient at {self._names[layer]}: {why}")
        gradient = self._gradients[layer]
        return head_gradients(reading, gradient if rows is None else pick(gradient, rows))

    def _reading(self, layer: int | str) -> Reading:
        self._check_complete()
        if layer not in self._readings:
            raise TraceError(f"layer {layer!r} was not captured; captured are {list(self._names)}")
        return self._readings[layer]

    def _arranged(self, key: int | str, gradient: Tensor) -> Tensor:
        arrange = self._readings[key].arrange
        return widen(gradient if arrange is None else arrange(gradient))

    def _check_complete(self) -> None:
        missing = [name for key, name in self._names.items() if key not in self._readings]
        if missing:
            where = f"{len(missing)} attention modules, first {missing[0]}"
            raise TraceError(f"not reached by a forward of the {self.tower} tower: {where}")

    def _check_untouched(self) -> None:
        for key, (point, version) in self._points.items():
            if point._version != version:
                raise TraceError(f"{self._names[key]}: its output was overwritten in place")

    def _keep(self, site: Site, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if site.key in self._readings:
            raise TraceError(f"{site.name} ran twice: a trace holds one forward, open another")
        layout = _layout(module)
        given = _by_name(module, args, kwargs)
        if not self.create_graph:
            given = {k: v.detach() if isinstance(v, Tensor) else v for k, v in given.items()}
        with torch.set_grad_enabled(self.create_graph):
            self._readings[site.key] = layout.read(module, given)
        if layout.point is None:
            self._keep_point(site, output[0] if isinstance(output, tuple) else output)

    def _keep_point(self, site: Site, point: Tensor) -> None:
        self._points[site.key] = (point, point._version)


def _hook(t: Trace, site: Site) -> Iterator[Any]:
    """Handles of the hooks that fill t from one attention module."""
    yield site.module.register_forward_hook(partial(t._keep, site), with_kwargs=True)
    point = _layout(site.module).point
    if point is not None:
        inner = site.module.get_submodule(point)
        yield inner.register_forward_pre_hook(lambda _, args: t._keep_point(site, args[0]))


def _begin_graph(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Switch gradients on at a block, its hidden state a new leaf: no graph reaches below it."""
    torch.set_grad_enabled(True)
    if args:
        return (args[0].detach().requires_grad_(True), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, kwargs | {name: kwargs[name].detach().requires_grad_(True)}


@contextmanager
def trace(
    model: nn.Module, tower: str = "text", start: int = 0, create_graph: bool = False
) -> Iterator[Trace]:
    """Capture one forward of a tower; the model is as it was on exit, also when the body raises.

    model: open_clip model; tower: "text" or "image"; start: first layer whose attention is kept
    and differentiated (negative counts from the end). Run encode_text or encode_image once inside,
    then t.backward(S) with a scalar S. Gradients are off until block `start` runs and on after it.
    With create_graph the readings and gradients stay differentiable in the parameters and nothing
    is frozen or cut, for losses on attributions.
    Raises TraceError for an unknown layout, a second forward, a block that was not reached,
    inference mode, gradient checkpointing and active attention dropout.
    Gradients are taken at the head outputs (Chefer et al. 2021, gradient of attention, rewritten).
    """
    sites = find_sites(model, tower)
    start = check_state(model, sites, tower, start)
    t = Trace(sites, start, tower, create_graph)
    kept = [site for site in sites if site.key in t._names]
    with ExitStack() as stack:
        stack.enter_context(lock_of(model))
        if create_graph:  # fused kernels have no second derivative
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        else:
            stack.enter_context(held_flags(model, sites))
            begin = kept[0].block.register_forward_pre_hook(_begin_graph, with_kwargs=True)
            stack.callback(begin.remove)
        for site in kept:
            for handle in _hook(t, site):
                stack.callback(handle.remove)
        stack.enter_context(torch.set_grad_enabled(create_graph))
        yield t
