"""Roles of words, what they are given, and what the notebook says of it."""

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from clip_attribution import load_clip
from clip_attribution.errors import UserError
from clip_attribution.metrics.intervals import mean_estimate
from clip_attribution.scenes import scene_pairs
from clip_attribution.studies.roles.captions import foil_loses, load_captions, world_concepts
from clip_attribution.studies.roles.cases import (
    case,
    ingredient_table,
    ingredients,
    own_and_others,
    typical,
)
from clip_attribution.studies.roles.figures import (
    case_figure,
    ingredient_histograms,
    ratio_panels,
    role_boxes,
)
from clip_attribution.studies.roles.findings import (
    finding_deficiency,
    finding_entropy,
    finding_parser,
    finding_ratio,
    finding_roles,
    published_means,
    published_ratio,
)
from clip_attribution.studies.roles.measures import (
    attribute_roles,
    caption_means,
    chosen,
    completeness,
    gap_table,
    normalised,
    paired_effect,
    quick,
    ratio_curve,
    ratio_halves,
    ratios,
    role_agreement,
    role_table,
    roles_of,
)
from clip_attribution.text.roles import Concept, parse_captions

CONFIG = tiny.config()


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=CONFIG, device="cpu")


@pytest.fixture(scope="module")
def measured(clip):
    """(pairs, tokens, noted) of a few captions by all methods of CAE."""
    pairs = load_captions("scenes", n=8, seed=3)
    names = ["attention", "cae_gradcam", "perturbation", "gradient"]
    return pairs, *attribute_roles(clip, pairs, names)


def word(text, start, role):
    return {"text": text, "start": start, "end": start + len(text), "role": role}


def tokens_of(*rows, method="attention"):
    """Tokens from (pair_id, role, attribution)."""
    frame = pd.DataFrame(rows, columns=["pair_id", "role", "attribution"])
    return frame.assign(method=method)


def means_of(objects, relations, method="attention"):
    """Caption means with these objects and relations, attributes as the relations."""
    frame = pd.DataFrame({"object": objects, "relation": relations}, dtype=float)
    same = dict.fromkeys(("attribute", "composition", "other"), frame["relation"])
    return frame.assign(**same, total=1.0, method=method, pair_id=range(len(frame)))


# ---------------------------------------------------------------- roles


def test_neighbouring_relation_words_are_one_concept():
    caption = "a dog to the left of a cat"
    words = [
        word("a", 0, None),
        word("dog", 2, "object"),
        word("to", 6, "relation"),
        word("the", 9, "relation"),
        word("left", 13, "relation"),
        word("of", 18, "relation"),
        word("a", 21, None),
        word("cat", 23, "object"),
    ]
    assert world_concepts(caption, words) == [
        Concept("object", "dog", 2, 5),
        Concept("relation", "to the left of", 6, 20),
        Concept("object", "cat", 23, 26),
    ]


def test_a_token_has_the_role_of_the_concept_in_which_it_starts():
    concepts = pd.Series({7: [Concept("object", "snowman", 2, 9)], 8: []})
    tokens = pd.DataFrame({"pair_id": [7, 7, 7, 8], "start": [0, 2, 6, 2]})
    assert roles_of(tokens, concepts) == ["", "object", "object", ""]
    assert roles_of(tokens.head(0), concepts) == []


def test_captions_of_the_world_come_with_foil_and_concepts_that_cover_its_words():
    pairs = load_captions("scenes", n=20, seed=4)
    assert len(pairs) == 20 and not pairs["foil"].isna().any()
    for row in pairs.itertuples():
        assert row.caption != row.foil and len(row.caption.split()) >= 5
        covered = {
            w["start"]
            for w in row.words
            for c in row.concepts
            if c.start <= w["start"] < c.end and c.role == w["role"]
        }
        assert covered == {w["start"] for w in row.words if w["role"]}
        assert all(row.caption[c.start : c.end] == c.text for c in row.concepts)


def test_a_table_of_ones_own_is_parsed_and_a_bad_row_touches_no_other(clip, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    table = tmp_path / "own.jsonl"
    table.write_text(
        '{"image": "a.png", "caption": "a red dog on a car", "foil": "a red car on a dog"}\n'
        '{"image": "a.png", "caption": null, "foil": "x"}\n'
        '{"image": "no.png", "caption": "a cat under a tree", "foil": "a tree under a cat"}\n'
        '{"image": "a.png", "caption": "a big cat under a tree", "foil": ""}\n'
    )
    pairs = load_captions("pairs", str(table), n=10)
    assert [c.text for c in pairs["concepts"][0]] == ["dog", "car", "red", "on"]
    assert pairs["concepts"][1] == [] and pairs["foil"][3] is None
    tokens, noted = attribute_roles(clip, pairs, ["attention", "perturbation"], tmp_path)
    for frame in noted.values():
        assert frame["error"].notna().tolist() == [False, True, True, False]
    assert set(tokens["pair_id"]) == {pairs["pair_id"][0], pairs["pair_id"][3]}
    assert foil_loses(clip, pairs, tmp_path).index.tolist() == [pairs["pair_id"][0]]


def test_unusable_arguments_are_one_line():
    for call in (
        lambda: load_captions("coco"),
        lambda: load_captions("pairs"),
        lambda: chosen("nonsense"),
        lambda: chosen(" "),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_where_no_caption_can_be_attributed_the_reason_is_said(clip):
    pairs = pd.DataFrame(
        {"pair_id": [0], "image": ["none.png"], "caption": ["a dog"], "concepts": [[]]}
    )
    with pytest.raises(UserError, match="not one of 1 captions has a value by attention: "):
        attribute_roles(clip, pairs, ["attention"])


def test_all_means_five_methods_and_quick_leaves_out_the_slow():
    assert chosen("all") == [
        "attention",
        "cae_gradcam",
        "perturbation",
        "gradient",
        "integrated_gradients",
    ]
    assert chosen("gae clip4dm gae") == ["gae", "clip4dm"]
    assert quick(chosen("all")) == ["attention", "cae_gradcam", "gradient"]
    assert quick(["perturbation"]) == ["perturbation"]


# ---------------------------------------------------------------- means and gaps


def test_means_of_a_caption_by_hand():
    tokens = tokens_of(
        (1, "object", 4.0),
        (1, "object", 2.0),
        (1, "relation", -1.0),
        (1, "attribute", 1.0),
        (1, "attribute", 3.0),
        (1, "", 0.5),
        (1, "relation", np.nan),
    )
    (row,) = caption_means(tokens).to_dict("records")
    assert (row["object"], row["relation"], row["attribute"]) == (3, -1, 2)
    assert row["composition"] == 1 and row["other"] == 0.5 and row["total"] == 11.5
    (share,) = normalised(caption_means(tokens)).to_dict("records")
    assert share["object"] == pytest.approx(3 / 11.5) and share["total"] == 1


def test_a_role_that_a_caption_lacks_is_missing_and_not_zero():
    means = caption_means(tokens_of((1, "object", 4.0), (2, "relation", 1.0), (2, "object", 2.0)))
    table = role_table(means).set_index("role")
    assert table.loc["relation", "n"] == 1 and table.loc["object", "n"] == 2
    assert gap_table(means).set_index("role").loc["relation", "n"] == 1


def test_the_gap_is_paired_and_agrees_with_a_slow_bootstrap():
    rng = np.random.default_rng(0)
    relation = rng.normal(0, 5, 40)
    means = means_of(relation + rng.normal(0.5, 1, 40), relation)
    row = gap_table(means).set_index("role").loc["relation"]
    gap = (means["object"] - means["relation"]).to_numpy()
    assert row["value"] == pytest.approx(gap.mean()) and row["share"] == np.mean(gap > 0)
    assert row["d"] == pytest.approx(gap.mean() / gap.std(ddof=1))
    drawn = [rng.choice(gap, 40) for _ in range(4000)]
    sizes = [one.mean() / one.std(ddof=1) for one in drawn]
    ends = np.percentile(sizes, [2.5, 97.5])
    assert [row["d_low"], row["d_high"]] == pytest.approx(ends, abs=0.06)
    ends = np.percentile([one.mean() for one in drawn], [2.5, 97.5])
    assert [row["low"], row["high"]] == pytest.approx(ends, abs=0.06)


def test_a_deficiency_is_claimed_only_where_the_interval_lies_above_zero():
    clear, none = means_of([2, 3, 2.5, 2.2], [1, 1, 1, 1]), means_of([2, 0, 2, 0], [1, 1, 1, 1.0])
    less = means_of([0, 0.1, 0, 0.2], [1, 1, 1, 1])
    frame = pd.concat([clear, none.assign(method="cae_gradcam"), less.assign(method="gradient")])
    gaps = gap_table(frame)
    assert dict(zip(gaps["method"], gaps["deficient"], strict=True)) == {
        "attention": True,
        "cae_gradcam": False,
        "gradient": False,
    }
    said = finding_roles(gaps)
    assert "Relation words: less than objects by attention; more by gradient; no clear" in said
    lines = finding_deficiency(role_table(frame), gaps).split("\n")
    assert [line.split(": ")[-1] for line in lines] == [
        "the deficiency holds.",
        "no difference can be told.",
        "the reverse holds.",
    ]


def test_an_effect_without_spread_is_missing():
    assert np.isnan(paired_effect(np.ones(5))).all() and np.isnan(paired_effect(np.ones(1))).all()


# ---------------------------------------------------------------- the parser


def test_agreement_counts_words_by_hand():
    words = [
        word("red", 2, "attribute"),
        word("dog", 6, "object"),
        word("on", 10, "relation"),
        word("a", 13, None),
    ]
    pairs = pd.DataFrame({"words": [words]})
    found = [[Concept("object", "red dog", 2, 9), Concept("relation", "a", 13, 14)]]
    table = role_agreement(pairs, found).set_index(["role", "measure"])["value"]
    assert table["object", "precision"] == 0.5 and table["object", "recall"] == 1
    assert table["object", "F1"] == pytest.approx(2 / 3)
    assert table["relation", "precision"] == 0 and table["relation", "recall"] == 0
    assert np.isnan(table["attribute", "precision"]) and table["attribute", "recall"] == 0
    assert table["all roles", "precision"] == pytest.approx(1 / 3)
    unknown = role_agreement(pairs.drop(columns="words"), found)
    assert unknown.empty and "No truth" in finding_parser(unknown, "spaCy")


def test_the_parser_agrees_with_the_world_within_a_narrow_interval():
    pairs = scene_pairs(60, 5, None)
    table = role_agreement(pairs, parse_captions(pairs["caption"].tolist(), numerals=True))
    whole = table[table["role"] == "all roles"].set_index("measure")
    assert (whole["low"] > 0.9).all() and (whole["low"] <= whole["value"]).all()
    assert whole["n"].iloc[0] == sum(w["role"] is not None for ws in pairs["words"] for w in ws)


# ---------------------------------------------------------------- accuracy against the ratio


def test_the_ratio_needs_a_positive_share_of_objects_and_a_foil():
    means = means_of([1, 0, -1, 2], [0.5, 1, 1, 1])
    data = ratios(means, pd.Series({0: 1.0, 1: 1.0, 2: 1.0}))
    assert data[["pair_id", "ratio", "correct"]].to_numpy().tolist() == [[0, 0.5, 1]]


def test_the_curve_is_the_accuracy_up_to_each_ratio():
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {
            "method": "attention",
            "pair_id": range(140),
            "ratio": rng.random(140),
            "correct": rng.random(140) < 0.4,
        }
    )
    curve = ratio_curve(data)
    assert curve["n"].min() == 100 and curve["n"].max() == 140
    for row in curve.itertuples():
        below = data[data["ratio"] <= row.ratio]
        assert len(below) == row.n and row.accuracy == pytest.approx(below["correct"].mean())
        assert row.low <= row.accuracy <= row.high
    assert ratio_curve(data.head(99)).empty and ratio_curve(data.head(0)).empty


def test_halves_find_a_difference_only_where_there_is_one():
    ratio = np.linspace(0, 1, 100)
    data = pd.DataFrame({"method": "cae_gradcam", "pair_id": range(100), "ratio": ratio})
    (clear,) = ratio_halves(data.assign(correct=ratio > 0.4)).to_dict("records")
    assert clear["above"] == 1 and clear["below"] == pytest.approx(0.2) and clear["low"] > 0.6
    (flat,) = ratio_halves(data.assign(correct=np.arange(100) % 2)).to_dict("records")
    assert flat["value"] == 0 and flat["low"] < 0 < flat["high"]


# ---------------------------------------------------------------- ingredients and the case


def test_own_and_other_words_by_hand():
    cosines = np.array([[0.8, 0.2, 0.4], [0.1, 0.5, 0.3]])
    found = own_and_others(cosines, [["a", "b"], []], ["a", "b", "c"])
    assert found["own"][0] == pytest.approx(0.5) and found["others"][0] == pytest.approx(0.4)
    assert found.loc[1].isna().all()


def test_ingredients_are_cosines_of_features(clip):
    pairs = load_captions("scenes", n=6, seed=3)
    data = ingredients(clip, pairs, batch_size=5)
    row = data[data["role"] == "object"].iloc[2]
    texts = sorted({c.text.lower() for c in pairs["concepts"][2] if c.role == "object"})
    slow = clip.encode_texts([pairs["caption"][2]]) @ clip.encode_texts(texts).T
    assert row["pair_id"] == pairs["pair_id"][2]
    assert row["own"] == pytest.approx(float(slow.mean()), abs=1e-5)
    table = ingredient_table(data)
    assert set(table["measure"]) == {"own", "others", "difference"}
    with pytest.raises(UserError, match="no caption has an object"):
        ingredients(clip, pairs.assign(concepts=[[] for _ in range(6)]))


def test_the_typical_caption_is_the_median_one():
    means = means_of([1, 5, 3], [0, 0, 0])
    assert typical(means, "attention") == 2
    with pytest.raises(UserError, match="at once"):
        typical(means.assign(attribute=np.nan), "attention")


# ---------------------------------------------------------------- all together


def test_every_method_gives_each_concept_a_value(measured):
    pairs, tokens, noted = measured
    roles = tokens[tokens["role"] != ""]
    assert roles["attribution"].notna().all() and set(noted) == set(tokens["method"])
    others = tokens[(tokens["role"] == "") & (tokens["method"] == "perturbation")]
    assert others["attribution"].isna().all()
    counts = tokens.groupby("method").size()
    assert counts.nunique() == 1 and len(caption_means(tokens)) == 4 * len(pairs)
    assert "mean entropy" in finding_entropy(noted)


def test_figures_show_every_method_and_role(clip, measured):
    pairs, tokens, _ = measured
    means = caption_means(tokens)
    boxes = role_boxes(means, normalised(means))
    assert len(boxes.axes) == 8
    near = ingredients(clip, pairs)
    assert len(ingredient_histograms(near).axes) == 3
    one = case(clip, pairs, tokens, typical(means, "attention"))
    figure = case_figure(one)
    assert len(one.maps) == 3 and len(figure.axes) == 4 + 4
    data = ratios(means, foil_loses(clip, pairs))
    curve = ratio_curve(data, least=4)
    assert len(ratio_panels(curve).axes) == curve["method"].nunique() >= 2
    assert "too few" in ratio_panels(ratio_curve(data)).texts[0].get_text()


def test_the_gap_of_integrated_gradients_is_said_beside_what_they_sum_to(clip):
    pairs = load_captions("scenes", n=4, seed=3)
    tokens, noted = attribute_roles(clip, pairs, ["integrated_gradients", "attention"])
    known = noted["integrated_gradients"].set_index("pair_id")
    sums = {
        pair: sum(own["attribution"])
        for pair, own in tokens[tokens["method"] == "integrated_gradients"].groupby("pair_id")
    }
    aims = [abs(sums[pair] - known["completeness_gap"][pair]) for pair in sums]
    gaps = [abs(gap) for gap in known["completeness_gap"]]
    said = completeness(tokens, noted)
    assert "20 steps" in said and f"sum to {np.mean(aims):.2g} on average" in said
    assert f"miss it by {np.mean(gaps):.2g} on average, {max(gaps):.2g} at most" in said
    assert "not among these methods" in completeness(tokens, {"attention": noted["attention"]})


def test_sentences_name_published_values_as_published():
    assert "Published" in published_means() and "object 0.244, relation 0.111" in published_means()
    assert "0.36 and 0.38" in published_ratio()
    assert "no foils" in finding_ratio(pd.DataFrame(), mean_estimate([]))
