"""Integrated gradients at the token embeddings, by captum.

    IG_i = sum over j of (x_ij - x'_ij) * integral over t from 0 to 1 of dS/dx_ij( x' + t (x - x') )

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv 1703.01365; as
used for CLIP by Zur et al., arXiv 2406.09458: captum's defaults (Gauss-Legendre, 50 steps), S on
the logit scale, baseline the text with every token between BOS and EOT replaced by EOT. Positions
are the same in both, so it does not matter whether they are part of x.

Sign: above zero the token raises the score against the baseline, below zero it lowers it.
Completeness: over all tokens, the template's included, the values sum to S(x) - S(x'). The column
`completeness_gap` of the pairs is the sum less that difference. S(x') is read at the EOT position
of the text itself: the path moves the embeddings alone. (captum's own convergence delta reads it
where the baseline's ids have their first EOT, which is another place.)

Known weakness: 50 passes forward and back, and values that depend on an arbitrary baseline.
"""

import torch
from torch import Tensor

from ..trace.inputs import embedding_layer, frozen, given_embeddings, text_features
from .path_points import AT_ONCE
from .registry import method


@method(
    "integrated_gradients",
    signed=True,
    paper="arXiv 1703.01365",
    layers=None,
    towers=("text",),
    score="logit",
    reads="input",
    options=("n_steps",),
)
def integrated_gradients(view, n_steps: int = 50):
    """Values a token, [B, 1, n], on the logit scale; notes the completeness gap [B]."""
    from captum.attr import LayerIntegratedGradients  # seconds to import, rarely needed

    def score(ids, images):
        return (text_features(view.model, ids) * images).sum(-1) * view.scale

    base = baseline(view)
    with frozen(view.model):
        found = LayerIntegratedGradients(score, embedding_layer(view.model)).attribute(
            view.ids,
            base,
            additional_forward_args=(view.images,),
            n_steps=n_steps,
            internal_batch_size=max(AT_ONCE, len(view.ids)),
        )
    values = found.detach().float().sum(-1)
    view.notes["completeness_gap"] = values.sum(-1) - score_change(view, base)
    return values[:, None]


def baseline(view) -> Tensor:
    """Ids [B, n] with every token between BOS and EOT replaced by EOT."""
    ends = torch.tensor([caption.ids[-1] for caption in view.captions], device=view.ids.device)
    return torch.where(view.inside, ends[:, None], view.ids)


@torch.no_grad()
def score_change(view, base: Tensor) -> Tensor:
    """S(x) - S(x') [B]: x' the embeddings of the baseline, pooled where the text itself is."""
    embeddings = embedding_layer(view.model)(base)
    with given_embeddings(view.model, embeddings):
        start = (text_features(view.model, view.ids) * view.images).sum(-1)
    return (view.cosines - start) * view.scale
