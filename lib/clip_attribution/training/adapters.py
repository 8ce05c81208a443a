"""Low-rank adapters (LoRA) on the attention of a text tower, as torch parametrizations.

    W = W0 + B A        A [r, d], B [d, r] for each of q, k, v and out in every block

open_clip keeps q, k and v in one fused matrix, and nn.MultiheadAttention reads the weights of its
output projection by itself: a module put in the place of either would never run. A parametrization
changes what is read, so it acts in every path that torch takes. A parametrized attention is of
another class: `trace.rows` leaves it to the model's own forward, and a trace refuses it until the
adapters are merged.

Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022, with alpha = r and no
dropout. Which weights carry adapters: arXiv 2406.09458.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import UserError
from ..trace.pooling import text_tower
from ..trace.rows import standard_blocks
from .checkpoint import read_tensors, write_tensors

PARTS = {"in_proj_weight": 3, "out_proj.weight": 1}  # a weight of attention: matrices stacked in it


class LowRank(nn.Module):
    """Adds one product B A to each of the matrices [d, d] that are stacked in a weight."""

    def __init__(self, weight: Tensor, parts: int, rank: int, generator: torch.Generator):
        super().__init__()
        rows, width = len(weight) // parts, weight.shape[1]
        first = torch.empty(parts, rank, width)
        for matrix in first:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5), generator=generator)
        self.A = nn.Parameter(first.to(weight))
        self.B = nn.Parameter(weight.new_zeros(parts, rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.B @ self.A).flatten(0, 1)


def add_adapters(model, rank: int, seed: int = 0) -> None:
    """Put adapters into every block of a model's text tower, in place; A is drawn, B is zero.

    Until B moves the model computes what it did, bit for bit.

    Parameters
    ----------
    model
        A model of open_clip whose text tower is built of its standard blocks.
    rank
        Columns of B, at least 1; a block of width d gets 8 d r numbers.
    seed
        Of the draw of A, Kaiming-uniform with a = sqrt(5).

    Raises
    ------
    UserError
        When the tower has another form of attention, or adapters already.
    """
    if not isinstance(rank, int) or rank < 1:
        raise UserError(f"the rank of adapters must be a whole number of at least 1, not {rank!r}")
    places, generator = find_places(model), torch.Generator().manual_seed(seed)
    for (module, name), parts in places.items():
        adapter = LowRank(getattr(module, name), parts, rank, generator)
        parametrize.register_parametrization(module, name, adapter)


def find_places(model) -> dict[tuple[nn.Module, str], int]:
    """Where adapters go, (module, weight): number of matrices stacked in it. Raises UserError."""
    if adapters_of(model):
        raise UserError("the text tower has adapters already: merge them first")
    tower: Any = getattr(text_tower(model), "transformer", None)
    if not standard_blocks(tower):
        raise UserError(
            f"a text tower of {type(tower).__name__} cannot carry adapters: they need open_clip's "
            "own blocks with fused q, k and v; take adapters='full', or another model"
        )
    found = {}
    for block in tower.resblocks:
        for path, parts in PARTS.items():
            inner, _, name = path.rpartition(".")
            found[block.attn.get_submodule(inner), name] = parts
    return found


def adapters_of(model) -> dict[str, LowRank]:
    """The adapters of a model by the weight that each changes, as the plain model names it."""
    return {
        name.replace("parametrizations.", "").removesuffix(".0"): module
        for name, module in model.named_modules()
        if isinstance(module, LowRank)
    }


def merge_adapters(model) -> None:
    """Turn W0 + B A into the weights themselves, in place: a plain model under its own names."""
    for name in adapters_of(model):
        path, _, weight = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(path), weight)


def save_adapters(path: Path, adapters: dict[str, dict[str, Tensor]], metadata: dict) -> None:
    """Write adapters, {weight: {"A": [parts, r, d], "B": [parts, d, r]}}, as safetensors."""
    tensors = {f"{name}.{x}": own[x] for name, own in adapters.items() for x in ("A", "B")}
    write_tensors(path, tensors, metadata)


def load_adapters(model, path) -> None:
    """Put saved adapters into the plain model that they were trained on, in place.

    Raises UserError for a file that is none of adapters, or of another model's.
    """
    tensors, _ = read_tensors(Path(path))
    ranks = {tensor.shape[1] for name, tensor in tensors.items() if name.endswith(".A")}
    wanted = {f"{place}.{x}" for place in place_names(model) for x in ("A", "B")}
    if set(tensors) != wanted or len(ranks) != 1:
        raise UserError(f"{path} holds no adapters of this model: give those trained on it")
    add_adapters(model, ranks.pop())
    with torch.no_grad():
        for name, adapter in adapters_of(model).items():
            for x in ("A", "B"):
                own = getattr(adapter, x)
                own.copy_(tensors[f"{name}.{x}"])


def place_names(model) -> list[str]:
    """The weights that carry adapters, as the plain model names them."""
    names = {module: name for name, module in model.named_modules()}
    return [f"{names[module]}.{name}" for module, name in find_places(model)]
