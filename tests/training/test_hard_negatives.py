"""False captions made from a parse: what is swapped, what is replaced, and what stays true."""

import numpy as np
import pytest

from clip_attribution.text.roles import Concept, parse_captions
from clip_attribution.training.hard_negatives import changed, hard_negative, replacements, swaps

CANDIDATES = {
    "object": ["cup", "table", "kite"],
    "attribute": ["red", "blue", "orange"],
    "relation": ["on", "above"],
}


def concepts(caption, *found):
    """Concepts of a caption from (role, text, of)."""
    return [
        Concept(role, text, caption.index(text), caption.index(text) + len(text), of)
        for role, text, of in found
    ]


CUP = "A red cup on a blue table"
CUP_CONCEPTS = concepts(
    CUP,
    ("object", "cup", None),
    ("object", "table", None),
    ("attribute", "red", 0),
    ("attribute", "blue", 1),
    ("relation", "on", (0, 1)),
)


def test_objects_and_attributes_change_places():
    assert swaps(CUP, CUP_CONCEPTS) == ["A red table on a blue cup", "A blue cup on a red table"]


def test_an_article_agrees_with_what_follows_it_and_a_capital_stays_at_the_beginning():
    caption = "Umbrellas above a star"
    found = concepts(
        caption,
        ("object", "Umbrellas", None),
        ("object", "star", None),
        ("relation", "above", (0, 1)),
    )
    assert changed(caption, [(found[1], "umbrella"), (found[0], "star")]) == (
        "Star above an umbrella"
    )
    caption = "An old cup and a red umbrella"
    found = concepts(caption, ("attribute", "old", 0), ("attribute", "red", 1))
    new = changed(caption, [(found[0], "red"), (found[1], "old")])
    assert new == "A red cup and an old umbrella"


@pytest.mark.parametrize(
    "caption, found",
    [
        ("a cup and a box", [("object", "cup", None), ("object", "box", None)]),
        (
            "a cup next to a box",
            [("object", "cup", None), ("object", "box", None), ("relation", "next to", (0, 1))],
        ),
        (
            "a big red cup",
            [("object", "cup", None), ("attribute", "big", 0), ("attribute", "red", 0)],
        ),
        (
            "a red cup and a red box",
            [
                ("object", "cup", None),
                ("object", "box", None),
                ("attribute", "red", 0),
                ("attribute", "red", 1),
            ],
        ),
    ],
)
def test_a_swap_that_states_the_same_is_none(caption, found):
    assert swaps(caption, concepts(caption, *found)) == []


@pytest.mark.parametrize(
    "caption, same",
    [
        ("A man and a woman riding horses", "A woman and a man riding horses"),
        ("A table with a cup and a plate", "A table with a plate and a cup"),
        (
            "The dog and the cat are next to each other on a bed",
            "The cat and the dog are next to each other on a bed",
        ),
        ("A cup, a plate, and a fork on a table", "A fork, a plate, and a cup on a table"),
        ("A cake is cut by a man and a woman", "A cake is cut by a woman and a man"),
    ],
)
def test_coordinated_objects_of_one_relation_do_not_change_places(caption, same):
    (found,) = parse_captions([caption])
    assert same not in swaps(caption, found)


@pytest.mark.parametrize(
    "caption, false",
    [
        ("a red cup and a blue plate", "a red plate and a blue cup"),
        ("a red cup and a blue plate", "a blue cup and a red plate"),
        ("a dog on a mat and a cat", "a cat on a mat and a dog"),
        ("a dog on a mat and a cat under a table", "a cat on a mat and a dog under a table"),
        ("The dog and the cat lie on a bed", "The bed and the cat lie on a dog"),
        ("a table with a red cup and a plate", "a table with a red plate and a cup"),
    ],
)
def test_coordinated_objects_of_which_something_else_is_said_do(caption, false):
    (found,) = parse_captions([caption])
    assert false in swaps(caption, found)


def test_the_ends_of_a_relation_are_sets_and_those_of_a_symmetric_one_are_one_set():
    caption = "a cup above a box and a kite"
    found = concepts(
        caption,
        ("object", "cup", None),
        ("object", "box", None),
        ("object", "kite", None),
        ("relation", "above", (0, 1)),
    )
    shared = [*found[:3], found[3]._replace(ends=((0,), (1, 2)))]
    assert swaps(caption, found)[-1] == "a cup above a kite and a box"
    above = ["a box above a cup and a kite", "a kite above a box and a cup"]
    assert swaps(caption, shared) == above
    near = [*shared[:3], shared[3]._replace(text="near")]
    assert swaps(caption, near) == []


def test_a_swap_across_a_directed_relation_is_one():
    caption = "a cup above a box"
    found = concepts(
        caption, ("object", "cup", None), ("object", "box", None), ("relation", "above", (0, 1))
    )
    assert swaps(caption, found) == ["a box above a cup"]


def test_relations_and_attributes_are_replaced_by_what_the_caption_does_not_say():
    seen = {
        text
        for seed in range(20)
        for text in replacements(CUP, CUP_CONCEPTS, CANDIDATES, np.random.default_rng(seed))
    }
    assert seen == {
        "An orange cup on a blue table",
        "A red cup on an orange table",
        "A red cup above a blue table",
    }


def test_every_possible_negative_is_drawn_and_the_seed_decides():
    drawn = [hard_negative(CUP, CUP_CONCEPTS, CANDIDATES, [seed, 3]) for seed in range(60)]
    assert len(set(drawn)) == 5 and CUP not in drawn
    again = [hard_negative(CUP, CUP_CONCEPTS, CANDIDATES, [seed, 3]) for seed in range(60)]
    assert drawn == again


def test_a_caption_without_composition_has_no_negative():
    caption = "two cats"
    assert (
        hard_negative(caption, concepts(caption, ("object", "cats", None)), CANDIDATES, 0) is None
    )
    assert hard_negative("two cats", [], {}, 0) is None


def test_negatives_of_parsed_captions_differ_in_one_role():
    caption = "a small dog is to the left of a green car"
    (found,) = parse_captions([caption])
    candidates = {"relation": ["above"], "attribute": ["pink"], "object": ["cow"]}
    drawn = {hard_negative(caption, found, candidates, seed) for seed in range(80)}
    assert drawn == {
        "a small car is to the left of a green dog",
        "a green dog is to the left of a small car",
        "a pink dog is to the left of a green car",
        "a small dog is to the left of a pink car",
        "a small dog is above a green car",
    }
