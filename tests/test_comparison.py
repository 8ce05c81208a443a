"""The comparison of tuned models: which runs there are, what is read back and what is measured."""

import finetune_examples as tiny
import numpy as np
import pytest
import torch

from clip_attribution.datasets.scenes import scene_pairs
from clip_attribution.errors import UserError
from clip_attribution.images import open_image
from clip_attribution.training.comparison import (
    VARIANTS,
    compare,
    evaluate_runs,
    load_run,
    of_share,
)
from clip_attribution.training.finetune import Run

OPTIONS = {"n_pairs": 12, "steps": 2, "batch": 6, "warmup": 1, "calibration": 1, "k": 1, "lam": 1.0}
FOILS = {"relation": ("position", "swap_relation"), "attribute": ("colour",)}


@pytest.fixture(scope="module")
def clip():
    return tiny.tiny_clip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(clip, cache):
    return compare(clip, cache=cache, **OPTIONS)


@pytest.fixture(scope="module")
def table(clip, runs):
    return evaluate_runs(clip, [runs[0], runs[-1]], n=6, n_scenes=20, foils=FOILS, k=1)


def test_every_variant_is_tuned_with_and_without_negatives_where_that_makes_sense(clip, runs):
    names = [(run.variant, run.hard_negatives) for run in runs]
    both = [name for name in VARIANTS if name not in ("CLIP", "only L_attr")]
    expected = [("CLIP", False), *((name, hard) for name in both for hard in (False, True)),
                ("only L_attr", False)]  # fmt: skip
    assert names == expected and len({run.weights for run in runs}) == 12
    assert load_run(clip, runs[0]) is clip and len(runs[0].log) == 0
    hashes = {load_run(clip, run).weights_hash for run in runs}
    assert len(hashes) == 12 and all(len(run.log) == 2 for run in runs[1:])
    assert runs[-1].log["itc"].isna().all() and runs[1].log["attr"].isna().all()


def test_a_second_call_reads_everything_back_and_other_options_train_anew(
    clip, runs, cache, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "step", None)
        again = compare(clip, cache=cache, **OPTIONS)
    assert [run[:3] for run in again] == [run[:3] for run in runs]
    for one, other in zip(runs, again, strict=True):
        assert one.weights == other.weights and one.log.equals(other.log)
    alone = {"CLIP-FT": VARIANTS["CLIP-FT"]}
    changed = {"n_pairs": 14, "variants": alone, "hard_negatives": (False,), "seeds": (0, 1)}
    more = compare(clip, cache=cache, **OPTIONS | changed)
    assert [run.seed for run in more] == [0, 1] and more[0].weights != runs[1].weights


def test_the_measures_are_those_of_each_pair_and_scene(clip, table):
    def value(measure):
        return table[(table["variant"] == "CLIP") & (table["measure"] == measure)].iloc[0]

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
        assert value(f"{kind} accuracy")["value"] == pytest.approx(np.mean(wins[kind]))
    relation = value("relation accuracy")
    assert relation["n"] == 12 and relation["low"] <= relation["value"] <= relation["high"]
    assert relation["value"] == pytest.approx(np.mean(wins["position"] + wins["swap_relation"]))
    scenes = scene_pairs(20, 1, None)
    images = clip.encode_images([open_image(ref) for ref in scenes["image"]])
    scores = images @ clip.encode_texts(scenes["caption"].tolist()).T
    hit = scores.argmax(1) == torch.arange(20)
    assert value("I2T R@1")["value"] == pytest.approx(100 * hit.float().mean().item())


def test_a_tuned_model_has_other_attributions_and_all_measures(table):
    assert set(table["variant"]) == {"CLIP", "only L_attr"}
    first, second = (set(rows["measure"]) for _, rows in table.groupby("variant"))
    assert first == second
    assert table["value"].notna().all() and not table.duplicated(["variant", "measure"]).any()
    mean = table.pivot(index="measure", columns="variant", values="value")
    assert mean.loc["a_obj attention"].nunique() == 2
    assert {f"a_comp {m}" for m in ("attention", "gradcam", "perturbation", "gradient")} < set(
        mean.index
    )


def test_a_change_is_that_of_the_same_pairs_since_before_tuning(clip, runs, table):
    untuned = table[table["variant"] == "CLIP"]
    assert (untuned[["change", "change_low", "change_high"]] == 0).all(axis=None)
    alone = evaluate_runs(clip, runs[-1:], n=6, n_scenes=20, foils=FOILS, k=1)
    before, after = (table[table["variant"] == name].set_index("measure")
                     for name in ("CLIP", "only L_attr"))  # fmt: skip
    both = after["value"] - before["value"]
    np.testing.assert_allclose(alone.set_index("measure")["change"], both, atol=1e-9)
    assert (alone["change_low"] <= alone["change"] + 1e-9).all()
    assert (alone["change"] <= alone["change_high"] + 1e-9).all()


def test_shares_are_variants_that_start_at_the_contrastive_loss_alone(clip, cache):
    options = {name: OPTIONS[name] for name in OPTIONS if name != "lam"}
    variants, given = of_share((0, 0.1, 10)), {"seeds": (0,), "hard_negatives": (False,)}
    found = compare(clip, cache=cache, variants=variants, **options, **given)
    small, large = (run.log["lam"].iloc[0] for run in found[1:])
    assert list(variants) == ["0", "0.1", "10"] and variants["0"] is VARIANTS["CLIP-FT"]
    assert large == pytest.approx(100 * small)


def test_an_unusable_option_of_a_variant_is_refused(clip, cache):
    with pytest.raises(UserError, match="unknown option 'metod'"):
        compare(clip, cache=cache, variants={"CAE": {"metod": "attention"}}, **OPTIONS)
