"""Tables, sentences and figures of the fine-tuning notebook, from frames made by hand."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from clip_attribution.plots import style as plots
from clip_attribution.studies.finetuning.comparison import TunedRun
from clip_attribution.studies.finetuning.figures import (
    deficiency_dots,
    outcome_dots,
    strength_curves,
    training_curves,
)
from clip_attribution.studies.finetuning.outcomes import COLUMNS
from clip_attribution.studies.finetuning.tables import (
    ABLATION,
    finding_accuracy,
    finding_deficiency,
    finding_ingredients,
    finding_strength,
    is_clear,
    logs_of,
    weights_of,
    wide,
)

VALUES = {
    "CLIP": (50, 94, 0.20, 0.08),
    "CLIP-FT": (51, 94, 0.20, 0.07),
    "CAE attention": (58, 80, 0.15, 0.10),
}
MEASURES = ("relation accuracy", "T2I R@1", "a_obj attention", "a_comp attention")
NAMES = (*MEASURES, "gap attention", "near relation")


def with_gap(values):
    return (*values, values[2] - values[3], 0.3)


def row(variant, hard, measure, value, base, beside):
    """Intervals of 3 around the value, of 2 around the change, of 1 around the gain."""
    change, gain = value - base, value - beside
    return (
        variant,
        hard,
        measure,
        100,
        2,
        0.5,
        value,
        value - 3,
        value + 3,
        change,
        change - 2,
        change + 2,
        gain,
        gain - 1,
        gain + 1,
        True,
        gain > -14,
    )


def frame(values, baseline="CLIP-FT"):
    rows, before = [], with_gap(values["CLIP"])
    for variant, own in values.items():
        known = variant not in ("CLIP", baseline) and baseline in values
        beside = with_gap(values[baseline]) if known else [np.nan] * len(NAMES)
        for hard in (False,) if variant == "CLIP" else (False, True):
            facts = zip(NAMES, with_gap(own), before, beside, strict=True)
            rows += [row(variant, hard, *one) for one in facts]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def table():
    return frame(VALUES)


@pytest.fixture
def swept():
    found = frame(dict(zip(("CLIP", "0", "10"), VALUES.values(), strict=True)), "0")
    return found[~found["hard_negatives"]]


def test_a_wide_table_has_a_row_a_variant_and_the_papers_names(table):
    found = wide(table, False, ABLATION)
    assert list(found.index) == ["none", "only contrastive", "both"]
    assert list(found.columns) == ["relation accuracy", "T2I R@1"]
    assert found.loc["both", "relation accuracy"] == "58.0 [55.0, 61.0]"
    assert "CLIP" not in wide(table, True).index


def test_a_difference_is_clear_only_where_its_interval_leaves_out_zero_and_seeds_agree(table):
    clear = table[is_clear(table)]
    assert set(clear["variant"]) == {"CAE attention"}
    assert set(clear["measure"]) == {"relation accuracy"}  # retrieval: the seeds do not agree
    assert finding_accuracy(table, "relation accuracy") == (
        "relation accuracy before tuning: 50.0 [47.0, 53.0]. Without hard negatives, CLIP-FT "
        "changes it by +1.0 [-1.0, +3.0]; clearly different from CLIP-FT: CAE attention +7.0 "
        "[+6.0, +8.0] (1 of 1). With hard negatives, CLIP-FT changes it by +1.0 [-1.0, +3.0]; "
        "clearly different from CLIP-FT: CAE attention +7.0 [+6.0, +8.0] (1 of 1)."
    )
    assert "clearly different from CLIP-FT: none (0 of 1)" in finding_accuracy(table, "T2I R@1")


def test_sentences_on_the_lead_name_the_baselines(table, swept):
    assert finding_deficiency(table) == (
        "By attention, objects exceed compositions by +0.120 [-2.880, +3.120] before tuning; "
        "CAE attention changes that by -0.070 [-2.070, +1.930], -0.080 [-1.080, +0.920] more than "
        "CLIP-FT does."
    )
    assert finding_strength(swept) == (
        "With a share of 10 the gap goes from +0.120 [-2.880, +3.120] to +0.050 [-2.950, +3.050]; "
        "since before tuning: relation accuracy +8.0 [+6.0, +10.0] and T2I R@1 -14.0 "
        "[-16.0, -12.0] points."
    )
    assert finding_ingredients(table) == (
        "Cosine of a caption with its own relation words: 0.300 before tuning; clearly different "
        "from CLIP-FT: none."
    )


def log(lam):
    return pd.DataFrame(
        {
            "step": range(4),
            "itc": 0.1,
            "a_obj": [0.4, 0.3, 0.2, 0.2],
            "a_comp": [0.2, 0.2, 0.2, 0.3],
            "lam": lam,
        }
    )


def test_logs_carry_the_lead_as_a_share_of_its_start_and_weights_the_last_one():
    runs = [
        TunedRun("CLIP", False, 0, pd.DataFrame(), None),
        TunedRun("CLIP-FT", False, 0, log(0.0), "a"),
        TunedRun("CAE attention", True, 1, log(2.5), "b"),
    ]
    logs = logs_of(runs)
    np.testing.assert_allclose(logs["gap"], 2 * [1, 0.5, 0, -0.5], atol=1e-12)
    assert set(logs["seed"]) == {0, 1}
    assert weights_of(runs).values.tolist() == [["CAE attention", True, 1, 2.5]]


def test_figures_fill_clear_differences_and_show_every_variant(table, swept):
    plots.use_style()
    figure = outcome_dots(table, ("relation accuracy", "T2I R@1"))
    faces = [{line.get_markerfacecolor() for line in ax.lines} for ax in figure.axes]
    assert "white" not in faces[0] and "white" in faces[1]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(VALUES)
    assert len([ax for ax in deficiency_dots(table).axes if ax.axison]) == 1
    shown = strength_curves(swept)
    assert [t.get_text() for t in shown.axes[0].get_xticklabels()] == ["0", "10"]
    runs = [TunedRun(name, False, 0, log(0.0), "a") for name in ("CLIP-FT", "CAE attention")]
    assert len(training_curves(logs_of(runs)).axes) == 2
    plt.close("all")
