"""The embedded model's architecture, its batches and its loss (see `pretrain`)."""

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import nn

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


class Batches(torch.utils.data.Dataset):
    """Step number -> (pixels, ids, patch labels); the same for the same seed, on any machine.

    cfg: the options of `pretrain`.
    """

    def __init__(self, cfg: dict):
        self.cfg = cfg
        self.context = MODEL["text_cfg"]["context_length"]
        self.tokenizer = open_clip.SimpleTokenizer(context_length=self.context)
        self.ids: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self.cfg["steps"]

    def __getitem__(self, step: int):
        cfg = self.cfg
        examples = batch_examples(
            cfg["seed"], step, cfg["batch"], TEMPLATE, cfg["weights"], cfg["any_relation"]
        )
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
