"""Captions of a table of pairs, tokenised and cut into words; batches of similar length."""

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError
from ..text.words import Word, align, caption_fault, words_for
from ..trace.pooling import can_trim


@dataclass(frozen=True)
class Caption:
    """One caption as the model reads it.

    row: its row in the table. text: template + caption. ids: with BOS and EOT, cut to the context.
    first: index in ids of the first token. starts: character of the caption in which each token
    starts, below zero in the template. words: of the caption alone, at token level its tokens.
    word_of: word of each token, -1 for the template's. n_full: number of ids before the cut.
    """

    row: int
    caption: str
    text: str
    ids: list[int]
    first: int
    starts: np.ndarray
    words: list[Word]
    word_of: np.ndarray
    n_full: int
    truncated: bool


def read_caption(
    clip, row: int, caption, template: str, alignment: str, level: str = "word"
) -> Caption | str:
    """Prepare one caption, or say in one line why it cannot be attributed."""
    reason = caption_fault(caption)
    if reason:
        return reason
    words = words_for(caption, alignment)
    try:
        tokens, word_of = align(
            clip.tokenizer,
            caption,
            words,
            template=template,
            context_length=clip.context_length,
            alignment=alignment,
        )
    except UserError as error:
        return str(error)
    starts = np.asarray(tokens.owner, dtype=int) - len(template)
    if level == "token":
        words, word_of = each_token(caption, tokens, starts, len(template))
    return Caption(
        row,
        caption,
        template + caption,
        tokens.ids,
        tokens.first,
        starts,
        words,
        word_of,
        tokens.n_full,
        tokens.truncated,
    )


def each_token(caption: str, tokens, starts: np.ndarray, lead: int):
    """Every token of the caption as a word of its own: (words, word_of)."""
    spans = [tokens.spans[i] for i in np.flatnonzero(starts >= 0)]
    spans = [(start - lead, end - lead) for start, end in spans]
    words = [Word(caption[start:end], start, end) for start, end in spans]
    return words, np.where(starts >= 0, np.cumsum(starts >= 0) - 1, -1)


def batch_ids(clip, captions: list[Caption]) -> torch.Tensor:
    """Ids [B, n] on the model's device: to the longest EOT where that is exact, else padded."""
    if can_trim(clip.model):
        longest = max(len(c.ids) for c in captions)
        rows = [c.ids + [0] * (longest - len(c.ids)) for c in captions]
        return torch.tensor(rows, device=clip.device)
    return clip.tokenizer([c.text for c in captions], clip.context_length).to(clip.device)


def batches(captions: list[Caption], size: int):
    """Batches of captions of similar length, so that little is padded."""
    ordered = sorted(captions, key=lambda c: len(c.ids))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
