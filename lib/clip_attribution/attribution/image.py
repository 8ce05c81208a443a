"""Signed heat maps: the same methods on the image tower, one value a patch."""

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from ..errors import UserError
from ..images import open_image
from ..trace import count_layers, trace
from .registry import get_method, resolve_layers
from .towers import image_layout
from .view import View


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
    per_layer [n, layers, rows, cols]. The grid covers the preprocessed (cropped) picture.
    """
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
        view = trace_images(clip, torch.stack(pixels), texts[part], used, chosen)
        values = chosen.values(view, relu)
        values = values if per_layer else chosen.total(values)
        maps.append(values[..., prefix:].unflatten(-1, grid).cpu().numpy())
    shape = (0, len(used), *grid) if per_layer else (0, *grid)
    return np.concatenate(maps) if maps else np.zeros(shape, np.float32)


def trace_images(clip, pixels, texts: list[str], layers: list[int], method) -> View:
    """Run the image tower on pixels [B, 3, s, s] against texts held constant."""
    constants = clip.encode_texts(list(texts))
    with trace(clip.model, "image", start=layers[0]) as traced:
        batch = pixels.to(clip.device, clip.dtype)
        features = clip.model.encode_image(batch, normalize=False).float()
        cosines = (normalize(features, dim=-1) * constants).sum(-1)
        if method.gradient:
            traced.backward(cosines.sum())
    rows = torch.zeros(len(pixels), dtype=torch.long, device=clip.device)
    return View(traced, rows, layers, clip.logit_scale if method.score == "logit" else 1.0)
