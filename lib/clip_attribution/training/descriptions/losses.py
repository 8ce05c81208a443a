"""The objectives: softplus of a difference of two scores, the cross-entropy of the pair.

    behavioural   softplus(C(caption) - C(description))
    iit           softplus(C(caption) - C(caption <- description))
                  softplus(C(description <- caption) - C(description))
    joint         alpha * iit + (1 - alpha) * behavioural
    even          contrastive, + (softplus(d) + softplus(-d)) / 2   d = C(description) - C(caption)

C(a <- b) is the score of text a with the subspace of text b (`interchange`), for the same image.
The first three: arXiv 2406.09458. The last is ours: it makes a model that prefers neither text, the
state in which CLIP meets Concadia, out of one that does.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus

from ...interchange import FEATURES, interchange_features, scores
from ...interchange.engine import find_site, mix, pooled_rows, replaced
from ...models.locks import lock_of
from ...trace.inputs import trimmed
from ...trace.pooling import can_trim, encode_text
from ...trace.reading import widen


def behavioural_loss(caption: Tensor, description: Tensor) -> Tensor:
    """softplus of the caption's score [n] less the description's [n], [n]."""
    return softplus(caption - description)


def iit_loss(own: Tensor, mixed: Tensor, down: Tensor | bool) -> Tensor:
    """Loss [n] of base texts with scores own [n] and, after the interchange, mixed [n].

    down [n]: False where the base is a caption, whose score should rise with the subspace of the
    description, True where it is a description, whose score should fall with the caption's.
    """
    sign = 1 - 2 * torch.as_tensor(down, device=own.device).to(own.dtype)
    return softplus(sign * (own - mixed))


def triplet_losses(model, images, captions, descriptions, cfg: dict, site=None, basis=None):
    """Loss of each triplet, [n]; for iit the mean of its two directions.

    images [n, D]; captions, descriptions: ids [n, context]; site, basis [d, k]: of `interchange`.
    """
    if cfg["objective"] in ("behavioural", "even"):
        ids = trimmed(model, torch.cat([captions, descriptions]))
        features = widen(encode_text(model, ids)).chunk(2)
        caption, description = (scores(model, own, images) for own in features)
        if cfg["objective"] == "behavioural":
            return behavioural_loss(caption, description)
        even = behavioural_loss(caption, description) + behavioural_loss(description, caption)
        return contrastive_losses(model, images, *features) + even / 2
    parts = both_ways(model, captions, descriptions, site, basis)
    caption, description, up, down = (scores(model, own, images) for own in parts)
    iit = (iit_loss(caption, up, False) + iit_loss(description, down, True)) / 2
    if cfg["objective"] == "iit":
        return iit
    return cfg["alpha"] * iit + (1 - cfg["alpha"]) * behavioural_loss(caption, description)


def example_losses(model, images, base, source, down, cfg: dict, site, basis) -> Tensor:
    """Loss of each example of iit or joint taken singly, [n]: a base text and its source.

    down [n], bool: whether the base is the description. Over both directions of the same triplets
    the mean is that of `triplet_losses`.
    """
    own, mixed = interchange_features(model, base, source, site, basis)
    own, mixed = scores(model, own, images), scores(model, mixed, images)
    iit = iit_loss(own, mixed, down)
    if cfg["objective"] == "iit":
        return iit
    other = scores(model, encode_text(model, trimmed(model, source)), images)
    pair = torch.where(down, other, own), torch.where(down, own, other)
    return cfg["alpha"] * iit + (1 - cfg["alpha"]) * behavioural_loss(*pair)


def both_ways(model, captions, descriptions, site, basis) -> tuple[Tensor, ...]:
    """Features [n, D] of captions, descriptions, and of each with the subspace of the other.

    As two calls of `interchange_features`, but what lies below the site runs once.
    """
    if site == FEATURES or not can_trim(model):
        ways = (captions, descriptions), (descriptions, captions)
        (caption, up), (description, down) = (
            interchange_features(model, *way, site, basis) for way in ways
        )
        return caption, description, up, down
    both = torch.cat([captions, descriptions])
    rows, n = pooled_rows(model, both), len(captions)
    items = torch.arange(2 * n, device=both.device)

    def intervene(states: Tensor) -> Tensor:
        own = states[items, rows]
        mixed = mix(own, own.roll(n, 0), basis).to(states.dtype)
        return torch.cat([states, states.index_put((items, rows), mixed)])

    with lock_of(model), replaced(find_site(model, site), intervene):
        found = widen(encode_text(model, trimmed(model, both), rows.repeat(2)))
    return found.chunk(4)


def contrastive_losses(model, images, captions, descriptions) -> Tensor:
    """CLIP's symmetric cross-entropy of each image, [n], where both of its texts are right.

    images, captions, descriptions: features [n, D].
    """
    texts = normalize(torch.cat([captions, descriptions]), dim=-1)
    logits = model.logit_scale.exp() * normalize(images, dim=-1).to(texts) @ texts.T
    n = len(images)
    own = torch.eye(n, device=logits.device, dtype=logits.dtype).repeat(1, 2)
    to_text = cross_entropy(logits, own / 2, reduction="none")
    place = torch.arange(n, device=logits.device).repeat(2)
    to_image = cross_entropy(logits.T, place, reduction="none").view(2, n).mean(0)
    return (to_text + to_image) / 2
