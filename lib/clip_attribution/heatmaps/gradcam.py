"""Grad-CAM: a layer's channels, weighted by the mean of their gradient over the image.

    weight_c = mean over places of dS/dA_c        map = sum_c weight_c A_c        S = logit

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017. A is, for a transformer, the patch tokens of the output of the first norm
of the last block (the norm before its attention), as the documentation of pytorch-grad-cam
advises for CLIP: in the block's output no patch token reaches a class token any more. For a
ResNet and other convolutional towers A is the output of the last stage (layer4). The class token
and other tokens before the patches take part in neither the mean nor the map.

Sign: kept, below zero speaks against the phrase. The paper's ReLU belongs to the display, see
`to_picture`. S = exp(logit_scale) * cosine.

Known weakness: one weight a channel for the whole image; a channel that is good in one place and
bad in another cancels itself.
"""

from torch import Tensor

from ..attribution.registry import resolve_layers
from ..errors import UserError
from .batch import Batch, differentiate
from .registry import EVERY, method
from .tower import Tower, find_tower


@method(
    "gradcam",
    signed=True,
    towers=EVERY,
    paper="Selvaraju et al., ICCV 2017",
    about="channels weighted by the mean of their gradient",
    relu=True,
)
def prepare(clip, layers=None):
    """A function from a Batch to its maps. layers: None (last block) or a list of one block."""
    tower = find_tower(clip.model)
    at, inside = place(tower, layers)

    def maps(batch: Batch) -> Tensor:
        output, gradient = differentiate(clip, batch, at, inside)
        output, gradient = tower.to_grid(output), tower.to_grid(gradient)
        return (gradient.mean((2, 3), keepdim=True) * output).sum(1)

    return maps


def place(tower: Tower, layers):
    """The layer that is read, and the module inside it whose output is meant (None: its own)."""
    if not tower.blocks:
        if layers is not None:
            raise UserError(f"gradcam reads the last stage of a {tower.name}: leave layers at None")
        return tower.last, None
    used = resolve_layers(-1 if layers is None else layers, len(tower.blocks))
    if len(used) > 1:
        raise UserError(f"gradcam reads one layer, not {len(used)}: name it as layers=[8]")
    block = tower.blocks[used[0]]
    norm = getattr(block, "ln_1", getattr(block, "norm1", None))
    if norm is None:
        raise UserError(f"gradcam: a {type(block).__name__} has no norm before its attention")
    return block, norm
