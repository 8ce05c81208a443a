"""Every rule of the protocols on cases small enough to do by hand, and on the official files."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, precision_recall_fscore_support
from word_tables import tokens_of, words_of

from clip_attribution.datasets import MISALIGNMENT, get_benchmark, load_benchmark, names_of
from clip_attribution.datasets.protocol_rows import COLUMNS
from clip_attribution.errors import UserError
from clip_attribution.metrics.misalignment import f_clip_scores
from clip_attribution.text.words import split_words

PROTOCOLS = {name: get_benchmark(name).summarise for name in names_of(MISALIGNMENT)}
DATA = os.environ.get("CLIP_BENCHMARKS")
needs_data = pytest.mark.skipif(not DATA, reason="CLIP_BENCHMARKS is not set")


def pick(results, measure, scorer="attribution", group="all"):
    """The one row with these labels."""
    same = results[["measure", "scorer", "group"]].eq([measure, scorer, group]).all(axis=1)
    assert same.sum() == 1, (measure, scorer, group)
    return results[same].iloc[0]


def frame(rows: dict, **columns) -> pd.DataFrame:
    """Pairs frame from {pair_id: (caption, cosine)}, with error None and further columns."""
    pairs = pd.DataFrame(
        [(i, *values) for i, values in rows.items()], columns=["pair_id", "caption", "cosine"]
    )
    return pairs.assign(error=pd.Series([None] * len(pairs), dtype=object), **columns)


FOIL = {
    "0t": ("a dog , red", [0.1, 0.2, 0.1, 0.1], 0.30),
    "0f": ("a Cat , red", [0.1, -0.2, -0.1, 0.1], 0.20),  # hit, by lower case
    "1t": ("a dog", [0.1, 0.1], 0.25),
    "1f": ("a cat .", [0.1, -0.1, -0.2], 0.26),  # punctuation is predicted: a miss
    "2t": ("a hot dog", [0.1, 0.1, 0.1], 0.22),
    "2f": ("a fire hydrant", [0.1, -0.1, 0.1], 0.20),  # several words: never a hit
    "3t": ("dogs", [0.1], 0.1),
    "3f": ("cats cats dogs cat", [0.5, 0.4, np.nan, 0.3], 0.1),  # positive, unseen: still a hit
}


def foil_case():
    words = words_of({i: row[:2] for i, row in FOIL.items()})
    pairs = frame({i: (row[0], row[2]) for i, row in FOIL.items()})
    pairs["is_foil"] = [i.endswith("f") for i in FOIL]
    pairs["foil_word"] = [None, "cat", None, "Cat", None, "fire hydrant", None, "CAT"]
    return words, pairs.assign(pair=[i[0] for i in FOIL], group=list("aaaabbbb"))


def test_foil_location_accuracy_ceiling_and_chance_by_hand():
    results = PROTOCOLS["foil"](*foil_case())
    assert list(results) == list(COLUMNS)
    found = pick(results, "LA")
    assert found["value"] == 0.5 and found["n"] == 4 and found["n_errors"] == 0
    assert found["ceiling"] == 0.75
    assert found["chance"] == pytest.approx((1 / 4 + 1 / 3 + 0 + 1 / 3) / 4)
    assert pick(results, "LA", "random word")["value"] == pytest.approx(found["chance"])
    assert pick(results, "LA", group="a")["value"] == 0.5
    assert pick(results, "LA", group="b")["ceiling"] == 0.5
    assert found["low"] <= 0.5 <= found["high"]


def test_foil_precision_takes_the_original_for_the_positive_class():
    words, pairs = foil_case()
    pairs["ref_clip_score"] = [0.6, 0.5, 0.5, 0.4, np.nan, 0.2, 0.1, 0.1]
    results = PROTOCOLS["nocaps-foil"](words, pairs, epsilon=-0.05)
    original = ~pairs["is_foil"].to_numpy()
    for scorer, score in {
        "CLIPScore": pairs["cosine"],
        "F-CLIPScore": f_clip_scores(words, pairs, "paper", -0.05),
        "F-CLIPScore public_min": f_clip_scores(words, pairs, "min"),
    }.items():
        found = pick(results, "AP", scorer)
        assert found["value"] == pytest.approx(average_precision_score(original, score))
        assert found["value"] != pytest.approx(average_precision_score(~original, -score))
        assert found["chance"] == 0.5 and found["n"] == 4
    known = pairs["ref_clip_score"].notna()
    found = pick(results, "AP", "RefCLIPScore")
    expected = average_precision_score(original[known], pairs["ref_clip_score"][known])
    assert found["value"] == pytest.approx(expected)
    assert found["chance"] == pytest.approx(3 / 7)
    group = pick(results, "AP", "CLIPScore", "b")
    assert group["value"] == pytest.approx(average_precision_score(original[4:], FOIL_COSINE[4:]))


@pytest.mark.parametrize("protocol", ["foil", "nocaps-foil"])
def test_all_captions_of_an_image_are_one_unit(protocol):
    words, pairs = foil_case()
    alone = PROTOCOLS[protocol](words, pairs.assign(image=[f"{i // 2}.jpg" for i in range(8)]))
    together = PROTOCOLS[protocol](words, pairs.assign(image=[f"{i // 4}.jpg" for i in range(8)]))
    for measure, scorer in (("AP", "CLIPScore"), ("LA", "attribution")):
        one, other = (pick(results, measure, scorer) for results in (alone, together))
        assert (one["n"], other["n"]) == (4, 2) and one["value"] == other["value"]


def test_the_gain_over_clipscore_is_paired():
    words, pairs = foil_case()
    results = PROTOCOLS["foil"](words, pairs, epsilon=-0.05)
    own, other = (pick(results, "AP", s)["value"] for s in ("F-CLIPScore", "CLIPScore"))
    gain = pick(results, "AP", "F-CLIPScore less CLIPScore")
    assert gain["value"] == pytest.approx(own - other) and gain["n"] == 4
    assert gain["low"] <= gain["value"] <= gain["high"] and gain["note"].endswith(
        "paired difference"
    )


FOIL_COSINE = [row[2] for row in FOIL.values()]


def test_pairs_with_an_error_are_left_out_and_counted():
    words, pairs = foil_case()
    pairs.loc[1, ["error", "cosine"]] = ["cannot read the image", np.nan]
    bad = pd.DataFrame({"pair_id": ["record 9"], "error": ["record 9: no field 'foil'"]})
    pairs = pd.concat([pairs, bad], ignore_index=True)
    results = PROTOCOLS["foil"](words[words["pair_id"] != "0f"], pairs)
    found = pick(results, "LA")
    assert found["n"] == 3 and found["n_errors"] == 2 and found["value"] == pytest.approx(1 / 3)
    assert pick(results, "LA", group="a")["n_errors"] == 1
    assert pick(results, "AP", "CLIPScore")["chance"] == pytest.approx(4 / 7)


def test_a_foil_without_seen_words_is_a_miss():
    words, pairs = foil_case()
    results = PROTOCOLS["foil"](words[words["pair_id"] != "0f"], pairs)
    assert pick(results, "LA")["value"] == 0.25 and pick(results, "LA")["n"] == 4


def test_the_most_frequent_word_is_a_floor():
    foils = ["cat"] * 30 + ["dog"] * 10
    words = words_of({str(i): (f"a {word}", [0, 0]) for i, word in enumerate(foils)})
    pairs = frame({str(i): ("", 0.1) for i in range(40)}, is_foil=True, foil_word=foils)
    results = PROTOCOLS["foil"](words, pairs)
    assert pick(results, "LA", "most frequent word")["value"] == 0.75
    assert pick(results, "LA", "random word")["value"] == 0.5


def test_public_reference_score_only_on_demand():
    words, pairs = foil_case()
    pairs = pairs.assign(ref_clip_score=0.5, ref_cosines=[[0.1, 0.9], [0.8]] * 4)
    plain, public = (PROTOCOLS["foil"](words, pairs, public=p) for p in (False, True))
    name = "RefCLIPScore public_reference"
    assert name not in set(plain["scorer"]) and name in set(public["scorer"])
    score = 2 / (1 / (2.5 * np.array(FOIL_COSINE)) + 1 / (2.5 * np.array([0.1, 0.8] * 4)))
    expected = average_precision_score(~pairs["is_foil"], score)
    assert pick(public, "AP", name)["value"] == pytest.approx(expected)


def test_a_missing_column_is_named():
    words, pairs = foil_case()
    with pytest.raises(UserError, match="foil_word"):
        PROTOCOLS["foil"](words, pairs.drop(columns="foil_word"))


HAT = {
    # caption, attributions, hallucinated, cosine
    "0": ("A dog , big and red", [0, -2, -9, -3, 0, -2.6], ["dog,", "big"], 0.2),  # "dog big" -2.5
    "1": ("a cat", [0, -1], ["catalogue."], 0.3),  # substring of a word
    "2": ("a cat sits", [-4, 0, -3], ["sits"], 0.1),  # the most negative is elsewhere
    "3": ("two cats", [0.1, 0.1], ["two"], 0.4),  # nothing below epsilon
    "4": ("a red cat", [0.1, -1, 0.1], [], 0.35),
    "5": ("a man", [0.1, 0.1], [], 0.25),
}


def hat_case():
    words = words_of({i: (row[0], np.array(row[1], float)) for i, row in HAT.items()})
    pairs = frame({i: (row[0], row[3]) for i, row in HAT.items()})
    pairs["hallucinated"] = [row[2] for row in HAT.values()]
    return words, pairs.assign(is_foil=pairs["hallucinated"].str.len() > 0, group="")


def test_hat_by_hand():
    words, pairs = hat_case()
    results = PROTOCOLS["hat"](words, pairs, epsilon=-0.5)
    assert set(results["group"]) == {"all"}
    found = pick(results, "LA")
    # segments of "0": "dog big" (bridging the comma, -2.5) and "red" (-2.6): "red" is predicted
    assert found["value"] == 0.25 and found["n"] == 4
    chance = np.mean([2 / 5, 2 / 2, 1 / 3, 1 / 2])  # of spoken words; "a" is in "dog big"? no
    assert found["chance"] == pytest.approx(chance)
    assert found["ceiling"] == 1
    whole = pick(results, "LA whole words")
    assert whole["value"] == 0 and whole["ceiling"] == 0.75
    assert whole["chance"] == pytest.approx(np.mean([2 / 5, 0, 1 / 3, 1 / 2]))


def test_hat_joins_segments_over_a_comma_and_marked_words_over_gaps():
    words = words_of({"0": ("A dog , big and red", np.array([0, -2, -9, -3, 0, -2.4]))})
    pairs = frame({"0": ("", 0.1)}, is_foil=True)
    for marked, hit in ((["dog,", "big"], 1), (["Dog", "BIG."], 1), (["big", "dog"], 0)):
        results = PROTOCOLS["hat"](words, pairs.assign(hallucinated=[marked]), epsilon=-0.5)
        assert pick(results, "LA")["value"] == hit
    assert pick(results, "LA whole words")["value"] == 1


def test_hat_precision_takes_the_hallucinated_for_the_positive_class_and_negates():
    words, pairs = hat_case()
    pairs["ref_clip_score"] = [0.1, 0.3, 0.2, 0.5, 0.6, 0.4]
    results = PROTOCOLS["hat"](words, pairs, epsilon=-0.5)
    positive = pairs["is_foil"]
    for scorer, score in {
        "CLIPScore": pairs["cosine"],
        "RefCLIPScore": pairs["ref_clip_score"],
        "F-CLIPScore": f_clip_scores(words, pairs, "paper", -0.5),
        "F-CLIPScore public_segment": f_clip_scores(words, pairs, "segment", -0.5),
    }.items():
        found = pick(results, "AP", scorer)
        assert found["value"] == pytest.approx(average_precision_score(positive, -score))
        assert found["value"] != pytest.approx(average_precision_score(~positive, score))
        assert found["chance"] == pytest.approx(4 / 6)


SEETRUE = {
    # caption, attributions, caption_misalignment, cosine, source
    "0": ("a blue shirt , red hat", [0, -2, -1, -9, -3, 0], "Blue Shirt", 0.2, "coco"),
    "1": ("two cats", [0, 0], "cats", 0.2, "coco"),
    "2": ("a cat on a mat .", [-1, 0, 0, 0, -2, -3], "a cat", 0.2, "drawbench"),
}


def seetrue_case():
    words = words_of({i: (row[0], np.array(row[1], float)) for i, row in SEETRUE.items()})
    pairs = frame({i: (row[0], row[3]) for i, row in SEETRUE.items()})
    pairs["caption_misalignment"] = [row[2] for row in SEETRUE.values()]
    return words, pairs.assign(group=[row[4] for row in SEETRUE.values()])


def test_seetrue_asks_the_judge_what_the_protocol_says():
    asked = []

    def judge(premises, hypotheses):
        asked.append((premises, hypotheses))
        return np.array([len(text) / 100 for text in hypotheses])

    words, pairs = seetrue_case()
    pairs.loc[3] = {"pair_id": "record 3", "error": "record 3: no field 'image_name'"}
    results = PROTOCOLS["seetrue"](words, pairs, epsilon=-0.5, nli=judge)
    premises = ["blue shirt", "cats", "a cat"]
    assert asked[0] == (premises, ["blue shirt red", "", "a, mat"])
    assert asked[1] == (premises, [row[0] for row in SEETRUE.values()])
    assert all(
        text in row[0].split() and text.isalpha()
        for text, row in zip(asked[2][1], SEETRUE.values(), strict=True)
    )
    found = pick(results, "NLI")
    assert found["value"] == pytest.approx((14 + 0 + 6) / 300) and found["n"] == 3
    assert found["n_errors"] == 1
    assert found["chance"] == pick(results, "NLI", "random word")["value"]
    assert pick(results, "NLI", "whole caption")["value"] == pytest.approx((22 + 8 + 16) / 300)
    assert pick(results, "NLI", group="drawbench")["value"] == pytest.approx(0.06)


def test_seetrue_without_a_judge_still_compares_words():
    results = PROTOCOLS["seetrue"](*seetrue_case(), epsilon=-0.5)
    found = pick(results, "NLI")
    assert np.isnan(found["value"]) and "load_nli" in found["note"]
    # found blue shirt red | - | a mat; wanted blue shirt | cats | a cat
    assert pick(results, "precision")["value"] == 3 / 5
    assert pick(results, "recall")["value"] == 3 / 5
    assert pick(results, "F1")["value"] == 3 / 5
    every = pick(results, "precision", "whole caption")  # 5 + 2 + 5 words, 2 + 1 + 2 wanted
    assert every["value"] == every["chance"] == 5 / 12
    assert pick(results, "recall", "whole caption")["value"] == 1
    assert pick(results, "recall")["chance"] == pytest.approx(5 / 12)
    assert pick(results, "F1")["chance"] == pytest.approx(5 / 12)


def rich_case(n=80, seed=0, rule="rich_hf"):
    rng = np.random.default_rng(seed)
    texts = ["a cat!, two:dogs on grass", "red hat. a man; a dog", "one bird"]
    captions = {str(i): texts[i % 3] for i in range(n)}
    words = words_of(
        {
            i: (text, rng.normal(0, 1e-5, len(split_words(text, rule))))
            for i, text in captions.items()
        },
        rule,
    )
    pairs = frame({i: (text, rng.uniform(0.1, 0.4)) for i, text in captions.items()}, group="")
    pairs["tokens"] = [tokens_of(text) for text in captions.values()]
    pairs["labels"] = [list(rng.random(len(t)) < 0.7) for t in pairs["tokens"]]
    pairs["truncated_labels"] = pairs.index < 3
    return words, pairs.assign(score=np.round(rng.random(n), 1))


def test_rich_hf_is_micro_averaged_on_the_ground_truths_tokens():
    words, pairs = rich_case()
    results = PROTOCOLS["rich-hf"](words, pairs)
    wrong = ~np.concatenate(pairs["labels"].tolist())
    low = (words["attribution"] < -1e-5).to_numpy()
    expected = precision_recall_fscore_support(wrong, low, average="binary", pos_label=True)[:3]
    for measure, value in zip(("precision", "recall", "F1"), expected, strict=True):
        found = pick(results, measure)
        assert found["value"] == pytest.approx(value) and found["n"] == 80
        assert found["low"] < value < found["high"]
    assert pick(results, "precision")["chance"] == pytest.approx(wrong.mean())
    assert pick(results, "recall")["chance"] == pytest.approx(low.mean())
    assert pick(results, "precision", "every token")["value"] == pytest.approx(wrong.mean())
    assert pick(results, "recall", "every token")["value"] == 1
    assert "3 captions with labels cut" in found["note"]
    assert f"{wrong.sum()} of {len(wrong)} tokens" in found["note"]


def test_rich_hf_correlations_are_scipys():
    words, pairs = rich_case()
    results = PROTOCOLS["rich-hf"](words, pairs, epsilon=-5e-6)
    for scorer, score in {
        "CLIPScore": pairs["cosine"],
        "F-CLIPScore": f_clip_scores(words, pairs, "paper", -5e-6),
        "F-CLIPScore public_threshold": f_clip_scores(words, pairs, "threshold", -5e-6),
    }.items():
        for measure, function in (("Pearson", stats.pearsonr), ("Spearman", stats.spearmanr)):
            found = pick(results, measure, scorer)
            assert found["value"] == pytest.approx(function(score, pairs["score"]).statistic)
            assert found["low"] < found["value"] < found["high"] and found["chance"] == 0


def test_rich_hf_by_public_index_words_needs_public_words():
    words, pairs = rich_case(3, rule="clip4dm")
    words["attribution"] = -1.0
    pairs["labels"] = [[False] * len(t) for t in pairs["tokens"]]
    public = PROTOCOLS["rich-hf"](words, pairs, public=True)
    # a | cat! two:dogs on grass -> only 0_a; red hat a man; a dog -> not 3_man;; one bird
    assert pick(public, "recall", "public_index_words")["value"] == pytest.approx((1 + 5 + 2) / 14)
    assert pick(public, "recall")["value"] == pytest.approx(13 / 14)  # "dogs" starts no word
    words, pairs = rich_case(3)
    missing = PROTOCOLS["rich-hf"](words, pairs, public=True)
    assert "alignment public_words" in pick(missing, "F1", "public_index_words")["note"]
    assert "public_index_words" not in set(PROTOCOLS["rich-hf"](words, pairs)["scorer"])


def test_a_rich_hf_row_whose_tokens_do_not_fit_is_counted_as_an_error():
    words, pairs = rich_case(12)
    pairs.at[4, "tokens"] = ["somewhere", "else"]
    results = PROTOCOLS["rich-hf"](words, pairs)
    assert pick(results, "F1")["n_errors"] == 1 and pick(results, "F1")["n"] == 11


@pytest.mark.parametrize("name", PROTOCOLS)
def test_without_a_usable_pair_there_are_results_without_values(name):
    case = {"hat": hat_case, "seetrue": seetrue_case, "rich-hf": rich_case}.get(name, foil_case)
    words, pairs = case()
    results = PROTOCOLS[name](words, pairs.assign(error="cannot read the image", cosine=np.nan))
    assert len(results) and results["value"].isna().all() and (results["n"] == 0).all()
    assert (results["n_errors"][results["group"] == "all"] == len(pairs)).all()


def flat(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A words frame that says the same of every word, and the pairs with a cosine for each."""
    texts = zip(pairs["pair_id"], pairs["caption"], strict=True)
    words = words_of({i: (text, np.zeros(len(split_words(text)))) for i, text in texts})
    return words, pairs.assign(cosine=0.2)


@needs_data
def test_nocaps_foil_has_the_published_ceiling_and_chance():
    words, pairs = flat(load_benchmark("nocaps-foil", Path(DATA, "aloha", "nocaps-val-foil.json")))
    results = PROTOCOLS["nocaps-foil"](words, pairs)
    found = pick(results, "LA")
    assert found["n"] == 2500 and found["ceiling"] == 0.886
    assert found["chance"] == pytest.approx(0.078, abs=5e-4)
    for group, ceiling in (("in-domain", 0.841), ("near-domain", 0.883), ("out-domain", 0.907)):
        assert pick(results, "LA", group=group)["ceiling"] == pytest.approx(ceiling, abs=5e-4)
    assert pick(results, "AP", "CLIPScore")["chance"] == 0.5
    assert pick(results, "AP", "CLIPScore")["value"] == 0.5  # all tied


@needs_data
def test_hat_has_the_published_chance():
    words, pairs = flat(load_benchmark("hat", Path(DATA, "aloha", "hat-trainval.json")))
    results = PROTOCOLS["hat"](words, pairs)
    found = pick(results, "LA")
    assert found["n"] == 135 and found["ceiling"] == 1 and found["value"] == 0
    assert found["chance"] == pytest.approx(0.250, abs=5e-4)
    assert pick(results, "LA whole words")["chance"] < found["chance"]
    assert pick(results, "AP", "F-CLIPScore")["chance"] == 0.3375


@needs_data
def test_seetrue_has_four_sources():
    words, pairs = flat(load_benchmark("seetrue", Path(DATA, "seetrue")))
    results = PROTOCOLS["seetrue"](words, pairs)
    assert len(pairs) == 2008  # of some images there are several captions: they are one unit
    assert pick(results, "F1", "whole caption")["n"] == pairs["image"].nunique() == 1996
    assert set(results["group"]) == {"all", "cococon", "pickapicon", "drawbench", "coco_t2i"}
