"""A scene: which facts hold in an image, and where everything lies.

Coordinates are whole sixty-fourths of the image's side, origin at the top left, so that a scene
drawn at any multiple of 64 pixels is the same image. Only `Generator.random` of numpy's PCG64
is used, whose stream numpy keeps across platforms and versions.
"""

from dataclasses import dataclass, replace

import numpy as np

from .sprites import aspect
from .vocabulary import (
    COLOURS,
    COUNTS,
    DIRECTIONS,
    GROUNDS,
    MEMBER_SIZE,
    NAMES,
    NOUNS,
    PITCH,
    POSITIONS,
    SIZES,
    is_held_out,
)

SIDE = 64
SIGN = (36, 12)  # width and height of a sign
STEP = 4  # things stand at multiples of this, so that a small model needs few images to learn
Box = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 excluded


@dataclass(frozen=True)
class Entity:
    """One glyph, or a group of equal glyphs; `boxes` holds one box a glyph."""

    noun: str
    colour: str
    size: str | None  # None for a group, whose members all have one size
    count: int = 1
    flipped: bool = False
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Scene:
    """The facts of one image. `position` and `state` relate the first entity to the second."""

    entities: tuple[Entity, ...]
    ground: str
    position: str | None = None
    state: str | None = None
    name: str | None = None
    sign_box: Box | None = None
    texture: float = 0.0  # in [0, 1): where the ground's texture is cut


def pick(rng: np.random.Generator, options):
    """One of `options`, uniformly."""
    return options[int(rng.random() * len(options))]


def generator(*keys: int) -> np.random.Generator:
    """The random stream of these keys (for a scene: seed, index); streams are independent."""
    return np.random.Generator(np.random.PCG64(list(keys)))


def sample_scene(rng: np.random.Generator, combinations: str = "seen") -> Scene:
    """Draw the facts of a scene and lay it out.

    combinations: "seen" leaves out the held-out (noun, colour) pairs, "novel" uses only them,
    "any" draws from all.
    """
    entities = [_sample_entity(rng, combinations)]
    if rng.random() < 0.65:
        entities.append(_sample_entity(rng, combinations, other_than=entities[0]))
    state = None
    if len(entities) == 2 and rng.random() < 0.4:
        state = "facing" if rng.random() < 0.34 else pick(rng, ("touching", "overlapping"))
        entities = [_as_single(e, rng) for e in entities]
        if state == "facing":
            entities[0] = _directed(rng, entities[0], combinations, entities[1])
    position = None
    if len(entities) == 2:
        position = pick(rng, POSITIONS[:2] if state == "facing" else POSITIONS)
    scene = Scene(
        entities=tuple(entities),
        ground=pick(rng, list(GROUNDS)),
        position=position,
        state=state,
        name=pick(rng, NAMES) if rng.random() < 0.3 else None,
        texture=rng.random(),
    )
    return lay_out(scene, rng)


def _sample_entity(rng, combinations: str, other_than: Entity | None = None) -> Entity:
    while True:
        noun, colour = pick(rng, list(NOUNS)), pick(rng, list(COLOURS))
        if combinations != "any" and is_held_out(noun, colour) != (combinations == "novel"):
            continue
        if other_than and (noun == other_than.noun or colour == other_than.colour):
            continue  # different in both, so that swapping either one makes a false caption
        break
    flipped = noun in DIRECTIONS and rng.random() < 0.5
    if rng.random() < 0.3:
        return Entity(noun, colour, None, pick(rng, list(COUNTS.values())), flipped)
    return Entity(noun, colour, pick(rng, list(SIZES)), 1, flipped)


def _as_single(entity: Entity, rng) -> Entity:
    return entity if entity.count == 1 else replace(entity, count=1, size=pick(rng, list(SIZES)))


def _directed(rng, entity: Entity, combinations: str, other: Entity) -> Entity:
    """The same entity with a noun that can face something, and a colour that goes with it."""

    def fits(noun: str, colour: str) -> bool:
        return noun != other.noun and combinations in (
            "any",
            "novel" if is_held_out(noun, colour) else "seen",
        )

    nouns = [noun for noun in DIRECTIONS if fits(noun, entity.colour)]
    if nouns:
        return replace(entity, noun=pick(rng, nouns))
    pairs = [
        (noun, colour)
        for noun in DIRECTIONS
        for colour in COLOURS
        if colour != other.colour and fits(noun, colour)
    ]
    noun, colour = pick(rng, pairs)
    return replace(entity, noun=noun, colour=colour)


def lay_out(scene: Scene, rng: np.random.Generator) -> Scene:
    """Place sign and entities so that `position` and `state` hold; returns the placed scene."""
    top, bottom, sign = 0, SIDE, None
    if scene.name:
        x = 2 * STEP * int(rng.random() * 4) + 1
        at_top = rng.random() < 0.5
        y = 1 if at_top else 49
        sign = (x, y, x + SIGN[0], y + SIGN[1])
        top, bottom = (SIGN[1] + STEP, SIDE) if at_top else (0, 48)
    region = (0, top, SIDE, bottom)
    if len(scene.entities) == 1:
        placed = [_place(scene.entities[0], *_free_corner(scene.entities[0], region, rng))]
    else:
        placed = _place_pair(scene, region, rng)
    return replace(scene, entities=tuple(placed), sign_box=sign)


def glyph_size(entity: Entity) -> tuple[int, int]:
    """Width and height of one glyph of `entity`."""
    extent = SIZES[entity.size] if entity.size else MEMBER_SIZE
    ratio = aspect(entity.noun)
    w, h = (extent, extent * ratio) if ratio <= 1 else (extent / ratio, extent)
    return max(int(round(w)), 4), max(int(round(h)), 4)


def extent(entity: Entity) -> tuple[int, int]:
    """Width and height of the entity as a whole."""
    w, h = glyph_size(entity)
    columns, rows = (1, 1) if entity.count == 1 else (2, 1) if entity.count == 2 else (2, 2)
    return w + PITCH * (columns - 1), h + PITCH * (rows - 1)


def _grid(length: int) -> int:
    """The next multiple of STEP."""
    return -(-length // STEP) * STEP


def _free_corner(entity: Entity, region: Box, rng) -> tuple[int, int]:
    (w, h), (x0, y0, x1, y1) = extent(entity), region
    return _stop(rng, x0, x1 - w), _stop(rng, y0, y1 - h)


def _stop(rng, low: int, high: int) -> int:
    """A multiple of STEP between low (itself one) and high."""
    return low + STEP * int(rng.random() * ((high - low) // STEP + 1))


def _place(entity: Entity, x: int, y: int) -> Entity:
    w, h = glyph_size(entity)
    spots = [(0, 0), (PITCH, 0), (0, PITCH), (PITCH, PITCH)][: entity.count]
    if entity.count == 3:
        spots[2] = (PITCH // 2, PITCH)
    boxes = tuple((x + dx, y + dy, x + dx + w, y + dy + h) for dx, dy in spots)
    return replace(entity, boxes=boxes)


def _place_pair(scene: Scene, region: Box, rng) -> list[Entity]:
    """Place both entities along the axis of `position`, the gap set by `state`."""
    first, second = scene.entities
    across = scene.position in ("left", "right")
    if scene.position in ("right", "below"):
        first, second = second, first  # `first` is now the left or upper one
    axis = 0 if across else 1
    lengths = [extent(first)[axis], extent(second)[axis]]
    widths = [extent(first)[1 - axis], extent(second)[1 - axis]]
    lo, hi = region[axis], region[axis + 2]
    if scene.state in ("touching", "overlapping"):
        gap = -1 if scene.state == "touching" else -max(int(0.4 * min(lengths)), 3)
        start = _stop(rng, lo, hi - sum(lengths) - gap)
        second_start = start + lengths[0] + gap
    else:  # apart, both on the grid
        start = _stop(rng, lo, min(lo + 2 * STEP, hi - _grid(lengths[0] + 2) - lengths[1]))
        second_start = _stop(rng, start + _grid(lengths[0] + 2), hi - lengths[1])
    side_lo, side_hi = region[1 - axis], region[3 - axis]
    side = _stop(rng, side_lo, side_hi - max(widths))
    shift = 0 if scene.state else STEP * (int(rng.random() * 3) - 1)
    other_side = side + shift if side_lo <= side + shift <= side_hi - widths[1] else side
    spots = [(start, side), (second_start, other_side)]
    if axis == 1:
        spots = [spot[::-1] for spot in spots]
    first, second = _place(first, *spots[0]), _place(second, *spots[1])
    if scene.position in ("right", "below"):
        first, second = second, first
    if scene.state == "facing":
        looks = 1 if scene.position == "left" else -1
        first = replace(first, flipped=DIRECTIONS[first.noun] != looks)
    return [first, second]
