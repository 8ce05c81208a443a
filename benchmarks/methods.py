"""What each attribution method costs, in ms a caption, for reading and for training.

    python -m benchmarks.methods [--pairs 64] [--repeats 3] [--model NAME] [--threads N]
    python -m benchmarks.methods --ratios --model ViT-B-32-quickgelu   # the last paragraph alone

Scenes of the embedded world with the concepts that they state, the embedded model. Reading is
`attribute` at its defaults (perturbation: 16 replacements a concept, drawn from all scenes), the
images' encoding included. Training is `token_attributions`, CAE's loss and its backward pass, 4
replacements a concept. Repeats of all cases are interleaved and medians given.

Perturbation is also timed with one call of the text encoder a replacement, the same texts: aim, at
least 5 times faster batched; both without the images, and they must agree.
"""

import argparse
import json
import statistics
import time

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.engine import RESULT as ENGINE
from clip_attribution import attribute, interactions, load_clip
from clip_attribution.attribution import METHODS
from clip_attribution.scenes import scene_pairs
from clip_attribution.text.concepts import draw, gather_candidates, read_concepts
from clip_attribution.trace.inputs import encode_distinct
from clip_attribution.training.attributions import (
    TRAINABLE,
    attribution_loss,
    replace,
    role_masks,
    token_attributions,
)

RESULT = ENGINE.with_name("methods.json")
AIM, TOLERANCE = 5, 1e-5
RATIOS = (("read columns", "read gae", 1.6), ("interactions", "read clip4dm", 1.5))


def scenes(n: int) -> pd.DataFrame:
    """True captions of scenes with the concepts that they state, by character."""
    pairs = scene_pairs(n, seed=1, foils=None)
    return pairs.assign(concepts=[concepts(words) for words in pairs["words"]])


def concepts(words: list[dict]) -> list[tuple[int, int, str]]:
    """The words that have a role; those of one relation, side by side, are one concept."""
    found = []
    for before, word in zip(({"role": None}, *words), words, strict=False):
        if word["role"] == before["role"] == "relation":
            found[-1] = (found[-1][0], word["end"], "relation")
        elif word["role"]:
            found.append((word["start"], word["end"], word["role"]))
    return found


def training_step(clip, pairs, method: str, candidates: dict) -> None:
    """Loss and gradients of one batch, as a step of fine-tuning takes them."""
    captions, spans = list(pairs["caption"]), list(pairs["concepts"])
    ids = clip.tokenizer(captions).to(clip.device)
    images = torch.ones(len(ids), clip.embed_dim, device=clip.device)
    masks = role_masks(clip, captions, spans)
    others = replace(clip, captions, spans, candidates) if method == "perturbation" else None
    found = token_attributions(clip.model, images, ids, method, replacements=others)
    loss, _ = attribution_loss(found.values, *masks, margin=100.0)
    loss.backward()


def training(clip, pairs, method: str, candidates: dict) -> None:
    """Steps of 32 captions over the pairs; the model is frozen again afterwards."""
    clip.model.requires_grad_(True)
    for start in range(0, len(pairs), 32):
        training_step(clip, pairs.iloc[start : start + 32], method, candidates)
    clip.model.zero_grad()
    clip.model.requires_grad_(False)


def replaced(pairs, candidates: dict, k: int = 16) -> list[str]:
    """The texts of a perturbation of these pairs."""
    rows = zip(pairs["caption"], pairs["concepts"], strict=True)
    drawn = (draw(text, read_concepts(text, found), candidates, k, 0) for text, found in rows)
    return [text for one in drawn for texts in one for text in texts]


def cases(clip, pairs, few: int = 8) -> dict:
    """Name, what to run, and how many captions that is."""
    spans = [read_concepts(*row) for row in zip(pairs["caption"], pairs["concepts"], strict=True)]
    candidates = gather_candidates(list(pairs["caption"]), spans)
    few = min(few, len(pairs))
    texts = replaced(pairs.head(few), candidates)
    found = {
        f"read {name}": (lambda name=name: attribute(clip, pairs, name), len(pairs))
        for name in METHODS
    }
    found["interactions"] = (lambda: interactions(clip, pairs), len(pairs))
    found |= {
        f"train {name}": (lambda name=name: training(clip, pairs, name, candidates), len(pairs))
        for name in TRAINABLE
    }
    found["replacements, one call each"] = (lambda: encode_singly(clip, texts), few)
    found["replacements, batched"] = (lambda: encode_distinct(clip, texts), few)
    return found


def encode_singly(clip, texts: list[str]) -> torch.Tensor:
    return torch.cat([clip.encode_texts([text]) for text in texts])


def measure(clip, todo: dict, repeats: int) -> dict[str, float]:
    """Median ms a caption of each case, after one round to warm up."""
    times = {name: [] for name in todo}
    for turn in tqdm(range(repeats + 1), desc="rounds"):
        for name, (action, n) in todo.items():
            start = time.perf_counter()
            action()
            if clip.device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start) / n)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=None, help="default: the embedded model")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument("--ratios", action="store_true", help="measure the ratios alone")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clip, pairs = load_clip(options.model), scenes(options.pairs)
    todo = cases(clip, pairs)
    if options.ratios:
        named = {name for ratio in RATIOS for name in ratio[:2]}
        ms = measure(clip, {name: todo[name] for name in named}, options.repeats)
        write_result(RESULT.with_name("method_ratios.json"), clip, options, ms, ratios(ms))
        return
    difference = max_difference(
        *(todo[f"replacements, {way}"][0]() for way in ("one call each", "batched"))
    )
    ms = measure(clip, todo, options.repeats)
    ratio = ms["replacements, one call each"] / ms["replacements, batched"]
    print(*(f"{name:30} {value:8.2f} ms a caption" for name, value in ms.items()), sep="\n")
    print(
        f"batched {ratio:.1f} times as fast, aim at least {AIM}: "
        f"{'met' if ratio >= AIM else 'MISSED'}"
    )
    print(
        f"largest difference of a feature {difference:.1e}, aim at most {TOLERANCE:.0e}: "
        f"{'met' if difference <= TOLERANCE else 'MISSED'}"
    )
    found = {"batched_speedup": ratio, "aim": AIM, "largest_difference": difference}
    write_result(RESULT, clip, options, ms, found | ratios(ms))


def ratios(ms: dict[str, float]) -> dict[str, float]:
    """The ratios of RATIOS, each printed with its aim."""
    found = {}
    for name, against, aim in RATIOS:
        found[f"{name} / {against}"] = ratio = ms[name] / ms[against]
        outcome = "met" if ratio <= aim else "MISSED"
        print(f"{name} takes {ratio:.2f} times as long as {against}, aim at most {aim}: {outcome}")
    return found


def write_result(path, clip, options, ms: dict[str, float], found: dict[str, float]) -> None:
    """Write what was measured, and on what."""
    path.parent.mkdir(exist_ok=True)
    result = {
        "model": clip.name,
        "pairs": options.pairs,
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        "device": clip.device.type,
        "torch": torch.__version__,
        "ms_a_caption": ms,
    }
    path.write_text(json.dumps(result | found, indent=1) + "\n")


def max_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()


if __name__ == "__main__":
    main()
