"""Leave one word out: what the score loses when a word is not there.

    a_w = S(T) - S(T without w)        S = cosine

The reference for the sign of an attribution, since it is an intervention: the caption is read again
without the word, not a formula of one reading. Every token of a word has the word's value.

Sign: above zero the word raises the score, below zero the caption matches better without it.

Known weakness: a word that another one repeats is worth nothing by itself (see `shapley`), and the
shorter caption may read badly.
"""

import torch

from .coalitions import cosines, players, spread, without
from .registry import method


@method(
    "leave_one_out",
    signed=True,
    paper="Li, Monroe, Jurafsky, arXiv 1612.08220",
    layers=None,
    towers=("text",),
    reads="input",
)
@torch.no_grad()
def leave_one_out(view):
    """Values a token, [B, 1, n], on the cosine scale; all shorter captions are encoded together."""
    places = [
        (row, word)
        for row, caption in enumerate(view.captions)
        for word in players(caption, content=False)
    ]
    if not places:
        return spread(view, {})
    texts = [without(view.captions[row], [word]) for row, word in places]
    rows = [row for row, _ in places]
    drops = view.cosines[rows] - cosines(view, texts, rows)
    found: dict[int, dict[int, float]] = {}
    for (row, word), drop in zip(places, drops.tolist(), strict=True):
        found.setdefault(row, {})[word] = drop
    return spread(view, found)
