"""Slow and obvious heat maps: one image and one phrase at a time, plain hooks, loops.

Nothing here imports the library; a model is an open_clip model, pixels are [1, 3, h, w] and a text
is its unit feature [D].
"""

import numpy as np
import torch
import torch.nn.functional as F


def logit(model, pixels, text):
    """exp(logit_scale) times the cosine of one image and one text."""
    feature = F.normalize(model.encode_image(pixels, normalize=False), dim=-1)[0]
    return model.logit_scale.detach().exp() * (feature * text).sum()


def output_and_gradient(model, layer, pixels, text):
    """What a layer returned and the gradient of the logit there, by a forward hook."""
    kept = []

    def keep(module, args, output):
        output = output.clone().requires_grad_(True) if not output.requires_grad else output
        output.retain_grad()
        kept.append(output)
        return output

    handle = layer.register_forward_hook(keep)
    logit(model, pixels.clone().requires_grad_(True), text).backward()
    handle.remove()
    return kept[0].detach()[0], kept[0].grad[0]


def channels_of(output, grid, prefix):
    """Channels [C, rows, cols] of a token sequence [n, C]; a feature map stays as it is."""
    if output.dim() == 3:
        return output
    rows, cols = grid
    picture = torch.zeros(output.shape[1], rows, cols)
    for row in range(rows):
        for col in range(cols):
            picture[:, row, col] = output[prefix + row * cols + col]
    return picture


def upsample(channel, size):
    """Bilinear with the corners aligned, one axis after the other, of [rows, cols]."""
    channel, (height, width) = np.asarray(channel, dtype=np.float64), size
    rows, cols = channel.shape
    x, y = np.linspace(0, cols - 1, width), np.linspace(0, rows - 1, height)
    wide = np.stack([np.interp(x, np.arange(cols), row) for row in channel])
    return np.stack([np.interp(y, np.arange(rows), column) for column in wide.T]).T


def gscorecam(model, layer, pixels, text, k, grid=None, prefix=0, class_token=False):
    """gScoreCAM by its definition, one masked image a forward pass."""
    output, gradient = output_and_gradient(model, layer, pixels, text)
    channels = channels_of(output, grid, prefix)
    if class_token:
        importance = gradient[0]
    else:
        importance = channels_of(gradient, grid, prefix).mean((1, 2))
    scores = np.zeros(len(channels))
    for channel in np.argsort(-importance.numpy(), kind="stable")[: min(k, len(channels))]:
        mask = upsample(channels[channel], pixels.shape[-2:])
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-6)
        masked = pixels * torch.tensor(mask, dtype=pixels.dtype)
        with torch.no_grad():
            score = float(logit(model, masked, text))
        scores[channel] = 0.0 if np.isnan(score) else score
    weights = np.exp(scores - scores.max())
    weights = weights / weights.sum()
    total = sum(w * a.numpy() for w, a in zip(weights, channels, strict=True))
    total = np.maximum(total, 0)
    total = total - total.min()
    return total / (total.max() + 1e-8)


def gradcam(model, layer, pixels, text, grid=None, prefix=0):
    """Grad-CAM without its ReLU."""
    output, gradient = output_and_gradient(model, layer, pixels, text)
    total = 0.0
    pairs = zip(channels_of(output, grid, prefix), channels_of(gradient, grid, prefix), strict=True)
    for activation, slope in pairs:
        total = total + slope.mean() * activation
    return total.numpy()


def value_path(model, pixels, text, residual):
    """MaskCLIP on a plain ViT with a class token, from the weights, patch by patch."""
    visual, kept = model.visual, []
    block = visual.transformer.resblocks[-1]
    handle = block.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    with torch.no_grad():
        model.encode_image(pixels)
    handle.remove()
    weight, bias = (w.chunk(3)[2] for w in (block.attn.in_proj_weight, block.attn.in_proj_bias))
    found = []
    with torch.no_grad():
        for x in kept[0][0, 1:]:
            y = block.attn.out_proj(F.linear(block.ln_1(x), weight, bias))
            if residual:
                y = y + x
                y = y + block.mlp(block.ln_2(y))
            feature = visual.ln_post(y) @ visual.proj
            found.append(float(F.normalize(feature, dim=-1) @ text))
    return np.array(found).reshape(visual.grid_size)


def resnet_value_path(model, pixels, text):
    """MaskCLIP on a ResNet: the attention pool's two projections at every place."""
    kept, pool = [], model.visual.attnpool
    handle = model.visual.layer4.register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.no_grad():
        model.encode_image(pixels)
    handle.remove()
    places = kept[0][0]
    found = np.zeros(places.shape[1:])
    for row, col in np.ndindex(*found.shape):
        feature = pool.c_proj(pool.v_proj(places[:, row, col]))
        found[row, col] = float(F.normalize(feature, dim=-1) @ text)
    return found


def coca_value_path(model, pixels, text):
    """One patch at a time through CoCa's pooler: its value and output projections."""
    visual, kept = model.visual, []
    block, pool = visual.transformer.resblocks[-1], visual.attn_pool
    handle = block.register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.no_grad():
        model.encode_image(pixels)
    handle.remove()
    attn = pool.attn
    weight = attn.v_proj_weight if attn.in_proj_weight is None else attn.in_proj_weight.chunk(3)[2]
    found = []
    for x in kept[0][0, 1:]:
        y = attn.out_proj(F.linear(pool.ln_k(x), weight, attn.in_proj_bias.chunk(3)[2]))
        found.append(float(F.normalize(visual.ln_post(y) @ visual.proj, dim=-1) @ text))
    return np.array(found).reshape(visual.grid_size)


def attention_pool(query, keys, values, heads):
    """Output and attention [heads, n] of one query [d] over keys and values [n, d]."""
    q, k, v = (x.reshape(*x.shape[:-1], heads, -1).transpose(0, -2) for x in (query, keys, values))
    attention = torch.softmax(q.reshape(heads, 1, -1) @ k.transpose(1, 2) / k.shape[-1] ** 0.5, -1)
    return attention, v


def resnet_pool(model, pixels, text):
    """Attention [heads, 1, n] of a ResNet's pool and its gradient, as tensors of the graph."""
    pool, kept = model.visual.attnpool, []
    handle = model.visual.layer4.register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.no_grad():
        wanted = model.encode_image(pixels, normalize=False)[0]
    handle.remove()
    x = kept[0][0].flatten(1).T
    x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding
    attention, v = attention_pool(
        pool.q_proj(x[0])[None], pool.k_proj(x), pool.v_proj(x), pool.num_heads
    )
    attention = attention.detach().requires_grad_(True)
    feature = pool.c_proj((attention @ v)[:, 0].flatten())
    torch.testing.assert_close(feature, wanted, atol=1e-5, rtol=1e-4)
    (F.normalize(feature, dim=-1) * text).sum().backward()
    return attention.detach(), attention.grad


def siglip_maps(model, pixels, text):
    """The pooler's and every block's attention [heads, q, n] with gradients, lowest block first."""
    trunk, kept, handles = model.visual.trunk, [], []
    for block in trunk.blocks:
        block.attn.fused_attn = False
        hook = block.attn.attn_drop.register_forward_pre_hook(
            lambda module, args: (args[0].retain_grad(), kept.append(args[0]))[:0] or None
        )
        handles.append(hook)
    tokens = trunk.forward_features(pixels.clone().requires_grad_(True))[0]
    for handle, block in zip(handles, trunk.blocks, strict=True):
        handle.remove()
        block.attn.fused_attn = True
    pool, x = trunk.attn_pool, tokens[trunk.num_prefix_tokens :]
    k, v = pool.kv(x).chunk(2, dim=-1)
    attention, v = attention_pool(pool.q(pool.latent[0]), k, v, pool.num_heads)
    attention.retain_grad()
    y = pool.proj((attention @ v)[:, 0].flatten())
    feature = y + pool.mlp(pool.norm(y))
    with torch.no_grad():
        wanted = model.encode_image(pixels, normalize=False)[0]
    torch.testing.assert_close(feature, wanted, atol=1e-5, rtol=1e-4)
    (F.normalize(feature, dim=-1) * text).sum().backward()
    maps = [a[0] for a in kept] + [attention]
    grads = [a.grad[0] for a in kept] + [attention.grad]
    return [m.detach() for m in maps], grads
