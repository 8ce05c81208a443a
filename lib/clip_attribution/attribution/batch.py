"""The pass behind every text attribution: read, encode, trace and merge, batch by batch.

Each distinct image is encoded once; captions are batched by length and trimmed to the longest EOT;
where a method reads the pooled row alone, only that row is differentiated (see `rows`), otherwise
gradients are taken at the head outputs (see `trace`), or at the embeddings for a method that reads
no attention (see `inputs`). All of it is exact.
"""

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from ..errors import UserError
from ..models.locks import lock_of, locked
from ..text.words import align, merge
from ..trace.features import distinct, image_features
from ..trace.hooks import trace
from ..trace.inputs import InputView
from ..trace.pooling import encode_text, text_rows
from ..trace.rows import RowView, can_run_rows, run_rows
from .captions import Caption, batch_ids, batches, read_caption
from .frames import Facts, check_pairs, no_words, words_frame
from .view import View

NOT_FINITE = (
    "the score or an attribution is not finite: the weights hold NaN or infinity, or the precision "
    "overflows (try fp32)"
)
CHUNK = 1024  # captions held in full at a time: bounds memory; batches are sorted within


def run(
    clip,
    pairs,
    channels,
    layers,
    method,
    *,
    template="A photo depicts ",
    alignment="offsets",
    image_root=None,
    batch_size=32,
    tagger=None,
    progress=False,
    level="word",
    refused=None,
    features=None,
):
    """Word values of a table of pairs; arguments as for `attribute`.

    channels: function of a View giving token values [B, C, n]. layers: those the view
    offers, ascending. refused: {row: why it cannot be computed}. features: of `row_features`,
    where they are known.
    Returns (words frame without values, pairs frame, values float32 [words, C]).
    """
    pairs = check_arguments(clip, pairs, template, alignment, batch_size)
    if features is None:
        features = row_features(clip, pairs, image_root, batch_size, progress)
    read = partial(read_caption, clip, template=template, alignment=alignment, level=level)
    facts, parts = Facts(len(pairs)), []
    with tqdm(total=len(pairs), desc="captions", unit="pair", disable=not progress) as bar:
        for start in range(0, len(pairs), CHUNK):
            part = pairs["caption"].iloc[start : start + CHUNK]
            with lock_of(clip):  # not every tokenizer serves two threads
                captions = read_captions(read, part, features, refused or {}, facts)
            bar.update(len(part) - len(captions))
            values: dict[int, np.ndarray] = {}
            for batch in batches(captions, batch_size):
                values |= text_batch(clip, batch, features, layers, channels, method, facts)
                bar.update(len(batch))
            captions = [caption for caption in captions if caption.row in values]
            if captions:
                parts.append(words_frame(pairs["pair_id"], captions, values, tagger))
    words, values = join(parts or [no_words(1 + len(layers), tagger)])
    return words, facts.frame(pairs), values


def row_features(clip, pairs, image_root, batch_size: int, progress: bool):
    """For each row the features [D] of its image, or the reason why there are none."""
    images, image_of = distinct(list(pairs["image"]))
    features = image_features(clip, images, image_root, batch_size, progress)
    return [features[number] for number in image_of]


def check_arguments(clip, pairs, template: str, alignment: str, batch_size: int) -> pd.DataFrame:
    """The pairs as a checked frame. Raises UserError for what no row could be computed with."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    tokens, _ = align(
        clip.tokenizer,
        "a",
        [],
        template=template,
        context_length=clip.context_length,
        alignment=alignment,
    )
    text_rows(clip.model, torch.tensor([tokens.ids]))
    return check_pairs(pairs)


def read_captions(read, part, features, refused: dict[int, str], facts: Facts):
    """The captions of a part of the table that can be computed; the rest is noted as errors."""
    captions = []
    for row, text in part.items():
        caption = read(row, text)
        reasons = [x for x in (features[row], caption, refused.get(row)) if isinstance(x, str)]
        if reasons:
            facts.error[row] = reasons[0]
        else:
            captions.append(caption)
            facts.n_tokens[row], facts.truncated[row] = caption.n_full, caption.truncated
    return captions


@locked
def text_batch(clip, captions: list[Caption], features, layers, channels, method, facts: Facts):
    """Word values [words, C] of each row of one batch; cosines and notes go to `facts`."""
    ids = batch_ids(clip, captions)
    rows = [c.row for c in captions]
    images = torch.stack([features[row] for row in rows]).to(clip.device)
    if method.reads == "input":
        view = input_view(clip, captions, ids, images, method)
    else:
        view = text_view(clip, ids, images, layers, method)
    values = channels(view).cpu().numpy()
    cosines = view.cosines.cpu().numpy()
    for name, found in view.notes.items():
        facts.note(name, rows, found.cpu().numpy())
    good = {}
    for caption, cosine, own in zip(captions, cosines, values, strict=True):
        if is_finite(caption, cosine, own, gaps=method.prepare is not None):
            facts.cosine[caption.row] = cosine
            good[caption.row] = merge_tokens(caption, own)
        else:
            facts.error[caption.row] = NOT_FINITE
    return good


def is_finite(caption: Caption, cosine, values: np.ndarray, gaps: bool) -> bool:
    """Whether cosine and token values [C, n] are numbers. gaps: a token may have no value (NaN)."""
    own = values[:, caption.first : caption.first + len(caption.word_of)]
    bad = np.isinf(own) if gaps else ~np.isfinite(own)
    return bool(np.isfinite(cosine) and not bad.any())


def text_view(clip, ids: torch.Tensor, images: torch.Tensor, layers: list[int], method):
    """A view of ids [B, n] against image features [B, D]: by the pooled rows alone where the method
    reads no more and the tower allows it, else by a trace.
    """
    rows = text_rows(clip.model, ids)
    scale = clip.logit_scale if method.score == "logit" else 1.0
    if method.row_is_enough(layers) and can_run_rows(clip.model):
        tables, cosines = run_rows(clip.model, ids, rows, images, layers, method.gradient)
        return RowView(rows, layers, tables, scale, cosines)
    with trace(clip.model, "text", start=layers[0]) as traced:
        texts = normalize(encode_text(clip.model, ids).float(), dim=-1)
        cosines = (texts * images).sum(-1)
        if method.gradient:
            traced.backward(cosines.sum())
    return View(traced, rows, layers, scale, cosines.detach())


def input_view(clip, captions: list[Caption], ids: torch.Tensor, images: torch.Tensor, method):
    """A view of the same at the input of the tower, for a method that reads no attention."""
    inside, own = np.zeros((2, *ids.shape), dtype=bool)
    for row, caption in enumerate(captions):
        place = slice(caption.first, caption.first + len(caption.starts))
        inside[row, place], own[row, place] = True, caption.starts >= 0
    inside, own = (torch.from_numpy(mask).to(ids.device) for mask in (inside, own))
    scale = clip.logit_scale if method.score == "logit" else 1.0
    return InputView(
        clip.model, ids, images, inside, own, clip.context_length, scale, False, clip, captions
    )


def merge_tokens(caption: Caption, values: np.ndarray) -> np.ndarray:
    """Mean over the tokens of each word that have a value: from [C, n] to [words, C]."""
    tokens = values[:, caption.first : caption.first + len(caption.word_of)]
    word_of = np.where(np.isnan(tokens).all(0), -1, caption.word_of)
    return merge(tokens, word_of, len(caption.words)).T


def join(parts):
    """Parts of the words frame, and their values, one below the other."""
    frames, values = zip(*parts, strict=True)
    return pd.concat(frames, ignore_index=True), np.concatenate(values)
