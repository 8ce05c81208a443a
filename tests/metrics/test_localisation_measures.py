"""Interchange accuracy and gap moved against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from clip_attribution.metrics.localisation import localisation

SCORES = pd.DataFrame(
    {
        "caption": [1.0, 2.0, 3.0, 4.0],
        "description": [3.0, 2.0, 4.0, 9.0],
        "up": [2.0, 2.0, 2.5, 8.5],  # moved 1, 0, -0.5, 4.5 of the gaps 2, 0, 1, 5
        "down": [1.0, 3.0, 4.0, 1.0],  # moved -2, 1, 0, -8
    }
)


def table(scores, **options):
    return localisation(scores, **options).set_index(["measure", "direction"])


def test_measures_by_hand():
    found = table(SCORES)
    assert found.value["interchange accuracy", "up"] == 0.5  # the equal one is no success
    assert found.value["interchange accuracy", "down"] == 0.5
    assert found.value["gap moved", "up"] == pytest.approx(5 / 8)
    assert found.value["gap moved", "down"] == pytest.approx(9 / 8)
    assert found.value["gap", "both"] == pytest.approx((SCORES.description - SCORES.caption).mean())
    assert (found.n == 4).all() and (found.low <= found.value).all()


def test_rows_of_an_image_are_drawn_together_and_missing_ones_left_out():
    scores = pd.concat([SCORES] * 5, ignore_index=True)
    assert (table(scores, images=[0, 1, 2, 3] * 5).n == 4).all()
    apart, together = table(scores), table(scores, images=[0, 1, 2, 3] * 5)
    assert (apart.high - apart.low < together.high - together.low).all()
    gone = SCORES.copy()
    gone.loc[0, ["caption", "up", "down"]] = np.nan
    found = table(gone)
    assert (found.n == 3).all()
    assert found.value["interchange accuracy", "up"] == pytest.approx(1 / 3)
    assert found.value["gap moved", "down"] == pytest.approx(7 / 6)


def test_no_gap_gives_no_ratio():
    flat = pd.DataFrame({name: [1.0, 2.0] for name in SCORES})
    found = table(flat)
    assert found.value["gap moved"].isna().all()
    assert (found.value["interchange accuracy"] == 0).all()
