"""Cosines of a caption with its reference captions, which RefCLIPScore needs."""

import numpy as np
import torch


def reference_cosines(clip, captions, references, template="A photo depicts ", batch_size=32):
    """Cosine of each caption with each of its references, both behind the template.

    captions: n texts; references: n lists of texts, which may be empty or None; an empty text is
    no reference. Returns n float64 arrays, one value a reference. Hessel et al. (EMNLP 2021) put
    the template before both as well.
    """
    references = [[text for text in own or [] if text and text.strip()] for own in references]
    texts = {caption for caption, own in zip(captions, references, strict=True) if own}
    texts = sorted(texts.union(*references))
    place = {text: row for row, text in enumerate(texts)}
    features = encode_texts(clip, [template + text for text in texts], batch_size)
    return [
        features[[place[text] for text in own]] @ features[place[caption]] if own else np.zeros(0)
        for caption, own in zip(captions, references, strict=True)
    ]


def encode_texts(clip, texts, batch_size=32) -> np.ndarray:
    """Unit-length features of any number of texts, float64 [n, D], a batch at a time."""
    parts = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    found = [clip.encode_texts(part).cpu() for part in parts]
    return torch.cat(found).double().numpy() if found else np.zeros((0, clip.embed_dim))
