"""Interchange interventions, slow and obvious: one pair at a time, in coordinates, block by block.

Nothing here imports the library.
"""

import torch
import torch.nn.functional as F
from oracles import attention_block, count_layers


def below(w, ids, site, heads, quick):
    """States [n, d] behind block `site` of one text's ids [n_ctx]."""
    x = w["token_embedding.weight"][ids] + w["positional_embedding"][: len(ids)]
    for layer in range(site + 1):
        x = block(w, x, layer, heads, quick)
    return x


def block(w, x, layer, heads, quick):
    mask = torch.full((len(x), len(x)), float("-inf"), dtype=x.dtype).triu(1)
    return attention_block(x, w, f"transformer.resblocks.{layer}", heads, mask, quick)[0]


def above(w, x, site, position, heads, quick):
    """The text embedding [D], not normalised, that follows from states [n, d] behind `site`."""
    for layer in range(site + 1, count_layers(w, "transformer")):
        x = block(w, x, layer, heads, quick)
    x = F.layer_norm(x, x.shape[-1:], w["ln_final.weight"], w["ln_final.bias"])
    return x[position] @ w["text_projection"]


def swapped(base, source, rotation, size):
    """z' W^T with z' = [z_source[0:k], z_base[k:d]], of states [d]."""
    z_base, z_source = base @ rotation, source @ rotation
    return torch.cat([z_source[:size], z_base[size:]]) @ rotation.T


def score(w, feature, image):
    cosine = F.cosine_similarity(feature, image, dim=-1)
    return w["logit_scale"].exp() * cosine


def interchange_score(w, image, base, source, site, size, rotation, heads, quick):
    """The score of ids `base` [n_ctx] with the subspace of ids `source`, for an image [D]."""
    last = count_layers(w, "transformer") - 1
    level = last if site == "features" else site
    own, other = (below(w, ids, level, heads, quick) for ids in (base, source))
    at, there = base.argmax(), source.argmax()
    if site == "features":
        own, other = (above(w, x, level, e, heads, quick) for x, e in ((own, at), (other, there)))
        return score(w, swapped(own, other, rotation, size), image)
    state = swapped(own[at], other[there], rotation, size)
    own = torch.cat([own[:at], state[None], own[at + 1 :]])
    return score(w, above(w, own, level, at, heads, quick), image)
