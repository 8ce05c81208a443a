"""What a method sees of one traced batch: attention and its gradient, cut to what it asks for."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class View:
    """One batch after the backward pass.

    trace: the open trace of the tower. rows: pooled position of each element [B].
    layers: the layers used, ascending. scale: factor from the differentiated scalar
    to the method's own score. cosines: that scalar, [B]. Everything comes back in float32 or
    wider, and in the graph where the trace was opened with create_graph.
    """

    trace: Any
    rows: Tensor
    layers: list[int]
    scale: float | Tensor = 1.0
    cosines: Tensor | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)

    def attention(self, layer: int) -> Tensor:
        """Attention of the pooled row, [B, H, n]."""
        return self.trace.attention(layer, rows=self.rows)

    def gradient(self, layer: int) -> Tensor:
        """Gradient of the score with respect to that row, [B, H, n]."""
        return self.trace.attention_grads(layer, rows=self.rows) * self.scale

    def attention_map(self, layer: int) -> Tensor:
        """All rows of attention, [B, H, n, n]."""
        return self.trace.attention(layer)

    def gradient_map(self, layer: int) -> Tensor:
        """Gradient of the score with respect to all rows, [B, H, n, n]."""
        return self.trace.attention_grads(layer) * self.scale

    def start_row(self, n: int) -> Tensor:
        """The unit vector of the pooled position, [B, n]."""
        return torch.nn.functional.one_hot(self.rows, n).float()
