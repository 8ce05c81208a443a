"""The role parser and the tagger read what CLIP reads, and answer in the caption's characters."""

import pytest

from clip_attribution.text.pos import load_tagger, tag_many
from clip_attribution.text.roles import parse_captions
from clip_attribution.text.words import split_words

ODD = [
    ("the dog’s red ball", "the dog's red ball"),
    ("a red star &amp; a blue moon", "a red star & a blue moon"),
    ("a red   star\ton\na blue moon", "a red star on a blue moon"),
    ("a “red” star", 'a "red" star'),
    ("the ﬁre hydrant is yellow", "the fire hydrant is yellow"),
    ("a red star on a blue moon", "a red star on a blue moon"),
    ("a cafÃ© beside a red house", "a café beside a red house"),
    ("a dog &lt;on&gt; a green sofa", "a dog <on> a green sofa"),
]


@pytest.fixture(scope="module")
def nlp():
    return load_tagger()


@pytest.mark.parametrize(("odd", "plain"), ODD)
def test_concepts_and_tags_are_those_of_the_repaired_caption(nlp, odd, plain):
    found, expected = parse_captions([odd, plain], nlp)
    assert [(c.role, c.of) for c in found] == [(c.role, c.of) for c in expected]
    assert all(odd[c.start : c.end] == c.text and c.text.strip() for c in found)
    assert all(plain[c.start : c.end] == c.text for c in expected)
    words = [split_words(odd), split_words(plain)]
    if len(words[0]) == len(words[1]):
        tags = tag_many(nlp, [odd, plain], words)
        assert tags[0] == tags[1]


def test_half_a_character_and_no_text_have_no_concepts(nlp):
    assert parse_captions(["", " ", "\ud83d"], nlp)[:2] == [[], []]
    assert tag_many(nlp, ["a\ud83d dog"], [split_words("a\ud83d dog")])[0][1] == "NOUN"
