"""What the explorer computes and keeps: one pass for each (image, caption, method).

That pass keeps every layer and every ReLU variant of every word, so that sliders reduce a
table and run no model. Word x region interactions are one pass more for each (image, caption); the
image's side of them is computed once for each image. Nothing here knows a widget.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from ..attribution import RELU_VARIANTS, get_method
from ..attribution.batch import text_batch
from ..attribution.captions import read_caption
from ..attribution.engine import text_layers
from ..attribution.frames import Facts, words_frame
from ..display.explanation import Explanation, as_seen, heat_map, label, unit
from ..errors import UserError
from ..heatmaps.interactions import batch_values, image_side, prepare
from ..io.images import open_image
from ..metrics.misalignment import EPSILON, clip_score, decide, f_clip_score
from ..models.locks import lock_of
from ..trace.features import encode_pixels
from ..trace.pooling import can_trim, encode_text, text_rows
from .words import substitute, suggestions

KEPT = 64  # passes and heat maps kept at a time
SIDES = 8  # images whose last layer is kept at a time, for interactions with other captions
BATCH = 64  # foils scored at a time


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, what the model sees of it, and its feature [D]; equal to nothing but itself."""

    name: str
    image: Image.Image
    seen: Image.Image
    feature: Tensor


class Reading(NamedTuple):
    """One pass over a caption. words: the frame of `attribute`, less the attribution.

    values: float32 [variants, layers, words], each layer's own, NaN for a word not seen.
    """

    words: pd.DataFrame
    values: np.ndarray
    cosine: float
    truncated: bool


@dataclass(frozen=True)
class Settings:
    """What the controls say. layers: so many of the last layers; epsilon: below it is rejected."""

    method: str = "clip4dm"
    layers: int = 3
    relu: str = "signed"
    epsilon: float = EPSILON


@dataclass(eq=False)
class Session:
    """A model with what it has computed lately. Everything that it raises is a UserError."""

    clip: object
    template: str = "A photo depicts "
    n_layers: int = field(init=False)

    def __post_init__(self):
        self.n_layers = text_layers(self.clip)
        self.read, self.heat_map = lru_cache(KEPT)(self._read), lru_cache(KEPT)(self._heat_map)
        self.scores = lru_cache(KEPT)(self._scores)
        self.regions, self.side = lru_cache(KEPT)(self._regions), lru_cache(SIDES)(self._side)
        self.options, self.no_regions = None, ""
        try:
            self.options = prepare(self.clip, template=self.template)
        except UserError as reason:
            self.no_regions = str(reason)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions; (0, 0) where interactions are undefined."""
        return self.options.tower.grid if self.options else (0, 0)

    def open(self, ref, name: str | None = None) -> Picture:
        """Read an image and encode it: a path, a PIL image (with its name) or a scene's name."""
        image = open_image(ref)
        feature = encode_pixels(self.clip, [self.clip.preprocess(image)])[0]
        return Picture(name or label(ref), image, as_seen(self.clip, image), feature)

    def _read(self, picture: Picture, caption: str, method: str) -> Reading:
        chosen = get_method(method)
        variants = RELU_VARIANTS if chosen.relu else ("signed",)
        read, facts = read_caption(self.clip, 0, caption, self.template, "offsets"), Facts(1)
        if isinstance(read, str):
            raise UserError(read)

        def channels(view):
            return torch.cat([chosen.values(view, variant) for variant in variants], 1)

        layers = list(range(self.n_layers))
        merged = text_batch(self.clip, [read], [picture.feature], layers, channels, chosen, facts)
        words, values = words_frame(pd.Series([0]), [read], merged)
        values = values.T.reshape(len(variants), self.n_layers, -1)
        return Reading(words, values, float(facts.cosine[0]), read.truncated)

    def _heat_map(self, picture: Picture, text: str, method: str):
        return heat_map(self.clip, picture.image, text, method)

    def _side(self, picture: Picture):
        pixels = self.clip.preprocess(picture.image)[None].to(self.clip.device, self.clip.dtype)
        image_of = torch.zeros(1, dtype=torch.long, device=self.clip.device)
        return image_side(self.clip, pixels, image_of, self.options)

    def _regions(self, picture: Picture, caption: str):
        """(maps [words, rows, cols], None), or (None, the reason) where they are undefined."""
        if self.options is None:
            return None, self.no_regions
        try:
            features, pull = self.side(picture)
            read = self.options.read(0, caption)
            _, (values,) = batch_values(self.clip, [read], features, pull, self.options)
        except UserError as reason:
            return None, str(reason)
        return values[:, 1:].reshape(-1, *self.grid), None

    def _scores(self, picture: Picture, captions: tuple[str, ...]) -> np.ndarray:
        """The cosine of each caption with the image, [n]."""
        starts = range(0, len(captions), BATCH)
        parts = [self._features(captions[start : start + BATCH]) for start in starts]
        return np.concatenate([part @ picture.feature.numpy() for part in parts] or [np.zeros(0)])

    @torch.no_grad()
    def _features(self, captions: list[str]) -> np.ndarray:
        ids = self.clip.tokenizer([self.template + caption for caption in captions])
        if can_trim(self.clip.model):
            ids = ids[:, : int(text_rows(self.clip.model, ids).max()) + 1]
        with lock_of(self.clip):
            features = encode_text(self.clip.model, ids.to(self.clip.device)).float()
        return normalize(features, dim=-1).cpu().numpy()

    def explain(self, picture: Picture, caption: str, settings: Settings, word=None) -> Explanation:
        """The explanation that is shown. word: number of the word whose heat map it holds.

        facts has two entries more: `relu`, and `heatmap_of`, the text that the heat map belongs to.
        """
        reading = self.read(picture, caption, settings.method)
        words, scores = judged(reading, settings)
        text = self.template + (caption if word is None else words["word"][word])
        heat, reason = self.heat_map(picture, text, settings.method)
        regions, no_regions = self.regions(picture, caption)
        facts = {
            "image": picture.name,
            "model": self.clip.name,
            "method": settings.method,
            "layers": -settings.layers,
            "relu": settings.relu,
            "template": self.template,
            "decision": "threshold",
            "epsilon": settings.epsilon,
            "unit": unit(settings.method),
            "signed": get_method(settings.method).signed,
            "heatmap_of": text,
        }
        return Explanation(
            caption=caption,
            words=words,
            **scores,
            truncated=reading.truncated,
            picture=picture.image,
            seen=picture.seen,
            heatmap=heat,
            no_heatmap=reason,
            facts=facts,
            interactions=regions,
            no_interactions=no_regions,
        )


class Swap(NamedTuple):
    """A word put in place of another: the caption with it, and the change of the cosine."""

    word: str
    caption: str
    change: float


def swaps(session: Session, picture: Picture, explanation, place: int, other: str) -> list[Swap]:
    """What can stand in place of word `place`: `other` first (unless empty), then suggestions.

    Suggestions come in the order of their cosines, highest first.
    """
    words = [*([other] if other else []), *suggestions(explanation.words["word"][place])]
    captions = tuple(substitute(explanation.caption, place, word) for word in words)
    changes = (session.scores(picture, captions) - explanation.cosine).tolist()
    found = list(map(Swap, words, captions, changes))
    return found[: bool(other)] + sorted(found[bool(other) :], key=lambda swap: -swap.change)


def judged(reading: Reading, settings: Settings) -> tuple[pd.DataFrame, dict]:
    """The words with attribution and misaligned, and the scores of an Explanation."""
    values, signed = reduce(reading, settings), get_method(settings.method).signed
    words = reading.words.assign(attribution=values)
    found = decide(words, "threshold", settings.epsilon) if signed else []
    rows = {row for one in found for row in one.rows}
    against = f_clip_score(reading.cosine, values, words["word"], epsilon=settings.epsilon)
    return words.assign(misaligned=[row in rows for row in range(len(words))]), {
        "cosine": reading.cosine,
        "clip_score": float(clip_score(reading.cosine)),
        "f_clip_score": against if signed else float("nan"),
        "misaligned": [one.text for one in found],
    }


def own_layers(reading: Reading, settings: Settings) -> np.ndarray:
    """Each layer's own values of the chosen variant, [layers, words]."""
    variants = RELU_VARIANTS if len(reading.values) > 1 else ("signed",)
    return reading.values[variants.index(settings.relu)]


def reduce(reading: Reading, settings: Settings) -> np.ndarray:
    """The attribution of every word from the last so many layers, float64 [words]."""
    used = own_layers(reading, settings)[None, -settings.layers :]
    return get_method(settings.method).total(used)[0].astype(np.float64)
