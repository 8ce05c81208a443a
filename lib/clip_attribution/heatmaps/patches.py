"""Signed heat maps: the same methods on the image tower, one value a patch."""

from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from ..attribution.registry import get_method, resolve_layers
from ..attribution.view import View
from ..errors import UserError
from ..io.images import open_image
from ..models.arithmetic import exact
from ..models.locks import locked
from ..trace.hooks import count_layers, trace
from ..trace.pooling import image_layout, known_tower
from ..trace.sites import find_sites


@exact()
def image_attribution(
    clip,
    images: list,
    texts: list[str],
    method: str = "clip4dm",
    layers: int | str | list[int] | None = None,
    relu: str = "signed",
    batch_size: int = 32,
    image_root=None,
    per_layer: bool = False,
    progress: bool = False,
) -> np.ndarray:
    """Attribute the score of each (image, text) to the image's patches.

    images: paths, PIL images or "scene:SEED:INDEX"; texts: as many, read as they are (no template).
    method, layers, relu: as for `attribute`, counted in the image tower. The row is the class
    token's, so a tower that pools in another way raises UserError, as do bad arguments and images.

    Returns float32 [n, rows, cols] on the method's own scale, sign kept, row 0 at the top; with
    per_layer [n, layers, rows, cols]. The grid covers the preprocessed (cropped) image.

    Examples
    --------
    >>> from clip_attribution import load_clip
    >>> image_attribution(load_clip(), ["scene:1:3"], ["a yellow sun"]).shape
    (1, 8, 8)
    """
    with known_tower(clip.model):
        chosen = get_method(method, "image", relu)
        prefix, grid = image_layout(clip.model)
        n_layers = count_layers(clip.model, "image")
        used = resolve_layers(chosen.layers if layers is None else layers, n_layers)
        if len(images) != len(texts):
            raise UserError(f"{len(images)} images with {len(texts)} texts: give one text an image")
        maps = []
        for start in tqdm(range(0, len(images), batch_size), desc="maps", disable=not progress):
            part = slice(start, start + batch_size)
            pixels = [clip.preprocess(open_image(ref, image_root)) for ref in images[part]]
            constants = clip.encode_texts(list(texts[part]))
            traced = trace_images(clip, torch.stack(pixels), constants, used[0], chosen.gradient)
            rows = torch.zeros(len(pixels), dtype=torch.long, device=clip.device)
            scale = clip.logit_scale if chosen.score == "logit" else 1.0
            view = View(traced, rows, used, scale)
            values = chosen.values(view, relu)
            values = values if per_layer else chosen.total(values)
            maps.append(values[..., prefix:].unflatten(-1, grid).cpu().numpy())
        shape = (0, len(used), *grid) if per_layer else (0, *grid)
        return np.concatenate(maps) if maps else np.zeros(shape, np.float32)


@locked
def trace_images(clip, pixels, constants, start: int, gradient: bool = True, image_of=None):
    """Trace the image tower from block `start` on, on pixels [B, 3, h, w].

    constants [P, D]: text features, one a pair, held constant. image_of [P]: the image of each
    pair (None: one text an image, P = B). Below `start` every image runs once, above it once a
    pair. The gradient is that of each pair's own cosine. Returns the trace, of P items.
    """
    block = find_sites(clip.model, "image")[start].block
    with repeated(block, image_of), trace(clip.model, "image", start=start) as traced:
        batch = pixels.to(clip.device, clip.dtype)
        features = clip.model.encode_image(batch, normalize=False).float()
        cosines = (normalize(features, dim=-1) * constants).sum(-1)
        if gradient:
            traced.backward(cosines.sum())
    return traced


def repeated(module, image_of):
    """Give a module the item image_of[p] of its first input as item p, while the block runs.

    What comes after it then runs once a pair, what came before ran once an image.
    """
    return nullcontext() if image_of is None else entering(module, lambda x: x[image_of])


@contextmanager
def entering(module, change):
    """Give a module change(x) in place of its first input x, while the block runs."""

    def replace(_, args, kwargs):
        if args:
            return (change(args[0]), *args[1:]), kwargs
        name = next(iter(kwargs))
        return args, kwargs | {name: change(kwargs[name])}

    handle = module.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
