"""The comparison of tuned models: which runs there are, and what is read back."""

import finetune_examples as tiny
import pytest

from clip_attribution.errors import UserError
from clip_attribution.studies.finetuning.comparison import VARIANTS, compare, load_run, of_share
from clip_attribution.training.finetune import Run

OPTIONS = {"n_pairs": 12, "steps": 2, "batch": 6, "warmup": 1, "calibration": 1, "k": 1, "lam": 1.0}


@pytest.fixture(scope="module")
def clip():
    return tiny.tiny_clip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(clip, cache):
    return compare(clip, cache=cache, **OPTIONS)


def test_every_variant_is_tuned_with_and_without_negatives_where_that_makes_sense(clip, runs):
    names = [(run.variant, run.hard_negatives) for run in runs]
    both = [name for name in VARIANTS if name not in ("CLIP", "only L_attr")]
    expected = [
        ("CLIP", False),
        *((name, hard) for name in both for hard in (False, True)),
        ("only L_attr", False),
    ]
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
