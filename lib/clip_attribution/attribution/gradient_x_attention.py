"""Gradient times attention, each averaged over heads before they meet.

    r_i = mean over l of ( mean_h dS/dA_l^h[e, i] ) * ( mean_h A_l^h[e, i] )        S = cosine

Our definition: the name is used in several senses. It is the signed relative of reading b of
CLIP4DM's ReLU ablation (arXiv 2412.18404, Table 8), and shows what the order of mean and product
is worth: CLIP4DM multiplies within each head, this method after the heads are averaged. Default:
the last three layers, as there.

Sign: above zero the token raises the cosine, below zero it lowers it.

Known weakness: a head that looks at a token and a head whose gradient pulls on it need not be
the same one, so opposite heads cancel and unrelated heads combine.
"""

import torch

from .registry import method


@method("gradient_x_attention", signed=True, paper="arXiv 2412.18404, Table 8", layers=-3)
def gradient_x_attention(view):
    """Values a token and layer, [B, L, n], on the cosine scale."""
    pairs = [(view.attention(k).mean(1), view.gradient(k).mean(1)) for k in view.layers]
    return torch.stack([a * g for a, g in pairs], 1)
