"""Scores of choices, retrieval and similarity, and the benchmarks' accuracies made of them."""

from math import comb

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image
from scipy import stats

from clip_attribution import load_clip
from clip_attribution.datasets import (
    aro,
    comvg,
    get_benchmark,
    retrieval,
    sts,
    sugarcrepe,
    svo_probes,
    valse,
    vl_checklist,
    winoground,
)
from clip_attribution.datasets.accuracies import (
    correlation_table,
    nested_weights,
    recall_table,
    rule_notes,
    winoground_correct,
)
from clip_attribution.datasets.choices import choice, choice_frame
from clip_attribution.errors import UserError
from clip_attribution.evaluation.composition import (
    is_correct,
    measure,
    retrieval_ranks,
    retrieval_scores,
    score_choices,
    sts_scores,
    summarise,
)

CONFIG = tiny.config()

RELATION, ATTRIBUTE = (get_benchmark(f"aro-{task}") for task in ("relation", "attribute"))


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=CONFIG, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(4):
        noise = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def choices(rows):
    """A choice frame of (images, captions, truth, kind, group, crop) tuples."""
    names = ("images", "captions", "truth", "kind", "group", "crop")
    return choice_frame(rows, lambda n, row: [choice(n, **dict(zip(names, row, strict=False)))])


def scored(groups_and_hits, options=2, units=None):
    """What `score_choices` gives, with the hits as they are told: [(group, [1, 0, ...])]."""
    rows = [(group, float(hit)) for group, hits in groups_and_hits for hit in hits]
    units = units or range(len(rows))
    return pd.DataFrame(
        [
            {
                "case_id": str(i),
                "images": [str(unit)],
                "captions": ["x"] * options,
                "group": group,
                "correct": hit,
                "error": None,
            }
            for i, ((group, hit), unit) in enumerate(zip(rows, units, strict=True))
        ]
    )


def value(table, name, group="all", column="value"):
    (found,) = table[(table["measure"] == name) & (table["group"] == group)][column]
    return found


# Scoring


def test_scores_are_the_cosines_of_one_picture_and_one_caption_at_a_time(clip, pictures):
    frame = choices(
        [
            (["0.png"], ["a red cup", "a blue cup"], 1, "text", "", [5, 6, 20.5, 30]),
            (["0.png"], ["a red cup", "a dog", "two dogs"], 0, "text"),
            (["1.png", "2.png"], ["a blue cup"], 0, "image"),
            (["2.png", "3.png"], ["a b", "b a"], 0, "winoground"),
        ]
    )
    result = score_choices(clip, frame, pictures, template="a photo of ", batch_size=2)
    for case in result.itertuples():
        for image, row in zip(case.images, case.scores, strict=True):
            picture = Image.open(pictures / image)
            if case.crop:
                x, y, w, h = case.crop
                picture = picture.crop((x, y, x + w, y + h))
            with torch.no_grad():
                pixels = clip.preprocess(picture)[None]
                a = clip.model.encode_image(pixels)[0].double().numpy()
                for caption, score in zip(case.captions, row, strict=True):
                    b = clip.model.encode_text(clip.tokenizer(["a photo of " + caption]))[0]
                    b = b.double().numpy()
                    assert score == pytest.approx(
                        a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5
                    )
    assert result["correct"].isin([0.0, 1.0]).all()


def test_each_distinct_picture_and_text_is_encoded_once(clip, pictures, monkeypatch):
    crops = (None, [0, 0, 9, 9], None, [0, 0, 9, 9], [1, 0, 9, 9])
    frame = choices([(["0.png"], ["x", "y"], 0, "text", "", crop) for crop in crops])
    texts, views = [], []
    encode, process = clip.encode_texts, clip.preprocess
    monkeypatch.setattr(clip, "encode_texts", lambda t: texts.extend(t) or encode(t))
    monkeypatch.setattr(clip, "preprocess", lambda image: views.append(image) or process(image))
    score_choices(clip, frame, pictures)
    assert sorted(texts) == ["x", "y"] and len(views) == 3


def test_a_picture_that_is_missing_broken_or_outside_its_box_spoils_its_own_row_only(
    clip, pictures
):
    names = ["0.png", "no.png", "broken.png", "../0.png"]
    rows = [([name], ["x", "y"], 0) for name in names]
    rows += [(["0.png"], ["x", "y"], 0, "text", "", [100, 0, 5, 5]), (["1.png"], ["", "y"], 0)]
    result = score_choices(clip, choices(rows), pictures)
    assert result["error"].isna().tolist() == [True] + 5 * [False]
    for reason, error in zip(
        ("no such file", "cannot read", "leaves the image root", "lies outside", "caption 0"),
        result["error"][1:],
        strict=True,
    ):
        assert reason in error
    assert result["correct"].isna().tolist() == [False] + 5 * [True]
    assert result["scores"].isna().tolist() == [False] + 5 * [True]


def test_a_crop_that_reaches_beyond_the_edge_is_black_there(clip, pictures):
    frame = choices([(["0.png"], ["x", "y"], 0, "text", "", [-10, 0, 58, 40])])
    wide = Image.new("RGB", (58, 40))
    wide.paste(Image.open(pictures / "0.png"), (10, 0))
    wide.save(pictures / "wide.png")
    plain = choices([(["wide.png"], ["x", "y"], 0)])
    first, second = (score_choices(clip, f, pictures)["scores"][0] for f in (frame, plain))
    assert first == second


def test_a_tie_is_wrong(clip, pictures):
    frame = choices([(["0.png"], ["same", "same"], 0), (["0.png", "0.png"], ["a"], 1, "image")])
    assert score_choices(clip, frame, pictures)["correct"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "kind, scores, truth, expected",
    [
        ("text", [[0.2, 0.3, 0.1]], 1, True),
        ("text", [[0.3, 0.3, 0.1]], 1, False),
        ("image", [[0.2], [0.1]], 0, True),
        ("image", [[0.2], [0.1]], 1, False),
        ("winoground", [[0.5, 0.4], [0.3, 0.6]], 0, True),
        ("winoground", [[0.5, 0.4], [0.5, 0.6]], 0, False),
    ],
)
def test_the_right_option_has_to_score_highest(kind, scores, truth, expected):
    assert is_correct(scores, truth, kind) is expected


@pytest.mark.parametrize(
    "scores, text, image",
    [
        ([[0.5, 0.4], [0.3, 0.6]], True, True),
        ([[0.5, 0.4], [0.7, 0.8]], True, False),  # the first caption prefers the second image
        ([[0.5, 0.6], [0.3, 0.8]], False, True),  # the first image prefers the second caption
        ([[0.5, 0.5], [0.3, 0.6]], False, True),
        ([[0.1, 0.4], [0.3, 0.2]], False, False),
    ],
)
def test_winoground_scores_text_and_image(scores, text, image):
    assert winoground_correct(scores) == (text, image)


def test_an_unusable_frame_or_batch_size_is_refused(clip):
    with pytest.raises(UserError, match="no column 'images'"):
        score_choices(clip, pd.DataFrame({"image": []}))
    with pytest.raises(UserError, match="batch_size"):
        score_choices(clip, choices([]), batch_size=0)


def test_an_empty_frame_gives_an_empty_frame(clip):
    assert len(score_choices(clip, choices([]))) == 0


# Retrieval


def test_ranks_agree_with_counting_one_by_one():
    rng = np.random.default_rng(0)
    image, text = (torch.nn.functional.normalize(torch.randn(n, 8), dim=1) for n in (11, 40))
    owner = np.concatenate([np.arange(11), rng.integers(11, size=29)])
    of_text, of_image = retrieval_ranks(image, text, owner, chunk=7)
    scores = image.double() @ text.double().T
    for t in range(40):
        assert of_text[t] == sum(scores[i, t] > scores[owner[t], t] for i in range(11))
    for i in range(11):
        best = max(scores[i, t] for t in range(40) if owner[t] == i)
        assert of_image[i] == sum(scores[i, t] > best for t in range(40) if owner[t] != i)


def test_a_distractor_that_scores_the_same_counts_as_better():
    image = torch.eye(4)[[0, 0, 1]]
    text = torch.eye(4)[[0, 0, 1]]
    of_text, of_image = retrieval_ranks(image, text, np.array([0, 1, 2]))
    assert of_text.tolist() == [1, 1, 0] and of_image.tolist() == [1, 1, 0]


def test_recall_is_the_share_of_ranks_below_k_with_the_chance_of_a_random_order():
    owner = np.array([0, 0, 1, 1, 2, 2, 3])
    table = recall_table(np.array([0, 4, 0, 1, 5, 9, 0]), np.array([0, 1, 5, 4]), owner)
    assert value(table, "T2I R@1") == pytest.approx(300 / 7)
    assert value(table, "T2I R@5") == pytest.approx(500 / 7)
    assert value(table, "I2T R@1") == 25 and value(table, "I2T R@5") == 75
    assert value(table, "T2I R@1", column="chance") == 25
    expected = 100 * np.mean([1 - comb(7 - c, 1) / 7 for c in (2, 2, 2, 1)])
    assert value(table, "I2T R@1", column="chance") == pytest.approx(expected)
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()


def test_retrieval_leaves_out_a_missing_picture_with_its_captions(clip, pictures):
    frame = pd.DataFrame(
        {
            "pair_id": range(5),
            "image": ["0.png", "0.png", "no.png", "1.png", "1.png"],
            "caption": ["a", "b c", "d", "e f", None],
            "error": [None] * 4 + ["no text"],
        }
    )
    table, pairs = retrieval_scores(clip, frame, pictures)
    assert table["n"].tolist() == [2, 2, 3, 3]
    assert pairs["rank"].isna().tolist() == [False, False, True, False, True]
    assert "no such file" in pairs["error"][2] and pairs["error"][4] == "no text"


# Similarity


def test_correlations_agree_with_scipy_and_their_intervals_hold_them():
    rng = np.random.default_rng(1)
    score = rng.integers(0, 6, 80) * 1.0
    cosine = score / 5 + rng.normal(0, 0.3, 80)
    table = correlation_table(cosine, score)
    assert value(table, "Spearman") == pytest.approx(100 * stats.spearmanr(cosine, score)[0])
    assert value(table, "Pearson") == pytest.approx(100 * stats.pearsonr(cosine, score)[0])
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    expected = stats.bootstrap(
        (cosine, score),
        lambda a, b: 100 * stats.pearsonr(a, b)[0],
        paired=True,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(0),
        vectorized=False,
    )
    found = table[table["measure"] == "Pearson"].iloc[0]
    assert found["low"] == pytest.approx(expected.confidence_interval.low, abs=2)
    assert found["high"] == pytest.approx(expected.confidence_interval.high, abs=2)


def test_similarity_is_the_cosine_of_the_two_sentences(clip):
    frame = pd.DataFrame(
        {
            "sentence1": ["a dog", "a cat", None],
            "sentence2": ["two dogs", "a cat", "x"],
            "score": [3.0, 5.0, 1.0],
            "error": [None, None, "bad"],
        }
    )
    table, result = sts_scores(clip, frame)
    a, b = clip.encode_texts(["a dog", "two dogs"])
    assert result["cosine"][0] == pytest.approx(float(a @ b), abs=1e-6)
    assert result["cosine"][1] == pytest.approx(1, abs=1e-6) and np.isnan(result["cosine"][2])
    assert table["n"].tolist() == [2, 2]
    assert np.isnan(value(table, "Pearson"))  # two pairs always correlate by 1 or -1


# Aggregates by hand


def test_aro_relation_is_a_macro_mean_over_the_relations_that_count():
    frame = scored(
        [("on", [1] * 20 + [0] * 10), ("under", [1] * 25), ("near", [0] * 24), ("beside", [0] * 40)]
    )
    table = summarise(frame, "aro-relation", exclude=["beside"])
    assert value(table, "relation accuracy") == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert value(table, "relation accuracy", column="n") == 79
    table = summarise(frame, "aro-relation")  # fewer than 25: left out
    assert value(table, "relation accuracy") == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert set(table["group"]) == {"all", "on", "under", "beside"}
    assert value(table, "accuracy", "on") == pytest.approx(200 / 3)


def test_aro_attribute_needs_25_cases_of_a_pair():
    frame = scored([("red_blue", [1] * 25), ("old_new", [0] * 24), ("wet_dry", [0] * 25)])
    assert value(summarise(frame, "aro-attribute"), "attribute accuracy") == 50
    with pytest.raises(UserError, match="no group has 99 cases"):
        summarise(frame, "aro-attribute", at_least=99)


def test_a_sample_of_aro_follows_the_rule_of_the_whole_file(tmp_path):
    whole = scored([("on", [1] * 30), ("under", [0] * 25), ("near", [1] * 24), ("by", [0] * 40)])
    options, rule = RELATION.rule(whole, tmp_path)
    assert rule == "relations with >= 25 cases; ARO's own list was not given"
    part = whole.iloc[[0, 1, 30, 60, 61]]  # two of "on", one of "under", two of "near"
    table = summarise(part, "aro-relation", **options)
    assert (
        value(table, "relation accuracy") == 50
        and value(table, "relation accuracy", column="n") == 3
    )
    assert value(table, "relation accuracy", column="missing") == "by"
    notes = rule_notes(table, rule)
    assert notes == [f"{rule}; 1 of these, counted in the whole file, have no case here", "", ""]
    same = summarise(whole, "aro-relation", **options)
    pd.testing.assert_frame_equal(same, summarise(whole, "aro-relation"))
    with pytest.raises(UserError, match="the 2 cases are of no group that counts"):
        summarise(whole.iloc[[60, 61]], "aro-relation", **options)


def test_aros_list_beside_the_data_replaces_the_count_and_is_said(tmp_path):
    whole = scored([("on", [1] * 3), ("under", [0] * 2), ("near", [1] * 24), ("by", [0] * 40)])
    (tmp_path / "excluded_relations.txt").write_text("near\nby\n")
    options, rule = RELATION.rule(whole, tmp_path / "visual_genome_relation.json")
    assert rule == "relations, less the 2 of the given list"
    assert value(summarise(whole, "aro-relation", **options), "relation accuracy") == 50
    options, rule = RELATION.rule(whole, tmp_path, exclude=["by"], at_least=3)
    assert rule == "relations with >= 3 cases, less the 1 of the given list"
    assert value(summarise(whole, "aro-relation", **options), "relation accuracy") == 100
    options, rule = ATTRIBUTE.rule(whole, tmp_path, at_least=1)
    assert rule == "attribute pairs with >= 1 case; ARO asks for 25" and "exclude" not in options
    assert ATTRIBUTE.rule(whole, tmp_path)[1] == "attribute pairs with >= 25 cases"
    with pytest.raises(UserError, match="no group outside the list"):
        summarise(whole, "aro-relation", exclude=["on", "under", "near", "by"])


def test_sugarcrepe_averages_subsets_and_not_records():
    frame = scored(
        [
            ("add_att", [1, 1, 1, 0]),
            ("replace_att", [1, 0]),
            ("swap_att", [0]),
            ("replace_rel", [1, 0, 0]),
            ("add_obj", [1]),
            ("replace_obj", [0]),
            ("swap_obj", [1]),
        ]
    )
    table = summarise(frame, "sugarcrepe")
    assert value(table, "relation accuracy") == pytest.approx(100 / 3)
    assert value(table, "attribute accuracy") == pytest.approx(100 * (0.75 + 0.5 + 0) / 3)
    assert value(table, "object accuracy") == pytest.approx(200 / 3)
    assert value(table, "attribute accuracy", column="n") == 7
    assert (table["missing"] == "").all() and (table["chance"] == 50).all()


def test_vl_checklist_nests_its_means_and_says_what_is_missing():
    sets = {
        "Relation/action/hake": [1, 0],
        "Relation/action/swig": [1],
        "Relation/action/vg": [0],
        "Relation/spatial/vg": [1, 1, 1, 0],
    }
    hits = {"action": (1, 1), "color": (1, 0), "material": (0, 0), "size": (1, 1), "state": (0, 1)}
    for aspect, (vaw, vg) in hits.items():
        sets |= {f"Attribute/{aspect}/vaw": [vaw], f"Attribute/{aspect}/vg": [vg]}
    table = summarise(scored(sets.items()), "vl-checklist")
    assert value(table, "relation accuracy") == pytest.approx(100 * (0.5 + 0.75) / 2)
    assert value(table, "attribute accuracy") == pytest.approx(100 * (1 + 0.5 + 0 + 1 + 0.5) / 5)
    del sets["Relation/action/hake"], sets["Relation/action/swig"], sets["Attribute/color/vaw"]
    table = summarise(scored(sets.items()), "vl-checklist")
    assert value(table, "relation accuracy") == pytest.approx(100 * (0 + 0.75) / 2)
    assert value(table, "attribute accuracy") == pytest.approx(100 * (1 + 0 + 0 + 1 + 0.5) / 5)
    expected = "Relation/action/hake, Relation/action/swig"
    assert value(table, "relation accuracy", column="missing") == expected


def test_valse_is_a_plain_mean_or_a_nested_one():
    frame = scored(
        [("actant-swap", [1, 0]), ("action-replacement", [1]), ("relations", [0]), ("plurals", [1])]
    )
    assert value(summarise(frame, "valse"), "relation accuracy") == pytest.approx(50)
    nested = summarise(frame, "valse", nested=True)
    assert value(nested, "relation accuracy") == pytest.approx(100 * 0.75 / 2)
    assert value(nested, "accuracy", "plurals") == 100


def test_pooled_benchmarks_count_every_decision_once():
    frame = scored([("verb", [1, 0, 0]), ("object", [1])])
    for name in ("svo-probes", "comvg"):
        table = summarise(frame, name)
        assert value(table, "relation accuracy") == 50
        assert value(table, "accuracy", "verb") == pytest.approx(100 / 3)


def test_the_chance_of_an_order_task_follows_the_number_of_options():
    frame = pd.concat([scored([("", [1, 0, 0])], options=5), scored([("", [1])], options=4)])
    table = summarise(frame.reset_index(drop=True), "coco-order")
    assert value(table, "order accuracy") == 50
    assert value(table, "order accuracy", column="chance") == pytest.approx(100 * (0.6 + 0.25) / 4)


def wino(scores, group="Object", tags=(), case=0):
    return {"case_id": str(case), "scores": scores, "group": group, "tags": tags, "error": None}


def test_winoground_gives_three_scores_for_all_groups_and_the_clean_cases():
    both, text = [[0.5, 0.4], [0.3, 0.6]], [[0.5, 0.4], [0.7, 0.8]]
    frame = pd.DataFrame(
        [
            wino(both, case=1),
            wino(text, "Relation", case=313),
            wino(text, tags=("Unusual Text",)),
            wino([[0, 1], [1, 0]], case=5),
            wino(None) | {"error": "no image", "tags": None},
        ]
    )
    table = summarise(frame, "winoground")
    assert [value(table, m) for m in ("text", "image", "group")] == [75, 25, 25]
    assert value(table, "text", "Object") == pytest.approx(200 / 3)
    assert value(table, "text", "clean") == pytest.approx(200 / 3)
    assert value(table, "text", "clean without 313") == 50
    assert value(table, "group", column="chance") == pytest.approx(16.7, abs=0.04)
    assert "clean" not in set(summarise(frame.assign(tags=None), "winoground")["group"])


def test_independent_scores_reach_the_chance_levels_of_winoground():
    scores = np.random.default_rng(0).normal(size=(4000, 2, 2))
    table = summarise(pd.DataFrame([wino(s, case=i) for i, s in enumerate(scores)]), "winoground")
    for row in table[table["group"] == "all"].itertuples():
        assert row.low <= row.chance <= row.high


def test_rows_with_an_error_take_no_part():
    frame = scored([("replace_rel", [1, 0, 0])])
    frame.loc[1:, "error"] = "no image"
    frame.loc[1:, "correct"] = np.nan
    table = summarise(frame, "sugarcrepe")
    assert value(table, "relation accuracy") == 100
    assert value(table, "relation accuracy", column="n") == 1
    frame["error"] = "no image"
    assert len(summarise(frame, "sugarcrepe")) == 0


def test_decisions_about_one_picture_are_drawn_together():
    hits = [1] * 30 + [0] * 30
    alone = summarise(scored([("x", hits)]), "comvg").iloc[0]
    together = summarise(scored([("x", hits)], units=[i // 10 for i in range(60)]), "comvg").iloc[0]
    assert alone["value"] == together["value"] == 50
    ratio = (together["high"] - together["low"]) / (alone["high"] - alone["low"])
    assert ratio == pytest.approx(np.sqrt(10), rel=0.25)


def test_the_interval_of_one_group_is_the_bootstrap_of_its_mean():
    hits = np.random.default_rng(2).random(200) < 0.7
    row = summarise(scored([("x", hits)]), "comvg").iloc[0]
    spread = 1.96 * 100 * np.sqrt(hits.mean() * (1 - hits.mean()) / 200)
    assert row["high"] - row["value"] == pytest.approx(spread, rel=0.15)
    assert row["value"] - row["low"] == pytest.approx(spread, rel=0.15)


def test_weights_of_a_nested_mean_add_up_to_one():
    weights = nested_weights([["a", "b", ["c", "d"]], "e"], {"a", "d", "e"})
    assert weights == {"a": 0.25, "d": 0.25, "e": 0.5}
    assert nested_weights([["a"]], set()) == {}


def test_an_unknown_benchmark_is_a_one_line_error():
    with pytest.raises(UserError, match="unknown benchmark 'arro'"):
        summarise(scored([("x", [1])]), "arro")


# The exports, through models


LOADERS = {
    "aro-relation": aro.load,
    "aro-attribute": lambda p, i: aro.load(p, i, "attribute"),
    "sugarcrepe": sugarcrepe.load,
    "vl-checklist": vl_checklist.load,
    "valse": valse.load,
    "svo-probes": svo_probes.load,
    "comvg": comvg.load,
    "winoground": winoground.load,
    "coco-retrieval": retrieval.load,
    "sts-b": sts.load,
}
OPTIONS = {"aro-relation": {"at_least": 1}, "aro-attribute": {"at_least": 1}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that gives (frame, folder) of a benchmark's export of n records."""
    root = tmp_path_factory.mktemp("exports")

    def load(name, n):
        folder = root / f"{name}-{n}"
        if not folder.exists():
            folder.mkdir()
            get_benchmark(name).write(folder, n, 0, 64)
        return LOADERS[name](folder, folder), folder

    return load


CHANCE = {  # benchmark: (n, what to look at); both options are made in the same way
    "aro-relation": (120, [("relation accuracy", "all")]),
    "aro-attribute": (120, [("attribute accuracy", "all")]),
    "sugarcrepe": (
        140,
        [
            ("relation accuracy", "all"),
            ("accuracy", "replace_att"),
            ("accuracy", "swap_att"),
            ("accuracy", "swap_obj"),
        ],
    ),
    "vl-checklist": (160, [("relation accuracy", "all"), ("attribute accuracy", "all")]),
    "valse": (132, [("relation accuracy", "all")]),
    "svo-probes": (60, [("relation accuracy", "all")]),
    "coco-retrieval": (
        60,
        [("I2T R@1", "all"), ("I2T R@5", "all"), ("T2I R@1", "all"), ("T2I R@5", "all")],
    ),
}


@pytest.mark.parametrize("name", CHANCE)
def test_random_weights_score_at_chance_within_the_interval(name, exported, clip):
    """Not so where one option is longer (SugarCrepe's add_*): a random model may prefer that."""
    n, looked_at = CHANCE[name]
    frame, folder = exported(name, n)
    table, _ = measure(clip, name, frame, folder, options=OPTIONS.get(name))
    for one, group in looked_at:
        low, chance, high = (value(table, one, group, c) for c in ("low", "chance", "high"))
        assert low <= chance <= high, (one, group)


def test_random_weights_differ_at_random_in_what_they_prefer(exported):
    """Where one option is longer, models are off chance, but to either side."""
    frame, folder = exported("sugarcrepe", 140)
    longer = frame[frame["group"] == "add_att"]
    found = []
    for seed in range(6):
        model = load_clip("r", model_config=CONFIG, device="cpu", seed=seed)
        found.append(score_choices(model, longer, folder)["correct"].mean())
    assert min(found) < 0.5 < max(found) and np.ptp(found) > 0.4


def test_random_weights_stay_below_the_chance_of_winoground(exported, clip):
    """All images get nearly the same feature, so that both prefer the same caption."""
    frame, folder = exported("winoground", 60)
    table, _ = measure(clip, "winoground", frame, folder)
    assert value(table, "text", column="high") < 25 and value(table, "group") <= 5


def test_the_embedded_model_knows_things_and_colours_and_not_their_order(exported):
    """The options are the right way round: what the model was trained on, it chooses."""
    clip = load_clip(device="cpu")
    frame, folder = exported("sugarcrepe", 70)
    table, _ = measure(clip, "sugarcrepe", frame, folder)
    for part in ("replace_obj", "replace_att", "add_obj"):
        assert value(table, "accuracy", part) >= 80
    low, high = (value(table, "relation accuracy", column=c) for c in ("low", "high"))
    assert low <= 50 <= high
    frame, folder = exported("svo-probes", 60)
    table, _ = measure(clip, "svo-probes", frame, folder)
    assert value(table, "accuracy", "subject") >= 80 and value(table, "accuracy", "object") >= 80
    frame, folder = exported("coco-retrieval", 40)
    table, _ = measure(clip, "coco-retrieval", frame, folder)
    assert value(table, "I2T R@1") > 80 and value(table, "T2I R@1") > 80
    frame, folder = exported("sts-b", 40)
    table, _ = measure(clip, "sts-b", frame, folder)
    assert value(table, "Spearman", column="low") > 20
