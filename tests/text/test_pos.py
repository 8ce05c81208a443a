"""Parts of speech of words: spaCy's tokens and ours aligned."""

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language

from clip_attribution.errors import UserError
from clip_attribution.text import pos
from clip_attribution.text.words import split_words

BLANK = spacy.blank("en")
TAGS = {"a": "DET", "the": "DET", "cat": "NOUN", "sits": "VERB", "red": "ADJ", "u.s": "PROPN"}


@Language.component("fixed_tags")
def fixed_tags(doc):
    """A tagger whose every answer is known."""
    for token in doc:
        known = "SPACE" if token.is_space else "PUNCT" if token.is_punct else "X"
        token.pos_ = TAGS.get(token.lower_.rstrip("."), known)
    return doc


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("en")
    nlp.add_pipe("fixed_tags")
    return nlp


@pytest.fixture(scope="module")
def english():
    try:
        return pos.load_tagger()
    except UserError as reason:
        pytest.skip(str(reason))


def test_each_word_takes_its_first_spoken_token(nlp):
    caption = 'A "red" cat! (the) ... sits, U.S. !?'
    words = split_words(caption)
    texts = ["A", '"red"', "cat!", "(the)", ".", ".", ".", "sits", ",", "U", ".", "S", ".", "!?"]
    tags = ["DET", "ADJ", "NOUN", "DET", *["PUNCT"] * 3, "VERB", "PUNCT", *["PROPN"] * 4, "PUNCT"]
    assert [word.text for word in words] == texts
    assert pos.tag_words(nlp, caption, words) == tags


def test_alignment(nlp):
    caption = "A red-cat!  sits"
    doc, words = nlp(caption), split_words(caption)
    assert [token.text for token in doc] == ["A", "red", "-", "cat", "!", " ", "sits"]
    assert pos.align_spacy(doc, words) == [[0], [1, 2, 3, 4], [6]]
    assert pos.align_spacy(doc, []) == [] and pos.align_spacy(nlp(""), words) == [[], [], []]


def test_many_equals_one_by_one(nlp):
    captions = ["a cat", "", "  ", "the red cat sits.", "a\x00b \ud83d \ud83d\ude00 cat", "🦜 cat"]
    words = [split_words(caption) for caption in captions]
    single = [pos.tag_words(nlp, c, w) for c, w in zip(captions, words, strict=True)]
    assert pos.tag_many(nlp, captions, words, batch_size=2) == single
    assert [len(tags) for tags in single] == [len(w) for w in words]
    assert single[4] == ["X", "X", "X", "NOUN"] and single[5] == ["X", "NOUN"]


def test_text_longer_than_the_tagger_reads(nlp):
    caption = "a cat " * 4
    assert nlp.max_length > 100_000
    short = spacy.blank("en")
    short.add_pipe("fixed_tags")
    short.max_length = 8
    tags = pos.tag_words(short, caption, split_words(caption))
    assert tags[:2] == ["DET", "NOUN"] and tags[3:] == ["X"] * 5


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_has_a_tag_for_each_word(text):
    words = split_words(text)
    assert pos.tag_words(BLANK, text, words) == ["X"] * len(words)


def test_a_missing_tagger_names_both_commands(monkeypatch):
    pos.load_tagger.cache_clear()
    with pytest.raises(UserError, match="no_such_model is not installed"):
        pos.load_tagger("no_such_model")
    monkeypatch.setattr(pos, "TAGGERS", ("no_such_model", "nor_this_one"))
    with pytest.raises(UserError, match="spacy download en_core_web_sm.*requirements-tagger"):
        pos.load_tagger()
    pos.load_tagger.cache_clear()


def test_english(english):
    caption = 'A young man, riding a "wave" on Bondi Beach.'
    words = split_words(caption)
    found = pos.tag_words(english, caption, words)
    tags = {word.text: tag for word, tag in zip(words, found, strict=True)}
    assert tags["man"] == tags['"wave"'] == "NOUN"
    assert tags["young"] == "ADJ" and tags["riding"] == "VERB" and tags["on"] == "ADP"
    assert tags["Bondi"] == "PROPN" and tags[","] == tags["."] == "PUNCT"
    assert pos.tagger_name(english).startswith("en_core_web_sm")
