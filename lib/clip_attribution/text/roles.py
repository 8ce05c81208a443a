"""Objects, attributes and relations of a caption, as spans: a small scene-graph parser on spaCy.

What CAE (Li et al., EMNLP 2024) takes from the public SceneGraphParser, written anew as rules over
spaCy's dependency parse, on character spans:

object      head of a noun chunk that is no pronoun, with its `compound` nouns ("fire hydrant")
attribute   each `amod` of an object and what is coordinated with it ("black and white"); with
            `numerals` its `nummod` too; with `predicates` an adjective that a copula gives to it.
            Determiners and possessives are never attributes, nor are `acl` participles (relations)
relation    in this order: a preposition of several words (PHRASES: "to the left of", whose inner
            noun is no object); a verb with the preposition or particle right behind it ("sitting
            on"), where the public parser asks a list of 1,771 phrasal verbs; any other preposition
            between two objects; a verb between its subject and its object; a passive with its
            "by". Both ends must be objects of the caption. An auxiliary alone ("is") is none.
            Coordinated ends on one side of a relation share it; the public parser lists each pair

tests/text/test_roles_public.py sets both parsers side by side on real captions.

A token belongs to one role: object before relation before attribute.
"""

from typing import NamedTuple

from ..errors import UserError
from .cleaning import origin, readable
from .pos import load_tagger

ROLES = ("object", "attribute", "relation")
SIDES = (
    "left",
    "right",
    "top",
    "bottom",
    "front",
    "back",
    "side",
    "middle",
    "center",
    "centre",
    "edge",
    "end",
    "corner",
)
PHRASES = tuple(
    f"{before} {the}{side} of"
    for before in ("to", "on", "at", "in")
    for the in ("the ", "")
    for side in (*SIDES, "left side", "right side", "left hand side", "right hand side")
) + (
    "left of",
    "right of",
    "next to",
    "close to",
    "near to",
    "adjacent to",
    "on to",
    "out of",
    "away from",
    "in between",
    "inside of",
    "outside of",
    "along with",
    "on board",
)
LONGEST = max(len(phrase.split()) for phrase in PHRASES)
NOMINAL = ("NOUN", "PROPN")  # never an attribute: where the parse says so, it has lost its way
LISTED = ("conj", "appos")  # in "a cup, a plate and a fork" spaCy calls the plate an apposition
SUBJECTS, OBJECTS = ("nsubj", "nsubjpass"), ("dobj", "obj", "attr", "oprd")


class Concept(NamedTuple):
    """One object, attribute or relation of a caption.

    start, end: characters of the caption. of: for an attribute the number of its object in the list
    of concepts, for a relation the pair (subject, object) of them; None for an object. ends: for a
    relation the numbers of all its subjects and of all its objects, coordinated ones included.
    """

    role: str
    text: str
    start: int
    end: int
    of: int | tuple[int, int] | None = None
    ends: tuple[tuple[int, ...], tuple[int, ...]] | None = None


def parse_captions(captions, nlp=None, *, numerals=False, predicates=False, batch_size=256):
    """The concepts of each caption: a list of lists of Concept, objects first.

    nlp: a spaCy pipeline with a parser (default: `pos.load_tagger`). numerals, predicates: see
    the module's docstring. The parser reads what CLIP reads (typographic quotes and HTML entities
    repaired), case kept. Raises UserError for a pipeline without a parser.
    """
    nlp = nlp or load_tagger()
    if "parser" not in nlp.pipe_names:
        raise UserError("roles need a spaCy pipeline with a dependency parser")
    read = [readable(caption, nlp.max_length) for caption in captions]
    docs = nlp.pipe([one.text for one in read], batch_size=batch_size, disable=["ner"])
    rows = zip(docs, captions, read, strict=True)
    return [placed(concepts_of(doc, numerals, predicates), *row) for doc, *row in rows]


def placed(concepts, caption: str, cleaned):
    """Concepts of the cleaned text with their characters, and their text, in the caption."""
    found = []
    for one in concepts:
        start, end = origin(cleaned, one.start, one.end)
        found.append(one._replace(text=caption[start:end], start=start, end=end))
    return found


def concepts_of(doc, numerals=False, predicates=False):
    """The concepts of one parsed caption; see `parse_captions`."""
    phrases = find_phrases(doc)
    inner = {i for first, last in phrases for i in range(first, last)}
    heads, objects = find_objects(doc, inner)
    relations = find_relations(doc, heads, phrases, inner)
    taken = {i for span in [*objects, *(r[0] for r in relations)] for i in span}
    attributes = find_attributes(doc, heads, taken, numerals, predicates)
    named: list[tuple] = [("object", span, None) for span in objects]
    named += [("attribute", [i], of) for i, of in attributes]
    named += [("relation", span, of, all_ends(doc, heads, span[0], of)) for span, of in relations]
    return [concept(doc, *one) for one in named]


def concept(doc, role, span, of, ends=None):
    """A Concept of the tokens `span`, which may have gaps in between."""
    start, last = doc[span[0]].idx, doc[span[-1]]
    end = last.idx + len(last)
    return Concept(role, doc.text[start:end], start, end, of, ends)


def find_phrases(doc):
    """Token ranges (first, behind last) of prepositions of several words, the longest first."""
    words, found, at = [token.lower_ for token in doc], [], 0
    while at < len(words):
        sizes = range(min(LONGEST, len(words) - at), 1, -1)
        size = next((n for n in sizes if " ".join(words[at : at + n]) in PHRASES), 0)
        found += [(at, at + size)] * bool(size)
        at += size or 1
    return found


def find_objects(doc, inner):
    """({token of a head: number of its object}, spans of the objects as lists of tokens)."""
    heads: dict[int, int] = {}
    spans: list[list[int]] = []
    for chunk in doc.noun_chunks:
        root = chunk.root
        if root.pos_ in ("PRON", "DET", "ADJ") or root.i in inner or root.i in heads:
            continue
        heads[root.i] = len(spans)
        spans.append(sorted({root.i, *compounds(root, inner)}))
    return heads, spans


def compounds(noun, inner):
    """Tokens of the compound nouns before a noun, recursively."""
    own = [t for t in noun.lefts if t.dep_ == "compound" and t.i not in inner]
    return [i for t in own for i in (t.i, *compounds(t, inner))]


def find_attributes(doc, heads, taken, numerals, predicates):
    """(token, number of its object) of each attribute that no other role has taken."""
    kinds = ("amod", "nummod") if numerals else ("amod",)
    found = []
    for head, number in heads.items():
        own = [t for t in doc[head].children if t.dep_ in kinds and t.pos_ not in NOMINAL]
        if predicates and doc[head].dep_ in SUBJECTS:
            own += [t for t in doc[head].head.children if t.dep_ == "acomp"]
        found += [(t.i, number) for t in own + [c for t in own for c in coordinated(t)]]
    return [(i, number) for i, number in dict(reversed(found)).items() if i not in taken][::-1]


def coordinated(token):
    """Tokens coordinated with this one, recursively: "black and white"."""
    own = [t for t in token.children if t.dep_ == "conj"]
    return own + [other for t in own for other in coordinated(t)]


def all_ends(doc, heads, first, of):
    """The objects that share each end of a relation whose first token is `first`."""
    places = [(list_head(doc[i]), i < first) for i in heads]
    return tuple(tuple(n for n, one in enumerate(places) if one == places[end]) for end in of)


def list_head(token):
    """Index of the first of the tokens that this one is coordinated with, or its own."""
    return list_head(token.head) if token.dep_ in LISTED else token.i


def find_relations(doc, heads, phrases, inner):
    """((tokens, (subject, object)) of each relation between two objects, in reading order."""
    of_phrases = {tuple(range(*one)): phrase_ends(doc, heads, *one) for one in phrases}
    found = {span: ends for span, ends in of_phrases.items() if ends}
    for token in (t for t in doc if t.i not in inner):
        if token.pos_ in ("ADP", "SCONJ") and token.dep_ == "prep":
            add_preposition(found, heads, token)
        elif token.dep_ == "agent":
            add_agent(found, heads, token)
        elif token.pos_ == "VERB":
            add_verb(found, heads, token)
    return sorted(without_overlap(found).items())


def phrase_ends(doc, heads, first, last):
    """The object before (or above) a preposition of several words, and its own behind it."""
    behind = object_of(doc[last - 1], heads)
    subject = subject_of(doc[first], heads)
    if subject is None:
        subject = next((heads[i] for i in range(first - 1, -1, -1) if i in heads), None)
    return None if behind is None or subject in (None, behind) else (subject, behind)


def add_preposition(found, heads, token):
    """A preposition under a noun, or under a verb or auxiliary with a subject."""
    target = object_of(token, heads)
    subject = subject_of(token, heads)
    if target is None or subject is None or subject == target:
        return
    verb = token.head
    joined = verb.pos_ == "VERB" and verb.i == token.i - 1
    found[(verb.i, token.i) if joined else (token.i,)] = (subject, target)


def add_verb(found, heads, token):
    """A verb between its subject and its direct object, with the particle right behind it."""
    subject = verb_subject(token, heads)
    targets = [heads[t.i] for t in token.children if t.dep_ in OBJECTS and t.i in heads]
    if subject is None or not targets or targets[0] == subject:
        return
    particle = [t.i for t in token.children if t.dep_ == "prt" and t.i == token.i + 1]
    found[(token.i, *particle)] = (subject, targets[0])


def add_agent(found, heads, token):
    """A passive verb and its "by": the actor is the subject, what is acted on the object."""
    verb, actor = token.head, object_of(token, heads)
    target = verb_subject(verb, heads)
    if None not in (actor, target) and actor != target:
        joined = (verb.i, token.i) if verb.i == token.i - 1 else (verb.i,)
        found[joined] = (actor, target)


def without_overlap(found):
    """The relations, longer ones first, less those that share a token with one before."""
    kept = {}
    taken: set[int] = set()
    for span in sorted(found, key=lambda span: (-len(span), span)):
        if not taken & set(span):
            kept[span] = found[span]
            taken |= set(span)
    return kept


def object_of(preposition, heads):
    """Number of the object of a preposition."""
    own = [t for t in preposition.children if t.dep_ == "pobj" and t.i in heads]
    return heads[own[0].i] if own else None


def subject_of(token, heads):
    """Number of the object that the thing under which a token hangs speaks of."""
    above = token.head
    if above.i == token.i:
        return None
    if above.i in heads:
        return heads[above.i]
    if above.pos_ in ("VERB", "AUX"):
        return verb_subject(above, heads)
    return subject_of(above, heads) if above.pos_ in ("ADP", "ADJ", "ADV", "NOUN") else None


def verb_subject(verb, heads):
    """Number of a verb's subject: its own, the noun that it modifies, or its first conjunct's."""
    own = [t for t in verb.children if t.dep_ in SUBJECTS and t.i in heads]
    if own:
        return heads[own[0].i]
    if verb.dep_ in ("acl", "relcl") and verb.head.i in heads:
        return heads[verb.head.i]
    if verb.pos_ == "AUX" or verb.head.pos_ == "AUX":  # "there is a star above …"
        attribute = [t for t in verb.children if t.dep_ == "attr" and t.i in heads]
        if attribute:
            return heads[attribute[0].i]
    if verb.dep_ not in ("conj", "xcomp", "advcl", "ccomp"):
        return None
    above = verb.head
    return verb_subject(above, heads) if above.pos_ in ("VERB", "AUX") else heads.get(above.i)
