"""The embedded world for training on descriptions: both registers of its scenes, four tasks.

The description says what is seen, the caption what the image is about and the place on its sign.
"""

import pandas as pd
import torch

from ...scenes import SIDE, sample_scene, scene_caption
from ...scenes.vocabulary import COLOURS, GROUNDS, NOUNS, THEME_OF, THEMES
from ...scenes.world import generator
from ...trace.encode import encode_views
from .examples import TEST, TRAIN, VAL, Task

SEEDS = {TRAIN: 31, VAL: 32, TEST: 33}
PROMPTS = {"noun": "a {}", "ground": "{}", "theme": "a story about {}", "thing": "a {}"}
CLASSES = {
    "noun": list(NOUNS),
    "ground": list(GROUNDS),
    "theme": list(THEMES),
    "thing": [f"{colour} {noun}" for noun in NOUNS for colour in COLOURS],
}


def scene_texts(n_train: int = 3000, n_val: int = 500, n_test: int = 1000) -> pd.DataFrame:
    """Scenes as the loader of Concadia gives its images: image, caption, description, split."""
    rows = []
    for (split, seed), n in zip(SEEDS.items(), (n_train, n_val, n_test), strict=True):
        for index in range(n):
            texts = [scene_caption(seed, index, register=r)[1].text for r in ("about", "seen")]
            rows.append((f"scene:{seed}:{index}", *texts, split))
    return pd.DataFrame(rows, columns=["image", "caption", "description", "split"])


def scene_tasks(clip, n: int = 300, split: str = TEST, keep=None) -> list[Task]:
    """Four zero-shot tasks on n scenes with one kind of thing: noun, ground, theme, coloured noun.

    The things are of (noun, colour) pairs that no training image shows: on those that it knows the
    embedded model makes no mistake, and nothing that it forgets would be seen.
    """
    facts: dict[str, list] = {name: [] for name in CLASSES}
    images, index = [], 0
    while len(images) < n:
        scene = sample_scene(generator(SEEDS[split], index), "novel")
        if len(scene.entities) == 1:
            noun, colour = scene.entities[0].noun, scene.entities[0].colour
            images.append(f"scene:{SEEDS[split]}:{index}:{SIDE}:novel")
            known = noun, scene.ground, THEME_OF[noun], f"{colour} {noun}"
            for name, fact in zip(facts, known, strict=True):
                facts[name].append(CLASSES[name].index(fact))
        index += 1
    found, _ = encode_views(clip, [(image, None) for image in images], keep=keep)
    features = torch.stack([found[image, None] for image in images])
    return [
        Task(
            name,
            features,
            torch.tensor(facts[name]),
            clip.tokenizer([PROMPTS[name].format(c) for c in classes], clip.context_length),
            torch.arange(len(classes)),
        )
        for name, classes in CLASSES.items()
    ]
