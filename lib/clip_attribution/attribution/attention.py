"""Attention as it is: the pooled row of the attention maps, averaged over heads and layers.

    r_i = mean over l, h of A_l^h[e, i]

Two methods share the formula and differ in the layers that they take by default:

    attention      all layers: the attention attribution of CAE (Li et al., EMNLP 2024), whose "CLS"
                   is EOT in CLIP's text tower
    raw_attention  the last layer alone: the baseline in the repository of Chefer et al., ICCV 2021

Sign: never negative; a row sums to 1 over all tokens, BOS and EOT included.

Known weakness: it does not know the image. Every image gives the caption the same words.
"""

import torch

from .registry import method


@method("raw_attention", signed=False, paper="Chefer et al., ICCV 2021", layers=-1, gradient=False)
@method("attention", signed=False, paper="Li et al., EMNLP 2024", layers="all", gradient=False)
def attention(view):
    """Attention of the pooled row a layer, [B, L, n]."""
    return torch.stack([view.attention(layer).mean(1) for layer in view.layers], 1)
