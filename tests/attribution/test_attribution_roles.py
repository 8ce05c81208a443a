"""`attribute(level="role")`: means over the tokens of each role, against a slow count and CAE's."""

import numpy as np
import pandas as pd
import pytest
import spacy
import tiny

from clip_attribution import attribute, load_clip
from clip_attribution.attribution import role_level
from clip_attribution.errors import UserError
from clip_attribution.scenes import scene_pairs
from clip_attribution.studies.roles.captions import load_captions
from clip_attribution.studies.roles.measures import attribute_roles, caption_means
from clip_attribution.text.roles import ROLES, parse_captions

CONFIG = tiny.config()
NAMES = [*ROLES, "composition"]
CAPTION = "a snowman on a big red umbrella"
CONCEPTS = [
    (2, 9, "object"),
    (23, 31, "object"),
    (15, 18, "attribute"),
    (19, 22, "attribute"),
    (10, 12, "relation"),
]


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=CONFIG, device="cpu")


@pytest.fixture(scope="module")
def pairs():
    return load_captions("scenes", n=8, seed=3)


def one(*concepts, caption=CAPTION):
    return {"image": "scene:1:5", "caption": caption, "concepts": list(concepts)}


def test_the_names_of_roles_are_those_of_the_parser():
    assert role_level.ROLES == ROLES


@pytest.mark.parametrize("method", ["clip4dm", "attention", "perturbation"])
@pytest.mark.parametrize("template", ["", "A photo depicts "])
def test_means_are_those_of_a_slow_count_over_tokens(clip, pairs, method, template):
    found, done = attribute(clip, pairs, method, template=template, level="role")
    tokens, _ = attribute(clip, pairs, method, template=template, level="token")
    assert found["role"].tolist() == NAMES * len(pairs) and done["error"].isna().all()
    assert found["pair_id"].tolist() == [p for p in pairs["pair_id"] for _ in NAMES]
    for row in found.itertuples():
        concepts = pairs.set_index("pair_id")["concepts"][row.pair_id]
        wanted = [row.role] if row.role in ROLES else ["relation", "attribute"]
        values, used = [], set()
        for token in tokens[tokens["pair_id"] == row.pair_id].itertuples():
            place = [i for i, c in enumerate(concepts) if c.start <= token.start < c.end][:1]
            if place and concepts[place[0]].role in wanted and not np.isnan(token.attribution):
                values.append(token.attribution)
                used.update(place)
        assert (row.n_tokens, row.n_concepts) == (len(values), len(used))
        expected = np.mean(values) if values else np.nan
        assert row.attribution == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_means_equal_those_of_the_role_measures(clip, pairs):
    tokens, _ = attribute_roles(clip, pairs, ["cae_gradcam"])
    expected = caption_means(tokens).set_index("pair_id")[NAMES]
    found, _ = attribute(clip, pairs, "cae_gradcam", template="", level="role")
    found = found.pivot(index="pair_id", columns="role", values="attribution")
    pd.testing.assert_frame_equal(
        found.loc[expected.index, NAMES], expected, check_names=False, rtol=0, atol=0
    )


def test_concepts_are_given_as_plain_tuples_and_a_missing_role_is_missing(clip):
    found, _ = attribute(clip, [one(*CONCEPTS), one(CONCEPTS[0])], level="role", per_layer=True)
    assert list(found.columns) == [
        "pair_id",
        "role",
        "attribution",
        "L0",
        "L1",
        "n_tokens",
        "n_concepts",
    ]
    full, bare = found[:4].set_index("role"), found[4:].set_index("role")
    assert full["n_concepts"].to_dict() == {
        "object": 2,
        "attribute": 2,
        "relation": 1,
        "composition": 3,
    }
    assert full.loc["composition", "n_tokens"] == 3
    together = (2 * full.loc["attribute"] + full.loc["relation"]) / 3
    values = ["attribution", "L0", "L1"]
    np.testing.assert_allclose(full.loc["composition", values], together[values])
    np.testing.assert_allclose(full[["L0", "L1"]].mean(axis=1), full["attribution"], rtol=1e-5)
    assert bare.loc[["attribute", "relation", "composition"], "attribution"].isna().all()
    assert bare["n_tokens"].tolist()[1:] == [0, 0, 0]


def test_without_the_column_the_parser_finds_the_concepts(clip):
    pairs = scene_pairs(6, 5, None)[["pair_id", "image", "caption"]]
    found, done = attribute(clip, pairs, level="role")
    parsed = parse_captions(pairs["caption"])
    expected, _ = attribute(clip, pairs.assign(concepts=parsed), level="role")
    pd.testing.assert_frame_equal(found, expected)
    assert done["concepts"].tolist() == parsed and "concepts" not in pairs


def test_a_bad_row_keeps_its_reason_and_touches_no_other(clip):
    rows = [
        one(*CONCEPTS),
        one((2, 99, "object")),
        one((2, 9, "NOUN")),
        one(caption=None),
        one(*CONCEPTS) | {"image": "no.png"},
        one(*CONCEPTS) | {"concepts": None},
        one(*CONCEPTS),
    ]
    found, done = attribute(clip, rows, level="role")
    reasons = [
        "does not lie in the caption",
        "'NOUN' is none of object, attribute, relation",
        "caption is missing",
        "no.png",
        "not a list of (start, end, role)",
    ]
    for reason, error in zip(reasons, done["error"][1:6], strict=True):
        assert reason in error and "\n" not in error
    assert found["pair_id"].unique().tolist() == [0, 6] and len(found) == 8
    alone, _ = attribute(clip, rows[:1], level="role")
    pd.testing.assert_frame_equal(found[:4], alone, rtol=0, atol=1e-7)
    nothing, _ = attribute(clip, rows[1:4], level="role", per_layer=True)
    assert nothing.empty and "L1" in nothing


def test_a_concept_beyond_the_context_counts_for_nothing(clip):
    caption = "a dog " + "very " * 40 + "near a cat"
    concepts = [(2, 5, "object"), (len(caption) - 3, len(caption), "object")]
    found, done = attribute(clip, [one(*concepts, caption=caption)], level="role")
    assert done["truncated"].all()
    assert found[["n_tokens", "n_concepts"]].iloc[0].tolist() == [1, 1]


def test_unusable_arguments_are_one_line(clip):
    with pytest.raises(UserError, match="choose word, token or role"):
        attribute(clip, [one()], level="phrase")
    bare = [{"image": "scene:1:5", "caption": CAPTION}]
    with pytest.raises(UserError, match="dependency parser"):
        attribute(clip, bare, level="role", tagger=spacy.blank("en"))
