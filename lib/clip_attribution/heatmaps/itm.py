"""ITM Grad-CAM: where in an image BLIP's words look while text and image match.

    y = sum over the batch of ITM logit 1        C [heads, tokens, patches], G = dy/dC
    map of a token = mean over heads of C * max(G, 0)

C are the cross-attention probabilities of one block of the text encoder, the image class token left
out. Li et al., "Align before Fuse", NeurIPS 2021, as LAVIS computes it (`compute_gradcam`). Maps
are never negative: they do not show what speaks against a phrase.

    blip = load_blip("base")
    maps = itm_gradcam(blip, images, phrases)        # raw, [n, rows, cols]
    scores = itm_scores(blip, images, phrases)       # columns score and error
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import UserError
from ..models.blip import Blip, read_text
from ..models.locks import lock_of
from ..trace.features import distinct
from .engine import batches
from .pixels import read_pixels
from .tower import check_model

AGGREGATES = ("words", "albef")


def itm_gradcam(blip: Blip, images: list, texts: list[str], **options) -> np.ndarray:
    """Where in each image a phrase is seen: raw maps, float32 [n, rows, cols], none negative.

    Arguments as for `itm_gradcam_rows`. Raises UserError also for an image or phrase that cannot
    be used; `itm_gradcam_rows` gives the reason of such a row and goes on.
    """
    maps = np.zeros((len(images), *blip.grid), np.float32)
    for rows, found, reasons in itm_gradcam_rows(blip, images, texts, **options):
        bad = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]
        if bad:
            raise UserError("row {}: {}".format(*min(bad)))
        maps[rows] = found
    return maps


def itm_gradcam_rows(
    blip: Blip,
    images: list,
    texts: list[str],
    layer: int = 7,
    aggregate: str = "words",
    batch_size: int = 16,
    image_root=None,
    progress: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str | None]]]:
    """ITM Grad-CAM of pairs in batches, so that memory does not grow with their number.

    images: paths, PIL images or "scene:SEED:INDEX", squashed to the model's square input, so that
    nothing is cropped; texts: as many phrases, cleaned as in LAVIS. layer: block of the text
    encoder, from 0 (7 is LAVIS' worked example, 6 its function's default). aggregate: "words" is
    the mean over the words' tokens, without [ENC] and the last one (LAVIS); "albef" the mean over
    all of the text's tokens (ALBEF divides by the padded length: another constant factor).
    batch_size: pairs at a time. An image is read and encoded once for all its phrases (once a
    batch if they fill several).

    Yields (rows [b] of the input, maps float32 [b, rows, cols], reasons), as heatmap_rows does; a
    row with a reason has a map of NaN and no effect on the others. Every row comes once, not in
    order. Raises UserError at the call for bad arguments.
    """
    _check_layer(layer, aggregate, blip.layers)
    compute = partial(_maps, blip, layer=layer, aggregate=aggregate)
    return _rows(blip, images, texts, compute, blip.grid, batch_size, image_root, progress)


def _check_layer(layer: int, aggregate: str, layers: int) -> None:
    if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < layers:
        raise UserError(f"no layer {layer!r}: the text encoder has layers 0 to {layers - 1}")
    if aggregate not in AGGREGATES:
        raise UserError(f"aggregate {aggregate!r}: use one of {', '.join(AGGREGATES)}")
    if aggregate == "words" and layer == layers - 1:
        raise UserError(
            f"after layer {layer}, the last one, only [ENC] is read, so that every "
            "word's map is zero: use an earlier layer"
        )


def itm_scores(
    blip: Blip,
    images: list,
    texts: list[str],
    batch_size: int = 32,
    image_root=None,
    progress: bool = False,
) -> pd.DataFrame:
    """How likely image and text match, by BLIP's matching head: one row a pair, in order.

    Arguments as for `itm_gradcam_rows`. Columns score (softmax of the two ITM logits, 0 to 1) and
    error (the reason of a row without score, else None). Raises UserError for bad arguments.
    """
    scores = np.full(len(images), np.nan, np.float32)
    errors = np.full(len(images), None, object)
    compute = partial(_probability, blip)
    for rows, found, reasons in _rows(
        blip, images, texts, compute, (), batch_size, image_root, progress
    ):
        scores[rows], errors[rows] = found, reasons
    return pd.DataFrame({"score": scores, "error": pd.Series(errors, dtype=object)})


# ---------------------------------------------------------------- one batch


@dataclass
class _Batch:
    """B distinct images with P pairs: pixels [B, 3, h, w], image_of [P], ids and mask [P, T]."""

    pixels: Tensor
    image_of: Tensor
    ids: Tensor
    mask: Tensor


def _logits(blip: Blip, batch: _Batch) -> Tensor:
    """The matching head's two logits, [P, 2]; the second is for a match."""
    patches = blip.model.vision_model(pixel_values=batch.pixels).last_hidden_state
    states = blip.model.text_encoder(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        encoder_hidden_states=patches[batch.image_of],
    ).last_hidden_state
    return blip.model.itm_head(states[:, 0])


@torch.no_grad()
def _probability(blip: Blip, batch: _Batch) -> Tensor:
    return _logits(blip, batch).softmax(-1)[:, 1]


def _differentiate(blip: Blip, batch: _Batch, layer: int) -> tuple[Tensor, Tensor]:
    """Cross-attention probabilities of a layer and y's gradient, [P, heads, T, 1 + patches] each.

    Everything before the layer's probabilities runs without a graph.
    """
    kept = []

    def leaf(module, args, probabilities):
        torch.set_grad_enabled(True)
        kept.append(probabilities.detach().requires_grad_())
        return kept[0]

    with torch.no_grad():
        # The only module that the probabilities, and nothing else, pass through.
        dropout = blip.model.text_encoder.encoder.layer[layer].crossattention.self.dropout
        handle = dropout.register_forward_hook(leaf)
        try:
            match = _logits(blip, batch)[:, 1].sum()
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(match, kept)
    return kept[0].detach(), gradient


def _maps(blip: Blip, batch: _Batch, layer: int, aggregate: str) -> Tensor:
    """Maps [P, rows, cols]."""
    attention, gradient = _differentiate(blip, batch, layer)
    tokens = (attention * gradient.clamp(min=0))[..., 1:].mean(1)
    weights = _token_weights(batch.mask, aggregate).to(tokens.dtype)
    return (weights[:, None] @ tokens)[:, 0].unflatten(1, blip.grid)


def _token_weights(mask: Tensor, aggregate: str) -> Tensor:
    """The share of every token in its text's map, [P, T]; padding has none."""
    used = mask.float()
    if aggregate == "words":
        used = used.clone()
        used[:, 0] = 0
        used[torch.arange(len(mask)), mask.sum(1) - 1] = 0
    return used / used.sum(1, keepdim=True)


# ---------------------------------------------------------------- a table of pairs


def _rows(blip, images, texts, compute: Callable, shape, batch_size, image_root, progress):
    images, texts = list(images), [texts] if isinstance(texts, str) else list(texts)
    if len(images) != len(texts):
        raise UserError(f"{len(images)} images with {len(texts)} texts: give one text an image")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise UserError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    check_model(blip.model)
    read = partial(read_pixels, root=image_root, transform=blip.preprocess)
    return _run(blip, images, texts, compute, shape, read, batch_size, progress)


def _run(blip, images, texts, compute, shape, read: Callable, batch_size, progress):
    bar = tqdm(total=len(texts), desc="BLIP", unit="pair", disable=not progress)
    with ThreadPoolExecutor(2) as pool, bar:
        for rows in batches(images, batch_size):
            ids = [read_text(blip, texts[row]) for row in rows]
            refs, image_of = distinct([images[row] for row in rows])
            pixels = list(pool.map(read, refs))
            reasons = [_reason(row, pixels[i]) for row, i in zip(ids, image_of, strict=True)]
            used = [i for i, reason in enumerate(reasons) if reason is None]
            found = np.full((len(rows), *shape), np.nan, np.float32)
            if used:
                batch = _batch(blip, pixels, [image_of[i] for i in used], [ids[i] for i in used])
                with lock_of(blip):
                    found[used] = compute(batch).cpu().numpy()
            bar.update(len(rows))
            yield np.array(rows), found, reasons


def _reason(ids, pixels) -> str | None:
    return next((found for found in (ids, pixels) if isinstance(found, str)), None)


def _batch(blip: Blip, pixels: list, image_of: list[int], ids: list) -> _Batch:
    kept = sorted(set(image_of))
    rows = [torch.tensor(row) for row in ids]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    parts = torch.stack([pixels[i] for i in kept]), torch.tensor([kept.index(i) for i in image_of])
    return _Batch(*(part.to(blip.device) for part in (*parts, padded, mask)))
