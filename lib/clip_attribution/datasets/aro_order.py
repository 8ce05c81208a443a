"""ARO's order tasks: does a model prefer a caption to its own words in another order?

The four shuffles are made here, when the captions are loaded, from a fixed seed. Words are
spaCy's tokens; ARO uses nltk's for the two trigram shuffles.
"""

import re

import numpy as np
import pandas as pd

from .choices import choice, choice_frame
from .retrieval import load as load_captions

SHUFFLES = ("nouns and adjectives", "all but nouns and adjectives", "within trigrams", "trigrams")
MAX_WORDS = 30
UNUSED = ("parser", "ner", "lemmatizer")


def order_choices(file, images=None, seed: int = 0, tagger=None) -> pd.DataFrame:
    """A choice frame of one decision a caption: captions [true, shuffled...], truth 0.

    A shuffle that gives the caption again is left out: in ARO's accuracy such a tie counts as
    right, so it cannot matter there. The column shuffles names the kinds that are left; where none
    is, the row has an error. The same seed gives the same shuffles of a caption at the same place
    of the file, for one version of the tagger. tagger: a spaCy pipeline, by default the one
    installed. Captions are lower-cased, stripped of punctuation and cut to 30 words after the
    shuffling, as in ARO. Raises UserError.
    """
    pairs = load_captions(file, images)
    good = pairs["error"].isna()
    tokens = iter(tag(list(pairs.loc[good, "caption"]), tagger))

    def rows(number, record):
        if isinstance(record["error"], str):
            raise ValueError(record["error"])
        options = shuffled(*next(tokens), np.random.default_rng([seed, number]))
        true = clean(record["caption"])
        kept = {kind: text for kind, text in options.items() if _differs(text, true)}
        if not kept:
            raise ValueError(f"no shuffle changes the caption {record['caption']!r}")
        return [
            choice(
                record["pair_id"], [record["image"]], [true, *kept.values()], shuffles=list(kept)
            )
        ]

    return choice_frame(pairs.to_dict("records"), rows)


def clean(caption: str, max_words: int = MAX_WORDS) -> str:
    """Lower case, without . ! " ( ) * # : ; ~, single spaces, at most `max_words` words."""
    words = re.sub(r'[.!"()*#:;~]', " ", caption.lower()).split()
    return " ".join(words[:max_words])


def _differs(text: str, true: str) -> bool:
    # Spaces apart: joined tokens have one before a comma, the caption as stored has none.
    return text.replace(" ", "") != true.replace(" ", "")


def tag(captions: list[str], tagger=None) -> list[tuple[list[str], list[str]]]:
    """(words, kinds) of each caption; a kind is "noun", "adjective" or "" (Penn tags NN*, JJ*)."""
    if tagger is None:
        from ..text.pos import load_tagger  # spaCy takes seconds to import

        tagger = load_tagger()
    unused = [name for name in UNUSED if name in tagger.pipe_names]
    kinds = {"NN": "noun", "JJ": "adjective"}
    return [
        ([t.text for t in doc], [kinds.get(t.tag_[:2], "") for t in doc])
        for doc in tagger.pipe(captions, disable=unused)
    ]


def shuffled(words: list[str], kinds: list[str], rng: np.random.Generator) -> dict[str, str]:
    """The four shuffles of a caption, cleaned, by name (`SHUFFLES`).

    Nouns change places with nouns and adjectives with adjectives; or everything else among itself;
    or the words inside each run of three; or the runs of three.
    """
    threes = [words[i : i + 3] for i in range(0, len(words), 3)]
    content = _permuted(
        _permuted(words, [k == "noun" for k in kinds], rng), [k == "adjective" for k in kinds], rng
    )
    rest = _permuted(words, [not k for k in kinds], rng)
    within = [word for three in threes for word in rng.permutation(three)]
    runs = [word for i in rng.permutation(len(threes)) for word in threes[i]]
    texts = (" ".join(made) for made in (content, rest, within, runs))
    return {kind: clean(text) for kind, text in zip(SHUFFLES, texts, strict=True)}


def _permuted(words: list[str], chosen: list[bool], rng) -> list[str]:
    """The words with the chosen ones in a random order among their places."""
    places = [i for i, here in enumerate(chosen) if here]
    result = list(words)
    for place, source in zip(places, rng.permutation(places), strict=True):
        result[place] = words[source]
    return result
