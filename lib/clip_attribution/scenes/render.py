"""From a scene to pixels: textured ground, glyphs, sign."""

from functools import lru_cache

import numpy as np
from PIL import Image

from .sprites import masks
from .vocabulary import COLOURS, GROUNDS, NOUNS
from .world import SIDE, Scene

PALE, DARK = (245, 240, 225), (20, 20, 20)


def render(scene: Scene, size: int = SIDE) -> Image.Image:
    """The scene as an RGB image of size x size pixels; size is a multiple of 64."""
    return Image.fromarray(render_array(scene, size))


def render_array(scene: Scene, size: int = SIDE) -> np.ndarray:
    """The same as a uint8 array [size, size, 3].

    Raises:
        ValueError: `size` is not a positive multiple of 64.
    """
    if size <= 0 or size % SIDE:
        raise ValueError(f"size must be a multiple of {SIDE}, not {size}")
    unit = size // SIDE
    canvas = _ground(scene.ground, scene.texture, unit)
    for entity in reversed(scene.entities):  # the first entity lies on top
        for box in entity.boxes:
            _draw_glyph(canvas, entity, [unit * c for c in box])
    if scene.sign_box:
        _draw_sign(canvas, scene.name, [unit * c for c in scene.sign_box], unit)
    return np.rint(canvas).astype(np.uint8)


def _blend(canvas, box, coverage, colour) -> None:
    x0, y0, x1, y1 = box
    patch = canvas[y0:y1, x0:x1]
    patch += coverage * (np.asarray(colour, np.float32) - patch)


def _draw_glyph(canvas, entity, box) -> None:
    code, outlined = NOUNS[entity.noun]
    colour = COLOURS[entity.colour]
    ink, silhouette = masks(chr(code), box[2] - box[0], box[3] - box[1], flipped=entity.flipped)
    if outlined:  # dark lines on a filled shape; light lines where the fill itself is dark
        line = PALE if sum(colour) < 200 else DARK
        _blend(canvas, box, silhouette, colour)
        _blend(canvas, box, ink, line)
    else:
        _blend(canvas, box, silhouette, PALE if sum(colour) < 720 else (120, 120, 120))
        _blend(canvas, box, ink, colour)


def _draw_sign(canvas, name: str, box, unit: int) -> None:
    x0, y0, x1, y1 = box
    canvas[y0:y1, x0:x1] = DARK
    canvas[y0 + unit : y1 - unit, x0 + unit : x1 - unit] = (250, 247, 235)
    inner = [x0 + 2 * unit, y0 + 2 * unit, x1 - 2 * unit, y1 - 2 * unit]
    _blend(canvas, inner, masks(name, inner[2] - inner[0], inner[3] - inner[1], bold=True)[0], DARK)


def _ground(name: str, cut: float, unit: int) -> np.ndarray:
    """A window of the ground's texture, float32 [size, size, 3], a copy to draw on."""
    x = int(cut * SIDE)
    y = int(cut * SIDE * SIDE) % SIDE
    light = 0.94 + 0.12 * ((cut * 997) % 1)
    window = _texture(name)[y : y + SIDE, x : x + SIDE] * np.float32(light)
    window = np.minimum(window, 255)
    return window.repeat(unit, 0).repeat(unit, 1) if unit > 1 else window.copy()


@lru_cache
def _texture(name: str) -> np.ndarray:
    """float32 [128, 128, 3]: the mean colour times a pattern of its own for each ground."""
    n = 2 * SIDE
    rng = np.random.Generator(np.random.PCG64(list(GROUNDS).index(name)))
    noise = rng.random((n, n))
    y, x = np.mgrid[:n, :n]
    if name == "grass":  # short blades
        pattern = 0.75 * noise[:, :] + 0.25 * noise[y // 4, x]
    elif name == "sand":
        pattern = 0.5 + 0.25 * (noise - 0.5)
    elif name == "water":  # waves
        pattern = 0.5 + 0.35 * np.sin((y + 2 * np.sin(x / 5)) * 2 * np.pi / 8) + 0.2 * (noise - 0.5)
    elif name == "snow":  # sparse sparkle
        pattern = 0.55 - 0.6 * (noise > 0.95)
    elif name == "brick":
        joint = (y % 6 == 0) | ((x + 6 * ((y // 6) % 2)) % 12 == 0)
        pattern = np.where(joint, 1.3, 0.4 + 0.2 * noise)
    elif name == "wood":  # planks with grain
        pattern = np.where(y % 11 == 0, -0.3, 0.4 + 0.5 * noise[y, x // 9])
    elif name == "tile":
        pattern = np.where((x // 8 + y // 8) % 2 == 0, 0.85, 0.15)
    else:  # gravel: coarse grains
        pattern = noise[y // 2, x // 2]
    amount = {"sand": 0.3, "snow": 0.25, "water": 0.25, "tile": 0.3}.get(name, 0.4)
    return (
        (np.float32(GROUNDS[name]) * (1 + amount * (pattern - 0.5))[..., None])
        .astype(np.float32)
        .clip(0, 255)
    )
