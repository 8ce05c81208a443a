"""Mediated integrated gradients, slowly: one node at a time in double precision, by stopped graphs.

Nothing here imports the library. In place of products with a Jacobian, the state at the site is
rebuilt from constants, but for the one part that may lead from the embeddings to the score.
"""

import numpy as np
import oracles
import torch
import torch.nn.functional as F


def score(w, ids, image, x, heads, quick, scale, site=None, change=lambda h: h):
    """S of one row of ids [n] with token embeddings x [n, d]; change: what happens to the state
    after block `site`, or to the features where site is "features"."""
    n, end = len(ids), int(ids.argmax())
    x = x + w["positional_embedding"][:n]
    mask = torch.full((n, n), float("-inf"), dtype=x.dtype).triu(1)
    for layer in range(oracles.count_layers(w, "transformer")):
        prefix = f"transformer.resblocks.{layer}"
        x, _ = oracles.attention_block(x, w, prefix, heads, mask, quick)
        x = change(x) if layer == site else x
    x = F.layer_norm(x, x.shape[-1:], w["ln_final.weight"], w["ln_final.bias"])
    feature = x[end] @ w["text_projection"]
    feature = change(feature[None])[0] if site == "features" else feature
    return F.normalize(feature, dim=-1) @ image * scale


def live(path, end, P):
    """The state [n, d] with a graph along one path alone."""

    def change(h):
        fixed = h.detach()
        moved = h - fixed  # zero, with the graph of h
        own = torch.zeros_like(h)
        own[end if len(h) > 1 else 0] = 1
        inside = moved @ P
        part = {
            "whole": moved,
            "through": own * inside,
            "around": own * (moved - inside),
            "rest": (1 - own) * moved,
        }
        return fixed + part[path]

    return change


def mediated(model, ids, image, path, site, P, heads, quick, scale, n_steps=50):
    """Values [n] of one caption without padding, and S(x) - S(x')."""
    w = {name: tensor.double() for name, tensor in oracles.weights_of(model).items()}
    image, P = image.double(), P.double()
    end, base = int(ids.argmax()), ids.clone()
    base[1:end] = ids[end]
    start, stop = (w["token_embedding.weight"][row] for row in (base, ids))
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    total = torch.zeros_like(start)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        x = (start + float(node) * (stop - start)).requires_grad_(True)
        change = live(path, end, P)
        found = score(w, ids, image, x, heads, quick, scale, site, change)
        total += float(weight) * torch.autograd.grad(found, x)[0]
    ends = [score(w, ids, image, x, heads, quick, scale) for x in (stop, start)]
    return ((stop - start) * total).sum(-1), ends[0] - ends[1]
