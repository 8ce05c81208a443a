"""The loss of CAE's fine-tuning, and its gradient over a batch that may be cut into parts.

    L = itc · L_ITC + lam · L_attr          Li et al., EMNLP 2024, section 4

L_ITC is CLIP's symmetric cross-entropy over the whole batch. With hard negatives their texts join
the columns of image→text (N images against 2N texts), text→image stays N×N, as in NegCLIP. L_attr
is of true captions only (`attribution.differentiable`).

A batch cut into parts (gradient accumulation) gives the gradient of the uncut one: all features are
computed first without a graph, then each part again with one, in its place among the others.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..text.concepts import draw
from ..trace.inputs import text_features, trimmed
from ..trace.rows import encode_image
from . import distributed
from .attributions import Replacements, attribution_loss, masked_means, replace, token_attributions

MEANS = ("attr", "a_obj", "a_comp", "entropy")  # logged as means over the captions used


@dataclass
class Part:
    """Rows that go through the model together; on the model's device.

    pixels [B, 3, s, s]; ids [B, n]; objects, composition: bool masks [B, n]; negatives: ids [M, n]
    of the rows that have one, or None; replacements: for perturbation.
    """

    pixels: Tensor
    ids: Tensor
    objects: Tensor
    composition: Tensor
    negatives: Tensor | None = None
    replacements: Replacements | None = None

    @property
    def used(self) -> int:
        """Number of captions with object tokens and composition tokens."""
        return int((self.objects.any(-1) & self.composition.any(-1)).sum())


@dataclass(frozen=True)
class Weights:
    """Weights of the two losses; 0 leaves one out. method: the attribution; margin: its epsilon."""

    itc: float = 1.0
    lam: float = 0.0
    method: str = "attention"
    margin: float = 0.0


def make_part(clip, examples, rows, negatives, weights: Weights, k: int, seed: int) -> Part:
    """A Part of these rows with these false captions; `seed` decides what perturbation puts in."""
    ids = trimmed(clip.model, examples.ids[rows])
    masks = [mask[rows, : ids.shape[1]] for mask in (examples.objects, examples.composition)]
    pixels = examples.pictures.batch([examples.images[i] for i in rows])
    part = Part(*(tensor.to(clip.device) for tensor in (pixels, ids, *masks)))
    if negatives:
        false = clip.tokenizer(negatives, clip.context_length)
        part.negatives = trimmed(clip.model, false).to(clip.device)
    if weights.method == "perturbation" and weights.lam:
        add_replacements(part, clip, examples, rows, k, seed)
    return part


def add_replacements(part: Part, clip, examples, rows, k: int, seed: int) -> None:
    """Draw what perturbation puts in; a token of no concept that can be replaced has no value."""
    captions, concepts = (
        [column[i] for i in rows] for column in (examples.captions, examples.concepts)
    )
    known = torch.zeros_like(part.objects)
    pairs = zip(captions, concepts, strict=True)
    if any(any(draw(*pair, examples.candidates, 1, seed)) for pair in pairs):
        part.replacements = replace(clip, captions, concepts, examples.candidates, k, seed)
        known = part.replacements.concept_of_token[:, : known.shape[1]] >= 0
    part.objects, part.composition = part.objects & known, part.composition & known


def features_of(model, part: Part) -> list[Tensor]:
    """Unit features of images, true texts and negatives of one part."""
    images = F.normalize(encode_image(model, part.pixels), dim=-1)
    return [images, text_features(model, part.ids), negative_features(model, part, images)]


def negative_features(model, part: Part, like: Tensor) -> Tensor:
    """Unit features [M, D] of the negatives of one part; M may be 0."""
    return like[:0] if part.negatives is None else text_features(model, part.negatives)


def contrastive_loss(images: Tensor, texts: Tensor, negatives: Tensor, scale: Tensor) -> Tensor:
    """L_ITC of N pairs, features [N, D], [N, D] and [M, D]."""
    target = torch.arange(len(images), device=images.device)
    per_image = scale * images @ torch.cat([texts, negatives]).T
    per_text = scale * texts @ images.T
    return (F.cross_entropy(per_image, target) + F.cross_entropy(per_text, target)) / 2


def accumulate_gradients(model, parts, weights: Weights, rank=0, world=1, amp=None) -> dict:
    """Add the gradient of L over these parts of a batch to the parameters; return what to log.

    Of several processes, the sum of their gradients is that of the whole batch. amp: a dtype to run
    the forward passes in (autocast), or None. Returns floats of the whole batch: loss, itc, attr,
    a_obj, a_comp, entropy (means over the captions used) and used; NaN for what was left out, and
    for the entropy of a method that has none.
    """
    autocast = {"device_type": parts[0].ids.device.type, "dtype": amp, "enabled": amp is not None}
    total = sum(distributed.everyones(sum(part.used for part in parts), world))
    kept, itc, sums = None, float("nan"), torch.zeros(len(MEANS))
    if weights.itc and len(parts) > 1:
        with torch.no_grad(), torch.autocast(**autocast):
            kept = of_all_processes([features_of(model, part) for part in parts], world)
    for number, part in enumerate(parts):
        with torch.autocast(**autocast):
            own, found = forward(model, part, weights)
        loss = torch.zeros((), device=part.ids.device)
        if weights.itc:
            others = kept or of_all_processes([own], world)
            contrast = whole_batch_loss(model, others, rank * len(parts) + number, own)
            loss, itc = loss + weights.itc * contrast, contrast.item()
        if found is not None:
            values = found.values.float()
            attr, used = attribution_loss(values, part.objects, part.composition, weights.margin)
            loss = loss + weights.lam * attr * used / total
            sums += means(values, part, attr, found.entropy) * used
        if loss.requires_grad:
            loss.backward()
    return logged(weights, itc, sum(distributed.everyones(sums, world)), total)


def logged(weights: Weights, itc: float, sums: Tensor, total: int) -> dict:
    """What one step says of itself; sums: of MEANS over the captions used, `total` in number."""
    used = total if weights.lam else 0
    found = dict(zip(MEANS, (sums / used).tolist(), strict=True))  # 0 / 0 is NaN, as it should be
    losses = weights.itc * itc, weights.lam * found["attr"]
    loss = sum(one for one in losses if one == one)
    return {"loss": loss, "itc": itc, **found, "used": used}


def forward(model, part: Part, weights: Weights):
    """(features of one part, its attributions or None), with graph; one text pass serves both."""
    if not weights.lam or not part.used:
        return features_of(model, part), None
    with torch.set_grad_enabled(bool(weights.itc)):
        images = F.normalize(encode_image(model, part.pixels), dim=-1)
        negatives = negative_features(model, part, images)
    found = token_attributions(
        model, images.float(), part.ids, weights.method, replacements=part.replacements
    )
    return [images, found.features, negatives], found


def of_all_processes(features: list[list[Tensor]], world: int) -> list[list[Tensor]]:
    """The features of each part, without graph, of all processes in order of their ranks."""
    sent = [[x.detach().float().cpu() if world > 1 else x for x in part] for part in features]
    return [part for parts in distributed.everyones(sent, world) for part in parts]


def whole_batch_loss(model, kept, place: int, own: list[Tensor]) -> Tensor:
    """L_ITC of the whole batch, in the graph of its part number `place` alone.

    The scale enters with its gradient once, not with every part.
    """
    scale = model.logit_scale.exp().float()
    columns = zip(*(own if i == place else other for i, other in enumerate(kept)), strict=True)
    device = scale.device
    features = (torch.cat([x.float().to(device) for x in column]) for column in columns)
    return contrastive_loss(*features, scale if place == 0 else scale.detach())


def means(values: Tensor, part: Part, attr: Tensor, entropy: Tensor | None) -> Tensor:
    """The numbers of MEANS of one part."""
    used = part.objects.any(-1) & part.composition.any(-1)
    masks = part.objects, part.composition
    of_roles = [masked_means(values[used], mask[used]).mean() for mask in masks]
    even = attr.new_tensor(float("nan")) if entropy is None else entropy[used].mean()
    return torch.stack([attr, *of_roles, even]).detach().cpu()
