"""Word x region interactions: which region of the image a word is matched with, and its sign.

Multiply the attention of the pooled text position on token i by a_i, and that of the pooled image
position on patch p by b_p, in all chosen layers and heads, after the softmax. The cosine
S = <t(a), v(b)> is linear in each of the two unit features, so at a = b = 1

    I[i, p] = d2 S / da_i db_p = < dt/da_i , dv/db_p >          dS/da_i = < dt/da_i , v >

exactly, without sampling; the second is CLIP4DM's attribution before its means over layers and
heads (`clip4dm`). Ours; the second derivative of the two towers is what exCLIP integrates
(Moeller et al., arXiv 2408.14153, see `integrated`).

Sign: above zero, word and region raise the score together; below zero they lower it.

Known weakness: the pooled text row does not carry an attribute that an early layer has moved onto
its noun, so the map of a colour word need not lie on the thing of that colour.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from ..attribution.batch import check_arguments
from ..attribution.captions import Caption, batch_ids, read_caption
from ..attribution.frames import Facts, no_words, words_frame
from ..attribution.registry import get_method, resolve_layers
from ..attribution.view import View
from ..errors import UserError
from ..models.locks import locked
from ..text.concepts import concept_of_token, read_concepts
from ..text.words import Word, merge
from ..trace.features import distinct
from ..trace.hooks import HALF_SCALE, count_layers, trace
from ..trace.inputs import text_features, watched_embeddings
from ..trace.pooling import text_rows
from ..trace.reading import widen
from ..trace.rows import can_run_image_row, can_run_rows, run_image_row, run_rows
from ..trace.sites import find_sites
from .attention import first_block, row_tower, used_layers, view_of
from .patches import repeated
from .pixels import read_pixels, transform_of
from .tower import Tower, check_model

LEVELS = ("word", "token", "phrase")


class Interactions(NamedTuple):
    """Interactions of the words and patches of a table of pairs.

    maps: float32 [words, rows, cols], row 0 at the top, NaN for a word not seen; on the cosine
    scale, sign kept. words: one row a map, as `attribute` gives them; its `attribution` is dS/da,
    the mean over a word's tokens. pairs: the input with cosine, n_tokens, truncated and error.
    """

    maps: np.ndarray
    words: pd.DataFrame
    pairs: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row a word and patch: pair_id, word_index, word, row, column, interaction."""
        n, rows, cols = self.maps.shape
        long = self.words[["pair_id", "word_index", "word"]].loc[
            np.repeat(np.arange(n), rows * cols)
        ]
        row, column = np.divmod(np.tile(np.arange(rows * cols), n), max(cols, 1))
        long = long.reset_index(drop=True).assign(row=row, column=column)
        return long.assign(interaction=self.maps.ravel().astype(np.float64))


@dataclass
class Options:
    """What a batch is computed with: layers of both towers, the image tower, how text is read."""

    layers: list[int]
    image_layers: list[int]
    read: Callable
    transform: Callable
    root: object


def interactions(
    clip,
    pairs,
    layers: int | str | list[int] | None = "all",
    image_layers: int | str | list[int] | None = None,
    template: str = "A photo depicts ",
    level: str = "word",
    batch_size: int = 32,
    alignment: str = "offsets",
    image_root=None,
    preprocess: str = "clip",
    progress: bool = False,
) -> Interactions:
    """Interactions of each word of a caption with each patch of its image.

    Parameters
    ----------
    clip
        A model by `load_clip` whose two towers each pool at one position.
    pairs
        Columns `image` and `caption`, as for `attribute`.
    layers, image_layers
        Layers whose attention is multiplied. None is the last image layer (the attention pooler
        where there is one), or "all".
    level
        "word": the mean over a word's tokens; "token"; "phrase": the concepts of the column
        `concepts`, (start, end, role), or the whole caption where there is no such column.
    preprocess
        "clip" is the model's own, the image of the score; "squash" shows the whole image.

    Returns
    -------
    Interactions
        The array, the words it is of, and the pairs; a bad pair has its reason in `error`.

    Raises
    ------
    UserError
        On unusable arguments, and for a tower that pools over several positions.

    Examples
    --------
    >>> from clip_attribution import interactions, load_clip
    >>> found = interactions(load_clip(), [{"image": "scene:1:3", "caption": "a sun on grass"}])
    >>> found.maps.shape, found.table().columns[-1]
    ((4, 8, 8), 'interaction')
    """
    if level not in LEVELS:
        raise UserError(f"unknown level {level!r}: choose {', '.join(LEVELS)}")
    check_model(clip.model)
    pairs = check_arguments(clip, pairs, template, alignment, batch_size)
    tower, row = row_tower(clip.model), get_method("clip4dm", "image")
    as_read: dict = {"template": template, "alignment": alignment}
    options = Options(
        resolve_layers("all" if layers is None else layers, count_layers(clip.model)),
        used_layers(
            row,
            -1 if image_layers is None else image_layers,
            count_layers(clip.model, "image"),
            tower.pool == "pooler",
        ),
        partial(read_caption, clip, **as_read, level="token" if level == "token" else "word"),
        transform_of(clip, preprocess),
        image_root,
    )
    facts, parts = Facts(len(pairs)), []
    with tqdm(total=len(pairs), desc="pairs", unit="pair", disable=not progress) as bar:
        for start in range(0, len(pairs), batch_size):
            part = pairs.iloc[start : start + batch_size]
            parts += one_batch(clip, part, tower, options, level, facts)
            bar.update(len(part))
    frames = [words_frame(pairs["pair_id"], captions, values) for captions, values in parts]
    words = pd.concat([frame for frame, _ in frames] or [no_words(1)[0]], ignore_index=True)
    table = np.concatenate(
        [v for _, v in frames] or [np.zeros((0, 1 + np.prod(tower.grid)), np.float32)]
    )
    words.insert(5, "attribution", table[:, 0].astype(np.float64))
    maps = table[:, 1:].reshape(-1, *tower.grid)
    return Interactions(maps, words, facts.frame(pairs))


@locked
def one_batch(clip, part: pd.DataFrame, tower, options: Options, level: str, facts: Facts) -> list:
    """[(captions, {row: values [words, 1 + patches]})] of some pairs; faults go to facts."""
    refs, image_of = distinct(list(part["image"]))
    with ThreadPoolExecutor(2) as pool:
        read = partial(read_pixels, root=options.root, transform=options.transform)
        pixels = list(pool.map(read, refs))
    captions, numbers = [], []
    for (row, pair), number in zip(part.iterrows(), image_of, strict=True):
        caption = options.read(row, pair["caption"])
        if level == "phrase" and not isinstance(caption, str):
            caption = with_phrases(caption, pair.get("concepts"))
        reasons = [x for x in (pixels[number], caption) if isinstance(x, str)]
        if reasons:
            facts.error[row] = reasons[0]
            continue
        captions.append(caption)
        numbers.append(number)
        facts.n_tokens[row], facts.truncated[row] = caption.n_full, caption.truncated
    if not captions:
        return []
    kept = sorted(set(numbers))
    batch = torch.stack([pixels[number] for number in kept]).to(clip.device, clip.dtype)
    images = torch.tensor([kept.index(number) for number in numbers], device=clip.device)
    cosines, values = batch_values(clip, captions, batch, images, tower, options)
    facts.cosine[[c.row for c in captions]] = cosines
    return [(captions, {c.row: v for c, v in zip(captions, values, strict=True)})]


def with_phrases(caption: Caption, concepts) -> Caption | str:
    """The caption cut into its phrases, or why that cannot be done."""
    whole = [(0, len(caption.caption), "caption")]
    try:
        spans = read_concepts(caption.caption, whole if concepts is None else concepts)
    except UserError as error:
        return str(error)
    words = [Word(caption.caption[s.start : s.end], s.start, s.end) for s in spans]
    return replace(caption, words=words, word_of=concept_of_token(caption.starts, spans))


def batch_values(clip, captions, pixels, image_of, tower, options: Options):
    """(cosines [B], [values [words, 1 + patches]] of each caption): dS/da first, then I[i, p]."""
    ids = batch_ids(clip, captions)
    with image_side(clip, pixels, image_of, tower, options.image_layers) as (images, pull):
        features = images.detach().requires_grad_()
        jacobian, cosines = text_jacobian(clip.model, ids, features, options.layers)
        words = [merged(c, one) for c, one in zip(captions, jacobian, strict=True)]
        maps = pull(pad_sequence(words, batch_first=True).nan_to_num())
    values = []
    for own, image, found in zip(words, images.detach(), maps, strict=True):
        unseen = own.isnan().any(-1, keepdim=True)
        found = found[: len(own)].masked_fill(unseen, float("nan"))
        values.append(torch.cat([(own @ image)[:, None], found], 1).cpu().numpy())
    return cosines.cpu().numpy(), values


def merged(caption: Caption, jacobian: Tensor) -> Tensor:
    """Mean of dt/da over the tokens of each word: from [n, D] to [words, D], NaN for one unseen."""
    tokens = jacobian[caption.first : caption.first + len(caption.word_of)]
    return merge(tokens.T, caption.word_of, len(caption.words)).T


def text_jacobian(model, ids: Tensor, images: Tensor, layers: list[int]):
    """dt/da of every token, [B, n, D], and the cosines [B]; images: unit features [B, D], a leaf.

    dS/da is linear in the image's feature, so its derivative there is dt/da: one pass back a token.
    """
    rows = text_rows(model, ids)
    if can_run_rows(model):
        tables, cosines = run_rows(model, ids, rows, images, layers, True, create_graph=True)
        slopes = sum((a.detach() * g).sum(1) for a, g in tables.values())
    else:
        with watched_embeddings(model, True), trace(model, "text", layers[0], True) as traced:
            cosines = (text_features(model, ids) * images).sum(-1)
            traced.backward(cosines.sum())
            view = View(traced, rows, layers)
            slopes = sum((view.attention(k).detach() * view.gradient(k)).sum(1) for k in layers)
    n = slopes.shape[1]
    each = torch.eye(n).to(slopes)[:, None].expand(n, len(ids), n)
    (found,) = torch.autograd.grad(slopes, images, each, is_grads_batched=True)
    return found.transpose(0, 1).detach(), cosines.detach()


@contextmanager
def image_side(clip, pixels, image_of, tower: Tower, layers: list[int]):
    """Unit image features [B, D] of B pairs, and the function that pulls directions back to the
    patches: from [B, m, D] to < dv/db_p , direction >, [B, m, patches]. pixels: distinct images.
    """
    model, patches = clip.model, tower.grid[0] * tower.grid[1]
    n_layers = count_layers(model, "image")
    if can_run_image_row(model) and layers == [n_layers - 1]:
        features, attention = run_image_row(model, pixels, image_of)
        images = normalize(widen(features), dim=-1)

        def pull(directions: Tensor) -> Tensor:
            each = directions.transpose(0, 1) * HALF_SCALE
            (found,) = torch.autograd.grad(images, attention, each, is_grads_batched=True)
            return (attention.detach() * found).sum(2)[..., -patches:].transpose(0, 1) / HALF_SCALE

        yield images, pull
        return
    start, rows = first_block(layers, n_layers), torch.zeros_like(image_of)
    block = find_sites(model, "image")[start].block
    with repeated(block, image_of), trace(model, "image", start=start) as traced:
        images = normalize(widen(model.encode_image(pixels, normalize=False)), dim=-1)

        def pull(directions: Tensor) -> Tensor:
            maps = []
            for direction in directions.unbind(1):
                traced.backward((images * direction).sum(), retain_graph=True)
                view = view_of(tower, n_layers)(traced, rows, layers)
                found = sum((view.attention(k) * view.gradient(k)).sum(1) for k in layers)
                maps.append(found[:, -patches:])
            return torch.stack(maps, 1)

        yield images, pull
