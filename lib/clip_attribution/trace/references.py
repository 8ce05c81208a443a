"""Cosines of a caption with its reference captions, which RefCLIPScore needs."""

import numpy as np

from .inputs import encode_distinct


def reference_cosines(clip, captions, references, template="A photo depicts "):
    """Cosine of each caption with each of its references, both behind the template.

    captions: n texts; references: n lists of texts, which may be empty or None; an empty text is
    no reference. Returns n float64 arrays, one value a reference. Hessel et al. (EMNLP 2021) put
    the template before both as well.
    """
    references = [[text for text in own or [] if text and text.strip()] for own in references]
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
