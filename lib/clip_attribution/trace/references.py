"""Cosines of a caption with its reference captions, which RefCLIPScore needs."""

import numpy as np

from ..io.read import is_missing, utf8
from .inputs import encode_distinct


def texts_of(own) -> list[str]:
    """The references in one cell: a text, or a list (or array) of texts."""
    if is_missing(own):
        return []
    texts = [own] if isinstance(own, str) else list(own)
    return [text for text in texts if isinstance(text, str) and utf8(text) and text.strip()]


def reference_cosines(clip, captions, references, template="A photo depicts "):
    """Cosine of each caption with each of its references, both behind the template.

    captions: n texts; references: for each a text or a list of texts, which may be empty or
    missing; an empty text is no reference. Returns n float64 arrays, one value a reference. Hessel
    et al. (EMNLP 2021) put the template before both as well.
    """
    references = [texts_of(own) for own in references]
    needed = {caption for caption, own in zip(captions, references, strict=True) if own}
    texts = sorted(needed.union(*references))
    place = {text: row for row, text in enumerate(texts)}
    features = np.zeros((0, clip.embed_dim))
    if texts:
        encoded = encode_distinct(clip, [template + text for text in texts])
        features = encoded.double().cpu().numpy()
    return [
        features[[place[text] for text in own]] @ features[place[caption]] if own else np.zeros(0)
        for caption, own in zip(captions, references, strict=True)
    ]
