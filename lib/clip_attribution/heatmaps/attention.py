"""Heat maps by attention: `gae_image`, `rollout`, `clip4dm_image`; formulas in `attribution`.

The row that is read is the class token's. A tower that pools by attention (SigLIP, CoCa, a
CLIP ResNet) has no such row: there the pooler's one query is the row, and the pooler counts as the
layer above the blocks. As it is no position of the blocks, its relevance starts at 0 instead of
the identity: r = Abar_pooler, then r <- r + r Abar_l (Chefer et al., ICCV 2021, equation 10, for
attention from one sequence to another), and rollout starts at its row. The default layers are
the method's own with a class token, the pooler alone with a pooler: layers=-1 is the pooler, "all"
the pooler and all blocks. CLIP4DM reads nothing but the row, so there it has the pooler alone.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..attribution.registry import Method, get_method, resolve_layers
from ..attribution.view import View
from ..errors import UserError
from ..trace.hooks import count_layers
from .batch import Batch
from .patches import trace_images
from .registry import ROW
from .registry import method as register
from .tower import Tower, find_tower


def prepare(name: str, clip, layers=None, relu: str = "signed"):
    """A function from a Batch to its maps. name: method of `attribution`; layers, relu: as there.

    Raises UserError for a tower that averages its patches: no row of attention is the image's.
    """
    tower, method = row_tower(clip.model), get_method(name, "image", relu)
    n_layers = count_layers(clip.model, "image")
    used = used_layers(method, layers, n_layers, tower.pool == "pooler")
    start = first_block(used, n_layers)

    scale = clip.logit_scale if method.score == "logit" else 1.0
    kind, patches = view_of(tower, n_layers), tower.grid[0] * tower.grid[1]

    def maps(batch: Batch) -> Tensor:
        # attention alone does not know the phrase: one map an image
        texts = batch.texts if method.gradient else batch.texts[:1]
        image_of = batch.image_of if method.gradient else None
        traced = trace_images(clip, batch.pixels, texts, start, method.gradient, image_of)
        items = len(batch.pixels) if image_of is None else len(image_of)
        rows = torch.zeros(items, dtype=torch.long, device=clip.device)
        found = _total(method, kind(traced, rows, used, scale), relu)
        found = found[:, -patches:].unflatten(1, tower.grid)
        return found if method.gradient else found[batch.image_of]

    return maps


def row_tower(model) -> Tower:
    """The image tower. Raises UserError for one that averages its patches."""
    tower = find_tower(model)
    if tower.pool == "average":
        raise UserError(
            f"a {tower.name} averages over the image, so no single row of attention leads to the "
            "score: use gradcam or gscorecam"
        )
    return tower


def first_block(used: list[int], n_layers: int) -> int:
    """The block from which on a trace has to run: the last one for a pooler alone."""
    return min(used[0], max(n_layers - 1, 0))


def used_layers(method: Method, layers, n_layers: int, pooler: bool) -> list[int]:
    """Layers read, ascending; a pooler is layer n_layers."""
    if not pooler:
        return resolve_layers(method.layers if layers is None else layers, n_layers)
    used = resolve_layers(-1 if layers is None else layers, n_layers + 1)
    if used[-1] != n_layers:
        raise UserError(f"layers must include {n_layers}, the attention pooler, or be None")
    if len(used) > 1 and method.reads == "row":
        raise UserError(
            "in this tower the attention pooler alone leads to the score: leave layers at None"
        )
    return used


def view_of(tower: Tower, n_layers: int):
    """The kind of View of the tower's row."""
    if tower.pool != "pooler":
        return View
    return partial(PoolerView, pooler=n_layers, n=tower.prefix + tower.grid[0] * tower.grid[1])


@dataclass
class PoolerView(View):
    """A View whose top layer, number `pooler`, is an attention pooler over n tokens."""

    pooler: int = 0
    n: int = 0

    def attention(self, layer: int) -> Tensor:
        """Attention of the pooler's query, [B, H, n]; 0 for tokens that it leaves out."""
        row = self.trace.attention("pooler", rows=self.rows).detach()
        return pad(row, (self.n - row.shape[-1], 0))

    def gradient(self, layer: int) -> Tensor:
        """Gradient of the score with respect to that row, [B, H, n]."""
        row = self.trace.attention_grads("pooler", rows=self.rows).detach()
        return pad(row, (self.n - row.shape[-1], 0)) * self.scale

    def start_row(self, n: int) -> Tensor:
        """No token is the pooled position: [B, n] zeros."""
        return torch.zeros(len(self.rows), n, device=self.rows.device)


def _total(method: Method, view: View, relu: str) -> Tensor:
    if isinstance(view, PoolerView) and method.name == "rollout":
        return _pooled_rollout(view)
    return method.total(method.values(view, relu))


def _pooled_rollout(view: PoolerView) -> Tensor:
    row = view.attention(view.pooler).mean(1)
    for layer in reversed(view.layers[:-1]):
        step = view.attention_map(layer).mean(1)
        step = step + torch.eye(step.shape[-1], device=step.device)
        row = (row[:, None] @ (step / step.sum(-1, keepdim=True)))[:, 0]
    return row


register(
    "gae_image",
    signed=False,
    towers=ROW,
    paper="Chefer et al., ICCV 2021",
    about="positive gradient times attention, followed through the layers used",
)(partial(prepare, "gae"))
register(
    "rollout",
    signed=False,
    towers=ROW,
    paper="arXiv 2005.00928",
    about="attention followed through the layers; does not know the phrase",
)(partial(prepare, "rollout"))
register(
    "clip4dm_image",
    signed=True,
    towers=ROW,
    paper="arXiv 2412.18404",
    about="signed gradient times attention, averaged over heads and layers",
)(partial(prepare, "clip4dm"))
