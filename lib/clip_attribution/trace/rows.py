"""One row instead of n: the pooled position's attention and its gradient, exact and nearly free.

In a causal tower that pools at EOT, no earlier position sees EOT and no later one reaches the
score: the state of EOT acts on it through its own row alone, and all other positions are constants.
So the tower runs once without a graph, and then the row of EOT runs again with one. There the row
of attention is a tensor like any other, and autograd gives dS/dA for it in every layer, at about
1/n of the cost of a backward pass through the tower.
"""

from dataclasses import dataclass, field
from typing import cast

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from .hooks import HALF_SCALE
from .pooling import can_trim, project_text, text_rows, text_tower
from .reading import widen


@dataclass
class RowView:
    """What a method sees of one batch: as `View`, without the maps of all rows."""

    rows: Tensor
    layers: list[int]
    tables: dict[int, tuple[Tensor, Tensor | None]]
    scale: float = 1.0
    cosines: Tensor | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)

    def attention(self, layer: int) -> Tensor:
        """Attention of the pooled row, [B, H, n]."""
        return self.tables[layer][0]

    def gradient(self, layer: int) -> Tensor:
        """Gradient of the score with respect to that row, [B, H, n]."""
        gradient = cast(Tensor, self.tables[layer][1])  # None only for a method that asks for none
        return gradient * self.scale

    def start_row(self, n: int) -> Tensor:
        """The unit vector of the pooled position, [B, n]."""
        return nn.functional.one_hot(self.rows, n).float()


def standard_blocks(transformer) -> bool:
    """Whether all blocks are open_clip's standard ones, whose row `row_block` computes."""
    blocks = getattr(transformer, "resblocks", [])
    return len(blocks) > 0 and all(
        type(block) is ResidualAttentionBlock
        and type(block.attn) is nn.MultiheadAttention
        and block.attn.in_proj_weight is not None
        and block.attn.batch_first
        for block in blocks
    )


def can_run_rows(model) -> bool:
    """Whether the text tower is causal, pooled at EOT, of standard blocks, and free of hooks."""
    tower = text_tower(model)
    return can_trim(model) and standard_blocks(tower.transformer) and not hooked(tower.transformer)


def hooked(module: nn.Module) -> bool:
    """Whether somebody watches or changes this module's forward, which a shortcut would pass by."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def run_rows(
    model,
    ids: Tensor,
    rows: Tensor,
    images: Tensor,
    layers: list[int],
    gradient: bool,
    create_graph: bool = False,
):
    """Attention and gradient of the pooled rows for ids [B, n] and image features [B, D].

    Returns ({layer: (attention [B, H, n], gradient [B, H, n] or None)}, cosines [B]), float32. With
    create_graph the gradients can be differentiated in the image features.
    """
    tower, start = text_tower(model), layers[0]
    with torch.no_grad():
        state, inputs = run_below(tower, ids, rows, start)
        visible = torch.arange(ids.shape[1], device=ids.device) <= rows[:, None]
    with torch.set_grad_enabled(gradient):
        state, kept = state.requires_grad_(gradient), {}
        for layer, z in enumerate(inputs, start=start):
            block = tower.transformer.resblocks[layer]
            state, kept[layer] = row_block(block, state, z, rows, visible)
        texts = normalize(widen(project_text(tower, tower.ln_final(state))), dim=-1)
        cosines = (texts * images).sum(-1)
        kept_rows = [kept[k] for k in layers]
        found = differentiate(cosines.sum(), kept_rows, state, create_graph) if gradient else None
    tables = {k: (kept[k].detach(), found[i] if found else None) for i, k in enumerate(layers)}
    return tables, cosines.detach()


def row_features(model, ids: Tensor) -> Tensor:
    """Text features [B, D], not normalised, of ids [B, n] on a tower that `can_run_rows`; the last
    block runs one row, and what all texts begin with runs once."""
    tower, rows = text_tower(model), text_rows(model, ids)
    visible = torch.arange(ids.shape[1], device=ids.device) <= rows[:, None]
    state, inputs = run_below(tower, ids, rows, len(tower.transformer.resblocks) - 1)
    state, _ = row_block(tower.transformer.resblocks[-1], state, inputs[0], rows, visible)
    return project_text(tower, tower.ln_final(state))


def differentiate(score, kept: list[Tensor], state: Tensor, create_graph=False) -> list[Tensor]:
    """dS/dA of each kept row, scaled on the way where float16 would lose it."""
    scale = HALF_SCALE if state.dtype == torch.float16 else 1.0
    found = torch.autograd.grad(score * scale, kept, create_graph=create_graph)
    return [gradient / scale for gradient in found]


def run_below(tower, ids: Tensor, rows: Tensor, start: int) -> tuple[Tensor, list[Tensor]]:
    """State of the pooled rows [B, d] before block `start`, and from there on what each block's
    attention reads, ln_1 of its input, [B, n, d]. The last block itself need not run.

    What all texts begin with, BOS and the template, runs once: no position sees a later one.
    """
    n, inputs, blocks = ids.shape[1], [], tower.transformer.resblocks
    mask, shared = tower.attn_mask[:n, :n], shared_prefix(ids, rows)
    dtype, items = tower.transformer.get_cast_dtype(), torch.arange(len(ids), device=ids.device)
    x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:n].to(dtype)
    head, tail = x[:1, :shared], x[:, shared:]
    for layer, block in enumerate(blocks):
        if layer == start:
            state = tail[items, rows - shared]
        z = torch.cat([block.ln_1(head).expand(len(ids), -1, -1), block.ln_1(tail)], dim=1)
        if layer >= start:
            inputs.append(z)
        if layer < len(blocks) - 1:
            tail = tail + block.ls_1(block.attention(z[:, shared:], z, z, mask[shared:]))
            tail = tail + block.ls_2(block.mlp(block.ln_2(tail)))
            head = block(head, attn_mask=mask[:shared, :shared]) if shared else head
    return state, inputs


def shared_prefix(ids: Tensor, rows: Tensor) -> int:
    """Number of first columns of ids [B, n] that all rows share, short of the pooled position."""
    if len(ids) == 1:
        return 0
    same = (ids == ids[:1]).all(dim=0).int()
    return min(int(same.cumprod(0).sum()), int(rows.min()))


def row_block(block, state: Tensor, z: Tensor, rows: Tensor, visible: Tensor | None = None):
    """One standard block on one position an item: its new state [B, d], and its attention.

    state [B, d] is that of the positions `rows` [B]; z [B, n, d] is ln_1 of the block's input,
    constant but for the position itself; visible [B, n] marks the keys that it may see.
    """
    own = block.ln_1(state)
    z = z.index_put((torch.arange(len(z), device=z.device), rows), own)
    out, attention = row_attention(block.attn, widen(own), widen(z), visible)
    state = state + block.ls_1(block.attn.out_proj(out.to(state.dtype)))
    return state + block.ls_2(block.mlp(block.ln_2(state))), attention


def row_attention(module, own: Tensor, z: Tensor, visible: Tensor | None):
    """Head outputs [B, d] and attention [B, H, n] of one query an item, in float32 or wider.

    The projections are moved to the side of the one query, q (W_k z) = (q W_k) z and
    A (z W_v) = (A z) W_v, so that no key or value has to be computed. The bias of the keys shifts
    a whole row of logits and drops out; that of the values counts once for each unit of attention.
    """
    heads, bias = module.num_heads, widen(module.in_proj_bias)
    w_q, w_k, w_v = widen(module.in_proj_weight).chunk(3)
    b_q, _, b_v = bias.chunk(3)
    w_k, w_v = w_k.unflatten(0, (heads, -1)), w_v.unflatten(0, (heads, -1))  # [H, dh, d]
    query = linear(own, w_q, b_q).unflatten(-1, (heads, -1)) * module.head_dim**-0.5
    logits = torch.einsum("bhe,hed->bhd", query, w_k) @ z.transpose(1, 2)
    if visible is not None:
        logits = logits.masked_fill(~visible[:, None], float("-inf"))
    attention = logits.softmax(-1)
    out = torch.einsum("bhd,hed->bhe", attention @ z, w_v)
    out = out + attention.sum(-1, keepdim=True) * b_v.unflatten(0, (heads, -1))
    return out.flatten(1), attention


def encode_image(model, pixels: Tensor) -> Tensor:
    """Image features [B, D], not normalised; the last block of a class-token ViT runs one row."""
    if not can_run_image_row(model):
        return model.encode_image(pixels, normalize=False)
    return run_image_row(model, pixels)[0]


def can_run_image_row(model) -> bool:
    """Whether the image tower is a standard ViT, pooled at its class token and free of hooks."""
    visual = model.visual
    if type(visual) is not VisionTransformer or visual.pool_type != "tok" or visual.output_tokens:
        return False
    return not visual.attn_pool and standard_blocks(visual.transformer) and not hooked(visual)


def run_image_row(model, pixels: Tensor, image_of: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Features [B, D], not normalised, and the class token's attention [B, H, n] in the last block.

    With image_of [P], that block runs for the image of each of P pairs, and the P features can be
    differentiated in the P attentions, and in nothing else.
    """
    visual, gradient = model.visual, image_of is not None
    *blocks, last = visual.transformer.resblocks
    with torch.set_grad_enabled(torch.is_grad_enabled() and not gradient):
        x = visual._embeds(pixels)
        for block in blocks:
            x = block(x)
        state, z = x[:, 0], last.ln_1(x)
    with torch.set_grad_enabled(torch.is_grad_enabled() or gradient):
        if gradient:
            state, z = state[image_of].requires_grad_(), z[image_of]
        rows = torch.zeros(len(z), dtype=torch.long, device=z.device)
        state, attention = row_block(last, state, z, rows)
        pooled = visual.ln_post(state)
        return pooled if visual.proj is None else pooled @ visual.proj, attention
