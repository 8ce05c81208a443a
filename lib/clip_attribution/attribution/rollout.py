"""Attention rollout: attention followed through the layers, with the residual path as identity.

    Ahat_l = rows of ( mean_h A_l^h + I ) scaled to sum 1        r = ( Ahat_L ... Ahat_1 )[e]

Abnar, Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, arXiv 2005.00928.
Default: all layers. Row e alone is carried, from the top layer down: r <- r Ahat_l.
The value of a layer is r after the product down to that layer; the lowest one is the result.

Sign: never negative; a row sums to 1 over all tokens.

Known weakness: like raw attention it does not know the image, and over many layers it flattens:
most of the mass ends on the first token, which every causal row can read.
"""

import torch

from .registry import method


@method(
    "rollout",
    signed=False,
    paper="arXiv 2005.00928",
    layers="all",
    gradient=False,
    combine="lowest",
    reads="all",
)
def rollout(view):
    """The row after each product, [B, L, n], lowest layer first."""
    rows, row = [], None
    for layer in reversed(view.layers):
        step = view.attention_map(layer).mean(1)
        step = step + torch.eye(step.shape[-1]).to(step)
        step = step / step.sum(-1, keepdim=True)
        row = view.start_row(step.shape[-1]).to(step) if row is None else row
        row = (row[:, None] @ step)[:, 0]
        rows.append(row)
    return torch.stack(rows[::-1], 1)
