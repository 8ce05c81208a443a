"""What a method that reads no attention sees of one batch: ids, embeddings, and texts to encode."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

from ..models.locks import lock_of, locked
from .hooks import HALF_SCALE
from .pooling import can_trim, encode_text, text_rows, text_tower
from .reading import widen
from .rows import can_run_rows, row_features
from .sites import find_sites, held_flags

AT_ONCE = 256  # texts in one pass


@dataclass(eq=False)
class InputView:
    """One batch of B captions in n columns, at the input of the text tower.

    ids: [B, n]. images: unit features [B, D]. inside: [B, n], the tokens between BOS and EOT.
    own: those of the caption, without the template. scale: factor from the cosine to
    the method's own score. create_graph: keep everything differentiable in the parameters.
    clip, captions: as in the engine; None where a training loop has ids alone.
    notes: facts about each caption that a method leaves behind, [B] each.
    """

    model: nn.Module
    ids: Tensor
    images: Tensor
    inside: Tensor
    own: Tensor
    context_length: int
    scale: float | Tensor = 1.0
    create_graph: bool = False
    clip: Any = None
    captions: list | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def features(self) -> Tensor:
        """Unit text features [B, D]."""
        with torch.set_grad_enabled(self.create_graph):
            return text_features(self.model, self.ids)

    @property
    def cosines(self) -> Tensor:
        """Cosine of each caption and its image, [B]."""
        return (self.features * self.images).sum(-1)

    def embedding_gradients(self) -> Tensor:
        """dS/dx of the score at the token embeddings, [B, n, d]."""
        with watched_embeddings(self.model, self.create_graph) as watched:
            features = text_features(self.model, self.ids)
            factor = HALF_SCALE if watched[0].dtype == torch.float16 else 1.0
            score = (features * self.images).sum() * factor
        (found,) = torch.autograd.grad(score, watched, create_graph=self.create_graph)
        self.features = features if self.create_graph else features.detach()
        return widen(found) * (self.scale / factor)


def text_features(model: nn.Module, ids: Tensor) -> Tensor:
    """Unit text features [B, D], float32 or wider, of ids [B, n] that may be trimmed."""
    return normalize(widen(encode_text(model, ids)), dim=-1)


def embedding_layer(model: nn.Module) -> nn.Module:
    """The module that turns ids into token embeddings."""
    tower = text_tower(model)
    if hasattr(tower, "token_embedding"):
        return tower.token_embedding
    return tower.transformer.get_input_embeddings()


@contextmanager
def watched_embeddings(model: nn.Module, create_graph: bool = False) -> Iterator[list[Tensor]]:
    """Collect the token embeddings of a forward as a point that S can be differentiated at.

    With create_graph they stay in the graph of the parameters, and attention runs in the form that
    has a second derivative. The model is as before on exit.
    """
    watched = []

    def watch(module, args, out):
        if not (create_graph and out.requires_grad):
            out = out.detach().requires_grad_(True)
        watched.append(out)
        return out

    with ExitStack() as stack:
        stack.enter_context(lock_of(model))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH) if create_graph else frozen(model))
        stack.callback(embedding_layer(model).register_forward_hook(watch).remove)
        stack.enter_context(torch.enable_grad())
        yield watched


def frozen(model: nn.Module):
    """Hold the parameters without gradients, as a trace does; restored on exit."""
    return held_flags(model, find_sites(model, "text"))


@contextmanager
def given_embeddings(model: nn.Module, embeddings: Tensor) -> Iterator[None]:
    """Let a forward read these token embeddings [B, n, d] in place of those of its ids."""
    with lock_of(model):
        handle = embedding_layer(model).register_forward_hook(lambda *_: embeddings)
        try:
            yield
        finally:
            handle.remove()


def trimmed(model: nn.Module, ids: Tensor) -> Tensor:
    """Ids [B, n] without the columns beyond the longest EOT, where dropping them is exact."""
    return ids[:, : int(text_rows(model, ids).max()) + 1] if can_trim(model) else ids


@locked
@torch.no_grad()
def encode_distinct(clip, texts: list[str]) -> Tensor:
    """Unit features [len(texts), D]; each distinct text is encoded once, with others as long."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    number = {text: i for i, text in enumerate(distinct)}
    parts = [distinct[start : start + AT_ONCE] for start in range(0, len(distinct), AT_ONCE)]
    ids = [trimmed(clip.model, clip.tokenizer(part, clip.context_length)) for part in parts]
    encode = row_features if can_run_rows(clip.model) else encode_text
    found = torch.cat([encode(clip.model, part.to(clip.device)).float() for part in ids])
    return normalize(found, dim=-1)[[number[text] for text in texts]]
