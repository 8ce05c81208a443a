"""What is true of the embedded world and of a model in it, to judge attribution methods by.

Three truths, kept apart. The world's: which word is false, which thing a phrase means. The model's:
what its score does when a word is replaced by another of its kind, or a thing is not drawn, so that
every caption and image stays in distribution. And the whole game: the score of every coalition of
words with every coalition of things, from which exact interactions follow.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ..attribution.captions import read_caption
from ..attribution.coalitions import players, standing, without
from ..scenes import Scene, generator, render, scene_caption
from ..scenes.foils import alternatives
from ..scenes.grammar import VOWELS
from ..trace.features import image_features
from ..trace.inputs import encode_distinct

TEMPLATE = "A photo depicts "
SIGN = "sign"


def things(scene: Scene) -> list[int | str]:
    """What can be left out of a scene: its entities by number, and its sign."""
    return [*range(len(scene.entities)), *([SIGN] if scene.sign_box else [])]


def boxes(scene: Scene, thing) -> list[tuple]:
    """Boxes of a thing, in sixty-fourths of the image's side."""
    return [scene.sign_box] if thing == SIGN else list(scene.entities[thing].boxes)


def undrawn(scene: Scene, gone) -> Scene:
    """The same scene without these things; everything else stays where it is."""
    kept = tuple(e for i, e in enumerate(scene.entities) if i not in gone)
    sign = {"name": None, "sign_box": None} if SIGN in gone else {}
    return replace(scene, entities=kept, **sign)


def word_truths(clip, n: int, seed: int = 0, k: int = 4, progress: bool = False) -> pd.DataFrame:
    """What the score loses when a word is replaced by others of its kind.

    n true captions; every word that states a fact is replaced by up to k words that would make it
    false, agreeing with its article and number. One row a word: pair_id, image, caption, word,
    start, kind, and drop, the mean of S(caption) - S(caption with the other word).
    """
    rows, texts, images = [], [], []
    for index in tqdm(range(n), desc="words replaced", disable=not progress):
        scene, caption = scene_caption(seed, index)
        image = f"scene:{seed}:{index}"
        rng = generator(seed, index, 11)
        for place, word in enumerate(caption.words):
            others = fitting(scene, caption, place) if word.kind else []
            chosen = [others[i] for i in np.argsort([rng.random() for _ in others])[:k]]
            for other in chosen:
                texts.append(caption.text[: word.start] + other + caption.text[word.end :])
                images.append(image)
            if chosen:
                rows.append((image, caption.text, word.text, word.start, word.kind, len(chosen)))
    columns = ["image", "caption", "word", "start", "kind", "replaced"]
    found = pd.DataFrame(rows, columns=columns)
    found.insert(0, "pair_id", found["image"].str.removeprefix("scene:"))
    truth = scores(clip, found["caption"], found["image"])
    other = scores(clip, texts, images)
    mean = pd.Series(other).groupby(np.repeat(found.index, found["replaced"])).mean()
    return found.assign(drop=truth - mean.to_numpy())


def fitting(scene: Scene, caption, place: int) -> list[str]:
    """Other words of the same kind that make the caption false and go with the article before."""
    word, before = caption.words[place], caption.words[place - 1].text.lower() if place else ""
    others = alternatives(scene, word)
    if before in ("a", "an"):
        others = [o for o in others if o.startswith(VOWELS) == (before == "an")]
    return [o[0].upper() + o[1:] if word.text[0].isupper() else o for o in others]


def scores(clip, captions, images) -> np.ndarray:
    """Cosine of each caption and its image, float64 [n]; each distinct one is encoded once."""
    refs = list(dict.fromkeys(images))
    features = dict(zip(refs, torch.stack(image_features(clip, refs)).to(clip.device), strict=True))
    texts = encode_distinct(clip, [TEMPLATE + caption for caption in captions])
    pairs = zip(texts, images, strict=True)
    return np.array([float(text @ features[image]) for text, image in pairs])


@dataclass
class Game:
    """The score of every coalition of a caption's content words with every coalition of things.

    words: (word_index, text, thing that it names or None). worth: float64 [2^words, 2^things], in
    the order of `coalitions.standing`: the last row has all words, the last column all things.
    """

    image: str
    caption: str
    scene: Scene
    words: list[tuple]
    things: list
    worth: np.ndarray

    def interactions(self) -> np.ndarray:
        """Banzhaf interaction of each word and thing [words, things]: the mean, over all coalitions
        of the others, of v(w, z) - v(w) - v(z) + v(neither)."""
        words, things_ = (standing(len(own)) for own in (self.words, self.things))
        left, right = (np.where(one, 2.0, -2.0) / len(one) for one in (words, things_))
        return left.T @ self.worth @ right

    def drops(self) -> np.ndarray:
        """What the whole caption's score loses when each thing is not drawn, [things]."""
        last = len(self.worth.T) - 1
        gone = [last - (1 << place) for place in range(len(self.things))]
        return self.worth[-1, last] - self.worth[-1, gone]


def cast(clip, seed: int, index: int, most: int = 8) -> Game | None:
    """The words and things of one scene and its caption, not played yet: `worth` is empty; None
    for one without things or with more words."""
    scene, caption = scene_caption(seed, index)
    read = read_caption(clip, 0, caption.text, TEMPLATE, "offsets")
    who, what = players(read), things(scene)
    if len(who) > most or not what:
        return None
    named = {word.start: named_thing(word) for word in caption.words}
    words = [(i, read.words[i].text, named.get(read.words[i].start)) for i in who]
    return Game(f"scene:{seed}:{index}", caption.text, scene, words, what, np.empty((0, 0)))


def game(clip, seed: int, index: int, most: int = 8) -> Game | None:
    """The game of one scene and its caption; None as of `cast`."""
    one = cast(clip, seed, index, most)
    if one is None:
        return None
    read = read_caption(clip, 0, one.caption, TEMPLATE, "offsets")
    who = np.array([word[0] for word in one.words])
    texts = [without(read, who[~joined]) for joined in standing(len(who))]
    pictures = [
        render(undrawn(one.scene, [t for t, s in zip(one.things, joined, strict=True) if not s]))
        for joined in standing(len(one.things))
    ]
    worth = encode_distinct(clip, texts) @ clip.encode_images(pictures).to(clip.device).T
    return replace(one, worth=worth.double().cpu().numpy())


def named_thing(word):
    """The thing that a word of the grammar names: that of a noun, the sign of its name."""
    return word.entity if word.kind == "noun" else SIGN if word.kind == "name" else None


def games(clip, n: int, seed: int = 0, most: int = 8, progress: bool = False) -> list[Game]:
    """The first n games of a world with at least two things."""
    found, index, play = [], 0, partial(game, clip, seed, most=most)
    with tqdm(total=n, desc="games", disable=not progress) as bar:
        while len(found) < n:
            one = play(index)
            if one is not None and len(one.things) > 1:
                found.append(one)
                bar.update()
            index += 1
    return found
