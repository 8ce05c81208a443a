"""Values of word types, such as mean attributions, against what is known of the words."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix

from .intervals import Estimate, bootstrap, interval
from .weighted import weighted_pearson

PERMUTATIONS = 1000


class TypeCorrelation(NamedTuple):
    """Pearson's r over word types.

    estimate: with its interval over images, whose number is its n. types: the number of words that
    r runs over. chance: the ends of the middle 95 % of r with the reference handed to random words.
    """

    estimate: Estimate
    types: int
    chance: tuple[float, float]


def type_correlation(rows: pd.DataFrame, reference: pd.Series, seed: int = 0) -> TypeCorrelation:
    """Correlation of the mean value of each word type with a reference value of the word.

    rows: one row an occurrence, with image, word and value; rows without a value are left out.
    reference: by word. A word's value is the mean over its occurrences; the words that `reference`
    lacks take no part. In the bootstrap images are drawn, so a word's mean changes, and a word that
    no drawn image holds is left out of that draw.
    """
    rows = rows[rows["word"].isin(reference.index)].dropna(subset=["value"])
    image, images = pd.factorize(rows["image"])
    word, words = pd.factorize(rows["word"])
    known = reference.reindex(words).to_numpy(float)
    if len(words) < 3 or np.ptp(known) == 0:
        nothing = Estimate(np.nan, np.nan, np.nan, len(images))
        return TypeCorrelation(nothing, len(words), (np.nan, np.nan))
    shape = (len(images), len(words))
    total, count = (
        coo_matrix((values, (image, word)), shape).tocsr()
        for values in (rows["value"].to_numpy(float), np.ones(len(rows)))
    )

    def statistic(weights, total, count):
        times = weights @ count
        means = np.divide(weights @ total, times, out=np.zeros_like(times), where=times > 0)
        return np.array(
            [
                weighted_pearson(there[None], mean, known)[0]
                for mean, there in zip(means, (times > 0).astype(float), strict=True)
            ]
        )

    means = np.asarray(total.sum(0) / count.sum(0)).ravel()
    rng, once = np.random.default_rng(seed), np.ones((1, len(words)))
    chance = [weighted_pearson(once, means, rng.permutation(known)) for _ in range(PERMUTATIONS)]
    low, high = interval(np.concatenate(chance))
    found = bootstrap(statistic, (total, count), seed=seed)
    return TypeCorrelation(found, len(words), (float(low), float(high)))
