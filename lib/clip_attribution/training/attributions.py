"""Attributions that stay in the graph, and the loss on them: CAE's training signal.

    L_attr = max( a_obj - a_comp + margin , 0 )

Li et al., EMNLP 2024. a_obj is the mean attribution of a caption's object tokens, a_comp that of
its relation and attribute tokens together. The image embedding and the temperature are held
constant here, so that the loss acts through the text tower alone (the paper says that its
regularisation is on the text encoder) and cannot be lowered by the temperature.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from ..attribution.captions import read_caption
from ..attribution.perturbation import concept_means
from ..attribution.perturbation import replacements as replaced_texts
from ..attribution.registry import check_options, current_name, get_method, resolve_layers
from ..attribution.view import View
from ..errors import UserError
from ..text.concepts import concept_of_token, read_concepts
from ..trace.hooks import count_layers, trace
from ..trace.inputs import InputView, text_features, trimmed
from ..trace.pooling import can_trim, text_rows, text_tower

TRAINABLE = ("attention", "cae_gradcam", "perturbation", "gradient")


class Attributions(NamedTuple):
    """score [B]: cosine / tau, image and tau constant. values [B, n]: of each position of the ids;
    meaningful between BOS and EOT. features [B, D]: unit text features of the same pass, for the
    contrastive loss. entropy [B]: of the gradient method's softmax, in nats and without graph; None
    for the others. Near 0 it is saturated and the values have no gradient left.
    """

    score: Tensor
    values: Tensor
    features: Tensor
    entropy: Tensor | None = None


class Replacements(NamedTuple):
    """Captions with one concept replaced. ids [M, n']; pair [M]: the caption that each comes from;
    concept [M]: number of the concept that it replaces, 0 to C-1 over the batch;
    concept_of_token [B, n]: that number for each position, -1 for a token of no concept.
    """

    ids: Tensor
    pair: Tensor
    concept: Tensor
    concept_of_token: Tensor


def token_attributions(
    model: nn.Module,
    image_features: Tensor,
    token_ids: Tensor,
    method: str = "attention",
    create_graph: bool = True,
    layers: int | str | list[int] | None = None,
    replacements: Replacements | None = None,
    **options,
) -> Attributions:
    """Attributions of the tokens of B captions, differentiable in the text tower's parameters.

    image_features: [B, D], detached and normalised here. token_ids: [B, n], as the tokenizer gives
    them or trimmed. method: one of TRAINABLE, with its layers and options as for `attribute`
    (without template). replacements: for perturbation, see `replace`; a token of no concept, or of
    one without a replacement, is NaN there. create_graph=False gives the same numbers detached.
    Raises UserError for another method and for a tower that is not causal and pooled at EOT.
    """
    method = current_name(method)
    if method not in TRAINABLE:
        raise UserError(f"no training by {method!r}: choose one of {', '.join(TRAINABLE)}")
    if not can_trim(model):
        raise UserError("attributions for training need a causal text tower pooled at EOT")
    ids, chosen, entropy = trimmed(model, token_ids), get_method(method), None
    images = normalize(image_features.detach(), dim=-1)
    scale = model.logit_scale.detach().exp()
    with torch.set_grad_enabled(create_graph):
        if method == "perturbation":
            features, values = by_perturbation(model, images, ids, scale, replacements, options)
        elif chosen.reads == "input":
            parts = (model, images, ids, scale, chosen, create_graph, options)
            features, values, entropy = at_input(*parts)
        else:
            used = resolve_layers(chosen.layers if layers is None else layers, count_layers(model))
            parts = (model, images, ids, scale, chosen, used, create_graph, options)
            features, values = traced(*parts)
    values = pad(values, (0, token_ids.shape[1] - ids.shape[1]))
    found = (features * images).sum(-1) * scale, values, features
    return Attributions(*(found if create_graph else (x.detach() for x in found)), entropy)


def traced(model, images, ids, scale, chosen, layers, create_graph, options):
    """Features [B, D] and values [B, n] of a method that reads attention."""
    check_options(chosen, options)
    with trace(model, "text", start=layers[0], create_graph=create_graph) as found:
        features = text_features(model, ids)
        if chosen.gradient:
            found.backward((features * images).sum(), retain_graph=create_graph)
        view = View(found, text_rows(model, ids), layers, scale)
        return features, chosen.total(chosen.values(view, **options))


def at_input(model, images, ids, scale, chosen, create_graph, options):
    """The same of a method that takes its gradient at the embeddings, and the entropy it notes."""
    check_options(chosen, options)
    inside = tokens_inside(model, ids)
    context_length = text_tower(model).positional_embedding.shape[0]
    view = InputView(model, ids, images, inside, inside, context_length, scale, create_graph)
    values = chosen.values(view, **options)[:, 0]
    return view.features, values, view.notes.get("attribution_entropy")


def tokens_inside(model, ids: Tensor) -> Tensor:
    """Which positions [B, n] lie between BOS and EOT."""
    position = torch.arange(ids.shape[1], device=ids.device)
    return (position > 0) & (position < text_rows(model, ids)[:, None])


def by_perturbation(model, images, ids, scale, replacements, options):
    """The same by replacing concepts: captions and replacements run as one batch."""
    if replacements is None or options:
        raise UserError("perturbation takes replacements=, as `replace` makes them, and no options")
    other, n = trimmed(model, replacements.ids), ids.shape[1]
    width = max(n, other.shape[1])
    both = [pad(part, (0, width - part.shape[1])) for part in (ids, other)]
    features = text_features(model, torch.cat(both))
    features, replaced = features[: len(ids)], features[len(ids) :]
    cosines = (features * images).sum(-1)
    scores = (replaced * images[replacements.pair]).sum(-1)
    drops = concept_means((cosines[replacements.pair] - scores) * scale, replacements.concept)
    drops = torch.cat([drops, drops.new_full((1,), float("nan"))])  # where -1 points
    return features, drops[replacements.concept_of_token[:, :n]]


def replace(clip, captions: list[str], concepts: list, candidates: dict, k=4, seed=0):
    """Replacements for a batch of captions (no template), on the model's device.

    concepts: for each caption a list of (start, end, role); candidates: {role: distinct phrases}; a
    concept without a candidate counts as none. Another seed gives other draws: a new one each step.
    Raises UserError for a caption that cannot be read and when nothing can be replaced.
    """
    texts, pair, concept, count = [], [], [], 0
    of_token = torch.full((len(captions), clip.context_length), -1)
    for row, (caption, found) in enumerate(zip(captions, concepts, strict=True)):
        read = read_caption(clip, row, caption, "", "offsets")
        if isinstance(read, str):
            raise UserError(f"caption {row}: {read}")
        spans = read_concepts(caption, found)
        for places, new in replaced_texts(read, spans, candidates, k, seed):
            of_token[row, places] = count if new else -1
            texts, pair = texts + new, pair + [row] * len(new)
            concept, count = concept + [count] * len(new), count + bool(new)
    if not texts:
        raise UserError("nothing to replace: pass candidates of the roles that the concepts have")
    ids = trimmed(clip.model, clip.tokenizer(texts, clip.context_length))
    parts = (ids, torch.tensor(pair), torch.tensor(concept), of_token)
    return Replacements(*(part.to(clip.device) for part in parts))


def role_masks(clip, captions: list[str], concepts: list) -> tuple[Tensor, Tensor]:
    """Which positions [B, context] are object tokens, and which relation or attribute tokens.

    concepts: for each caption a list of (start, end, role); every role but "object" composes. A
    token of two concepts belongs to the first. A caption that cannot be read has none of either.
    """
    masks = torch.zeros(2, len(captions), clip.context_length, dtype=torch.bool)
    for row, (caption, found) in enumerate(zip(captions, concepts, strict=True)):
        read = read_caption(clip, row, caption, "", "offsets")
        if isinstance(read, str):
            continue
        spans = read_concepts(caption, found)
        for position, number in enumerate(concept_of_token(read.starts, spans), read.first):
            if number >= 0:
                masks[0 if spans[number].role == "object" else 1, row, position] = True
    objects, composition = masks.to(clip.device)
    return objects, composition


def masked_means(values: Tensor, mask: Tensor) -> Tensor:
    """Mean [B] of the values [B, n] in the mask, leaving out NaN; NaN where nothing is left."""
    mask = mask & ~values.isnan()
    return torch.where(mask, values, 0).sum(-1) / mask.sum(-1)


def attribution_loss(
    values: Tensor, object_mask: Tensor, composition_mask: Tensor, margin: float = 0.0
) -> tuple[Tensor, int]:
    """CAE's loss: mean over captions of max(a_obj - a_comp + margin, 0), and how many were used.

    values [B, n] as of `token_attributions`; masks [B, n], bool: object tokens, and relation and
    attribute tokens. A caption without one or the other is left out; 0 where none is left.
    """
    objects, composition = (mask & ~values.isnan() for mask in (object_mask, composition_mask))
    used = objects.any(-1) & composition.any(-1)
    if not used.any():
        return values.new_zeros(()), 0
    values = values[used]
    lead = masked_means(values, objects[used]) - masked_means(values, composition[used])
    return (lead + margin).clamp(min=0).mean(), int(used.sum())
