"""Train the embedded model: an ordinary open_clip CLIP on the embedded world.

    python -m clip_attribution.training.pretrain --steps 4400

The loss is CLIP's symmetric cross-entropy over the batch (Radford et al. 2021), on batches of
families (`families`), plus a dense auxiliary loss on the image tower's patch tokens (which noun
and which colour lies under this patch; from step `facts_from` on also its size, count and name)
whose heads are thrown away at the end. The learning rate
is constant after warm-up and falls linearly to zero over the last part of the run, so a run may
be extended by a larger --steps. A run continues from its last checkpoint.
"""

import argparse
import json
import os
import time
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import nn
from tqdm.auto import tqdm

from ..scenes.vocabulary import COLOURS, NAMES, NOUNS
from .families import batch_examples, patch_labels, pixels

TEMPLATE = "A photo depicts "
PREPROCESS = {
    "size": 64,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
}
MODEL = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 64, "patch_size": 8, "layers": 4, "width": 128, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 6},
}
DEFAULTS = {
    "steps": 4400,
    "batch": 128,
    "lr": 1e-3,
    "warmup": 300,
    "decay": 0.3,
    "weight_decay": 0.05,
    "dense": 1.0,
    "facts_from": 1710,
    "seed": 20240,
}


class Batches(torch.utils.data.Dataset):
    """Step number -> (pixels, ids, patch labels); the same for the same seed, on any machine."""

    def __init__(self, seed: int, size: int, steps: int):
        self.seed, self.size, self.steps = seed, size, steps
        self.context = MODEL["text_cfg"]["context_length"]
        self.tokenizer = open_clip.SimpleTokenizer(context_length=self.context)
        self.ids: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int):
        examples = batch_examples(self.seed, step, self.size, TEMPLATE)
        scenes = [e.scene for e in examples]
        ids = torch.stack([self._encode(e.text) for e in examples])
        labels = torch.stack([torch.from_numpy(patch_labels(s)) for s in scenes])
        return pixels(scenes, PREPROCESS["mean"], PREPROCESS["std"]), ids, labels

    def _encode(self, text: str) -> torch.Tensor:
        """The tokenizer's row; its byte-pair step is remembered for each word."""
        pieces = []
        for word in text.split(" "):
            if word not in self.ids:
                self.ids[word] = self.tokenizer.encode(word)
            pieces += self.ids[word]
        row = torch.zeros(self.context, dtype=torch.long)
        pieces = [self.tokenizer.sot_token_id, *pieces, self.tokenizer.eot_token_id]
        row[: len(pieces)] = torch.tensor(pieces)
        return row


class DenseHead(nn.Module):
    """Linear read-outs of what lies under each patch from the image tower's patch tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.noun = nn.Linear(width, len(NOUNS) + 2)
        self.colour = nn.Linear(width, len(COLOURS) + 1)
        self.facts = nn.ModuleList(nn.Linear(width, n + 1) for n in (2, 4, len(NAMES)))

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor, facts: bool) -> torch.Tensor:
        """tokens [n, 64, width], labels [n, 5, 8, 8] (`patch_labels`) -> cross-entropy.

        Most patches show the ground, so things and ground get the same total weight. With `facts`
        size, count and name of the things are asked for as well.
        """
        noun, colour, *rest = labels.flatten(2).unbind(1)
        thing = (noun > 0).float().flatten()
        weight = thing / thing.sum().clamp(min=1) + (1 - thing) / (1 - thing).sum().clamp(min=1)
        losses = [
            F.cross_entropy(head(tokens).flatten(0, 1), target.flatten(), reduction="none")
            for head, target in ((self.noun, noun), (self.colour, colour))
        ]
        loss = ((losses[0] + losses[1]) * weight).sum() / 2
        if facts:
            for head, target in zip(self.facts, rest, strict=True):
                known = target > 0
                if known.any():
                    loss = loss + F.cross_entropy(head(tokens[known]), target[known]) / 2
        return loss


def encode_text(model: CLIP, ids: torch.Tensor, chunk: int = 32) -> torch.Tensor:
    """`model.encode_text` in chunks of similar length, each cut after its longest caption."""
    order = ids.argmax(-1).argsort()
    features = torch.cat([_encode_chunk(model, ids[part]) for part in order.split(chunk)])
    return features[order.argsort()]


def _encode_chunk(model: CLIP, ids: torch.Tensor) -> torch.Tensor:
    n = int(ids.argmax(-1).max()) + 1
    ids = ids[:, :n]
    x = model.token_embedding(ids) + model.positional_embedding[:n]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:n, :n]))
    return x[torch.arange(len(ids)), ids.argmax(-1)] @ model.text_projection


def loss_of(model: CLIP, head: DenseHead, batch, dense: float, facts: bool):
    """(loss, contrastive loss, in-batch top-1 of image to text)."""
    images, ids, labels = batch
    tokens = {}
    hook = model.visual.ln_post.register_forward_hook(
        lambda module, inputs, output: tokens.update(patches=output[:, 1:])
    )
    try:
        image = F.normalize(model.encode_image(images), dim=-1)
    finally:
        hook.remove()
    text = F.normalize(encode_text(model, ids), dim=-1)
    logits = model.logit_scale.exp() * image @ text.T
    target = torch.arange(len(ids), device=ids.device)
    contrastive = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    top1 = (logits.argmax(1) == target).float().mean()
    loss = contrastive + dense * head(tokens["patches"], labels, facts)
    return loss, contrastive.detach(), top1


def learning_rate(step: int, cfg: dict) -> float:
    """Warm-up, plateau, linear fall to zero."""
    fall = cfg["steps"] * cfg["decay"]
    return cfg["lr"] * min((step + 1) / cfg["warmup"], 1.0, (cfg["steps"] - step) / fall)


def make_optimizer(model: nn.Module, head: nn.Module, cfg: dict) -> torch.optim.Optimizer:
    """AdamW; gains, biases and embeddings are not decayed."""
    named = [*model.named_parameters(), *head.named_parameters()]
    plain = [p for n, p in named if p.ndim < 2 or "embedding" in n]
    decayed = [p for n, p in named if not (p.ndim < 2 or "embedding" in n)]
    groups = [
        {"params": decayed, "weight_decay": cfg["weight_decay"]},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=cfg["lr"], betas=(0.9, 0.98), eps=1e-6, fused=True)


def train(cfg: dict, folder: Path, device: str, save_every: float = 120.0) -> CLIP:
    """Run or resume; returns the model. `folder` gets a checkpoint every `save_every` seconds."""
    torch.manual_seed(cfg["seed"])
    model = CLIP(**MODEL).to(device).train()
    head = DenseHead(MODEL["vision_cfg"]["width"]).to(device)
    optimizer = make_optimizer(model, head, cfg)
    last, start = folder / "last.pt", 0
    if last.exists():
        state = torch.load(last, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = True
        start = state["step"]
    data = Batches(cfg["seed"], cfg["batch"], cfg["steps"])
    loader = torch.utils.data.DataLoader(
        data, batch_size=None, sampler=range(start, cfg["steps"]), num_workers=1, prefetch_factor=4
    )
    saved = time.time()
    bar = tqdm(loader, initial=start, total=cfg["steps"], desc="pretrain", mininterval=5)
    for step, batch in enumerate(bar, start):
        batch = [t.to(device) for t in batch]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, cfg)
        loss, contrastive, top1 = loss_of(
            model, head, batch, cfg["dense"], step >= cfg["facts_from"]
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)  # CLIP's own limit: a scale of 100
        if step % 20 == 0:
            row = {
                "step": step,
                "loss": loss.item(),
                "contrastive": contrastive.item(),
                "top1": top1.item(),
                "scale": model.logit_scale.exp().item(),
            }
            bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "step"})
            with open(folder / "log.jsonl", "a") as log:
                log.write(json.dumps(row) + "\n")
        if time.time() - saved > save_every or step + 1 == cfg["steps"]:
            save_checkpoint(last, model, head, optimizer, step + 1)
            saved = time.time()
    return model


def save_checkpoint(path: Path, model, head, optimizer, step: int) -> None:
    """Write everything that a resumed run needs; the file is replaced in one step."""
    state = {
        "model": model.state_dict(),
        "head": head.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def export(model: CLIP, cfg: dict, path: Path) -> None:
    """Weights as float16 safetensors, with model, preprocessing and training in the metadata."""
    weights = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    training = {
        **cfg,
        "scenes": cfg["steps"] * cfg["batch"],
        "template": TEMPLATE,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
    }
    metadata = {
        "format": "pt",
        "model_cfg": json.dumps(MODEL),
        "preprocess": json.dumps(PREPROCESS),
        "training": json.dumps(training),
    }
    temporary = path.with_suffix(".tmp")
    save_file(weights, temporary, metadata)
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--folder", type=Path, default=Path("runs/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("data/scenes-clip.safetensors"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = vars(parser.parse_args(arguments))
    cfg = {k: options[k] for k in DEFAULTS}
    options["folder"].mkdir(parents=True, exist_ok=True)
    model = train(cfg, options["folder"], options["device"])
    options["out"].parent.mkdir(parents=True, exist_ok=True)
    export(model, cfg, options["out"])


if __name__ == "__main__":
    main()
