"""Correlations over word types: means of occurrences, bootstrap over images, permutations."""

import numpy as np
import pandas as pd
import pytest

from clip_attribution.metrics.word_types import type_correlation


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 30, 600)
    values = words / 30 + rng.normal(size=600)
    return pd.DataFrame({"image": rng.integers(0, 50, 600), "word": words, "value": values})


REFERENCE = pd.Series(np.arange(25.0), np.arange(25))


def test_r_runs_over_the_means_of_listed_words(rows):
    found = type_correlation(rows, REFERENCE)
    means = rows[rows["word"] < 25].groupby("word")["value"].mean()
    assert np.isclose(found.estimate.value, np.corrcoef(means, means.index)[0, 1])
    assert found.types == 25 and found.estimate.n == 50
    assert found.estimate.low < found.estimate.value < found.estimate.high


def test_random_words_give_no_correlation(rows):
    found = type_correlation(rows, REFERENCE)
    low, high = found.chance
    assert -0.5 < low < -0.3 < 0.3 < high < 0.5 < found.estimate.value
    mixed = rows.assign(word=rows["word"].sample(frac=1, random_state=1).to_numpy())
    apart = type_correlation(mixed, REFERENCE)
    assert apart.chance[0] < apart.estimate.value < apart.chance[1]


def test_missing_values_and_too_few_words(rows):
    holes = pd.concat([rows, rows.head(40).assign(value=np.nan, word=1)], ignore_index=True)
    wanted = type_correlation(rows, REFERENCE)
    assert type_correlation(holes, REFERENCE).estimate == wanted.estimate
    assert np.isnan(type_correlation(rows, REFERENCE[:2]).estimate.value)
    assert np.isnan(type_correlation(rows, REFERENCE * 0).estimate.value)
