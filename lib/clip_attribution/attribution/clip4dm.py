"""CLIP4DM: signed gradient times attention, averaged over heads and layers.

    R_l = mean_h( dS/dA_l^h * A_l^h )        r_i = mean over l of R_l[e, i]        S = cosine

e is the pooled (EOT) position. Nam, Im, Kim, Kil, "Extract Free Dense Misalignment from CLIP",
AAAI 2025, arXiv 2412.18404. No ReLU, no identity start, no normalising; default the last
three layers.

Sign: above zero the token raises the cosine, below zero it lowers it (misaligned).

ReLU variants (Table 8 of the paper; `relu=`):
    signed                    the method itself
    negative_heads            min(., 0) of the product before the head mean
    negative_layers           min(., 0) of the head mean before the layer mean (reading a)
    negative_layers_gradient  min(mean_h gradient, 0) * mean_h attention (reading b)
    positive_heads, absolute  our additions, with no published number; neither can be negative

Known weakness: only what the EOT row reads directly counts. What a token sends first to another
token and from there to EOT is credited to the other one.
"""

import torch

from .registry import method

REDUCE = {
    "signed": lambda a, g: (a * g).mean(1),
    "negative_heads": lambda a, g: (a * g).clamp(max=0).mean(1),
    "negative_layers": lambda a, g: (a * g).mean(1).clamp(max=0),
    "negative_layers_gradient": lambda a, g: g.mean(1).clamp(max=0) * a.mean(1),
    "positive_heads": lambda a, g: (a * g).clamp(min=0).mean(1),
    "absolute": lambda a, g: (a * g).abs().mean(1),
}


@method("clip4dm", signed=True, paper="arXiv 2412.18404", layers=-3, relu=True)
def clip4dm(view, relu: str = "signed"):
    """Values a token and layer, [B, L, n], on the cosine scale."""
    reduce = REDUCE[relu]
    return torch.stack([reduce(view.attention(k), view.gradient(k)) for k in view.layers], 1)


def all_variants(view):
    """Every ReLU variant of every layer from one pass, [B, variants, L, n]."""
    tables = [(view.attention(k), view.gradient(k)) for k in view.layers]
    variants = [torch.stack([f(a, g) for a, g in tables], 1) for f in REDUCE.values()]
    return torch.stack(variants, 1)
