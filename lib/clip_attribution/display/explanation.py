"""`explain`: one image and one caption, and what CLIP makes of every word.

The result shows itself: as text in a terminal (`display_text`), as HTML in a notebook
(`display_html`).
"""

import os
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from ..attribution import attribute, get_method
from ..errors import UserError
from ..heatmaps.interactions import interactions
from ..heatmaps.patches import image_attribution
from ..io.images import open_image
from ..metrics.misalignment import EPSILON, clip_score, decide, f_clip_score
from ..plots.colours import symmetric_limit
from ..scenes import render_ref
from . import text as display_text

SCENE_SIDE = 256  # pixels
NOT_ASKED = "not asked for"
SCORES = ("cosine", "clip_score", "f_clip_score", "misaligned")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What CLIP makes of one pair.

    words: the frame of `attribute` with a column `misaligned`. misaligned: the misaligned words,
    most negative first. truncated: the caption goes on beyond the model's context. (A word without
    a value lies there, or shares a token with the word before, as in "...".) image: as given, but
    a scene is drawn larger. seen: what the model saw of it (cropped, resized). heatmap: float32
    [rows, cols] over `seen`, or None, and then no_heatmap says why. interactions: float32 [words,
    rows, cols] over `seen`, the regions of each word (see `heatmaps.interactions`), NaN for a word
    not seen; or None, and then no_interactions says why. facts: image, model, method,
    layers, template, decision, epsilon; unit of the attributions; signed, False for a method that
    cannot be negative (f_clip_score is NaN then).
    """

    caption: str
    words: pd.DataFrame
    cosine: float
    clip_score: float
    f_clip_score: float
    misaligned: list[str]
    truncated: bool
    picture: Image.Image
    seen: Image.Image
    heatmap: np.ndarray | None
    no_heatmap: str | None
    facts: dict
    interactions: np.ndarray | None = None
    no_interactions: str | None = NOT_ASKED

    @property
    def limit(self) -> float:
        """The end of the scale: the largest |attribution| of the caption."""
        return symmetric_limit(self.words["attribution"])

    def decision(self) -> str:
        """The decision in words: "rejects: coke"."""
        return display_text.decision(self)

    def finding(self) -> str:
        """One sentence for the title of a figure, from the numbers."""
        return display_text.finding(self)

    def scores(self) -> str:
        """Cosine, CLIPScore and F-CLIPScore in one line."""
        return display_text.scores(self)

    def summary(self) -> str:
        """Three lines: words for and against the image, the finding, the scores."""
        return display_text.summary(self)

    def as_dict(self) -> dict:
        """Facts, scores and the value of every word as plain values, for JSON."""
        words = self.words[["word", "attribution", "seen", "misaligned"]]
        scores = {name: getattr(self, name) for name in SCORES}
        return {"caption": self.caption, **scores, "words": words.to_dict("records"), **self.facts}

    def __repr__(self) -> str:
        return display_text.text_form(self)

    def _repr_html_(self) -> str:
        from .html import html_form

        return html_form(self)


def explain(
    clip,
    image,
    caption: str,
    method: str = "clip4dm",
    layers: int | str | list[int] | None = None,
    template: str = "A photo depicts ",
    decision: str = "threshold",
    epsilon: float = EPSILON,
    heatmap: bool = True,
    contrast: str | None = None,
):
    """Explain the score of one image and one caption, word by word and patch by patch.

    image: a path, a PIL image or "scene:SEED:INDEX". method, layers, template: as in `attribute`;
    layers counts in the text tower, the heat map takes the method's own default. decision, epsilon:
    as in `misalignment.decide`. heatmap: whether to compute the maps too, that of the caption and
    the regions of each word. A tower without a map is no error: the reason is shown. contrast:
    another caption; then the result is a `Contrast`, the attribution of the difference of the two
    scores (`attribution.contrast`) by a signed method; nothing is decided there.
    Raises UserError (ImageError for the image) with one line that says what is unusable.

    Examples
    --------
    >>> from clip_attribution import load_clip
    >>> found = explain(load_clip(), "scene:1:3", "a yellow envelope on grass")
    >>> found.finding()
    'CLIP rejects “envelope” (-0.00362), “on” (-0.00027)'
    >>> explain(load_clip(), "scene:1:3", "a yellow sun", contrast="a yellow envelope").finding()
    'CLIP prefers this caption by 0.305; the largest difference is “sun” for “envelope” (+0.00500)'
    """
    if contrast is not None:
        from .contrast import explain_contrast

        if (decision, epsilon) != ("threshold", EPSILON):
            raise UserError("a contrast decides nothing: leave decision and epsilon out")
        return explain_contrast(clip, image, caption, contrast, method, layers, template, heatmap)
    picture = open_image(image)
    words, cosine, truncated = attribute_one(clip, picture, caption, method, layers, template)
    heat = regions = (None, NOT_ASKED)
    if heatmap:
        heat = heat_map(clip, picture, template + caption, method)
        regions = word_regions(clip, picture, caption, template)
    signed = get_method(method).signed
    found = decide(words, decision, epsilon)
    against = f_clip_score(cosine, words["attribution"], words["word"], epsilon=epsilon)
    rows = {row for one in found for row in one.rows if signed}
    facts = facts_of(clip, image, method, layers, template)
    facts |= {"decision": decision, "epsilon": epsilon, "signed": signed}
    return Explanation(
        caption,
        words.assign(misaligned=[row in rows for row in range(len(words))]),
        cosine,
        float(clip_score(cosine)),
        against if signed else float("nan"),
        [one.text for one in found if signed],
        truncated,
        drawn(image, picture),
        as_seen(clip, picture),
        *heat,
        facts,
        *regions,
    )


def facts_of(clip, image, method: str, layers, template: str) -> dict:
    """What an explanation was computed with."""
    return {
        "image": label(image),
        "model": f"{clip.name} ({os.path.basename(clip.pretrained)})",
        "method": method,
        "layers": layers,
        "template": template,
        "unit": unit(method),
    }


def attribute_one(clip, picture, caption, method, layers, template):
    """(words frame, cosine, truncated) of one pair; what `attribute` notes as error is raised."""
    pair = [{"image": picture, "caption": caption}]
    words, pairs = attribute(clip, pair, method, layers, template)
    if pairs["error"][0] is not None:
        raise UserError(pairs["error"][0])
    return words, float(pairs["cosine"][0]), bool(pairs["truncated"][0])


def heat_map(clip, picture, text: str, method: str):
    """(map [rows, cols], None), or (None, the reason) where it is undefined for the tower."""
    try:
        return image_attribution(clip, [picture], [text], method)[0], None
    except UserError as reason:
        return None, str(reason)


def word_regions(clip, picture, caption: str, template: str):
    """(maps [words, rows, cols], None), or (None, the reason) where undefined for the towers."""
    try:
        found = interactions(clip, [{"image": picture, "caption": caption}], template=template)
    except UserError as reason:
        return None, str(reason)
    return found.maps, None


def as_seen(clip, picture: Image.Image) -> Image.Image:
    """The image as the model saw it: preprocessed, its normalising undone.

    The scale of each channel is read off a black and a white image.
    """
    pixels, black, white = (
        clip.preprocess(one).numpy()
        for one in (picture, *(Image.new("RGB", (8, 8), shade) for shade in ("black", "white")))
    )
    low, high = black.min((1, 2), keepdims=True), white.max((1, 2), keepdims=True)
    pixels = np.clip((pixels - low) / (high - low), 0, 1).transpose(1, 2, 0)
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))


def drawn(image, picture: Image.Image) -> Image.Image:
    """The image for a reader's eye: itself, or a larger drawing of a scene."""
    if isinstance(image, str) and re.fullmatch(r"scene:\d+:\d+", image):
        return render_ref(f"{image}:{SCENE_SIDE}")
    return picture


def label(image) -> str:
    """What an image is called in a display: a scene's name, a file's name without folders."""
    if isinstance(image, Image.Image):
        return "image"
    name = os.fsdecode(image)
    return name if name.startswith("scene:") else os.path.basename(name)


def unit(method: str) -> str:
    """The unit of a method's attributions, such as cosine, logit, attention or share."""
    return get_method(method).unit


def compare(true: Explanation, foil: Explanation) -> pd.DataFrame:
    """A caption and its foil word by word: word, attribution, foil_word, foil_attribution, change.

    Raises UserError when they have different numbers of words.
    """
    if len(true.words) != len(foil.words):
        raise UserError("the captions have different numbers of words: nothing to compare by place")
    frame = true.words[["word", "attribution"]].assign(
        foil_word=foil.words["word"], foil_attribution=foil.words["attribution"]
    )
    return frame.assign(change=frame["foil_attribution"] - frame["attribution"])
