"""Scores of texts as they are, and after an interchange."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UserError
from ..models.locks import lock_of
from ..trace.inputs import AT_ONCE, trimmed
from ..trace.pooling import encode_text
from ..trace.reading import widen
from .alignment import Alignment
from .engine import interchange_features, site_width


def scores(model, features: Tensor, images: Tensor) -> Tensor:
    """exp(logit_scale) times the cosine of text and image features [n, D] each, [n]."""
    features = widen(features)
    images = normalize(images.to(features), dim=-1)
    cosines = (normalize(features, dim=-1) * images).sum(-1)
    return widen(model.logit_scale).exp() * cosines


@torch.no_grad()
def plain_scores(clip, image_features: Tensor, texts: list[str]) -> Tensor:
    """exp(logit_scale) times the cosine of each image and its raw text, without a template.

    Parameters
    ----------
    clip
        From `load_clip`.
    image_features
        [n, D], one image a text; their length plays no part.
    texts
        n texts, cut like open_clip's where they are too long.

    Returns
    -------
    Tensor
        [n], float32 or wider, on the CPU.
    """
    _check_lengths(image_features, texts)
    found = [torch.zeros(0)]
    for at in range(0, len(texts), AT_ONCE):
        with lock_of(clip.model):
            ids = tokens(clip, texts[at : at + AT_ONCE])
            features = encode_text(clip.model, trimmed(clip.model, ids))
            found.append(scores(clip.model, features, image_features[at : at + AT_ONCE]).cpu())
    return torch.cat(found)


def interchange_scores(
    clip, image_features: Tensor, base: list[str], source: list[str], alignment: Alignment
) -> Tensor:
    """The score of each base text with the subspace of its source text, for the same image.

    Parameters
    ----------
    clip, image_features, base
        As in `plain_scores`.
    source
        n texts.
    alignment
        Which subspace of which state.

    Returns
    -------
    Tensor
        [n], float32 or wider, on the CPU.

    Raises
    ------
    UserError
        As `interchange_features`.
    """
    return both_scores(clip, image_features, base, source, alignment)[1]


@torch.no_grad()
def both_scores(
    clip, image_features: Tensor, base: list[str], source: list[str], alignment: Alignment
) -> tuple[Tensor, Tensor]:
    """`plain_scores` of the base texts and their `interchange_scores`, [n] each, of one pass."""
    _check_lengths(image_features, base, source)
    basis = alignment.basis(site_width(clip, alignment.site))
    step, found = AT_ONCE // 2, [torch.zeros(2, 0)]
    for at in range(0, len(base), step):
        part = slice(at, at + step)
        own, other = (tokens(clip, texts[part]) for texts in (base, source))
        features = interchange_features(clip.model, own, other, alignment.site, basis)
        rows = [scores(clip.model, one, image_features[part]).cpu() for one in features]
        found.append(torch.stack(rows))
    plain, mixed = torch.cat(found, dim=1)
    return plain, mixed


def tokens(clip, texts: list[str]) -> Tensor:
    """Ids [n, context] of raw texts, on the model's device."""
    return clip.tokenizer(list(texts), clip.context_length).to(clip.device)


def _check_lengths(image_features: Tensor, *lists) -> None:
    if image_features.dim() != 2 or any(len(texts) != len(image_features) for texts in lists):
        raise UserError(
            f"image features of shape {list(image_features.shape)} for "
            f"{' and '.join(str(len(texts)) for texts in lists)} texts: give one row a text"
        )
