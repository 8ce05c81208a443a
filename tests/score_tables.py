"""Tables of pairs with their images and a small model, as files."""

import json

import numpy as np
import tiny
from PIL import Image

CONFIG = tiny.config(context=77)
WORDS = "a red anchor and two small umbrellas above the blue castle, near an old boat".split()


def save_model(folder):
    """The command line options of a tiny CLIP with fixed random weights."""
    (folder / "tiny.json").write_text(json.dumps(CONFIG))
    return ["--model-config", str(folder / "tiny.json"), "--device", "cpu"]


def save_pictures(folder, count=4):
    """Small images of noise; their names."""
    random = np.random.default_rng(0)
    names = [f"photo{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / name)
    return names


def make_rows(names, count):
    """Rows of pair_id, image, caption, with captions of different lengths."""
    captions = [" ".join(WORDS[row % 5 : row % 5 + 3 + row % 7]) for row in range(count)]
    images = [names[row % len(names)] for row in range(count)]
    columns = zip(range(count), images, captions, strict=True)
    return [{"pair_id": f"row{n}", "image": image, "caption": text} for n, image, text in columns]


def save_rows(rows, path):
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
