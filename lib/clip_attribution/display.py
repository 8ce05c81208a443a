"""`explain`: one picture and one caption, and what CLIP makes of every word.

The result shows itself: as text in a terminal, as HTML in a notebook (see `display_html`).
"""

import os
import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from .attribution import attribute, get_method, image_attribution
from .colours import number, symmetric_limit
from .errors import UserError
from .images import open_image
from .misalignment import EPSILON, clip_score, decide, f_clip_score

BAR = 24  # characters: the longest bar of the text form, on each side


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What CLIP makes of one pair.

    words: the frame of `attribute` with a column `misaligned`. misaligned: the misaligned words,
    most negative first. picture: as given; seen: what the model saw of it (cropped, resized).
    heatmap: float32 [rows, cols] over `seen`, or None, and then no_heatmap says why. facts:
    image, model, method, layers, template, decision, epsilon; unit of the attributions; signed,
    False for a method that cannot be negative (f_clip_score is NaN then).
    """

    caption: str
    words: pd.DataFrame
    cosine: float
    clip_score: float
    f_clip_score: float
    misaligned: list[str]
    picture: Image.Image
    seen: Image.Image
    heatmap: np.ndarray | None
    no_heatmap: str | None
    facts: dict

    @property
    def limit(self) -> float:
        """The end of the scale: the largest |attribution| of the caption."""
        return symmetric_limit(self.words["attribution"])

    def decision(self) -> str:
        """The decision in words: "rejects: coke"."""
        if not self.facts["signed"]:
            return f"no decision: the method {self.facts['method']} cannot be negative"
        names = ", ".join(printable(word) for word in self.misaligned)
        if self.facts["decision"] == "most_negative":
            return f"least believed: {names}"
        return f"rejects: {names}" if names else "rejects: no word"

    def finding(self) -> str:
        """One sentence for the title of a figure, from the numbers."""
        return finding(self)

    def scores(self) -> str:
        """Cosine, CLIPScore and F-CLIPScore in one line."""
        limit = min(self.limit, 0.1)
        return (f"cosine {self.cosine:.3f}, CLIPScore {self.clip_score:.3f}, "
                f"F-CLIPScore {number(self.f_clip_score, limit)}")  # fmt: skip

    def summary(self) -> str:
        """Three lines: how many words speak for and against the picture, decision, scores."""
        values = self.words["attribution"].dropna()
        line = f"{(values > 0).sum()} of {len(values)} words raise the score, "
        line += f"{(values < 0).sum()} lower it"
        return "\n".join([f"{printable(self.caption)!r}: {line}", self.finding(), self.scores()])

    def __repr__(self) -> str:
        return text_form(self)

    def _repr_html_(self) -> str:
        from .display_html import html_form

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
) -> Explanation:
    """Explain the score of one image and one caption, word by word and patch by patch.

    image: a path, a PIL image or "scene:SEED:INDEX". method, layers, template: as in `attribute`;
    layers counts in the text tower, the heat map takes the method's own default. decision, epsilon:
    as in `misalignment.decide`. An image tower without a heat map is no error: the reason is shown.
    Raises UserError (ImageError for the picture) with one line that says what is unusable.
    """
    picture = open_image(image)
    pair = [{"image": picture, "caption": caption}]
    words, pairs = attribute(clip, pair, method, layers, template)
    if pairs["error"][0] is not None:
        raise UserError(pairs["error"][0])
    found = decide(words, decision, epsilon)
    signed = get_method(method).signed
    rows = {row for one in found for row in one.rows} if signed else set()
    cosine = float(pairs["cosine"][0])
    f_score = f_clip_score(cosine, words["attribution"], words["word"], epsilon=epsilon)
    values, reason = heat_map(clip, picture, template + caption, method) if heatmap else (None, "off")
    return Explanation(
        caption, words.assign(misaligned=[row in rows for row in range(len(words))]), cosine,
        float(clip_score(cosine)), f_score if signed else float("nan"),
        [one.text for one in found] if signed else [], picture, as_seen(clip, picture), values,
        reason, {
            "image": label(image), "model": f"{clip.name} ({os.path.basename(clip.pretrained)})",
            "method": method, "layers": layers, "template": template, "decision": decision,
            "epsilon": epsilon, "unit": unit(method), "signed": signed,
        },
    )  # fmt: skip


def heat_map(clip, picture, text: str, method: str):
    """(map [rows, cols], None), or (None, the reason) where it is undefined for the tower."""
    try:
        return image_attribution(clip, [picture], [text], method)[0], None
    except UserError as reason:
        return None, str(reason)


def as_seen(clip, picture: Image.Image) -> Image.Image:
    """The picture as the model saw it: preprocessed, its normalising undone."""
    pixels, scaling = clip.preprocess(picture), clip.preprocess.transforms[-1]
    mean, std = (pixels.new_tensor(part)[:, None, None] for part in (scaling.mean, scaling.std))
    pixels = (pixels * std + mean).clamp(0, 1).permute(1, 2, 0)
    return Image.fromarray((255 * pixels).round().byte().cpu().numpy())


def label(image) -> str:
    """What a picture is called in a display: a scene's name, a file's name without folders."""
    if isinstance(image, Image.Image):
        return "picture"
    name = os.fsdecode(image)
    return name if name.startswith("scene:") else os.path.basename(name)


def unit(method: str) -> str:
    """The unit of a method's attributions: cosine, logit, or attention (no gradient taken)."""
    chosen = get_method(method)
    return chosen.score if chosen.gradient else "attention"


def finding(explanation: Explanation) -> str:
    """What stands out: the rejected words, or that there is none, with the values."""
    words, limit = explanation.words.dropna(subset="attribution"), explanation.limit
    if words.empty:
        return "CLIP has seen no word of this caption"
    low = words[words["misaligned"]].sort_values("attribution", kind="stable")
    if len(low):
        verb = "CLIP rejects" if explanation.facts["decision"] == "threshold" else "least believed:"
        more = f" and {len(low) - 3} more" if len(low) > 3 else ""
        return f"{verb} {', '.join(named(row, limit) for row in low[:3].itertuples())}{more}"
    top = words.iloc[words["attribution"].argmax()]
    if not explanation.facts["signed"]:
        return f"CLIP reads {named(top, limit)} most"
    return f"CLIP rejects no word; it believes {named(top, limit)} most"


def named(row, limit: float) -> str:
    """A word and its attribution: “coke” (-0.012)."""
    return f"“{printable(row.word)}” ({number(row.attribution, limit)})"


def printable(text: str) -> str:
    """The text on one line: controls, line breaks and direction marks written as escapes."""
    return "".join(c if c.isprintable() or joins(c) else repr(c)[1:-1] for c in text)


def joins(character: str) -> bool:
    """Whether a character holds an emoji or a script's letters together and shows nothing itself."""
    return character in "\u200c\u200d" or unicodedata.category(character) == "Mn"


def text_form(explanation: Explanation) -> str:
    """Aligned lines for a terminal: value, signed bar, word (last, as its width is unknown)."""
    facts, limit = explanation.facts, explanation.limit
    lines = [
        explanation.decision(), f"caption: {printable(explanation.caption)}", explanation.scores(),
        f"{facts['model']}, {facts['method']}, layers {facts['layers'] or 'default'}, template "
        f"{printable(facts['template'])!r}, scale ±{limit:.3g} {facts['unit']}",
    ]  # fmt: skip
    lines += [word_line(row, limit) for row in explanation.words.itertuples() if row.seen]
    unseen = explanation.words.loc[~explanation.words["seen"], "word"]
    if len(unseen):
        lines.append(f"not seen (beyond the context): {shortened(unseen)}")
    if explanation.heatmap is None:
        lines.append(f"no heat map: {explanation.no_heatmap}")
    return "\n".join(lines)


def word_line(row, limit: float) -> str:
    """One word of the text form."""
    length = int(round(BAR * abs(row.attribution) / limit))
    left = ("-" * length if row.attribution < 0 else "").rjust(BAR)
    right = ("+" * length if row.attribution > 0 else "").ljust(BAR)
    mark = "  <- rejected" if row.misaligned else ""
    return f"{number(row.attribution, limit)} {left}|{right} {printable(row.word)}{mark}"


def shortened(words, most: int = 12) -> str:
    """The first words of a long list, and how many more there are."""
    more = f" ... and {len(words) - most} more" if len(words) > most else ""
    return " ".join(printable(word) for word in words[:most]) + more
