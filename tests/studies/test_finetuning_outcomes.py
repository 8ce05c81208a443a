"""What is measured of tuned models: each pair and scene once, changes pair by pair, over seeds."""

import finetune_examples as tiny
import numpy as np
import pandas as pd
import pytest
import torch

from clip_attribution.io.images import open_image
from clip_attribution.metrics.intervals import ratio_estimate
from clip_attribution.scenes import scene_pairs
from clip_attribution.studies.finetuning.comparison import VARIANTS, compare
from clip_attribution.studies.finetuning.outcomes import COLUMNS, estimates, evaluate_runs
from clip_attribution.studies.roles.cases import ingredients
from clip_attribution.text.roles import parse_captions

OPTIONS = {"n_pairs": 12, "steps": 2, "batch": 6, "warmup": 1, "calibration": 1, "k": 1, "lam": 1.0}
FOILS = {"relation": ("position", "swap_relation"), "attribute": ("colour",)}
MEASURED = {"n": 6, "n_scenes": 20, "foils": FOILS, "k": 1}
TUNED = {name: VARIANTS[name] for name in ("CLIP", "CLIP-FT", "only L_attr")}


@pytest.fixture(scope="module")
def clip():
    return tiny.tiny_clip()


@pytest.fixture(scope="module")
def runs(clip, tmp_path_factory):
    return compare(
        clip,
        cache=tmp_path_factory.mktemp("runs"),
        variants=TUNED,
        seeds=(0, 1),
        hard_negatives=(False,),
        **OPTIONS,
    )


@pytest.fixture(scope="module")
def table(clip, runs):
    return evaluate_runs(clip, runs, **MEASURED)


def of(table, variant):
    return table[table["variant"] == variant].set_index("measure")


def test_the_measures_are_those_of_each_pair_and_scene(clip, table):
    untuned = of(table, "CLIP")
    wins = {}
    for kind in ("position", "swap_relation", "colour"):
        wins[kind] = []
        pairs = scene_pairs(6, 1, kind)
        for (_, true), (_, false) in zip(
            pairs[~pairs["is_foil"]].iterrows(), pairs[pairs["is_foil"]].iterrows(), strict=True
        ):
            image = clip.encode_images([open_image(true["image"])])
            scores = image @ clip.encode_texts([true["caption"], false["caption"]]).T
            wins[kind].append(100.0 * float(scores[0, 0] > scores[0, 1]))
        assert untuned.loc[f"{kind} accuracy", "value"] == pytest.approx(np.mean(wins[kind]))
    relation = untuned.loc["relation accuracy"]
    pictures = {str(ref) for kind in FOILS["relation"] for ref in scene_pairs(6, 1, kind)["image"]}
    assert relation["n"] == len(pictures) <= 12
    assert relation["value_low"] <= relation["value"] <= relation["value_high"]
    assert relation["value"] == pytest.approx(np.mean(wins["position"] + wins["swap_relation"]))
    scenes = scene_pairs(20, 1, None)
    images = clip.encode_images([open_image(ref) for ref in scenes["image"]])
    scores = images @ clip.encode_texts(scenes["caption"].tolist()).T
    hit = scores.argmax(1) == torch.arange(20)
    assert untuned.loc["I2T R@1", "value"] == pytest.approx(100 * hit.float().mean().item())


def test_every_variant_has_all_measures_and_a_lead_that_is_their_difference(table):
    assert list(table.columns) == COLUMNS and set(table["variant"]) == set(TUNED)
    assert not table.duplicated(["variant", "measure"]).any() and table["value"].notna().all()
    for variant in TUNED:
        own = of(table, variant)
        for method in ("attention", "gradcam", "perturbation", "gradient"):
            gap = own.loc[f"a_obj {method}", "value"] - own.loc[f"a_comp {method}", "value"]
            assert own.loc[f"gap {method}", "value"] == pytest.approx(gap, abs=1e-9)
    assert of(table, "CLIP").loc["a_obj attention", "value"] != pytest.approx(
        of(table, "only L_attr").loc["a_obj attention", "value"], abs=1e-9
    )


def test_the_ingredients_are_those_of_the_deficiency(clip, table):
    scenes = scene_pairs(20, 1, None)
    scenes["concepts"] = parse_captions(scenes["caption"])
    near = ingredients(clip, scenes).groupby("role")["own"].mean()
    for role in near.index:
        assert of(table, "CLIP").loc[f"near {role}", "value"] == pytest.approx(near[role], abs=1e-6)


def test_changes_and_gains_are_differences_of_values(table):
    before, alone, tuned = (of(table, name) for name in TUNED)
    assert (before[["change", "change_low", "change_high"]] == 0).all(axis=None)
    for rows in (alone, tuned):
        np.testing.assert_allclose(rows["change"], rows["value"] - before["value"], atol=1e-6)
        assert (rows["change_low"] <= rows["change"] + 1e-9).all()
        assert (rows["change"] <= rows["change_high"] + 1e-9).all()
        assert (rows["seeds"] == 2).all()
    np.testing.assert_allclose(tuned["gain"], tuned["value"] - alone["value"], atol=1e-6)
    assert before["gain"].isna().all() and alone["gain"].isna().all()


def test_estimates_by_hand():
    """Two seeds, four pairs of two images: means over seeds, resampled by image."""
    index = ["a", "a", "b", "b"]
    before = {"x": pd.Series([0.0, 0, 100, 100], index)}
    seeds = [{"x": pd.Series(v, index)} for v in ([100.0, 0, 100, 100], [100.0, 100, 100, 100])]
    alone = [{"x": pd.Series(v, index)} for v in ([100.0, 0, 100, 0], [100.0, 100, 100, 100])]
    row = dict(zip(COLUMNS[3:], estimates("x", seeds, before, alone), strict=True))
    assert row["n"] == 2 and row["seeds"] == 2 and row["spread"] == 25
    assert (row["value"], row["change"], row["gain"]) == (87.5, 37.5, 12.5)
    assert (row["value_low"], row["value_high"]) == (75, 100)
    assert (row["change_low"], row["change_high"]) == (0, 75)
    assert row["change_agrees"] and not row["gain_agrees"]  # the second seed gains nothing
    expected = ratio_estimate([100.0, 50, 0, 0], groups=index)
    assert (row["change_low"], row["change_high"]) == expected[1:3]
    absent = pd.Series([50.0, np.nan, 50, np.nan], index)  # captions without the role
    partial = estimates("x", [{"x": absent + 1}], {"x": absent}, [{"x": absent - 1}])
    partial = dict(zip(COLUMNS[3:], partial, strict=True))
    assert (partial["value"], partial["change"], partial["gain"]) == (51, 1, 2)
    assert partial["change_agrees"] and partial["gain_agrees"] and partial["spread"] == 0
    no_baseline = estimates("x", seeds, before, None)
    assert np.isnan(no_baseline[9:12]).all() and no_baseline[-1] is False
