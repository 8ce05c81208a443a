"""False captions made from a caption's own parse: swap two of its concepts, or replace one.

ARO's NegCLIP (Yuksekgonul et al., ICLR 2023) swaps words of the same kind; here the kinds are the
roles of `roles.parse_captions`, so that a negative is false in an attribute or a relation.

A swap that states the same facts ("a cup and a box", "a cup next to a box", "a man and a woman
riding horses") is none. Whether a relation or attribute that is put in place of another happens to
hold too is not known: of an image with a cup above and left of a box both "above" and "left of"
are true.
"""

import re
from itertools import combinations

import numpy as np

SYMMETRIC = (
    "next to",
    "beside",
    "near",
    "near to",
    "close to",
    "adjacent to",
    "alongside",
    "by",
    "along with",
    "with",
    "touching",
    "overlapping",
)
ARTICLE = re.compile(r"\b(?P<letter>a)n?(?P<space>\s+)$", re.IGNORECASE)


def hard_negative(caption: str, concepts: list, candidates: dict, seed) -> str | None:
    """One false caption, drawn from all swaps and one replacement of each relation and attribute.

    concepts: of `roles.parse_captions`; candidates: {role: phrases}; seed: what numpy's generator
    takes. None where nothing can be swapped or replaced.
    """
    rng = np.random.default_rng(seed)
    options = swaps(caption, concepts) + replacements(caption, concepts, candidates, rng)
    return options[rng.integers(len(options))] if options else None


def swaps(caption: str, concepts: list) -> list[str]:
    """The captions in which two objects, or two attributes, change places and the facts with it."""
    texts = [c.text.lower() for c in concepts]
    found = []
    for i, j in combinations(range(len(concepts)), 2):
        one, other = concepts[i], concepts[j]
        if one.role == other.role and one.role != "relation":
            renamed = list(texts)
            renamed[i], renamed[j] = texts[j], texts[i]
            if facts(concepts, renamed) != facts(concepts, texts):
                found.append(changed(caption, [(one, other.text), (other, one.text)]))
    return found


def replacements(caption: str, concepts: list, candidates: dict, rng) -> list[str]:
    """For each attribute and relation, the caption with another of its role in its place."""
    taken = {c.text.lower() for c in concepts}
    found = []
    for one in concepts:
        pool = candidates.get(one.role, [])
        if one.role == "object" or not pool:
            continue
        drawn = rng.choice(len(pool), min(len(pool), 1 + len(taken)), replace=False)
        new = next((pool[i] for i in drawn if pool[i] not in taken), None)
        found += [] if new is None else [changed(caption, [(one, new)])]
    return found


def facts(concepts: list, texts: list[str]) -> list:
    """What a caption states whose concepts have these texts, in an order of its own.

    The ends of a relation are sets, of which a symmetric relation has only one.
    """
    stated = []
    for concept, text in zip(concepts, texts, strict=True):
        if concept.role == "attribute":
            stated.append((text, (texts[concept.of],)))
        elif concept.role == "relation":
            sides = concept.ends or [(i,) for i in concept.of]
            sides = [sum(sides, ())] if text in SYMMETRIC else sides
            stated.append((text, *(tuple(sorted(texts[i] for i in side)) for side in sides)))
    return sorted(stated)


def changed(caption: str, changes: list) -> str:
    """The caption with other texts in place of concepts, [(concept, text), …], articles agreeing.

    a or an goes by the first letter ("an hour" would become "a hour", were it touched).
    """
    text, at = "", 0
    for one, new in sorted(changes, key=lambda change: change[0].start):
        vowel = "n" if new[0].lower() in "aeiou" else ""
        text += ARTICLE.sub(rf"\g<letter>{vowel}\g<space>", caption[at : one.start])
        text += new[0].upper() + new[1:] if one.text[0].isupper() else new
        at = one.end
    return text + caption[at:]
