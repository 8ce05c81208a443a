"""Raw attention: the pooled row of the attention map, averaged over heads.

    r_i = mean over l, h of A_l^h[e, i]        default: the last layer alone

The oldest baseline; this form (last layer, mean over heads) is the one of the repository of Chefer
et al., ICCV 2021, for other models. Its mean over all layers (`layers="all"`) is the attention
attribution of CAE (Li et al., EMNLP 2024).

Sign: never negative; a row sums to 1 over all tokens, BOS and EOT included.

Known weakness: it does not know the image. Every image gives the caption the same words.
"""

import torch

from .registry import method


@method(
    "attention", signed=False, paper="Chefer et al., ICCV 2021", layers=-1, gradient=False
)
def attention(view):
    """Attention of the pooled row a layer, [B, L, n]."""
    return torch.stack([view.attention(layer).mean(1) for layer in view.layers], 1)
