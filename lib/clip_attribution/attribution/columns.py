"""Signed columns: gradient times attention of every row that reads a token, not of EOT's alone.

    c_j = mean over l, h of  Σ_i  dS/dA_l^h[i, j] * A_l^h[i, j]        S = cosine

Ours. CLIP4DM (`clip4dm`) is the term i = e. What a token sends to another token first, as a colour
does to its noun, and from there to the pooled position, counts here for the token that sent it.
Default: all layers. ReLU variants (`relu=`): as of `clip4dm`, before the sum over rows.

Sign: above zero more attention to the token would raise the cosine, below zero lower it. It ranks
words; it does not decide: most words of true captions are below zero.

Known weakness: a token is credited with whatever the rows that read it pass on.
"""

import torch

from .clip4dm import REDUCE
from .registry import method


@method("columns", signed=True, paper="ours", layers="all", relu=True, reads="all")
def columns(view, relu: str = "signed"):
    """Values a token and layer, [B, L, n], on the cosine scale."""
    maps = ((view.attention_map(k), view.gradient_map(k)) for k in view.layers)
    return torch.stack([REDUCE[relu](a, g).sum(1) for a, g in maps], 1)
