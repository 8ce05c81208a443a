"""Choosing epsilon by the false alarms that one accepts: split conformal calibration.

A false alarm is a true caption of which a word is flagged, that is, lies below epsilon. `unit` says
what is counted: "caption", whether any of its words is flagged; or "word", whether one word drawn
at random from it is. Punctuation and unseen words are never flagged.

words: a words frame; pairs: pair_id, error, and is_foil where some captions are not true; `pair`
where several rows (a caption and its foil) belong to one scene.
"""

from math import floor, inf

import numpy as np
import pandas as pd
from scipy.stats import betabinom, binomtest

from ..errors import UserError
from ..text.words import split_words
from .baselines import halves, spoken_words
from .intervals import Estimate
from .misalignment import EPSILON
from .words import detection_estimates

UNITS = ("caption", "word")
PAPER = (EPSILON, -1e-5)


def conformal_epsilon(words, pairs, rate: float, unit: str = "caption", seed: int = 0) -> float:
    """The epsilon that flags at most a share `rate` of new true captions (or of their words).

    Split conformal prediction (Vovk et al. 2005; Papadopoulos et al. 2002): of the n true captions
    in `pairs` take the score s_i, the smallest attribution of the caption (or, for unit "word", the
    attribution of one of its words, drawn by `seed`); epsilon is the k-th smallest score with
    k = floor(rate (n + 1)), -inf for k = 0, and what lies strictly below it is flagged.

    Guarantee, for any model and any n: if a new caption's score s is exchangeable with the n, then
    P(s < epsilon) <= k / (n + 1) <= rate. For s < epsilon means that fewer than k of the n scores
    are at or below s, so that s ranks among the k smallest of n + 1; by exchangeability every rank
    is equally likely, and ties only lower the chance. It holds on average over calibration sets:
    with one set at hand the rate scatters as `expected_alarms` says.

    Raises UserError on a rate outside of 0..1, an unknown unit, or without a true caption.
    """
    return conformal_quantile(true_scores(words, pairs, unit, seed), rate)


def conformal_quantile(scores, rate: float) -> float:
    """The k-th smallest of n scores, k = floor(rate (n + 1)); -inf for k = 0, inf for k > n."""
    if not 0 <= rate <= 1:
        raise UserError(f"the false-alarm rate must lie in 0..1, not {rate!r}")
    if not len(scores):
        raise UserError("calibration needs true captions with attributions")
    k, ordered = rank(rate, len(scores)), np.sort(np.asarray(scores, dtype=float))
    return -inf if k == 0 else inf if k > len(ordered) else float(ordered[k - 1])


def rank(rate: float, n: int) -> int:
    """floor(rate (n + 1)), for the decimal number that `rate` is meant to be."""
    return floor(round(rate * (n + 1), 9))


def true_scores(words, pairs, unit: str = "caption", seed: int = 0) -> pd.Series:
    """What epsilon is compared with for each true caption, by pair_id; inf if it has no word."""
    if unit not in UNITS:
        raise UserError(f"unknown unit {unit!r}: choose from {', '.join(UNITS)}")
    good = pairs["error"].isna() if "error" in pairs else pairs["pair_id"].notna()
    if "is_foil" in pairs:
        good &= ~pairs["is_foil"].eq(True)
    ids, own = pairs["pair_id"][good], words[spoken_words(words)]
    if unit == "word":
        scores = own.sample(frac=1, random_state=seed).drop_duplicates("pair_id")
        scores = scores.set_index("pair_id")["attribution"]
    else:
        scores = own.groupby("pair_id", sort=False)["attribution"].min()
    return scores.reindex(ids).fillna(inf)


def false_alarm_rate(words, pairs, epsilon: float, unit="caption", seed: int = 0) -> Estimate:
    """The share of true captions (or of one random word of each) that epsilon flags.

    The interval is the exact one of Clopper and Pearson, 95 %; n counts captions.
    """
    scores = true_scores(words, pairs, unit, seed)
    return alarms(int((scores < epsilon).sum()), len(scores))


def alarms(count: int, n: int) -> Estimate:
    """count of n, with the exact binomial 95 % interval."""
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    found = binomtest(count, n).proportion_ci(method="exact")
    return Estimate(count / n, float(found.low), float(found.high), n)


def expected_alarms(rate: float, n_calibration: int, n_test: int, confidence: float = 0.95):
    """(low, high): where the false-alarm rate on n_test new captions lies with this confidence.

    Exact for continuous scores: given the calibration set the rate is Beta(k, n + 1 - k), so the
    count is beta-binomial; wider than the binomial, since epsilon is itself an estimate.
    """
    k = rank(rate, n_calibration)
    if k == 0 or k > n_calibration:
        return (0.0, 0.0) if k == 0 else (1.0, 1.0)
    law = betabinom(n_test, k, n_calibration + 1 - k)
    return tuple(float(law.ppf((1 + side * confidence) / 2)) / n_test for side in (-1, 1))


def split_half(pairs: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(calibration, test): a random half of the scenes each; rows of one `pair` stay together."""
    first = halves(pairs["pair"] if "pair" in pairs else pairs["pair_id"], seed)
    return pairs[first], pairs[~first]


def epsilon_table(words, pairs, rates=(0.01, 0.05, 0.1), seeds=range(20), unit="caption"):
    """What each rule for epsilon gives on held-out halves: conformal ones and the paper's two.

    Every seed splits the pairs anew. Returns one row a seed and rule: rule ("conformal" or
    "paper"), unit, rate (the target; NaN for the paper's), seed, epsilon, false_alarms with low and
    high (exact binomial) and n, expected_low and expected_high (`expected_alarms`), and
    found: the share of the test half's foiled words below epsilon (NaN without foils).
    """
    rows, marked = [], words[foiled_words(words, pairs)].set_index("pair_id")["attribution"]
    for seed in seeds:
        scores, test = true_scores(words, pairs, unit, seed), split_half(pairs, seed)[1]["pair_id"]
        held_out, foiled = scores.index.isin(test), marked[marked.index.isin(test)]
        known, new = scores[~held_out], scores[held_out]
        rules = [("paper", np.nan, epsilon) for epsilon in PAPER]
        rules += [("conformal", rate, conformal_quantile(known, rate)) for rate in rates]
        for rule, rate, epsilon in rules:
            value, low, high, n = alarms(int((new < epsilon).sum()), len(new))
            expected = (np.nan,) * 2 if rule == "paper" else expected_alarms(rate, len(known), n)
            rows.append(
                {
                    "rule": rule,
                    "unit": unit,
                    "rate": rate,
                    "seed": seed,
                    "epsilon": epsilon,
                    "false_alarms": value,
                    "low": low,
                    "high": high,
                    "n": n,
                    "expected_low": expected[0],
                    "expected_high": expected[1],
                    "found": (foiled < epsilon).mean() if len(foiled) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def foiled_words(words: pd.DataFrame, pairs: pd.DataFrame) -> np.ndarray:
    """Which rows of a words frame are the wrong words of foils, bool [n].

    By `foil_index` where the pairs have one; else the words equal to one of `foil_word`, in lower
    case. Pairs with neither have none.
    """
    foils = pairs[pairs["is_foil"].eq(True)] if "is_foil" in pairs else pairs[:0]
    foils = foils.set_index("pair_id")
    if "foil_index" in foils:
        index = foils["foil_index"].astype(float).reindex(words["pair_id"]).to_numpy()
        return words["word_index"].to_numpy() == index
    if "foil_word" not in foils:
        return np.zeros(len(words), dtype=bool)
    wrong = {
        i: {w.text for w in split_words(text.lower())}
        for i, text in foils["foil_word"].dropna().items()
    }
    both = zip(words["pair_id"], words["word"].str.lower(), strict=True)
    return np.array([word in wrong.get(i, ()) for i, word in both], dtype=bool)


def epsilon_sweep(words, pairs, epsilons, seed: int = 0) -> pd.DataFrame:
    """Precision, recall and F1 of finding the foiled words, for each epsilon.

    All captions of `pairs` count: the words of true ones that are flagged are false positives too.
    Returns one row an epsilon and measure: epsilon, measure, value, low, high (bootstrap over
    scenes), n (scenes), chance (flagging as many words blindly).
    """
    good = pairs[pairs["error"].isna()] if "error" in pairs else pairs
    unit = (good["pair"] if "pair" in good else good["pair_id"]).to_numpy()
    words = words[words["pair_id"].isin(good["pair_id"])]
    table = words[["pair_id", "attribution"]].assign(wrong=foiled_words(words, good))
    table["attribution"] = table["attribution"].where(spoken_words(words))
    share, rows = table["wrong"].mean(), []
    for epsilon in epsilons:
        low, wrong = table["attribution"] < epsilon, table["wrong"]
        counts = pd.DataFrame({"tp": low & wrong, "fp": low & ~wrong, "fn": ~low & wrong})
        counts = counts.groupby(table["pair_id"]).sum().reindex(good["pair_id"], fill_value=0)
        picked = low.mean()
        chance = {
            "precision": share if picked else np.nan,
            "recall": picked,
            "F1": 2 * share * picked / (share + picked) if picked else np.nan,
        }
        for measure, found in detection_estimates(counts, unit, seed).items():
            rows.append(
                {
                    "epsilon": epsilon,
                    "measure": measure,
                    **found._asdict(),
                    "chance": chance[measure],
                }
            )
    return pd.DataFrame(rows)
