"""Generic attention-model explainability (GAE): clamped gradient times attention, propagated.

    Abar_l = mean_h max( dS/dA_l^h * A_l^h , 0 )      R <- R + Abar_l R  from R = I      r = R[e]

Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal
and Encoder-Decoder Transformers", ICCV 2021. S = exp(logit_scale) * cosine, as in their CLIP
notebook, whose default is the last block alone; `layers="all"` is the method of the paper.

Only row e is wanted, so the recursion runs on a vector from the top layer down,
r <- r + r Abar_l from the unit vector of e: the same number without a product of matrices.
Values a layer are what that layer adds; they sum to r (the identity at e left out).

Sign: never negative, larger is more relevant. Not normalised: that belongs to the plot.

Known weakness: what speaks against the match is clamped away, and a token that one head
counts for and another against counts as relevant.
"""

import torch

from .registry import method

ABOUT = {"signed": False, "score": "logit", "combine": "sum", "reads": "below"}


@method("gae", paper="Chefer et al., ICCV 2021", layers=-1, **ABOUT)
def gae(view):
    """What each layer adds to the relevance row, [B, L, n], on the logit scale."""
    return relevance(view, lambda heads: heads.mean(1))


def relevance(view, reduce):
    """The recursion with another reduction of the clamped heads, [B, H, ...] to [B, ...]."""
    gains, row = [], None
    for layer in reversed(view.layers):
        if row is None:  # r is still the unit vector of e: only that row of Abar is read
            gain = reduce((view.attention(layer) * view.gradient(layer)).clamp(min=0))
            row = view.start_row(gain.shape[-1]).to(gain)
        else:
            step = (view.attention_map(layer) * view.gradient_map(layer)).clamp(min=0)
            gain = (row[:, None] @ reduce(step))[:, 0]
        row = row + gain
        gains.append(gain)
    return torch.stack(gains[::-1], 1)
