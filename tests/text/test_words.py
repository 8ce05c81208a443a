"""Tokens located in the original caption, and words made of them."""

import csv
import json
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from clip_attribution.errors import UserError
from clip_attribution.text.cleaning import clean
from clip_attribution.text.tokens import encode, token_spans
from clip_attribution.text.words import align, merge, split_words, word_of_token, words_for

CLEANINGS = ("lower", "whitespace", "canonicalize")
TOKENIZERS = {clean: SimpleTokenizer(clean=clean) for clean in CLEANINGS}
CLIP = TOKENIZERS["lower"]
TEMPLATE = "A photo depicts "
FEW = settings(max_examples=200, deadline=None, derandomize=True)

SNIPPETS = [
    "a",
    "A man",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\x00",
    "\x07",
    "\x1b[31m",
    "\xa0",
    "\u200d",
    "\ufeff",
    ".",
    ",",
    "...",
    '".',
    "“",
    "”",
    "’",
    "&",
    "&amp;",
    "&amp;lt;",
    "&eacute;",
    "&notit;",
    "&#1;",
    "&#x1F600;",
    "<",
    "</w>",
    "<end_of_text>",
    "_",
    "x",
    "42",
    "ß",
    "İ",
    "café",
    "e\u0301",
    "cafÃ©",
    "â€œ",
    "â€\x9d",
    "Ã ",
    "\ufb01",
    "\ufdfa",
    "\uff21\uff22",
    "ΣΑΣ",
    "🦜",
    "👩\u200d👧",
    "\ud83d",
    "\ude00",
    "日本語",
    "ไทย",
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(), max_size=40),
    st.lists(st.sampled_from(SNIPPETS), max_size=25).map("".join),
    st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=3)), max_size=20).map("".join),
)


def spoken(text, spans):
    return [text[start:end] for start, end in spans]


def test_the_tokens_of_rich_hf_are_words_of_their_own_rule():
    caption = 'a "cat"; on: the mat, ok? yes!.'
    words = split_words(caption, "rich_hf")
    parts = re.split("|".join(map(re.escape, ',.?!":; ')), caption)
    assert [word.text for word in words] == [part for part in parts if part]
    assert all(caption[word.start : word.end] == word.text for word in words)
    assert words == words_for(caption, "rich_hf_tokens") != words_for(caption, "offsets")


def covered(spans):
    return {i for start, end in spans for i in range(start, end)}


def assert_in_order(text, tokens):
    """Spans are in order, inside the text, and each token has a span and an owner."""
    edges = [edge for span in tokens.spans for edge in span]
    assert edges == sorted(edges)
    assert not edges or 0 <= edges[0] <= edges[-1] <= len(text)
    assert len(tokens.spans) == len(tokens.owner) == len(tokens.ids) - 2
    assert tokens.owner == sorted(tokens.owner)
    assert all(0 <= i < len(text) for i in tokens.owner)


@pytest.mark.parametrize("cleaning", CLEANINGS)
@given(TEXTS, st.sampled_from([5, 77]))
@FEW
def test_ids_are_those_of_the_tokenizer(cleaning, text, context_length):
    tokenizer = TOKENIZERS[cleaning]
    tokens = token_spans(tokenizer, text, context_length)
    row = tokenizer([text], context_length)[0].tolist()
    end = row.index(tokenizer.eot_token_id) + 1
    assert tokens.ids == row[:end]
    assert tokens.n_full == len(tokenizer.encode(text)) + 2
    assert tokens.truncated == (tokens.n_full > len(tokens.ids))
    assert_in_order(text, tokens)


@pytest.mark.parametrize("cleaning", CLEANINGS)
@given(TEXTS)
@FEW
def test_cleaning_is_followed(cleaning, text):
    """The cleaned text is the tokenizer's own, and every character of it has a source in order."""
    clean_fn = TOKENIZERS[cleaning].clean_fn
    cleaned = clean(text, clean_fn)
    assert cleaned.text == clean_fn(text)
    assert len(cleaned.starts) == len(cleaned.ends) == len(cleaned.text)
    assert (np.diff(cleaned.starts) >= 0).all() and (np.diff(cleaned.ends) >= 0).all()
    assert (cleaned.starts < cleaned.ends).all()


@pytest.mark.parametrize("cleaning", CLEANINGS)
@given(TEXTS)
@FEW
def test_spans_cover_what_clip_saw(cleaning, text):
    """What CLIP saw: the sources of all cleaned characters that are no space. A span may go over
    a character that cleaning deleted inside a token, but never over a space that stays."""
    tokenizer = TOKENIZERS[cleaning]
    cleaned = clean(text, tokenizer.clean_fn)
    tokens = token_spans(tokenizer, text, 10_000)
    if tokens.truncated:  # the caption spells the end token out
        return
    sources = list(zip(cleaned.text, cleaned.starts, cleaned.ends, strict=True))
    seen = covered((start, end) for c, start, end in sources if not c.isspace())
    space = covered((start, end) for c, start, end in sources if c.isspace())
    assert seen <= covered(tokens.spans)
    assert not (covered(tokens.spans) - seen) & space


@given(TEXTS)
@FEW
@example("“ﬁne” cafÃ© e\u0301 ＡＢ 👩‍👩‍👧 İ")
def test_visible_characters_are_covered(text):
    """Independently of the map: a character that cleaning alone keeps lies in a token's span."""
    text = text.replace("&", "").replace("\x1b", "").replace("<", "")
    tokens = token_spans(CLIP, text, 10_000)
    visible = {i for i, c in enumerate(text) if CLIP.clean_fn(c) and not c.isspace()}
    assert visible <= covered(tokens.spans)


@given(TEXTS)
@FEW
def test_words_join_to_the_caption(text):
    for rule in ("clip4dm", "whitespace"):
        words = split_words(text, rule)
        assert all(text[w.start : w.end] == w.text and w.text.strip() for w in words)
        edges = [edge for w in words for edge in (w.start, w.end)]
        assert edges == sorted(edges)
        assert {i for i, c in enumerate(text) if not c.isspace()} <= covered(w[1:] for w in words)


@given(TEXTS)
@FEW
def test_each_token_has_a_word(text):
    words = split_words(text)
    tokens, index = align(CLIP, text, words, template=TEMPLATE, context_length=10_000)
    own = index[3:]  # after a photo depicts
    assert (index[:3] == -1).all() and (np.diff(index) >= 0).all()
    for (start, end), word in zip(tokens.spans[3:], own, strict=True):
        if text[start - len(TEMPLATE) : end - len(TEMPLATE)].strip():
            assert words[word].start < end - len(TEMPLATE) and start - len(TEMPLATE) < len(text)
            assert word >= 0


SPANS = {
    'a "cat"! state-of-the-art': 'a " cat "! state - of - the - art',
    "U.S. flag": "U . S . flag",
    "“welcome”. cafÃ© &amp;amp; tea": "“ welcome ”. cafÃ© &amp;amp; tea",
    "ﬁne ＡＢ e\u0301cole": "ﬁne ＡＢ e\u0301 cole",
    "\x1b[31mred\x1b[0m car": "red car",
    "he said â€œHiâ€\x9d": "he said â€œ Hi â€\x9d",
    "it&#39;s a &copy;&notit;": "it &#39;s a &copy; &not it ;",
}


@pytest.mark.parametrize("text", SPANS)
def test_spans_by_example(text):
    found = [s for s in spoken(text, token_spans(CLIP, text, 77).spans) if s]
    assert found == SPANS[text].split(" ")


def test_a_character_of_several_tokens():
    tokens = token_spans(CLIP, "an 🦜 İ", 77)
    assert tokens.spans == [(0, 2), (3, 4), (4, 4), (5, 6), (6, 6)]
    assert tokens.owner == [0, 3, 3, 5, 5]
    assert word_of_token(tokens, split_words("an 🦜 İ")).tolist() == [0, 1, 1, 2, 2]


def test_truncation_keeps_the_end_token():
    caption = "cat, " * 5000
    tokens, index = align(CLIP, caption, split_words(caption), context_length=77)
    assert tokens.truncated and tokens.n_full == 10_002 and len(tokens.ids) == 77
    assert tokens.ids[-1] == CLIP.eot_token_id and index.tolist() == list(range(75))
    values = merge(np.ones(75), index, 10_000)
    assert np.isnan(values[75:]).all() and (values[:75] == 1).all()


def test_a_spelt_out_end_token_ends_the_caption():
    caption = "a cat <end_of_text> dog"
    tokens, index = align(CLIP, caption, split_words(caption), context_length=77)
    assert spoken(caption, tokens.spans) == ["a", "cat"] and tokens.truncated
    assert np.isnan(merge(np.zeros(2), index, 4)).tolist() == [False, False, True, True]


def test_a_caption_of_ten_thousand_words_is_read_as_its_beginning():
    rng = np.random.default_rng(0)
    vocabulary = ["cat", "umbrella,", "state-of-the-art", "dog's", "red.", "standing"]
    for _ in range(5):
        drawn = rng.choice(vocabulary, 10_000)
        long, short = " ".join(drawn), " ".join(drawn[:100])  # 77 tokens end before word 100
        (tokens, words), (few, own) = (
            align(CLIP, text, split_words(text), template=TEMPLATE, context_length=77)
            for text in (long, short)
        )
        assert list(words) == list(own) and list(tokens.spans) == list(few.spans)
        assert max(words) < 100


def test_unusable_texts_and_tokenizers():
    for caption in (None, 3.0, b"cat"):
        with pytest.raises(UserError, match="must be text"):
            token_spans(CLIP, caption, 77)
    with pytest.raises(UserError, match="context_length"):
        token_spans(SimpleTokenizer(context_length=None), "a", None)
    with pytest.raises(UserError, match="reduction_mask"):
        token_spans(SimpleTokenizer(reduction_mask="random"), "a", 77)
    with pytest.raises(UserError, match="fast version"):
        token_spans(str.split, "a cat", 77)
    with pytest.raises(UserError, match="word rule"):
        split_words("a", "letters")
    with pytest.raises(UserError, match="alignment"):
        align(CLIP, "a", [], context_length=77, alignment="spans")
    with pytest.raises(UserError, match="reduction"):
        merge(np.ones(1), [0], 1, reduce="max")


def test_words_of_the_public_rule():
    def texts(caption, rule="clip4dm"):
        return [word.text for word in split_words(caption, rule)]

    assert texts("A man, riding.") == ["A", "man", ",", "riding", "."]
    assert texts("U.S. flag") == ["U", ".", "S", ".", "flag"]
    assert texts('a  "cat"!') == ["a", '"cat"!']
    assert texts("one\ttwo\nthree \t four") == ["one\ttwo\nthree", "four"]
    assert texts("A man,\triding.", "whitespace") == ["A", "man,", "riding."]
    assert texts("") == texts("  ") == texts("", "whitespace") == []


def test_merge():
    values = np.array([[9.0, np.nan, 1.0, 2.0, 6.0, 5.0]])
    index = np.array([-1, -1, 0, 1, 1, 3])
    expected = [[1.0, 4.0, np.nan, 5.0]]
    np.testing.assert_array_equal(merge(values, index, 4), expected)
    np.testing.assert_array_equal(merge(values[0], index, 4), expected[0])
    np.testing.assert_array_equal(merge(values, index, 4, "sum")[0, :2], [1.0, 8.0])
    assert merge(values.astype("float32"), index, 4).dtype == np.float32
    assert merge(np.zeros((3, 0)), [], 2).shape == (3, 2)
    tensor = torch.tensor(values, requires_grad=True)
    merged = merge(tensor, index, 4)
    np.testing.assert_array_equal(merged.detach().numpy(), expected)
    merged[0, 1].backward()
    assert tensor.grad[0].tolist() == [0, 0, 0, 0.5, 0.5, 0]


def captions_of(name):
    folder = os.environ.get("CLIP_BENCHMARKS")
    if not folder:
        pytest.skip("CLIP_BENCHMARKS is not set: it names the folder of the benchmarks' own files")
    path = Path(folder) / name
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return [row["image_caption"] for row in csv.DictReader(file)]
    return [row.get("foil") or row["caption"] for row in json.loads(path.read_text("utf-8"))]


DRIFTS = {
    "aloha/nocaps-val-foil.json": (4, 2500),
    "aloha/hat-trainval.json": (3, 400),
    "seetrue/SeeTRUE_Feedback.csv": (33, 2008),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_public_words_drift_where_known(name):
    """Encoding word by word differs from encoding whole only in these captions, and where it
    does not, both alignments give the same words."""
    captions = captions_of(name)
    alone = cache(lambda word: encode(CLIP, word))
    drifted = 0
    for caption in captions:
        words = split_words(caption)
        both = [
            align(CLIP, caption, words, template=TEMPLATE, context_length=77, alignment=alignment)
            for alignment in ("offsets", "public_words")
        ]
        if [i for word in words for i in alone(word.text)] != encode(CLIP, caption):
            drifted += 1
            continue
        assert both[0][1].tolist() == both[1][1].tolist(), caption
        assert (both[0][1] >= 0).sum() == len(both[0][0].spans) - 3
    assert (drifted, len(captions)) == DRIFTS[name]


def test_public_words_by_hand():
    """`".` is one token but two words: the public rule gives every later word its neighbour."""
    caption = 'say "hi". A cat'
    words = split_words(caption)
    _, offsets = align(CLIP, caption, words, context_length=77)
    tokens, public = align(CLIP, caption, words, context_length=77, alignment="public_words")
    assert spoken(caption, tokens.spans) == ["say", '"', "hi", '".', "A", "cat"]
    assert [word.text for word in words] == ["say", '"hi"', ".", "A", "cat"]
    assert offsets.tolist() == [0, 1, 1, 1, 3, 4] and public.tolist() == [0, 1, 1, 1, 2, 3]
    assert np.isnan(merge(np.zeros(6), public, 5)).tolist() == [False] * 4 + [True]


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """open_clip wrappers of small tokenizers, trained here: byte-level BPE, Unigram, WordPiece."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers import trainers as train
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "</s>", "<unk>", "<pad>"]
    pieces = {
        "bytes": (models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), train.BpeTrainer),
        "unigram": (models.Unigram(), pre_tokenizers.Metaspace(), train.UnigramTrainer),
        "wordpiece": (
            models.WordPiece(unk_token="<unk>"),
            pre_tokenizers.BertPreTokenizer(),
            train.WordPieceTrainer,
        ),
    }
    corpus = [
        "a photo depicts the cat",
        "red cats and dogs, standing",
        "state-of-the-art café.",
    ] * 9
    found = {}
    for name, (model, split, trainer) in pieces.items():
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = split
        if name == "wordpiece":
            tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        options = {"special_tokens": specials, "show_progress": False, "vocab_size": 300}
        if name == "bytes":
            options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
            tokenizer.decoder = decoders.ByteLevel()
        if name == "unigram":
            options["unk_token"] = "<unk>"
        tokenizer.train_from_iterator(corpus, trainer(**options))
        single = "$A </s>" if name == "unigram" else "<s> $A </s>"
        ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single, special_tokens=ends)
        folder = tmp_path_factory.mktemp(name)
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        names |= {"pad_token": "<pad>", "sep_token": "</s>", "cls_token": "<s>"}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
        found[name] = HFTokenizer(str(folder), context_length=32)
    return found


@pytest.mark.parametrize("name", ["bytes", "unigram", "wordpiece"])
def test_hugging_face_tokenizers(hugging_face, name):
    @given(TEXTS)
    @settings(max_examples=100, deadline=None, derandomize=True)
    @example("The  “cat” 🦜, standing. " * 9)
    @example("a cat")
    def check(text):
        tokenizer = hugging_face[name]
        tokens = token_spans(tokenizer, text)
        row = tokenizer([text])[0].tolist()
        assert tokens.ids == row[: len(tokens.ids)]
        assert all(i == tokenizer.tokenizer.pad_token_id for i in row[len(tokens.ids) :])
        edges = [edge for span in tokens.spans for edge in span]
        assert edges == sorted(edges) and len(tokens.spans) == len(tokens.owner)
        assert tokens.first + len(tokens.spans) + 1 == len(tokens.ids)
        whole = len(encode(tokenizer, text)) + tokens.first + 1
        assert tokens.n_full == whole and tokens.truncated == (whole > 32)
        if name == "bytes" and not tokens.truncated:
            cleaned = clean(text, tokenizer.clean_fn)
            sources = zip(cleaned.text, cleaned.starts, cleaned.ends, strict=True)
            seen = covered((a, b) for c, a, b in sources if not c.isspace())
            assert seen <= covered(tokens.spans)

    check()


def test_hugging_face_words(hugging_face):
    caption = "the  café. 🦜 cats"
    for tokenizer in hugging_face.values():
        words = split_words(caption)
        tokens, index = align(tokenizer, caption, words, template="a photo depicts ")
        assert set(index) == {-1, 0, 1, 2, 3, 4}
        _, public = align(
            tokenizer, caption, words, template="a photo depicts ", alignment="public_words"
        )
        if tokenizer is hugging_face["wordpiece"]:  # elsewhere a space is part of the pieces
            assert index.tolist() == public.tolist()


def test_hugging_face_modes(hugging_face):
    tokenizer = hugging_face["wordpiece"]
    tokenizer.strip_sep_token = True
    assert token_spans(tokenizer, "a cat").ids[-1] == 0 == tokenizer(["a cat"])[0, 3]
    tokenizer.strip_sep_token = False
    tokenizer.tokenizer_mode = "clips"
    for text in ("a cat", "a cat " * 40):
        tokens = token_spans(tokenizer, text)
        assert tokens.ids == tokenizer([text])[0, : len(tokens.ids)].tolist()
        assert len(tokens.spans) == len(tokens.ids) - 2 and tokens.first == 1
    assert tokens.truncated
    tokenizer.tokenizer_mode = ""
    bare = token_spans(tokenizer.tokenizer, "a cat", 32)
    assert bare.spans == [(0, 1), (2, 5)]
    with pytest.raises(UserError, match="cannot read"):
        token_spans(tokenizer.tokenizer, "a \ud800", 32)
