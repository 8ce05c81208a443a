"""CAE's perturbation attribution: what the score loses when a concept is replaced by another.

    a_i = mean over p of ( S(T) - S(T_p) )        S = cosine / tau

T_p holds another concept of the same role in place of the one that token i belongs to. Li et al.,
EMNLP 2024; how the replacements are chosen is not published. Ours: a concept is replaced as a
whole, by `k` candidates of its role drawn without replacement and uniformly with `seed`, never by
a concept of the same caption; with k at or above their number the expectation is exact. Every
token of the concept gets its drop, and a token of none has no value (missing, not 0).

concepts     from the pairs' column `concepts`, a list of (start, end, role) in characters of the
             caption. Without the column every word is a concept, and its role its part of
             speech where a tagger is given, else "word".
candidates   {role: list of phrases}; None: all concepts of that role in the table at hand.

Sign: above zero the concept fits the image better than others of its role would, below zero worse.

Known weakness: the sentence around stays as it is, so a replacement may read badly ("a umbrella"),
and the drop then holds the price of that too.
"""

import numpy as np
import torch

from ..errors import UserError
from ..text.concepts import concept_of_token, concepts_of_table, draw, gather_candidates
from ..trace.inputs import encode_distinct
from .registry import method

OPTIONS = ("candidates", "k", "seed")


def prepare(pairs, tagger, options: dict, usable: list[bool]) -> tuple[dict, dict[int, str]]:
    """The options with the concepts of each row and the candidates of the table; {row: fault}.

    usable: whether each row has an image; candidates are the concepts of such rows alone.
    """
    k, seed = options.get("k", 16), options.get("seed", 0)
    for name, value, least in (("k", k, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise UserError(f"{name} must be a whole number of at least {least}, not {value!r}")
    concepts, faults = concepts_of_table(pairs, tagger)
    given = options.get("candidates")
    own = [spans if good else [] for spans, good in zip(concepts, usable, strict=True)]
    candidates = given or gather_candidates(list(pairs["caption"]), own)
    candidates = {role: distinct(phrases) for role, phrases in candidates.items()}
    rows = zip(pairs["caption"], concepts, strict=True)
    if any(concepts) and not any(any(draw(c, s, candidates, 1, 0)) for c, s in rows if s):
        raise UserError(
            "perturbation has nothing to put in place of any concept: pass candidates="
            "{role: [phrases]}, or captions that differ in their words"
        )
    return {"concepts": concepts, "candidates": candidates, "k": k, "seed": seed}, faults


def distinct(phrases) -> list[str]:
    """Phrases that differ in more than case, in order."""
    return list({str(text).lower(): str(text) for text in phrases}.values())


@method(
    "perturbation",
    signed=True,
    paper="Li et al., EMNLP 2024",
    layers=None,
    towers=("text",),
    score="logit",
    reads="input",
    options=OPTIONS,
    prepare=prepare,
)
def perturbation(view, concepts, candidates, k, seed):
    """Values a token, [B, 1, n], NaN for a token of no concept, on the logit scale.

    All replacements of the batch are encoded together, each distinct text once.
    """
    texts, pair_of, tokens = [], [], []
    for row, caption in enumerate(view.captions):
        for places, found in replacements(caption, concepts[caption.row], candidates, k, seed):
            tokens += [(row, places)] * bool(found)
            pair_of += [(row, len(tokens) - 1)] * len(found)
            texts += found
    values = view.images.new_full(view.ids.shape, float("nan"))
    if texts:
        drops = mean_drops(view, texts, torch.tensor(pair_of, device=view.ids.device))
        for (row, places), drop in zip(tokens, drops, strict=True):
            values[row, places] = drop
    return values[:, None]


def replacements(caption, spans, candidates, k, seed):
    """(positions in ids, texts with another concept) of each concept that has tokens."""
    lead = caption.text[: len(caption.text) - len(caption.caption)]
    concept = concept_of_token(caption.starts, spans)
    for number, found in enumerate(draw(caption.caption, spans, candidates, k, seed)):
        places = np.flatnonzero(concept == number) + caption.first
        if len(places):
            yield places, [lead + text for text in found]


def mean_drops(view, texts: list[str], pair_of: torch.Tensor) -> torch.Tensor:
    """Mean of S(T) - S(T_p) of each concept [C]; pair_of [M, 2]: pair and concept of each text."""
    rows, concept = pair_of.T
    scores = (encode_distinct(view.clip, texts) * view.images[rows]).sum(-1)
    return concept_means((view.cosines[rows] - scores) * view.scale, concept)


def concept_means(drops: torch.Tensor, concept: torch.Tensor) -> torch.Tensor:
    """Mean [C] of the drops [M] of each concept, numbered 0 to C-1 in concept [M]."""
    total = drops.new_zeros(int(concept.max()) + 1).index_add(0, concept, drops)
    return total / torch.bincount(concept)
