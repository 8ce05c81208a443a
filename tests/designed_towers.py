"""Towers designed by hand: the third truth, models whose use of every word and patch is known.

Real open_clip models of a few numbers, their weights set so that the score is a formula:

    S(T, image) = worth(T) * seen(image) / (C^2)        C = 1000, a constant of both features

up to 1 in 10^6. worth is that of the words that stand in the caption (`Design.worth`), seen is the
sum over patches of attention times redness (`patches_seen`). How it is done: a norm whose eps
dwarfs every variance is the identity; one head looks for one kind of word with a weight of its own
and finds BOS where there is none; a token is a mark, a value, and what makes its mean 0.

Four text towers. `direct`: EOT reads each word by itself, one with weight but without value.
`through`: an attribute is read by its noun, and the noun by EOT. `both`: two words are worth more
together (a product). `either`: two words nearly repeat each other. None knows the places of words.
The image tower's class token attends to a patch as it is blue and takes from it what it is red.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import tiny
import torch
from torch import nn

from clip_attribution.models.clip import Clip, load_clip
from clip_attribution.trace.pooling import image_layout

WIDTH, HEADS, EPS, SURE, C = 16, 4, 1e12, 40.0, 1000.0
# coordinates of a state: marks of BOS, EOT (or the class token) and of the kinds, what a token is
# worth (in an image: red), and what heads and the feed-forward layer write; the last one balances
BOS, EOT, KIND, VALUE, SIGNAL, READ, CONSTANT, REST = 0, 1, 2, 6, 7, 8, 12, 15
PATCH, SIDE, BLUE = 8, 32, KIND  # in an image the mark of a kind is how blue a patch is
NOTHING = "the"  # a word without mark and value


@dataclass(frozen=True)
class Use:
    """How a tower uses a word: a head attends to it with this weight, and takes this value."""

    word: str
    weight: float
    value: float


@dataclass(frozen=True)
class Design:
    """A text tower. together: what both first words add beside their values; through: the first
    word is read by the second one alone."""

    name: str
    words: tuple[Use, ...]
    together: float = 0.0
    through: bool = False

    @property
    def caption(self) -> str:
        """All words that the tower uses."""
        return " ".join(use.word for use in self.words)

    def worth(self, standing) -> float:
        """What a set of words is worth, by the design."""
        parts = {use.word: use.weight * use.value for use in self.words if use.word in standing}
        first, second = self.words[:2]
        if self.through:
            alone = parts.get(second.word)
            return 0.0 if alone is None else alone + second.weight * parts.get(first.word, 0.0)
        both = first.word in standing and second.word in standing
        return sum(parts.values()) + self.together * both

    def drops(self) -> dict[str, float]:
        """What is lost with each word."""
        words = {use.word for use in self.words}
        return {use.word: self.worth(words) - self.worth(words - {use.word}) for use in self.words}

    def shares(self) -> dict[str, float]:
        """The Shapley value of each word: its mean gain over all orders."""
        orders = list(permutations(use.word for use in self.words))
        gains = {use.word: 0.0 for use in self.words}
        for order in orders:
            for place, word in enumerate(order):
                gain = self.worth(set(order[: place + 1])) - self.worth(set(order[:place]))
                gains[word] += gain / len(orders)
        return gains


DIRECT = (Use("red", 0.75, 0.8), Use("cat", 0.5, -0.8), Use("near", 0.9, 0), Use("grass", 0.25, 1))
DESIGNS = (
    Design("direct", DIRECT),
    Design("through", (Use("red", 0.75, -1.6), Use("cat", 0.5, 2.0)), through=True),
    Design("both", (Use("red", 0.5, 0.6), Use("cat", 0.5, -0.2)), together=1.0),
    Design("either", (Use("red", 0.5, 2.4), Use("cat", 0.5, 2.0)), together=-1.0),
)


@cache
def tower(name: str) -> Clip:
    """The model of a design, loaded as any other and its weights set."""
    design = next(one for one in DESIGNS if one.name == name)
    config = tiny.config(1, 1 + design.through, side=SIDE, patch=PATCH, width=WIDTH, embed=4)
    config["text_cfg"]["heads"] = HEADS
    clip = load_clip(name, model_config=config, device="cpu")
    with torch.no_grad():
        for parameter in clip.model.parameters():
            parameter.zero_()
        clip.model.logit_scale.fill_(np.log(100))
        for module in clip.model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = EPS
                module.weight.fill_(EPS**0.5)
        write_text(clip, design)
        write_image(clip.model.visual)
    return clip


def write_text(clip, design: Design) -> None:
    """Set the weights of the text tower."""
    model, blocks = clip.model, clip.model.transformer.resblocks
    ids = {word: int(clip.tokenizer([word])[0, 1]) for word in (*design.caption.split(), NOTHING)}
    table = model.token_embedding.weight
    for token, mark in ((clip.tokenizer([""])[0, 0], BOS), (clip.tokenizer([""])[0, 1], EOT)):
        write(table[token], {mark: 1.0})
    for number, use in enumerate(design.words):
        write(table[ids[use.word]], {KIND + number: 1.0, VALUE: use.value})
    last = len(blocks) - 1
    for head, use in enumerate(design.words):
        inner = design.through and head == 0
        asks = KIND + 1 if inner else EOT
        reads = {VALUE: 1.0} | ({READ: 1.0} if design.through and not inner else {})
        writes = [READ] if inner else [SIGNAL, READ + head]
        look(blocks[0 if inner else last].attn, head, asks, KIND + head, use.weight, reads, writes)
    if design.together:
        multiply(blocks[0].mlp, design)
    write_head(model.ln_final, model.text_projection, 1)


def look(attention, head: int, asks: int, finds: int, weight: float, reads: dict, writes) -> None:
    """One head: tokens marked `asks` attend to the one marked `finds` with this weight, and to BOS
    with the rest; all others to BOS alone. What they take from it is written to coordinates."""
    size = WIDTH // HEADS
    q, k, v = (part[head * size :] for part in attention.in_proj_weight.chunk(3))
    attention.in_proj_bias[head * size] = 1.0  # every token's query for BOS
    q[1, asks] = 1.0
    k[0, BOS] = SURE * size**0.5
    k[1, finds] = (SURE + np.log(weight / (1 - weight))) * size**0.5
    for place, factor in reads.items():
        v[0, place] = factor
    for place in writes:
        attention.out_proj.weight[place, head * size] = 1.0
        attention.out_proj.weight[REST, head * size] -= 1.0


def multiply(mlp, design: Design) -> None:
    """Add `together` where both first words stand: GELU(40 (a + b - 1)) / 40, exact for 0 and 1."""
    first, second = design.words[:2]
    for place, use in ((READ, first), (READ + 1, second)):
        mlp.c_fc.weight[0, place] = SURE / (use.weight * use.value)
    mlp.c_fc.bias[0] = -SURE
    mlp.c_proj.weight[SIGNAL, 0] = design.together / SURE
    mlp.c_proj.weight[REST, 0] = -design.together / SURE


def write_image(visual) -> None:
    """Set the weights of the image tower: one head, that of the class token."""
    each = 1.0 / PATCH**2
    for place, channel in ((VALUE, 0), (BLUE, 2)):
        visual.conv1.weight[place, channel] = each
        visual.conv1.weight[REST, channel] -= each
    write(visual.class_embedding, {EOT: 1.0})
    attention = visual.transformer.resblocks[0].attn
    q, k, v = attention.in_proj_weight.chunk(3)
    q[0, EOT], k[0, BLUE], v[0, VALUE] = 1.0, WIDTH**0.5, 1.0
    attention.out_proj.weight[SIGNAL, 0], attention.out_proj.weight[REST, 0] = 1.0, -1.0
    write_head(visual.ln_post, visual.proj, 2)


def write(state, values: dict) -> None:
    """Write coordinates of a state, and what makes its mean 0."""
    for place, value in values.items():
        state[place] = value
    state[REST] = -sum(values.values())


def write_head(norm, projection, constant: int) -> None:
    """The signal is the feature's first number; a constant, in a number of its own, is C."""
    norm.bias[CONSTANT] = C
    projection[SIGNAL, 0], projection[CONSTANT, constant] = 1.0, 1.0


def patches_seen(clip, image) -> np.ndarray:
    """What the image tower takes from each patch, by its design: [rows, cols].

    Attention exp(blue) / (1 + sum of exp(blue)), times red; both are a patch's means of the
    preprocessed image.
    """
    _, (rows, cols) = image_layout(clip.model)
    pixels = clip.preprocess(image).double().numpy()
    red, _, blue = pixels.reshape(3, rows, PATCH, cols, PATCH).mean((2, 4))
    return np.exp(blue) / (1 + np.exp(blue).sum()) * red
