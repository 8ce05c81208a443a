"""Phrases of the embedded world as a grounding frame, sorted by what they need to be found.

The three roles ask for three different things:

- *object*: a bare noun ("star"; "sign"), with the boxes of that thing. No modifier helps.
- *attribute*: an attribute word alone ("red", "three", "large"), with the boxes of everything that
  has the attribute. The two things of a scene differ in noun and in colour, so with its noun the
  phrase could be found by the noun alone; without it only the attribute tells where to look. On
  request the modifiers with their noun ("small red star"), as people write. Grounds may be tinted
  alike (grass is greenish); what a map puts there lies outside the boxes.
- *relation*: the whole clause ("a star to the left of two blue cows"), with the boxes of its
  subject only, as in SpatialSense's triplets: half of what it names must stay cold.
"""

from collections import Counter

import pandas as pd

from ..errors import UserError
from ..scenes import SIDE, Caption, Scene, scene_caption
from ..scenes.vocabulary import COUNTS
from .boxes import grounding_frame

ATTRIBUTES = ("colour", "size", "count")


def load_scenes(
    n: int = 1000,
    seed: int = 0,
    combinations: str = "seen",
    size: int = SIDE,
    attribute: str = "word",
) -> pd.DataFrame:
    """A grounding frame (see `boxes`) of the captions of the first n scenes of a seed.

    Args:
        combinations: "seen", "novel" or "any" (noun, colour) pairs; becomes `group`.
        size: side of the images in pixels, a multiple of 64.
        attribute: "word" or "phrase", see the module's docstring.

    `type` is the fact: noun, sign; colour, size, count; the position or state word of a relation.
    Left out and counted in attrs["left_out"]: grounds, whose box is the whole image, and sizes
    beside a group, whose members have a size that no word states.
    Raises UserError: unknown `attribute`.
    """
    if attribute not in ("word", "phrase"):
        raise UserError(f"attribute is 'word' or 'phrase', not {attribute!r}")
    left_out: Counter = Counter(ground=0, size=0)

    def rows(index, _):
        scene, caption = scene_caption(seed, index, combinations)
        left_out["ground"] += sum(w.kind == "ground" for w in caption.words)
        found = [*_objects(caption), *_relations(scene, caption)]
        found += _attributes(scene, caption, left_out) if attribute == "word" else _full(caption)
        for role, kind, start, end, boxes in sorted(found, key=lambda one: one[2:4]):
            yield {
                "pair_id": f"{seed}:{index}:{role}:{start}",
                "image": f"scene:{seed}:{index}:{size}:{combinations}",
                "caption": caption.text,
                "phrase": caption.text[start:end],
                "start": start,
                "end": end,
                "boxes": [[c * size / SIDE for c in box] for box in boxes],
                "width": size,
                "height": size,
                "role": role,
                "type": kind,
                "group": combinations,
            }

    return grounding_frame(range(n), rows, left_out)


def _objects(caption: Caption):
    for word in caption.words:
        if word.role == "object" and word.kind in ("noun", None):  # None: the word "sign"
            boxes = caption.phrases[word.phrase].boxes
            yield "object", word.kind or "sign", word.start, word.end, boxes


def _relations(scene: Scene, caption: Caption):
    """The clause from the first thing's phrase to the second's, with the first one's boxes."""
    stated = [w.text for w in caption.words if w.kind in ("position", "state")]
    if stated:
        first, second = (caption.phrases[w.phrase] for w in caption.words if w.kind == "noun")
        yield "relation", stated[0], first.start, second.end, scene.entities[0].boxes


def _attributes(scene: Scene, caption: Caption, left_out: Counter):
    groups = any(entity.count > 1 for entity in scene.entities)
    for word in caption.words:
        if word.kind == "size" and groups:
            left_out["size"] += 1
        elif word.kind in ATTRIBUTES:
            value = COUNTS.get(word.text.lower(), word.text.lower())
            having = [e for e in scene.entities if getattr(e, word.kind) == value]
            boxes = [box for entity in having for box in entity.boxes]
            yield "attribute", word.kind, word.start, word.end, boxes


def _full(caption: Caption):
    """Modifiers with their noun; `type` joins the kinds of the modifiers."""
    for number, phrase in enumerate(caption.phrases):
        own = [w for w in caption.words if w.phrase == number and w.kind in (*ATTRIBUTES, "noun")]
        if len(own) > 1:
            kinds = "/".join(w.kind for w in own[:-1])
            yield "attribute", kinds, own[0].start, own[-1].end, phrase.boxes
