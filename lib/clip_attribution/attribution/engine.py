"""The two calls for text: one attribution of a table of pairs, or CLIP4DM's whole ablation."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ..errors import UserError
from ..models.arithmetic import exact
from ..trace.hooks import count_layers
from .batch import check_arguments, row_features, run
from .clip4dm import REDUCE, all_variants
from .frames import check_pairs
from .registry import check_options, get_method, resolve_layers
from .role_level import roles_frame, with_concepts


@exact()
def attribute(
    clip,
    pairs,
    method: str = "clip4dm",
    layers: int | str | list[int] | None = None,
    template: str = "A photo depicts ",
    relu: str = "signed",
    batch_size: int = 32,
    alignment: str = "offsets",
    image_root=None,
    per_layer: bool = False,
    tagger=None,
    progress: bool = False,
    level: str = "word",
    **options,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attribute an image's score to the words of its caption: what CLIP believes and rejects.

    pairs: a frame (or what pandas makes one of) with the columns `image` (path, PIL image
    or "scene:SEED:INDEX") and `caption`, a unique `pair_id` if wanted; other columns are carried.
    layers: None is the method's default; a negative number the last so many text layers; zero,
    positive or "all" every layer; a list names them. template is put before each caption and takes
    no part in the result. relu: variant of CLIP4DM's ablation. alignment: how tokens are given to
    words, see `words`; for `mediated` it may be an `interchange.Alignment` instead. tagger: a spaCy
    pipeline, adds the column `pos`. per_layer adds columns L0, L1, ... of the layers used.
    level: "word"; "token" for one row a token; "role" for one row a role and caption. options:
    those of the method, see its module.

    Returns (words, pairs). words: one row a word with pair_id, word_index, word, start, end
    (characters of the caption), attribution (on the method's own scale, sign kept), seen (False
    for a word beyond the context or without a token of its own, as in "...", which is one token:
    its attribution is missing, not 0) and n_tokens; at token level token_index and token in place
    of the words', without the last two. At role level pair_id, role ("object", "attribute",
    "relation", and "composition" for the last two together), attribution (the mean over the
    tokens of that role's concepts, missing where there is none), n_tokens and n_concepts. The
    concepts are those of the pairs' column `concepts`, a list of (start, end, role) a caption;
    without it the parser's (`roles.parse_captions`, with the tagger if one is given), and the
    pairs come back with that column. pairs: the input with cosine, n_tokens (ids before
    truncation, BOS and EOT included), truncated, what the method notes, and error: None, or one
    line that says why the row has no words. A row with an error does not touch the others.
    Raises UserError on unusable arguments and on towers where the method is undefined.

    Examples
    --------
    >>> from clip_attribution import load_clip
    >>> pair = {"image": "scene:1:3", "caption": "a yellow envelope on grass"}
    >>> words, pairs = attribute(load_clip(), [pair])
    >>> words.word[words.attribution.idxmin()]  # what CLIP rejects most
    'envelope'
    >>> len(words), len(pairs), pairs.error[0]
    (5, 1, None)
    """
    chosen = get_method(method, "text", relu)
    if "alignment" in chosen.options and not isinstance(alignment, str):
        options, alignment = options | {"alignment": alignment}, "offsets"
    check_options(chosen, options)
    if level not in ("word", "token", "role"):
        raise UserError(f"unknown level {level!r}: choose word, token or role")
    used = used_layers(clip, chosen, layers, per_layer)
    refused: dict[int, str] = {}
    if level == "role":
        pairs, spans, refused = with_concepts(pairs, tagger)
        tagger = None  # it served the parser; a role has no part of speech
    features = None
    if chosen.prepare:
        pairs = check_pairs(pairs)
        check_arguments(clip, pairs, template, alignment, batch_size)
        features = row_features(clip, pairs, image_root, batch_size, progress)
        usable = [not isinstance(own, str) for own in features]
        options, faults = chosen.prepare(pairs, tagger, options, usable)
        refused = faults | refused

    def channels(view):
        each = chosen.values(view, relu, **options)
        total = chosen.total(each)[:, None]
        return torch.cat([total, each], dim=1) if per_layer else total

    words, pairs, values = run(
        clip,
        pairs,
        channels,
        used,
        chosen,
        template=template,
        alignment=alignment,
        image_root=image_root,
        batch_size=batch_size,
        tagger=tagger,
        progress=progress,
        level="word" if level == "word" else "token",
        refused=refused,
        features=features,
    )
    words.insert(5, "attribution", values[:, 0].astype(np.float64))
    for column, layer in enumerate(used if per_layer else [], start=1):
        words[f"L{layer}"] = values[:, column].astype(np.float64)
    if level == "word":
        return words, pairs
    tokens = tokens_frame(words)
    return (roles_frame(tokens, pairs, spans) if level == "role" else tokens), pairs


def used_layers(clip, chosen, layers, per_layer: bool) -> list[int]:
    """The layers meant; none for a method without layers. Raises UserError where that is asked."""
    if chosen.layers is not None:
        return resolve_layers(chosen.layers if layers is None else layers, text_layers(clip))
    if layers is not None or per_layer:
        raise UserError(f"method {chosen.name!r} has no layers: leave layers and per_layer out")
    return []


def tokens_frame(words: pd.DataFrame) -> pd.DataFrame:
    """A words frame whose words are tokens, under the names of tokens."""
    names = {"word_index": "token_index", "word": "token"}
    return words.rename(columns=names).drop(columns=["seen", "n_tokens"])


class Ablation(NamedTuple):
    """Every ReLU variant and layer count of CLIP4DM for the same words.

    values: float32 [variants, layer counts, words], NaN for a word not seen. words and pairs: as
    `attribute` gives them, less the attribution.
    """

    values: np.ndarray
    variants: list[str]
    layer_counts: list[int]
    words: pd.DataFrame
    pairs: pd.DataFrame


@exact()
def attribute_all_variants(clip, pairs, **options) -> Ablation:
    """CLIP4DM for every number k of last layers and every ReLU variant, in one pass.

    options: those of `attribute` that are no part of the ablation (template, batch_size, ...).
    values[v, k-1] is the attribution with relu=variants[v] and layers=-k.
    """
    n_layers = text_layers(clip)

    def channels(view):
        return all_variants(view).flatten(1, 2)

    layers, method = list(range(n_layers)), get_method("clip4dm")
    words, pairs, values = run(clip, pairs, channels, layers, method, **options)
    each = values.T.reshape(len(REDUCE), n_layers, -1)[:, ::-1]  # last layer first
    counts = np.arange(1, n_layers + 1, dtype=np.float32)
    means = each.cumsum(axis=1, dtype=np.float32) / counts[:, None]
    return Ablation(means, list(REDUCE), counts.astype(int).tolist(), words, pairs)


def text_layers(clip) -> int:
    """Number of attention layers of the text tower."""
    return count_layers(clip.model, "text")
