"""Slow and obvious reference implementations: one pair at a time, explicit softmax, n x n maps.

Nothing here imports the library. The towers are rebuilt from the plain weights of an open_clip
``CLIP``; every attention map is a tensor of the autograd graph, and each layer's gradient is
a call of its own, as in the public code of the method.
"""

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------- explicit towers


def attention_block(x, w, prefix, heads, mask, quick):
    """One pre-norm transformer block on x [n, d]; returns its output and the map [H, n, n]."""
    n, d = x.shape
    z = F.layer_norm(x, (d,), w[f"{prefix}.ln_1.weight"], w[f"{prefix}.ln_1.bias"])
    qkv = z @ w[f"{prefix}.attn.in_proj_weight"].T + w[f"{prefix}.attn.in_proj_bias"]
    q, k, v = (part.reshape(n, heads, d // heads).transpose(0, 1) for part in qkv.split(d, -1))
    attn = torch.softmax(q @ k.transpose(1, 2) * (d // heads) ** -0.5 + mask, dim=-1)
    out = (attn @ v).transpose(0, 1).reshape(n, d)
    x = x + out @ w[f"{prefix}.attn.out_proj.weight"].T + w[f"{prefix}.attn.out_proj.bias"]
    z = F.layer_norm(x, (d,), w[f"{prefix}.ln_2.weight"], w[f"{prefix}.ln_2.bias"])
    z = z @ w[f"{prefix}.mlp.c_fc.weight"].T + w[f"{prefix}.mlp.c_fc.bias"]
    z = z * torch.sigmoid(1.702 * z) if quick else F.gelu(z)
    return x + z @ w[f"{prefix}.mlp.c_proj.weight"].T + w[f"{prefix}.mlp.c_proj.bias"], attn


def weights_of(model):
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def explicit_text(model, ids, heads, quick):
    """Text feature [D] (normalised) and the maps, one a layer, of one row of ids [n_ctx]."""
    w = weights_of(model)
    n = len(ids)
    x = w["token_embedding.weight"][ids] + w["positional_embedding"][:n]
    x = x.clone().requires_grad_(True)
    mask = torch.full((n, n), float("-inf"), dtype=x.dtype).triu(1)
    maps = []
    for layer in range(count_layers(w, "transformer")):
        x, attn = attention_block(x, w, f"transformer.resblocks.{layer}", heads, mask, quick)
        maps.append(attn)
    x = F.layer_norm(x, x.shape[-1:], w["ln_final.weight"], w["ln_final.bias"])
    return F.normalize(x[ids.argmax()] @ w["text_projection"], dim=-1), maps


def explicit_image(model, pixels, heads, quick):
    """Image feature [D] (normalised) and the maps of one image [3, s, s]; class-token pooling."""
    w = weights_of(model)
    patch = w["visual.conv1.weight"].shape[-1]
    grid = F.conv2d(pixels[None], w["visual.conv1.weight"], stride=patch)[0]
    x = torch.cat([w["visual.class_embedding"][None], grid.flatten(1).T])
    x = (x + w["visual.positional_embedding"]).clone().requires_grad_(True)
    x = F.layer_norm(x, x.shape[-1:], w["visual.ln_pre.weight"], w["visual.ln_pre.bias"])
    maps = []
    for layer in range(count_layers(w, "visual.transformer")):
        x, attn = attention_block(x, w, f"visual.transformer.resblocks.{layer}", heads, 0.0, quick)
        maps.append(attn)
    x = F.layer_norm(x, x.shape[-1:], w["visual.ln_post.weight"], w["visual.ln_post.bias"])
    return F.normalize(x[0] @ w["visual.proj"], dim=-1), maps


def count_layers(w, prefix):
    return len({k.split("resblocks.")[1].split(".")[0] for k in w if k.startswith(prefix + ".res")})


def map_gradients(score, maps):
    """One autograd call a layer, as the public code does it: list of [H, n, n]."""
    return [torch.autograd.grad(score, attn, retain_graph=True)[0] for attn in maps]


# ---------------------------------------------------------------- methods on n x n maps


def clip4dm_matrix(maps, grads, relu="signed"):
    """Mean over layers of the head-reduced product, for lists already cut to the layers used."""
    return torch.stack([RELU[relu](a, g) for a, g in zip(maps, grads, strict=True)]).mean(0)


def columns_matrix(maps, grads, relu="signed"):
    """The column sums of `clip4dm_matrix`, in every row."""
    matrix = clip4dm_matrix(maps, grads, relu)
    return matrix.sum(0, keepdim=True).expand_as(matrix)


RELU = {
    "signed": lambda a, g: (a * g).mean(0),
    "negative_heads": lambda a, g: (a * g).clamp(max=0).mean(0),
    "negative_layers": lambda a, g: (a * g).mean(0).clamp(max=0),
    "negative_layers_gradient": lambda a, g: g.mean(0).clamp(max=0) * a.mean(0),
    "positive_heads": lambda a, g: (a * g).clamp(min=0).mean(0),
    "absolute": lambda a, g: (a * g).abs().mean(0),
}


def gae_matrix(maps, grads):
    """The matrix recursion R <- R + Abar R from the lowest layer used, started at I."""
    relevance = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype)
    for a, g in zip(maps, grads, strict=True):
        relevance = relevance + (a * g).clamp(min=0).mean(0) @ relevance
    return relevance - torch.eye(maps[0].shape[-1], dtype=maps[0].dtype)


def rollout_matrix(maps, _grads):
    n = maps[0].shape[-1]
    total = torch.eye(n, dtype=maps[0].dtype)
    for a in maps:
        step = a.mean(0) + torch.eye(n, dtype=a.dtype)
        total = (step / step.sum(-1, keepdim=True)) @ total
    return total


def attention_matrix(maps, _grads):
    return torch.stack([a.mean(0) for a in maps]).mean(0)


def gradient_x_attention_matrix(maps, grads):
    return torch.stack([g.mean(0) * a.mean(0) for a, g in zip(maps, grads, strict=True)]).mean(0)


def last_layers(start, n):
    """The public meaning of the start layer: negative counts from the end, the rest means all."""
    return list(range(n))[start:] if start < 0 else list(range(n))


# ---------------------------------------------------------------- words, by the public rule


def public_words(text):
    """Words of the public rule with their pieces: blanks split, '.' and ',' are words."""
    words, current = [], ""
    for char in text:
        if char in " .,":
            words += [current] if current else []
            words += [char] if char != " " else []
            current = ""
        else:
            current += char
    return words + ([current] if current else [])


def word_merge(tokenizer, text, values, n_template):
    """Word attributions from the EOT row `values` [n_ctx], BOS at 0: mean of the tokens that start
    in a word, found by counting bytes. For texts that the tokenizer's cleaning only lower-cases.
    """
    words = public_words(text)
    owner = [i for i, word in enumerate(words) for _ in word.lower().encode()]
    at, tokens_of = 0, [[] for _ in words]
    for position, token in enumerate(tokenizer.encode(text), start=1):
        if position < len(values) - 1:
            tokens_of[owner[at]].append(values[position])
        at += len(tokenizer.decoder[token].replace("</w>", ""))  # one letter stands for one byte
    assert at == len(owner), "the tokenizer's cleaning changed this text"
    nan = torch.tensor(float("nan"), dtype=values.dtype)
    merged = [torch.stack(found).mean() if found else nan for found in tokens_of]
    return torch.stack(merged)[n_template:]


# ---------------------------------------------------------------- Hugging Face, same weights


def hugging_face(model, text_heads, image_heads, quick, eot=49407):
    """transformers' CLIPModel (eager attention) holding the weights of an open_clip CLIP."""
    from transformers import CLIPConfig, CLIPModel

    w = weights_of(model)
    act = "quick_gelu" if quick else "gelu"
    text = tower_config(w, "transformer", text_heads, act) | {
        "vocab_size": w["token_embedding.weight"].shape[0],
        "max_position_embeddings": w["positional_embedding"].shape[0],
        "bos_token_id": eot - 1,
        "eos_token_id": eot,
        "pad_token_id": 0,
    }
    patch = w["visual.conv1.weight"].shape[-1]
    side = int((w["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    vision = tower_config(w, "visual.transformer", image_heads, act) | {
        "patch_size": patch,
        "image_size": patch * side,
    }
    config = CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=w["text_projection"].shape[1]
    )
    config._attn_implementation = "eager"
    other = CLIPModel(config).eval()
    missing, unexpected = other.load_state_dict(hugging_face_weights(w), strict=False)
    assert not unexpected and all("position_ids" in name for name in missing), (missing, unexpected)
    return other


def tower_config(w, prefix, heads, act):
    fc = w[f"{prefix}.resblocks.0.mlp.c_fc.weight"]
    return {
        "hidden_size": fc.shape[1],
        "intermediate_size": fc.shape[0],
        "num_hidden_layers": count_layers(w, prefix),
        "num_attention_heads": heads,
        "hidden_act": act,
    }


def hugging_face_weights(w):
    """open_clip names to transformers' names."""
    out = {
        "logit_scale": w["logit_scale"],
        "text_projection.weight": w["text_projection"].T,
        "visual_projection.weight": w["visual.proj"].T,
        "text_model.embeddings.token_embedding.weight": w["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": w["positional_embedding"],
        "vision_model.embeddings.class_embedding": w["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": w["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": w["visual.positional_embedding"],
    }
    norms = {
        "ln_final": "text_model.final_layer_norm",
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
    }
    for ours, theirs in norms.items():
        for part in ("weight", "bias"):
            out[f"{theirs}.{part}"] = w[f"{ours}.{part}"]
    for name, tensor in w.items():
        if "resblocks." in name:
            out.update(block_weights(name, tensor))
    return {name: tensor.clone() for name, tensor in out.items()}


def block_weights(name, tensor):
    tower = "vision_model" if name.startswith("visual.") else "text_model"
    layer, rest = name.split("resblocks.")[1].split(".", 1)
    base = f"{tower}.encoder.layers.{layer}"
    kind = name.rsplit("_" if "in_proj" in name else ".", 1)[1]
    if "in_proj" in rest:
        parts = zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True)
        return {f"{base}.self_attn.{part}.{kind}": piece for part, piece in parts}
    renamed = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }[rest.rsplit(".", 1)[0]]
    return {f"{base}.{renamed}.{kind}": tensor}


def hugging_face_text(other, ids):
    """Normalised text feature [D] and maps, one [H, n, n] a layer, of one row of ids [n_ctx]."""
    outputs = other.text_model(input_ids=ids[None], output_attentions=True)
    feature = F.normalize(other.text_projection(outputs.pooler_output), dim=-1)[0]
    return feature, outputs.attentions


def hugging_face_image(other, pixels):
    outputs = other.vision_model(pixel_values=pixels[None], output_attentions=True)
    feature = F.normalize(other.visual_projection(outputs.pooler_output), dim=-1)[0]
    return feature, outputs.attentions
