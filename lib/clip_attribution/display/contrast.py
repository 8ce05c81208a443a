"""`explain(..., contrast=other)`: why CLIP prefers one of two captions for an image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from ..attribution import contrast as attribute_contrast
from ..attribution import get_method
from ..errors import UserError
from ..plots.colours import layers_in_words, number, symmetric_limit
from . import explanation as one
from .text import BAR, printable

UNSIGNED = "a contrast needs values of both signs, which {!r} has not: choose {}"


@dataclass(frozen=True, eq=False, repr=False)
class Contrast:
    """What speaks for a caption and against another one, on one image.

    words: the frame of `attribution.contrast`, one row a place of the aligned captions; above zero
    speaks for the caption, below zero for the other. contrast: cosine less other_cosine. heatmap:
    float32 [rows, cols] over `seen`, the map of the caption less that of the other, or None, and
    then no_heatmap says why. facts: image, model, method, layers, template, unit.
    """

    caption: str
    other: str
    words: pd.DataFrame
    cosine: float
    other_cosine: float
    contrast: float
    picture: Image.Image
    seen: Image.Image
    heatmap: np.ndarray | None
    no_heatmap: str | None
    facts: dict
    interactions: None = None
    no_interactions: str | None = None

    @property
    def limit(self) -> float:
        """The end of the scale: the largest |contrast| of a place."""
        return symmetric_limit(self.words["contrast"])

    def finding(self) -> str:
        """One sentence from the numbers: which caption, by how much, and the largest place."""
        if self.contrast == 0 and (self.words["contrast"] == 0).all():
            return "CLIP sees no difference between the captions"
        which = "this caption" if self.contrast > 0 else "the other caption"
        place = self.words.loc[self.words["contrast"].abs().idxmax()]
        return (
            f"CLIP prefers {which} by {abs(self.contrast):.3g}; the largest difference is "
            f"{named(place)} ({number(place['contrast'], self.limit)})"
        )

    def scores(self) -> str:
        """Both cosines and their difference in one line."""
        both = f"cosine {self.cosine:.3f}, of the other {self.other_cosine:.3f}"
        return f"{both}, difference {self.contrast:+.3g}"

    def as_dict(self) -> dict:
        """Facts, scores and the value of every place as plain values, for JSON."""
        names = ("caption", "other", "cosine", "other_cosine", "contrast")
        words = self.words.drop(columns="pair_id").astype(object)
        words = words.where(words.notna(), None).to_dict("records")
        return {name: getattr(self, name) for name in names} | {"words": words, **self.facts}

    def __repr__(self) -> str:
        facts, limit = self.facts, self.limit
        lines = [
            self.finding(),
            f"caption: {printable(self.caption)}",
            f"other: {printable(self.other)}",
            self.scores(),
            f"{facts['model']}, {facts['method']}, {layers_in_words(facts['layers'])}, template "
            f"“{printable(facts['template'])}”, scale ±{limit:.3g} {facts['unit']}",
        ]
        for row in self.words.itertuples():
            bar = round(BAR * abs(row.contrast) / limit)
            left, right = "-" * bar * (row.contrast < 0), "+" * bar * (row.contrast > 0)
            value = value_of(row, limit)
            lines.append(f"{value} {left:>{BAR}}|{right:<{BAR}} {named(row._asdict())}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from .contrast_html import html_form

        return html_form(self)


def explain_contrast(clip, image, caption: str, other, method, layers, template, heatmap):
    """A Contrast; arguments and errors as of `explain`."""
    if not isinstance(other, str) or not other.strip():
        raise UserError(f"contrast has to be the other caption, a text, not {other!r}")
    if not get_method(method).signed:
        raise UserError(UNSIGNED.format(method, "clip4dm, columns or leave_one_out"))
    picture = one.open_image(image)
    pair = {"image": picture, "caption": caption, "other": other}
    words, pairs = attribute_contrast(clip, [pair], method, layers=layers, template=template)
    if pairs["error"][0] is not None:
        raise UserError(pairs["error"][0])
    maps, reason = None, one.NOT_ASKED
    if heatmap:
        texts = [template + text for text in (caption, other)]
        (first, reason), (second, _) = (one.heat_map(clip, picture, t, method) for t in texts)
        maps = None if reason else first - second
    facts = one.facts_of(clip, image, method, layers, template)
    cosines = (float(pairs[name][0]) for name in ("cosine", "other_cosine", "contrast"))
    pictures = one.drawn(image, picture), one.as_seen(clip, picture)
    return Contrast(
        caption, other, words, *cosines, *pictures, maps, reason, facts, no_interactions=reason
    )


def value_of(row, limit: float) -> str:
    """The signed value of a place, or that the model has seen no word of it."""
    seen = not np.isnan([row.attribution, row.other_attribution]).all()
    return number(row.contrast, limit) if seen else "not seen"


def named(place) -> str:
    """A place of both captions: “sun” for “envelope”, “sun” in both, “red” in one alone."""
    word, other = (
        printable(place[name]) if isinstance(place[name], str) else None
        for name in ("word", "other_word")
    )
    if word is None:
        return f"“{other}” in the other alone"
    if other is None:
        return f"“{word}” in this one alone"
    return f"“{word}” in both" if word == other else f"“{word}” for “{other}”"
