"""Objects, attributes and relations: the parser on sentences by hand and on the world."""

import pytest
import spacy

from clip_attribution.errors import UserError
from clip_attribution.scenes import scene_pairs
from clip_attribution.text.roles import PHRASES, parse_captions


def texts(caption, role, **options):
    """What the parser finds for a role in a caption, in reading order."""
    (found,) = parse_captions([caption], **options)
    assert all(caption[c.start : c.end] == c.text for c in found)
    return [c.text for c in sorted(found, key=lambda c: c.start) if c.role == role]


@pytest.mark.parametrize(
    "caption, objects, attributes, relations",
    [
        ("A man sitting on a wooden bench.", ["man", "bench"], ["wooden"], ["sitting on"]),
        ("a black and white dog next to a cat", ["dog", "cat"], ["black", "white"], ["next to"]),
        ("a dog on top of a red car", ["dog", "car"], ["red"], ["on top of"]),
        ("A cat to the left of the couch", ["cat", "couch"], [], ["to the left of"]),
        ("A cat in front of a brick wall", ["cat", "brick wall"], [], ["in front of"]),
        ("the dog is chased by a cat", ["dog", "cat"], [], ["chased by"]),
        ("A woman is riding a horse", ["woman", "horse"], [], ["riding"]),
        (
            "A woman rides a horse and holds a flag",
            ["woman", "horse", "flag"],
            [],
            ["rides", "holds"],
        ),
        ("a cup of coffee", ["cup", "coffee"], [], ["of"]),
        ("There is a star above a small moon", ["star", "moon"], ["small"], ["above"]),
        ("a dog", ["dog"], [], []),
    ],
)
def test_objects_attributes_and_relations(caption, objects, attributes, relations):
    assert texts(caption, "object") == objects
    assert texts(caption, "attribute") == attributes
    assert texts(caption, "relation") == relations


def test_a_pronoun_is_no_object_and_a_relation_needs_two():
    assert texts("He is wearing a hat", "object") == ["hat"]
    assert texts("He is wearing a hat", "relation") == []


def test_determiners_are_no_attributes_and_numerals_only_when_asked_for():
    assert texts("the two dogs", "attribute") == []
    assert texts("the two dogs", "attribute", numerals=True) == ["two"]


def test_predicate_adjectives_are_found_only_when_asked_for():
    assert texts("The car is red", "attribute") == []
    assert texts("The car is red", "attribute", predicates=True) == ["red"]


def test_attributes_and_relations_name_their_objects():
    (found,) = parse_captions(["a red dog on a blue car"])
    places = {c.text: number for number, c in enumerate(found)}
    ends = {c.text: c.of for c in found}
    assert ends["red"] == places["dog"] and ends["blue"] == places["car"]
    assert ends["on"] == (places["dog"], places["car"])


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("A cat on top of it next to a dog", [("next to", "cat", "dog")]),
        ("A cup of tea in front of him and a red book", [("of", "cup", "tea")]),
        ("The dog and the cat are next to each other on a bed", [("on", "dog", "bed")]),
        (
            "A cat on top of a red car near a house",
            [("on top of", "cat", "car"), ("near", "cat", "house")],
        ),
        ("a dog in the middle of it, and a cat", []),
    ],
)
def test_what_is_behind_a_long_preposition_is_its_own_object(caption, expected):
    (found,) = parse_captions([caption])
    relations = [c for c in found if c.role == "relation"]
    assert [(c.text, *(found[i].text for i in c.of)) for c in relations] == expected


@pytest.mark.parametrize(
    "caption, relation, subjects, objects",
    [
        ("A man and a woman riding horses", "riding", {"man", "woman"}, {"horses"}),
        ("A table with a cup and a plate", "with", {"table"}, {"cup", "plate"}),
        ("The dog and the cat lie on a bed", "lie on", {"dog", "cat"}, {"bed"}),
        ("A cup, a plate, and a fork on a table", "on", {"cup", "plate", "fork"}, {"table"}),
        ("A cake is cut by a man and a woman", "cut by", {"man", "woman"}, {"cake"}),
        ("a dog on a mat and a cat", "on", {"dog"}, {"mat"}),
        ("A cup is in front of a fork and a knife.", "in front of", {"cup"}, {"fork", "knife"}),
    ],
)
def test_coordinated_objects_share_a_relation_on_whose_side_they_stand(
    caption, relation, subjects, objects
):
    (found,) = parse_captions([caption])
    (one,) = [c for c in found if c.text == relation]
    assert [{found[i].text for i in side} for side in one.ends] == [subjects, objects]


def test_no_two_concepts_share_a_character():
    captions = scene_pairs(60, 5, None)["caption"].tolist() + [
        "Two men on top of a big old truck full of green and yellow bananas next to a road, near "
        "the edge of a field with cows that are eating grass",
        "",
        "   ",
        "🦜 🦜",
        "and and and",
    ]
    for caption, found in zip(captions, parse_captions(captions, numerals=True), strict=True):
        ends = [i for c in found for i in range(c.start, c.end)]
        assert len(ends) == len(set(ends)), caption


def test_a_long_preposition_is_one_relation_and_its_noun_no_object():
    for phrase in ("to the left of", "on the right side of", "next to", "in the middle of"):
        assert phrase in PHRASES
        caption = f"a dog {phrase} a car"
        assert texts(caption, "relation") == [phrase]
        assert texts(caption, "object") == ["dog", "car"]


def test_roles_of_the_world_are_found():
    """Word by word against the grammar's own account (counts are attributes there)."""
    pairs = scene_pairs(200, 11, None)
    right = wrong = missed = 0
    for row, found in zip(
        pairs.itertuples(), parse_captions(pairs["caption"].tolist(), numerals=True), strict=True
    ):
        for word in row.words:
            roles = [c.role for c in found if c.start <= word["start"] < c.end]
            right += roles == [word["role"]]
            wrong += bool(roles) and roles != [word["role"]]
            missed += not roles and word["role"] is not None
    assert right / (right + wrong) > 0.98 and right / (right + missed) > 0.95


def test_a_pipeline_without_a_parser_is_refused():
    with pytest.raises(UserError, match="dependency parser"):
        parse_captions(["a dog"], spacy.blank("en"))
