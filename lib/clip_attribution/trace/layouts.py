"""One reader per attention layout: what an attention module was given, as query, key and value.

A reader is called right after the module's own forward, with the arguments of that call by name. It
returns a `Reading`: enough to rebuild the probabilities A = softmax(q kᵀ + mask) and the values V,
and to turn the gradient at one point of the module into the gradient at the head outputs A V. No
module's forward is replaced.

The point is either the module's output y, with out_weight the W_o in y = concat(A V) W_oᵀ, or the
input of the submodule named in `LAYOUTS`, which already is concat(A V).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn

from .reading import Projection, Reading, TraceError, additive

Attention = Any  # an nn.Module of another library, read by the names that its class has


class Layout(NamedTuple):
    """How to read one attention class; point = submodule whose input is concat(A V), or None."""

    read: Callable[[Attention, dict], Reading]
    point: str | None = None


def _refuse(module: nn.Module, what: str, wrong: object) -> None:
    if wrong:
        raise TraceError(f"{type(module).__name__}: {what} is not supported by the trace")


def _refuse_dropout(module: nn.Module, p: float) -> None:
    if module.training and p:
        raise TraceError(
            f"{type(module).__name__}: attention dropout {p} is active; call model.eval() first"
        )


def _causal(n_query: int, n_key: int, device: torch.device) -> Tensor:
    return torch.ones(n_query, n_key, dtype=torch.bool, device=device).tril()[None, None]


def _attend(mask: Tensor) -> Tensor:
    """A mask in which True hides a key, as one in which True keeps it; numbers pass unchanged."""
    return ~mask if mask.dtype == torch.bool else mask


def _both(one: Tensor, two: Tensor) -> Tensor:
    """Two masks in force at once."""
    if one.dtype == two.dtype == torch.bool:
        return one & two
    return additive(one) + additive(two)


# --- torch.nn.MultiheadAttention ------------------------------------------------------------------


def _multihead_weights(module: nn.MultiheadAttention) -> list[tuple[Tensor, Tensor | None]]:
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    return list(zip(weights, biases, strict=True))


def _multihead_mask(given: dict, batch: int, heads: int) -> Tensor | None:
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if mask is not None:
        mask = mask[None, None] if mask.dim() == 2 else mask.view(batch, heads, *mask.shape[1:])
        mask = _attend(mask)
    if padding is not None:
        padding = _attend(padding)[:, None, None]
        mask = padding if mask is None else _both(mask, padding)
    return mask


def read_multihead(module: nn.MultiheadAttention, given: dict) -> Reading:
    """torch.nn.MultiheadAttention: open_clip's standard blocks and CoCa's attentional pooler."""
    _refuse(module, "bias_k / bias_v / add_zero_attn", module.bias_k is not None)
    _refuse(module, "bias_k / bias_v / add_zero_attn", module.add_zero_attn)
    _refuse(module, "an input without a batch", given["query"].dim() != 3)
    _refuse_dropout(module, module.dropout)
    inputs = [given[name] for name in ("query", "key", "value")]
    inputs = [x if module.batch_first else x.transpose(0, 1) for x in inputs]
    mask = _multihead_mask(given, len(inputs[0]), module.num_heads)
    q, k, v = (
        Projection(x, weight, bias, module.num_heads)
        for x, (weight, bias) in zip(inputs, _multihead_weights(module), strict=True)
    )
    arrange = None if module.batch_first else partial(torch.transpose, dim0=0, dim1=1)
    scale, weight = module.head_dim**-0.5, module.out_proj.weight
    return Reading(q, k, v, scale, mask, weight, arrange=arrange)


# --- open_clip's own modules ----------------------------------------------------------------------


def _norm(module: nn.Module) -> nn.Module | None:
    return None if isinstance(module, nn.Identity) else module


def read_open_clip(module: Attention, given: dict) -> Reading:
    """open_clip.transformer.Attention: blocks with query/key norm, head scale or inner norm."""
    _refuse(module, "scaled cosine attention", module.logit_scale is not None)
    _refuse_dropout(module, module.attn_drop.p)
    x, mask, heads = given["x"], given.get("attn_mask"), module.num_heads
    if mask is not None:
        mask = _attend(mask)
        mask = mask.view(len(x), heads, *mask.shape[1:]) if mask.dim() == 3 else mask
        mask = mask[None, None] if mask.dim() == 2 else mask
    weights = module.in_proj_weight.chunk(3)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    norms = (_norm(module.ln_q), _norm(module.ln_k), None)
    parts = zip(weights, biases, norms, strict=True)
    q, k, v = (Projection(x, weight, bias, heads, norm) for weight, bias, norm in parts)
    return Reading(q, k, v, module.head_dim**-0.5, mask, head_scale=module.head_scale)


def read_resnet_pool(module: Attention, given: dict) -> Reading:
    """open_clip.modified_resnet.AttentionPool2d: one query, the mean over all places."""
    x = given["x"].flatten(2).transpose(1, 2)  # [B, places, d]
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
    x = x + module.positional_embedding.to(x.dtype)
    parts = ((x[:, :1], module.q_proj), (x, module.k_proj), (x, module.v_proj))
    q, k, v = (Projection(x, p.weight, p.bias, module.num_heads) for x, p in parts)
    scale = (x.shape[-1] // module.num_heads) ** -0.5
    arrange = partial(torch.unsqueeze, dim=1)  # the module returns the one query without its axis
    return Reading(q, k, v, scale, None, module.c_proj.weight, arrange=arrange)


# --- timm -----------------------------------------------------------------------------------------


def _timm_mask(given: dict, n: int, device: torch.device) -> Tensor | None:
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        return _causal(n, n, device)
    return mask if mask is None else mask[(None,) * (4 - mask.dim())]


def _timm_weights(module: Attention) -> list[tuple[Tensor, Tensor | None]]:
    if module.qkv is None:
        return [(p.weight, p.bias) for p in (module.q_proj, module.k_proj, module.v_proj)]
    bias = module.qkv.bias
    if getattr(module, "q_bias", None) is not None:
        bias = torch.cat((module.q_bias, module.k_bias, module.v_bias))
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return list(zip(module.qkv.weight.chunk(3), biases, strict=True))


def _rotation(module: Attention, rope: Tensor, norm: nn.Module) -> Callable[[Tensor], Tensor]:
    prefix, half = module.num_prefix_tokens, getattr(module, "rotate_half", False)

    def rotate(heads: Tensor) -> Tensor:
        kind, heads = heads.dtype, norm(heads)
        turned = apply_rot_embed_cat(heads[:, :, prefix:], rope, half=half)
        return torch.cat([heads[:, :, :prefix], turned], dim=2).to(kind)

    return rotate


def read_timm(module: Attention, given: dict) -> Reading:
    """timm's Attention, AttentionRope and EvaAttention: ViT, SigLIP, EVA-02 image towers."""
    _refuse(module, "grouped-query attention", getattr(module, "num_kv_groups", 1) != 1)
    _refuse_dropout(module, module.attn_drop.p)
    x, rope = given["x"], given.get("rope")
    steps: list[Callable | None] = [_norm(module.q_norm), _norm(module.k_norm), None]
    if rope is not None:
        steps[:2] = [_rotation(module, rope, norm) for norm in (module.q_norm, module.k_norm)]
    q, k, v = (
        Projection(x, weight, bias, module.num_heads, step, rope is not None and step is not None)
        for (weight, bias), step in zip(_timm_weights(module), steps, strict=True)
    )
    return Reading(q, k, v, module.scale, _timm_mask(given, x.shape[1], x.device))


def read_latent_pool(module: Attention, given: dict) -> Reading:
    """timm's AttentionPoolLatent (SigLIP's map pooling): the queries are learned vectors."""
    x = given["x"]
    if module.pos_embed is not None:
        x = x + module.pos_embed.unsqueeze(0).to(x.dtype)
    latent = module.latent.expand(len(x), -1, -1)
    weights, bias = module.kv.weight.chunk(2), module.kv.bias
    biases = (None, None) if bias is None else bias.chunk(2)
    heads = module.num_heads
    q = Projection(latent, module.q.weight, module.q.bias, heads, _norm(module.q_norm))
    k = Projection(x, weights[0], biases[0], heads, _norm(module.k_norm))
    v = Projection(x, weights[1], biases[1], heads)
    return Reading(q, k, v, module.scale, _timm_mask(given, x.shape[1], x.device))


# --- Hugging Face ---------------------------------------------------------------------------------


def _hugging_face_mask(module: nn.Module, given: dict) -> Tensor | None:
    mask = given.get("attention_mask")
    _refuse(module, "a two-dimensional attention mask", mask is not None and mask.dim() != 4)
    if mask is None and getattr(module, "is_causal", False):
        n = given["hidden_states"].shape[1]
        return _causal(n, n, given["hidden_states"].device)
    return mask


def read_bert(module: Attention, given: dict) -> Reading:
    """Hugging Face's Bert, Roberta and XLM-Roberta self-attention; its output is concat(A V)."""
    _refuse(module, "a key-value cache", given.get("past_key_values") is not None)
    _refuse_dropout(module, module.dropout.p)
    x, heads = given["hidden_states"], module.num_attention_heads
    parts = (module.query, module.key, module.value)
    q, k, v = (Projection(x, p.weight, p.bias, heads) for p in parts)
    return Reading(q, k, v, module.scaling, _hugging_face_mask(module, given))


LAYOUTS = {
    "torch.nn.modules.activation.MultiheadAttention": Layout(read_multihead),
    "open_clip.transformer.Attention": Layout(read_open_clip, "ln_inner"),
    "open_clip.modified_resnet.AttentionPool2d": Layout(read_resnet_pool),
    "timm.layers.attention.Attention": Layout(read_timm, "norm"),
    "timm.layers.attention.AttentionRope": Layout(read_timm, "norm"),
    "timm.models.eva.EvaAttention": Layout(read_timm, "norm"),
    "timm.layers.attention_pool.AttentionPoolLatent": Layout(read_latent_pool, "proj"),
    "transformers.models.bert.modeling_bert.BertSelfAttention": Layout(read_bert),
    "transformers.models.roberta.modeling_roberta.RobertaSelfAttention": Layout(read_bert),
    "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaSelfAttention": Layout(
        read_bert
    ),
}


def layout_of(module: nn.Module) -> Layout | None:
    """The layout of exactly this class, or None; a subclass may compute something else."""
    kind = type(module)
    return LAYOUTS.get(f"{kind.__module__}.{kind.__qualname__}")
