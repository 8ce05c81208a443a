"""The embedded world: images composed on the fly, with captions whose every word is known.

`scene_pairs` is the loader (a pairs frame, as of any benchmark), `render_ref` draws the image
that a frame's `image` column names, and `scene_of` gives the facts behind it. Nothing is read from
disk and the same seed gives the same world on every platform.

An image is named "scene:SEED:INDEX", or "scene:SEED:INDEX:SIZE" for a larger drawing of the same
scene, or "scene:SEED:INDEX:SIZE:novel" for one made of (noun, colour) pairs that the embedded
model never saw.
"""

import pandas as pd
from PIL import Image

from .foils import SWAPS, TYPES, Foil, make_foil, possible
from .grammar import Caption, about, describe
from .render import render, render_array
from .vocabulary import KINDS
from .world import SIDE, Scene, generator, sample_scene

__all__ = [
    "KINDS",
    "SIDE",
    "SWAPS",
    "TYPES",
    "Caption",
    "Foil",
    "Scene",
    "about",
    "describe",
    "generator",
    "make_foil",
    "possible",
    "render",
    "render_array",
    "render_ref",
    "sample_scene",
    "scene_caption",
    "scene_foil",
    "scene_of",
    "scene_pairs",
    "scene_phrases",
]

SIZES_DRAWN = range(SIDE, 4096 + 1, SIDE)
CAPTION, ABOUT, FOIL = 1, 2, 3  # third key of a scene's random streams; the scene itself has none


def scene_of(ref: str) -> tuple[Scene, int]:
    """The scene that `ref` names and the side of its image in pixels.

    Raises:
        ValueError: `ref` is not of the form given in the module's docstring.
    """
    scheme, *parts = ref.split(":")
    try:
        seed, index = int(parts[0]), int(parts[1])
        size = int(parts[2]) if len(parts) > 2 else SIDE
        combinations = parts[3] if len(parts) > 3 else "seen"
        if scheme != "scene" or len(parts) > 4 or seed < 0 or index < 0:
            raise ValueError
        if combinations not in ("seen", "novel", "any") or size not in SIZES_DRAWN:
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(
            f"{ref!r} names no scene: write scene:SEED:INDEX, or scene:SEED:INDEX:SIZE with a "
            f"multiple of {SIDE}"
        ) from None
    return sample_scene(generator(seed, index), combinations), size


def render_ref(ref: str) -> Image.Image:
    """The RGB image that `ref` names; see `scene_of` for its form and errors."""
    scene, size = scene_of(ref)
    return render(scene, size)


def scene_caption(seed: int, index: int, combinations: str = "seen", register: str = "seen"):
    """(scene, true caption) of one scene; register "seen" describes it, "about" says its topic."""
    scene = sample_scene(generator(seed, index), combinations)
    if register == "about":
        return scene, about(scene, generator(seed, index, ABOUT))
    return scene, describe(scene, generator(seed, index, CAPTION))


def scene_foil(seed: int, index: int, kind: str, combinations: str = "seen") -> Foil | None:
    """The foil of this type for one scene, or None where the scene has no such fact."""
    scene = sample_scene(generator(seed, index), combinations)
    if not possible(scene, kind):
        return None
    return make_foil(scene, kind, generator(seed, index, FOIL, TYPES.index(kind)))


def scene_pairs(
    n: int = 1000,
    seed: int = 0,
    foils: str | tuple[str, ...] | None = KINDS,
    combinations: str = "seen",
    size: int = SIDE,
) -> pd.DataFrame:
    """A pairs frame of the embedded world.

    Args:
        n: number of scenes (foils is None) or of foil pairs; a foil pair makes two rows.
        seed: names the world; training uses another stream, so no test scene was trained on.
        foils: None for true captions only, or the foil types to go through in turn (`TYPES`).
        combinations: "seen", "novel" or "any" (noun, colour) pairs.
        size: side of the images in pixels, a multiple of 64.

    Returns:
        One row a pair: pair_id, image, caption, is_foil, foil_type, foil_word (as written in the
        foil; None for true captions), target_word (what it replaced), foil_index (its place among
        the caption's words), words (a list of dicts text, start, end, pos, role, kind).

    Raises:
        ValueError: unknown foil type.

    Examples
    --------
    >>> scene_pairs(1, seed=1, foils="noun")[["caption", "is_foil", "foil_word"]]
                               caption  is_foil foil_word
    0  there is a white star on snow    False       NaN
    1  there is a white gear on snow     True      gear
    """
    kinds = (foils,) if isinstance(foils, str) else foils
    unknown = set(kinds or ()) - set(TYPES)
    if unknown:
        raise ValueError(f"unknown foil type {sorted(unknown)}; there are {', '.join(TYPES)}")
    rows, index, made = [], 0, 0
    while made < n:
        if kinds is None:
            rows.append(_row(seed, index, size, combinations, None, False))
            made += 1
        else:
            foil = scene_foil(seed, index, kinds[made % len(kinds)], combinations)
            if foil:
                rows += [_row(seed, index, size, combinations, foil, f) for f in (False, True)]
                made += 1
        index += 1
    return pd.DataFrame(rows)


def _ref(seed: int, index: int, size: int, combinations: str) -> str:
    if combinations != "seen":
        return f"scene:{seed}:{index}:{size}:{combinations}"
    return f"scene:{seed}:{index}" + (f":{size}" if size != SIDE else "")


def _row(seed, index, size, combinations, foil: Foil | None, is_foil: bool) -> dict:
    if foil is None:
        caption, kind = scene_caption(seed, index, combinations)[1], None
    else:
        caption, kind = (foil.foil if is_foil else foil.caption), foil.kind
    known = foil is not None and is_foil
    return {
        "pair_id": f"{seed}:{index}" + (f":{kind}:{'foil' if is_foil else 'true'}" if kind else ""),
        "image": _ref(seed, index, size, combinations),
        "caption": caption.text,
        "is_foil": is_foil,
        "foil_type": kind,
        "foil_word": foil.foil.words[foil.indices[-1]].text if known else None,
        "target_word": foil.caption.words[foil.indices[-1]].text if known else None,
        "foil_index": foil.indices[-1] if known else None,
        "words": [
            {
                "text": w.text,
                "start": w.start,
                "end": w.end,
                "pos": w.pos,
                "role": w.role,
                "kind": w.kind,
            }
            for w in caption.words
        ],
    }


def scene_phrases(
    n: int = 1000, seed: int = 0, combinations: str = "seen", size: int = SIDE
) -> pd.DataFrame:
    """The phrases of n true captions with their boxes.

    Returns:
        One row a phrase: image, caption, phrase, start, end, role, boxes (list of [x0, y0, x1,
        y1] in pixels of the image, x1 and y1 excluded).
    """
    rows = []
    for index in range(n):
        _, caption = scene_caption(seed, index, combinations)
        for phrase in caption.phrases:
            boxes = [[c * size // SIDE for c in box] for box in phrase.boxes]
            rows.append(
                {
                    "image": _ref(seed, index, size, combinations),
                    "caption": caption.text,
                    "phrase": caption.text[phrase.start : phrase.end],
                    "start": phrase.start,
                    "end": phrase.end,
                    "role": phrase.role,
                    "boxes": boxes,
                }
            )
    return pd.DataFrame(rows)
