"""Tables, sentences and figures of the fine-tuning notebook, from frames made by hand."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from clip_attribution import plots
from clip_attribution.finetuning_plots import (
    deficiency_dots,
    outcome_dots,
    strength_curves,
    training_curves,
)
from clip_attribution.finetuning_tables import (
    ABLATION,
    averaged,
    finding_accuracy,
    finding_deficiency,
    finding_strength,
    is_clear,
    logs_of,
    weights_of,
    wide,
)
from clip_attribution.training.comparison import COLUMNS, TunedRun

VALUES = {"CLIP": (50, 94, 0.20, 0.08), "CLIP-FT": (51, 94, 0.20, 0.07),
          "CAE attention": (58, 80, 0.15, 0.10)}  # fmt: skip
MEASURES = ("relation accuracy", "T2I R@1", "a_obj attention", "a_comp attention")


def row(variant, hard, seed, measure, value):
    change = value - VALUES["CLIP"][MEASURES.index(measure)]
    return variant, hard, seed, measure, value, value - 3, value + 3, 100, change, change - 2, (
        change + 2
    )


@pytest.fixture
def table():
    rows = []
    for variant, values in VALUES.items():
        for hard in (False, True)[: 1 if variant == "CLIP" else 2]:
            for seed in (0,) if variant == "CLIP" else (0, 1):
                rows += [row(variant, hard, seed, name, value + seed)
                         for name, value in zip(MEASURES, values, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def swept():
    rows = [row(name, False, 0, measure, value)
            for name, values in zip(("CLIP", "0", "10"), VALUES.values(), strict=True)
            for measure, value in zip(MEASURES, values, strict=True)]  # fmt: skip
    return averaged(pd.DataFrame(rows, columns=COLUMNS))


def test_seeds_are_averaged_and_their_spread_is_kept(table):
    found = averaged(table).set_index(["variant", "hard_negatives", "measure"])
    one = found.loc[("CAE attention", False, "relation accuracy")]
    assert one["value"] == 58.5 and one["spread"] == 1 and one["seeds"] == 2 and one["n"] == 100
    assert (one["low"], one["high"]) == (55.5, 61.5)
    assert (one["change"], one["change_low"], one["change_high"]) == (8.5, 6.5, 10.5)
    assert found.loc[("CLIP", False, "T2I R@1"), "seeds"] == 1


def test_a_wide_table_has_a_row_a_variant_and_the_papers_names(table):
    found = wide(averaged(table), False, ABLATION)
    assert list(found.index) == ["none", "only contrastive", "both"]
    assert list(found.columns) == ["relation accuracy", "T2I R@1"]
    assert found.loc["both", "relation accuracy"] == "58.5 [55.5, 61.5]"
    assert "CLIP" not in wide(averaged(table), True).index


def test_a_change_is_claimed_only_where_its_interval_leaves_out_zero(table):
    data = averaged(table)
    clear = data[is_clear(data)]
    assert set(clear["variant"]) == {"CAE attention"}
    assert finding_accuracy(data, "relation accuracy") == (
        "relation accuracy before tuning: 50.0 [47.0, 53.0]. Gained: CAE attention +8.5 "
        "[+6.5, +10.5] and CAE attention with hard negatives +8.5 [+6.5, +10.5]. "
        "No clear change: 2 of 4 tuned models."
    )
    assert "Lost: CAE attention -13.5 [-15.5, -11.5]" in finding_accuracy(data, "T2I R@1")


def test_sentences_on_the_lead_name_the_baselines(table, swept):
    assert finding_deficiency(averaged(table)) == (
        "By attention, objects lead by 0.12 before tuning, 0.13 after CLIP-FT, 0.05 after CAE "
        "attention."
    )
    assert finding_strength(swept) == (
        "With a share of 10 the lead goes from 0.120 to 0.050; since before tuning: relation "
        "accuracy +8.0 [+6.0, +10.0] and T2I R@1 -14.0 [-16.0, -12.0] points."
    )


def log(lam):
    return pd.DataFrame({"step": range(4), "itc": 0.1, "a_obj": [0.4, 0.3, 0.2, 0.2],
                         "a_comp": [0.2, 0.2, 0.2, 0.3], "lam": lam})  # fmt: skip


def test_logs_carry_the_lead_as_a_share_of_its_start_and_weights_the_last_one():
    runs = [TunedRun("CLIP", False, 0, pd.DataFrame(), None),
            TunedRun("CLIP-FT", False, 0, log(0.0), "a"),
            TunedRun("CAE attention", True, 1, log(2.5), "b")]  # fmt: skip
    logs = logs_of(runs)
    np.testing.assert_allclose(logs["lead"], 2 * [1, 0.5, 0, -0.5], atol=1e-12)
    assert set(logs["seed"]) == {0, 1}
    assert weights_of(runs).values.tolist() == [["CAE attention", True, 1, 2.5]]


def test_figures_fill_clear_changes_and_show_every_variant(table, swept):
    plots.use_style()
    data = averaged(table)
    figure = outcome_dots(data, ("relation accuracy", "T2I R@1"))
    faces = {line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker()}
    assert "white" in faces and len(faces) > 1
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(VALUES)
    assert len([ax for ax in deficiency_dots(data).axes if ax.axison]) == 1
    shown = strength_curves(swept)
    assert [t.get_text() for t in shown.axes[0].get_xticklabels()] == ["0", "10"]
    runs = [TunedRun(name, False, 0, log(0.0), "a") for name in ("CLIP-FT", "CAE attention")]
    assert len(training_curves(logs_of(runs)).axes) == 2
    plt.close("all")
