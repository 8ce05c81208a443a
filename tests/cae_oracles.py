"""Slow and obvious forms of CAE's attributions: one caption at a time, explicit maps, autograd.

Nothing here imports the library. The weights are given as a dictionary, so that they may require
gradients themselves: a loss on these attributions then has its derivative from autograd alone.
"""

import numpy as np
import oracles
import torch
import torch.nn.functional as F


def text_feature(w, ids, heads, quick, x=None):
    """Unit text feature [D] and the maps [H, n, n] of one row of ids [n]; x replaces the token
    embeddings [n, d]."""
    n = len(ids)
    x = w["token_embedding.weight"][ids] if x is None else x
    x = x + w["positional_embedding"][:n]
    mask = torch.full((n, n), float("-inf"), dtype=x.dtype).triu(1)
    maps = []
    for layer in range(oracles.count_layers(w, "transformer")):
        prefix = f"transformer.resblocks.{layer}"
        x, attn = oracles.attention_block(x, w, prefix, heads, mask, quick)
        maps.append(attn)
    x = F.layer_norm(x, x.shape[-1:], w["ln_final.weight"], w["ln_final.bias"])
    return F.normalize(x[ids.argmax()] @ w["text_projection"], dim=-1), maps


class Oracle:
    """One caption's attributions [n] from weights w, image feature [D] and factor 1/tau."""

    def __init__(self, w, heads, quick, scale):
        self.w, self.heads, self.quick, self.scale = w, heads, quick, scale

    def score(self, ids, image, x=None):
        return text_feature(self.w, ids, self.heads, self.quick, x)[0] @ image * self.scale

    def attention(self, ids, image):
        _, maps = text_feature(self.w, ids, self.heads, self.quick)
        return torch.stack([attn.mean(0) for attn in maps]).mean(0)[ids.argmax()]

    def cae_gradcam(self, ids, image, heads="mean"):
        leaf = self.w["token_embedding.weight"][ids].detach().requires_grad_(True)
        x = self.w["token_embedding.weight"][ids] + (leaf - leaf.detach())  # a graph even if frozen
        feature, maps = text_feature(self.w, ids, self.heads, self.quick, x)
        score = feature @ image * self.scale
        relevance = torch.eye(len(ids), dtype=score.dtype)
        for attn in maps:
            (gradient,) = torch.autograd.grad(score, attn, create_graph=True)
            kept = (attn * gradient).clamp(min=0)
            step = kept.mean(0) if heads == "mean" else kept.sum(0)
            relevance = relevance + step @ relevance
        return relevance[ids.argmax()] - torch.eye(len(ids), dtype=score.dtype)[ids.argmax()]

    def gradient(self, ids, image, first=1, everywhere=False):
        x = self.w["token_embedding.weight"][ids]
        x = x if x.requires_grad else x.detach().requires_grad_(True)
        (found,) = torch.autograd.grad(self.score(ids, image, x), x, create_graph=True)
        strength, end = found.abs().sum(-1), ids.argmax()
        if everywhere:
            return strength.softmax(-1)
        shares = torch.zeros_like(strength)
        shares[first:end] = strength[first:end].softmax(-1)
        return shares

    def integrated_gradients(self, ids, image, n_steps=50):
        """By a loop over Gauss-Legendre nodes; also the completeness gap."""
        end, base = ids.argmax(), ids.clone()
        base[1:end] = ids[end]
        start, stop = (self.w["token_embedding.weight"][row].detach() for row in (base, ids))
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        total = torch.zeros_like(start)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            x = (start + float(node) * (stop - start)).requires_grad_(True)
            (found,) = torch.autograd.grad(self.score(ids, image, x), x)
            total += float(weight) * found
        values = ((stop - start) * total).sum(-1)
        change = self.score(ids, image, stop) - self.score(ids, image, start)
        return values, values.sum() - change


def exhaustive_drop(clip, caption, span, candidates, image, template=""):
    """Mean of S(T) - S(T_p) over all candidates, one call of the text encoder a caption."""
    start, end = span
    kept = [phrase for phrase in candidates if phrase.lower() != caption[start:end].lower()]
    scores = []
    for phrase in kept:
        text = clip.encode_texts([template + caption[:start] + phrase + caption[end:]])[0]
        scores.append((text @ image).item())
    whole = (clip.encode_texts([template + caption])[0] @ image).item()
    return clip.logit_scale * (whole - sum(scores) / len(scores))
