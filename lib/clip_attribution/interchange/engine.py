"""The intervention itself: one pass through a text tower, its state changed behind one block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..models.locks import lock_of
from ..trace.inputs import trimmed
from ..trace.pooling import can_trim, encode_text, text_rows
from ..trace.reading import widen
from ..trace.sites import find_blocks

FEATURES = "features"


def is_count(value) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def find_site(model, site: int | str) -> nn.Module | None:
    """The block of the text tower at a site, None for "features"; UserError where there is none."""
    if site == FEATURES:
        return None
    blocks = find_blocks(model, "text")[:-1]
    if not is_count(site) or int(site) >= len(blocks):
        counted = f"0 to {len(blocks) - 1} (its last block is none) and " if blocks else ""
        raise UserError(f"no site {site!r}: this text tower has the sites {counted}{FEATURES!r}")
    return blocks[int(site)]


@torch.no_grad()
def site_width(clip, site: int | str) -> int:
    """d, the number of coordinates of the state at a site. Raises UserError where there is none."""
    block, widths = find_site(clip.model, site), []
    ids = clip.tokenizer([""], clip.context_length).to(clip.device)

    def look(states: Tensor) -> Tensor:
        widths.append(states.shape[-1])
        return states

    with lock_of(clip.model), replaced(block, look) if block else nullcontext():
        features = encode_text(clip.model, ids)
    return widths[0] if block else features.shape[-1]


def interchange_features(
    model, base: Tensor, source: Tensor, site: int | str, basis: Tensor
) -> tuple[Tensor, Tensor]:
    """Text features of base texts as they are, and with the subspace of their source texts.

    One pass: [base; source] through the blocks up to the site, [base; mixed] through those above
    (a tower that is not causal, or not pooled at EOT, carries [base; source; mixed]); at
    "features" each of the two as a batch of its own. Both results
    can be differentiated in the weights, through both texts, and in the basis; the model keeps
    its mode. Only a basis of all d columns gets no gradient: it spans everything however it turns.

    Parameters
    ----------
    model
        An open_clip model, in any precision, with or without adapters.
    base, source
        Ids [B, n] of the tokenizer, on the model's device.
    site
        A block counted from 0 but not the last one, or "features".
    basis
        The first k columns of the rotation, `W[:, :k]` [d, k].

    Returns
    -------
    tuple of Tensor
        Features [B, D] of the base texts and of the mixed ones, float32 or wider, not normalised;
        `scores` makes scores of them.

    Raises
    ------
    UserError
        No such site, a tower that pools over several positions, a basis of another width, or a
        forward that passes the site by.
    """
    block = find_site(model, site)
    if block is None:  # each as a batch of its own: the source's features to the last bit
        with lock_of(model):
            own, other = (widen(encode_text(model, trimmed(model, i))) for i in (base, source))
        return own, mix(own, other, basis)
    both, count = torch.cat([base, source]), len(base)
    first, second = pooled_rows(model, both).chunk(2)
    short = can_trim(model)  # the ids are read at the bottom alone: a row can change its text
    ids = trimmed(model, both) if short else torch.cat([both, base])

    def intervene(states: Tensor) -> Tensor:
        own, other = states[:count], states[count : 2 * count]
        items = torch.arange(count, device=states.device)
        state = mix(own[items, first], other[items, second], basis).to(states.dtype)
        mixed = own.index_put((items, first), state)
        return torch.cat([own, mixed] if short else [own, other, mixed])

    with lock_of(model), replaced(block, intervene):
        features = widen(encode_text(model, ids, first.repeat(2) if short else None))
    return features[:count], features[len(features) - count :]


def mix(base: Tensor, source: Tensor, basis: Tensor) -> Tensor:
    """States [B, d] of the base with the source's part in the subspace of the basis [d, k]."""
    if len(basis) != base.shape[-1]:
        raise UserError(f"a basis of {len(basis)} rows for states of {base.shape[-1]} numbers")
    base, source = widen(base), widen(source)
    if basis.shape[0] == basis.shape[1]:
        return source
    basis = basis.to(base)
    return base + (source - base) @ basis @ basis.T


def pooled_rows(model, ids: Tensor) -> Tensor:
    """Pooled position of each row of ids [B, n]; UserError for a tower that has several."""
    try:
        return text_rows(model, ids)
    except UserError:
        raise UserError(
            "this text tower pools over all its tokens, so its blocks have no single state to "
            f"interchange: use site {FEATURES!r} or another model"
        ) from None


@contextmanager
def replaced(block: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a forward go on from change(states) [B, n, d] behind a block of a tower.

    The block is as before on exit. Raises UserError when no forward has reached it.
    """
    fired = []

    def hook(module, args, out):
        fired.append(module)
        if isinstance(out, tuple):
            return (change(out[0]), *out[1:])
        return change(out)

    handle = block.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if not fired:
        raise UserError(
            "the intervention never took place: the model's forward passes the block of this site "
            "by; load it anew, without whatever replaces its forward"
        )
