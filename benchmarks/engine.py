"""What an attribution costs, in ms a pair, beside plain CLIPScore and the public algorithm.

    python -m benchmarks.engine [--pairs 64] [--repeats 5] [--threads N]

One run, random ViT-B-32-quickgelu weights, on the CPU or GPU that load_clip finds. All cases start
from the same PIL images (224 x 224, in memory) and captions, and preprocess them alike:

    a  explicit loop: one pair at a time, n x n attention in the graph, one autograd call a layer
    b  open_clip's CLIPScore: both encoders at their own context length, batch 32
    c  attribute(method="clip4dm"), batch 32, every image distinct
    d  as c, with 8 captions an image
    e  attribute_all_variants: every layer count x ReLU variant, batch 32

Repeats of all cases are interleaved, and medians compared: other work on the machine then
falls on all of them. Only the ratios carry over to another machine.
"""

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from clip_attribution import attribute, attribute_all_variants, load_clip
from clip_attribution.text.words import align, merge, split_words

RESULT = Path(__file__).parent / "results" / "engine.json"
TEMPLATE = "A photo depicts "
AIMS = {"c/b": (0.72, "most"), "a/c": (2.3, "least"), "a/d": (9, "least"), "e/c": (1.15, "most")}
NOUNS = "dog cat horse bicycle umbrella bench train kite pizza clock vase laptop boat cow".split()
PLACES = "on the grass,near a lake,in a busy street,at night,next to a red car".split(",")


def make_pairs(n: int, captions_an_image: int = 1) -> list[dict]:
    """Images of the model's own size, so that the models are timed and not Pillow, and captions
    of COCO's usual length (8 to 13 words)."""
    rng = np.random.default_rng(0)
    images = [noise(rng) for _ in range(-(-n // captions_an_image))]
    return [{"image": images[i // captions_an_image], "caption": caption(rng)} for i in range(n)]


def noise(rng) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8))


def caption(rng) -> str:
    one, two = rng.choice(NOUNS, 2, replace=False)
    extra = " looking at the camera" if rng.random() < 0.4 else ""
    return f"A {one} and a {two}{extra} {rng.choice(PLACES)}."


# ---------------------------------------------------------------- case a: the public algorithm


def explicit_attention(self, q_x, k_x=None, v_x=None, attn_mask=None):
    """An open_clip block's attention with the map as a tensor of the graph, kept on the block."""
    b, n, d = q_x.shape
    heads = self.attn.num_heads
    qkv = F.linear(q_x, self.attn.in_proj_weight, self.attn.in_proj_bias)
    q, k, v = (x.reshape(b, n, heads, -1).transpose(1, 2) for x in qkv.chunk(3, -1))
    logits = q @ k.transpose(-1, -2) * (d // heads) ** -0.5
    self.kept = torch.softmax(logits if attn_mask is None else logits + attn_mask, dim=-1)
    return self.attn.out_proj((self.kept @ v).transpose(1, 2).reshape(b, n, d))


def explicit_loop(clip, pairs, layers: int = 3) -> list[np.ndarray]:
    """The public algorithm: word attributions of one pair after the other."""
    blocks = clip.model.transformer.resblocks
    for block in blocks:
        block.attention = explicit_attention.__get__(block)
    clip.model.token_embedding.weight.requires_grad_(True)  # so that the maps are in the graph
    try:
        return [explicit_pair(clip, pair, blocks[-layers:]) for pair in pairs]
    finally:
        clip.model.token_embedding.weight.requires_grad_(False)
        for block in blocks:
            del block.attention, block.kept


def explicit_pair(clip, pair, blocks) -> np.ndarray:
    text = TEMPLATE + pair["caption"]
    with torch.no_grad():
        pixels = clip.preprocess(pair["image"])[None].to(clip.device)
        image = clip.model.encode_image(pixels, normalize=True)
    ids = clip.tokenizer([text]).to(clip.device)
    score = (clip.model.encode_text(ids, normalize=True) * image).sum()
    relevance = 0.0
    for block in blocks:
        (gradient,) = torch.autograd.grad(score, [block.kept], retain_graph=True)
        relevance = relevance + (gradient * block.kept.detach())[0].mean(0) / len(blocks)
    row = relevance[ids[0].argmax()].cpu().numpy()
    words = split_words(pair["caption"])
    tokens, word_of = align(clip.tokenizer, pair["caption"], words, template=TEMPLATE)
    return merge(row[1 : 1 + len(word_of)], word_of, len(words))


# ---------------------------------------------------------------- cases b to e


def plain_clipscore(clip, pairs, batch_size: int = 32) -> list[float]:
    """Cosines by open_clip's own two encoders, batch by batch.

    The weights are as open_clip hands them out, not frozen: on the CPU torch multiplies a frozen
    weight of nn.MultiheadAttention more slowly, and that would flatter the others.
    """
    clip.model.requires_grad_(True)
    scores = []
    for start in range(0, len(pairs), batch_size):
        part = pairs[start : start + batch_size]
        with torch.no_grad():
            pixels = torch.stack([clip.preprocess(pair["image"]) for pair in part])
            images = clip.model.encode_image(pixels.to(clip.device), normalize=True)
            ids = clip.tokenizer([TEMPLATE + pair["caption"] for pair in part])
            texts = clip.model.encode_text(ids.to(clip.device), normalize=True)
        scores += (images * texts).sum(-1).tolist()
    clip.model.requires_grad_(False)
    return scores


def cases(clip, n: int) -> dict:
    """Name, what to run, and how many pairs that is."""
    distinct, shared = make_pairs(n), make_pairs(n, captions_an_image=8)
    few = distinct[: max(4, n // 8)]
    return {
        "a": (lambda: explicit_loop(clip, few), len(few)),
        "b": (lambda: plain_clipscore(clip, distinct), n),
        "c": (lambda: attribute(clip, distinct, batch_size=32), n),
        "d": (lambda: attribute(clip, shared, batch_size=32), n),
        "e": (lambda: attribute_all_variants(clip, distinct, batch_size=32), n),
    }


def check_equal(clip, n: int = 8) -> float:
    """Largest difference between cases a and c: the two compute the same numbers."""
    pairs = make_pairs(n)
    slow, fast = np.concatenate(explicit_loop(clip, pairs)), attribute(clip, pairs)[0].attribution
    return float(np.abs(slow - fast).max())


def measure(clip, n: int, repeats: int) -> dict[str, float]:
    """Median ms a pair of each case, repeats interleaved, after one round to warm up."""
    todo, times = cases(clip, n), {}
    for turn in tqdm(range(repeats + 1), desc="rounds"):
        for name, (action, pairs) in todo.items():
            start = time.perf_counter()
            action()
            if clip.device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times.setdefault(name, []).append(1000 * (time.perf_counter() - start) / pairs)
    return {name: statistics.median(values) for name, values in times.items()}


def ratios(ms: dict[str, float]) -> dict[str, float]:
    return {name: ms[name[0]] / ms[name[2]] for name in AIMS}


def report(ms: dict[str, float], found: dict[str, float]) -> str:
    lines = ["case   ms a pair"] + [f"{name:4} {value:11.2f}" for name, value in ms.items()]
    lines += ["", "ratio    found     aim"]
    for name, (aim, side) in AIMS.items():
        met = found[name] <= aim if side == "most" else found[name] >= aim
        bound = f"at {side} {aim}"
        lines.append(f"{name:6} {found[name]:7.2f}     {bound:14} {'met' if met else 'MISSED'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clip = load_clip("ViT-B-32-quickgelu", device=options.device)
    difference = check_equal(clip)
    ms = measure(clip, options.pairs, options.repeats)
    found = ratios(ms)
    print(report(ms, found))
    print(f"largest difference between a and c: {difference:.1e}")
    RESULT.parent.mkdir(exist_ok=True)
    facts = {"pairs": options.pairs, "repeats": options.repeats, "device": clip.device.type}
    facts |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    facts |= {"open_clip": version("open_clip_torch"), "difference_a_c": difference}
    result = facts | {"ms_a_pair": ms, "ratios": found, "aims": AIMS}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
