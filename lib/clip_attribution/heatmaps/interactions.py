"""Word x region interactions: which region of the image a word is matched with, and its sign.

Multiply the attention of the pooled text position on token i by a_i, and that of the pooled image
position on patch p by b_p, in all chosen layers and heads, after the softmax. The cosine
S = <t(a), v(b)> is linear in each of the two unit features, so at a = b = 1

    I[i, p] = d2 S / da_i db_p = < dt/da_i , dv/db_p >          dS/da_i = < dt/da_i , v >

exactly, without sampling; the second is CLIP4DM's attribution before its means over layers and
heads (`clip4dm`). Ours; the second derivative of the two towers is what exCLIP integrates
(Moeller et al., arXiv 2408.14153), which `form="integrated"` gives for comparison: `integrated`.

Sign: above zero, word and region raise the score together; below zero they lower it.

Known weakness: the pooled text row does not carry an attribute that an early layer has moved onto
its noun, so the map of a colour word need not lie on the thing of that colour.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from ..attribution.batch import check_arguments
from ..attribution.captions import Caption, batch_ids, read_caption
from ..attribution.frames import Facts, no_words, words_frame
from ..attribution.registry import get_method, resolve_layers
from ..errors import UserError
from ..models import arithmetic
from ..models.locks import locked
from ..text.concepts import concept_of_token, read_concepts
from ..text.words import Word, merge
from ..trace.features import distinct
from ..trace.hooks import count_layers
from . import exact, integrated
from .attention import row_tower, used_layers
from .pixels import read_pixels, transform_of
from .tower import Tower, check_model

LEVELS, FORMS = ("word", "token", "phrase"), ("exact", "integrated")


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
    """What a batch is computed with: image tower, layers of both towers, how both are read."""

    tower: Tower
    layers: list[int]
    image_layers: list[int]
    steps: int | None  # of the integrated form; None for the exact one
    level: str
    read: Callable
    transform: Callable
    root: object = None


@arithmetic.exact()
@torch.enable_grad()
def interactions(
    clip,
    pairs,
    layers: int | str | list[int] | None = None,
    image_layers: int | str | list[int] | None = None,
    template: str = "A photo depicts ",
    level: str = "word",
    batch_size: int = 32,
    alignment: str = "offsets",
    image_root=None,
    preprocess: str = "clip",
    progress: bool = False,
    form: str = "exact",
    steps: int = 10,
) -> Interactions:
    """Interactions of each word of a caption with each patch of its image.

    Parameters
    ----------
    clip
        A model by `load_clip` whose two towers each pool at one position.
    pairs
        Columns `image` and `caption`, as for `attribute`.
    layers, image_layers
        Layers whose attention is multiplied. None: all text layers and the last image layer (the
        attention pooler where there is one). In the integrated form, the lowest of them is the
        block whose input is attributed to; None: the last block.
    level
        "word": the mean over a word's tokens; "token"; "phrase": the concepts of the column
        `concepts`, (start, end, role), or the whole caption where there is no such column.
    preprocess
        "clip" is the model's own, the image of the score; "squash" shows the whole image.
    form, steps
        "exact": the second derivative; "integrated": exCLIP's, see `integrated`, by so many points
        of the path in each tower. There `attribution` is integrated along the text's path alone.

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
    check_model(clip.model)
    pairs = check_arguments(clip, pairs, template, alignment, batch_size)
    as_read = (template, level, alignment, image_root, preprocess)
    options = prepare(clip, layers, image_layers, *as_read, form, steps)
    facts, parts = Facts(len(pairs)), []
    with tqdm(total=len(pairs), desc="pairs", unit="pair", disable=not progress) as bar:
        for start in range(0, len(pairs), batch_size):
            part = pairs.iloc[start : start + batch_size]
            parts += one_batch(clip, part, options, facts)
            bar.update(len(part))
    frames = [words_frame(pairs["pair_id"], captions, values) for captions, values in parts]
    words = pd.concat([frame for frame, _ in frames] or [no_words(1)[0]], ignore_index=True)
    table = np.concatenate(
        [v for _, v in frames] or [np.zeros((0, 1 + np.prod(options.tower.grid)), np.float32)]
    )
    words.insert(5, "attribution", table[:, 0].astype(np.float64))
    maps = table[:, 1:].reshape(-1, *options.tower.grid)
    return Interactions(maps, words, facts.frame(pairs))


def prepare(
    clip,
    layers=None,
    image_layers=None,
    template: str = "A photo depicts ",
    level: str = "word",
    alignment: str = "offsets",
    image_root=None,
    preprocess: str = "clip",
    form: str = "exact",
    steps: int = 10,
) -> Options:
    """The arguments of `interactions` as every batch needs them. Raises UserError as it does."""
    for name, value, known in (("level", level, LEVELS), ("form", form, FORMS)):
        if value not in known:
            raise UserError(f"unknown {name} {value!r}: choose {', '.join(known)}")
    tower, last = row_tower(clip.model), -1 if image_layers is None else image_layers
    n, n_image = count_layers(clip.model), count_layers(clip.model, "image")
    if form == "exact":
        used = resolve_layers("all" if layers is None else layers, n)
        row = get_method("clip4dm", "image")
        image_used, points = used_layers(row, last, n_image, tower.pool == "pooler"), None
    else:
        integrated.check(n_image, steps)
        used, points = resolve_layers(-1 if layers is None else layers, n), steps
        image_used = resolve_layers(last, n_image)
    unit = "token" if level == "token" else "word"
    read = partial(read_caption, clip, template=template, alignment=alignment, level=unit)
    transform = transform_of(clip, preprocess)
    return Options(tower, used, image_used, points, level, read, transform, image_root)


@locked
def one_batch(clip, part: pd.DataFrame, options: Options, facts: Facts) -> list:
    """[(captions, {row: values [words, 1 + patches]})] of some pairs; faults go to facts."""
    refs, image_of = distinct(list(part["image"]))
    with ThreadPoolExecutor(2) as pool:
        read = partial(read_pixels, root=options.root, transform=options.transform)
        pixels = list(pool.map(read, refs))
    captions, numbers = [], []
    for (row, pair), number in zip(part.iterrows(), image_of, strict=True):
        caption = options.read(row, pair["caption"])
        if options.level == "phrase" and not isinstance(caption, str):
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
    order = torch.tensor([kept.index(number) for number in numbers], device=clip.device)
    features, pull = image_side(clip, batch, order, options)
    cosines, values = batch_values(clip, captions, features, pull, options)
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


def batch_values(clip, captions, images: Tensor, pull: Callable, options: Options):
    """(cosines [B], [values [words, 1 + patches]] of each caption): dS/da first, then I[i, p].

    images, pull: as `image_side` gives them.
    """
    ids, features = batch_ids(clip, captions), images.detach().requires_grad_()
    if options.steps is None:
        jacobian, cosines = exact.text_side(clip.model, ids, features, options.layers)
    else:
        path = (options.layers[0], options.steps)
        jacobian, cosines = integrated.text_side(clip.model, captions, ids, features, *path)
    words = [merged(c, one) for c, one in zip(captions, jacobian, strict=True)]
    maps = pull(pad_sequence(words, batch_first=True).nan_to_num())
    maps, values = maps[..., -options.tower.grid[0] * options.tower.grid[1] :], []
    for own, image, found in zip(words, images.detach(), maps, strict=True):
        unseen = own.isnan().any(-1, keepdim=True)
        found = found[: len(own)].masked_fill(unseen, float("nan"))
        values.append(torch.cat([(own @ image)[:, None], found], 1).cpu().numpy())
    return cosines.cpu().numpy(), values


def merged(caption: Caption, jacobian: Tensor) -> Tensor:
    """Mean of dt/da over the tokens of each word: from [n, D] to [words, D], NaN for one unseen."""
    tokens = jacobian[caption.first : caption.first + len(caption.word_of)]
    return merge(tokens.T, caption.word_of, len(caption.words)).T


def image_side(clip, pixels: Tensor, image_of: Tensor, options: Options):
    """Unit image features [B, D] of B pairs, and the function that pulls directions back to the
    positions: from [B, m, D] to < dv/db_p , direction >, [B, m, n], the patches last. pixels:
    distinct images. The function may be called for other captions of the same images.
    """
    if options.steps is None:
        tower = options.tower
        return exact.image_side(clip.model, pixels, image_of, tower, options.image_layers)
    black = options.transform(Image.new("RGB", (8, 8))).to(pixels)
    path = (options.image_layers[0], options.steps)
    return integrated.image_side(clip.model, pixels, black, image_of, *path)
