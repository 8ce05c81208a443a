"""CAE's gradient attribution: how strongly the score depends on each token's embedding.

    g_i = sum over j of | dS/dx_ij |        a = softmax(g) over the caption's tokens

x are the token embeddings before positions are added (the gradient is the same either way), S is
cosine / tau. Li et al., EMNLP 2024. `scope="caption"` (default): the softmax runs over the
caption's own tokens, without BOS, EOT, padding and template; `scope="all"`: over every position of
the context, where padding has the strength 0 and BOS a large one, so that every value differs.

Sign: never negative; the values of a caption sum to 1 over the scope (a word is the mean of its
tokens). The column `attribution_entropy` of the pairs is the entropy of that distribution in nats:
0 when one token has it all, the logarithm of the number of positions when all have the same.

Known weakness: on the logit scale g is easily tens, and then the softmax gives nearly everything
to one token and has no gradient left: read the entropy. `temperature` divides g first; the paper
has none (1, the default).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import UserError
from .registry import method


@method(
    "gradient",
    signed=False,
    paper="Li et al., EMNLP 2024",
    layers=None,
    towers=("text",),
    score="logit",
    reads="input",
    unit="share",
    options=("scope", "temperature"),
)
def gradient(view, scope: str = "caption", temperature: float = 1.0):
    """The share of each token, [B, 1, n]; notes the entropy [B]."""
    if not temperature > 0:
        raise UserError(f"temperature must be above 0, not {temperature!r}")
    strength = view.embedding_gradients().abs().sum(-1) / temperature
    shares = softmax(strength, view.own, view.context_length, scope)
    view.notes["attribution_entropy"] = -torch.xlogy(shares.detach(), shares.detach()).sum(-1)
    return shares[:, None, : strength.shape[1]]


def softmax(strength: Tensor, own: Tensor, context_length: int, scope: str) -> Tensor:
    """Softmax of strengths [B, n] over the caption's own tokens, or over the whole context."""
    if scope == "caption":
        return strength.masked_fill(~own, float("-inf")).softmax(-1)
    if scope == "all":  # columns that were trimmed away are padding, of strength 0
        return pad(strength, (0, context_length - strength.shape[1])).softmax(-1)
    raise UserError(f"unknown scope {scope!r}: choose caption or all")
