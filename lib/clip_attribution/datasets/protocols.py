"""The evaluation protocols of CLIP4DM (Nam et al., AAAI 2025), one a benchmark family.

Each takes a words frame and a benchmark's pairs frame with its scores and returns a tidy frame:

    measure   LA (location accuracy), AP (average precision), NLI, precision, recall, F1, Pearson
              or Spearman
    scorer    what was measured: "attribution" is the method of the words frame; scores; baselines;
              a name with "public" is computed as in the public code
    group     "all", or one of the dataset's groups
    value, low, high, n   with a 95 % bootstrap interval over the n units behind it: what shares the
              column `pair`, else rows
    n_errors  rows of the group that were left out because they carry an error
    chance, ceiling       what blind choice gives, and the best possible; NaN where not defined
    note      what else is to be known
"""

from operator import eq

import numpy as np
import pandas as pd

from ..metrics.baselines import caption_scores, frequent_words, random_words, seen_words, share
from ..metrics.misalignment import EPSILON, find
from ..metrics.words import (
    bare_words,
    fits,
    has_public_words,
    overlap_counts,
    public_index_counts,
    token_counts,
    token_table,
)
from .protocol_rows import (
    FREQUENT,
    METHOD,
    RANDOM,
    correlation_rows,
    detection_rows,
    judged_rows,
    location_rows,
    parts,
    precision_rows,
    prepare,
    row,
    tidy,
)

RICH_HF_EPSILON = -1e-5
WHOLE, EVERY, PUBLIC_INDEX = "whole caption", "every token", "public_index_words"
WHOLE_WORDS = "LA whole words"
NOTES = {
    "AP": "positive: the original caption",
    "HAT AP": "positive: the hallucinated caption; scores negated",
    "HAT LA": "the segment is a substring of the joined hallucinated words",
    WHOLE_WORDS: "our addition: every word of the segment is hallucinated",
    "no judge": "needs an NLI model, see nli.load_nli",
    PUBLIC_INDEX: "needs words of alignment public_words",
}


def foil(words, pairs, *, epsilon=None, public=False, nli=None, seed=0) -> pd.DataFrame:
    """FOIL and nocaps-FOIL: which word was swapped, and is the original the better caption.

    pairs: pair_id, is_foil, foil_word, cosine, error; group, pair, ref_clip_score and ref_cosines
    if known. LA: the most negative word of a foil, punctuation included, equals the foil word in
    lower case. The ceiling is the share of foils that have a word equal to it at all. AP: originals
    are the positive class. epsilon (default -5e-5) enters the paper's F-CLIPScore alone. public:
    adds RefCLIPScore by the first reference, times 2.5.
    """
    pairs = prepare(pairs, "is_foil", "foil_word")
    wanted = {
        i: w.lower()
        for i, w in zip(pairs["pair_id"], pairs["foil_word"], strict=True)
        if isinstance(w, str)
    }
    found = find(words, "most_negative").set_index("pair_id")["text"]
    located = locations(pairs, found, wanted, seen_words(words), eq, seed)
    epsilon = EPSILON if epsilon is None else epsilon
    scores, rows = caption_scores(words, pairs, epsilon, "min", public), []
    for part in parts(pairs):
        rows += location_rows(part, located, "LA", seed)
        original = ~part.rows["is_foil"].astype(bool)
        rows += precision_rows(part, scores, original, NOTES["AP"], seed)
    return tidy(rows)


def hat(words, pairs, *, epsilon=None, public=False, nli=None, seed=0) -> pd.DataFrame:
    """HAT: what is hallucinated, and does the caption hallucinate at all.

    pairs: as for `foil`, with `hallucinated`, the marked words, in place of foil_word. The most
    negative merged segment below epsilon (-5e-5) is a hit where it is a substring of the joined
    marked words, in lower case and without '.' and ','; nothing found is a miss. A random word
    already hits in a quarter of the captions by that rule, hence our second measure. AP: the
    hallucinated captions are the positive class.
    """
    epsilon = EPSILON if epsilon is None else epsilon
    pairs = prepare(pairs, "is_foil", "hallucinated")
    wanted = {
        i: joined(own)
        for i, own in zip(pairs["pair_id"], pairs["hallucinated"], strict=True)
        if isinstance(own, list | tuple | np.ndarray)
    }
    found = find(words, "threshold", epsilon, merge_adjacent=True)
    found = found.drop_duplicates("pair_id").set_index("pair_id")["text"]
    own = seen_words(words, spoken=True)
    substring = locations(pairs, found, wanted, own, lambda text, marked: text in marked, seed)
    whole = locations(pairs, found, wanted, own, all_hallucinated, seed)
    scores, rows = caption_scores(words, pairs, epsilon, "segment", public), []
    scores = {name: -score for name, score in scores.items()}
    for part in parts(pairs):
        rows += location_rows(part, substring, "LA", seed, NOTES["HAT LA"])
        rows += location_rows(part, whole, WHOLE_WORDS, seed, NOTES[WHOLE_WORDS])
        rows += precision_rows(part, scores, part.rows["is_foil"], NOTES["HAT AP"], seed)
    return tidy(rows)


def seetrue(words, pairs, *, epsilon=None, public=False, nli=None, seed=0) -> pd.DataFrame:
    """SeeTRUE-Feedback: does the misaligned part of the caption entail what was found.

    pairs: pair_id, caption, caption_misalignment, cosine, error; group if known. nli: function of
    premises and hypotheses, as from `nli.load_nli`; without one the NLI rows are empty. Premise:
    caption_misalignment in lower case; hypothesis: the merged segments below epsilon (-5e-5) in
    caption order, joined by ", ". Beside it two trivial predictions, and, our addition, precision,
    recall and F1 of the predicted words against those of caption_misalignment as bags of words.
    """
    epsilon = EPSILON if epsilon is None else epsilon
    pairs = prepare(pairs, "caption", "caption_misalignment")
    texts = predictions(words, pairs, epsilon, seed)
    judged = {name: judge(nli, pairs, own) for name, own in texts.items()}
    bags = {name: word_bags(pairs, own) for name, own in texts.items()}
    rows, note = [], f"our addition: bags of words; epsilon {epsilon:g}"
    for part in parts(pairs):
        rows += judged_rows(part, judged, seed, "" if nli else NOTES["no judge"])
        for name, counts in bags.items():
            rows += detection_rows(part, name, counts, bags[WHOLE], seed, note)
    return tidy(rows)


def rich_hf(words, pairs, *, epsilon=None, public=False, nli=None, seed=0) -> pd.DataFrame:
    """Rich-HF-18K: which tokens are misaligned, and does the score rank as people do.

    pairs: pair_id, caption, tokens, labels (True = aligned), score (higher = better aligned),
    cosine, error; group, truncated_labels if known. A token is predicted when its attribution is
    below epsilon (-1e-5), and a hit when that very token is marked; P, R and F1 are of the counts
    summed over the set. words: of alignment `rich_hf_tokens`, else a token gets the mean of the
    words that start in it. public: adds matching by the public code's index_word strings, for words
    of alignment `public_words`.
    """
    epsilon = RICH_HF_EPSILON if epsilon is None else epsilon
    pairs = prepare(pairs, "caption", "tokens", "labels", "score")
    cells = zip(pairs["caption"], pairs["tokens"], pairs["labels"], strict=True)
    pairs["good"] &= np.array([fits(*own) for own in cells], dtype=bool)
    good, rows = pairs[pairs["good"]], []
    table = token_table(words, good)
    every = token_counts(table.assign(attribution=-np.inf), epsilon)
    tried = {METHOD: token_counts(table, epsilon), EVERY: every}
    if public and has_public_words(words, good):
        tried[PUBLIC_INDEX] = public_index_counts(words, good, epsilon)
    scores = caption_scores(words, pairs, epsilon, "threshold", public)
    for part in parts(pairs):
        for name, counts in tried.items():
            rows += detection_rows(part, name, counts, every, seed, note_of(part, every, epsilon))
        if public and PUBLIC_INDEX not in tried:
            rows.append(row(part, "F1", PUBLIC_INDEX, note=NOTES[PUBLIC_INDEX]))
        rows += correlation_rows(part, scores, seed, f"epsilon {epsilon:g}")
    return tidy(rows)


def joined(hallucinated) -> str:
    """The marked words of a HAT caption as one lower-case text without '.' and ','."""
    return " ".join(hallucinated).replace(".", "").replace(",", "").lower()


def all_hallucinated(text: str, marked: str) -> bool:
    """Whether every word of a segment is a whole one among the marked words."""
    return set(text.split()) <= set(marked.split())


def locations(pairs, found, wanted: dict, own_words, matches, seed) -> pd.DataFrame:
    """What `location_rows` reads, for every usable foil that has something to be found.

    found: predicted text, wanted: what is to be found, own_words: the caption's words that may be
    predicted, each by pair_id and the latter two in lower case. matches(text, wanted): a hit.
    """
    pairs = pairs[pairs["good"] & pairs["is_foil"].eq(True) & pairs["pair_id"].isin(wanted)]
    ids, rows = pairs["pair_id"], []
    targets, listed = [wanted[i] for i in ids], [own_words.get(i, []) for i in ids]
    answers = pd.Series([target.split() for target in targets], dtype=object)
    usual = frequent_words(answers, pairs["unit"], seed)
    for text, target, own, often in zip(found.reindex(ids), targets, listed, usual, strict=True):
        chance = share(own, lambda word, target=target: matches(word, target))
        hit = isinstance(text, str) and matches(text.lower(), target)
        rows.append((hit, chance, often in own and matches(often, target), chance > 0))
    columns = [METHOD, RANDOM, FREQUENT, "reachable"]
    return pd.DataFrame(rows, index=pairs.index, columns=columns).astype(float)


def predictions(words, pairs, epsilon, seed) -> dict[str, pd.Series]:
    """Texts that say what is misaligned, by pair_id: the method's and two trivial ones."""
    found = find(words, "threshold", epsilon, merge_adjacent=True)
    found = found.assign(first=[rows[0] for rows in found["rows"]]).sort_values("first")
    texts = found.groupby("pair_id")["text"].agg(", ".join)
    whole = pairs.set_index("pair_id")["caption"]
    named = {METHOD: texts, WHOLE: whole, RANDOM: random_words(words, seed)}
    return {
        name: own.astype(object).reindex(whole.index, fill_value="") for name, own in named.items()
    }


def judge(nli, pairs, texts) -> pd.Series:
    """P(entailment) of each usable pair's text, by the pairs' index; NaN without an NLI model."""
    good = pairs[pairs["good"]]
    if nli is None or not len(good):
        return pd.Series(np.nan, good.index)
    premises = good["caption_misalignment"].str.lower().tolist()
    return pd.Series(np.asarray(nli(premises, texts[good["pair_id"]].tolist())), good.index)


def word_bags(pairs, texts) -> pd.DataFrame:
    """tp, fp, fn of each text's words against those of caption_misalignment, by pair_id."""
    good = pairs[pairs["good"]]
    rows = [
        overlap_counts(bare_words(texts[i]), bare_words(wanted))
        for i, wanted in zip(good["pair_id"], good["caption_misalignment"], strict=True)
    ]
    return pd.DataFrame(rows, index=good["pair_id"], columns=["tp", "fp", "fn"])


def note_of(part, every, epsilon) -> str:
    """How many tokens there are and are marked, and how many captions were cut."""
    own = every.reindex(part.rows["pair_id"])
    cut = part.rows["truncated_labels"].eq(True).sum() if "truncated_labels" in part.rows else 0
    return (
        f"epsilon {epsilon:g}; {own['wrong'].sum():.0f} of {own['size'].sum():.0f} tokens "
        f"misaligned; {cut} captions with labels cut"
    )
