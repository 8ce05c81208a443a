"""Shapley values of the words of a caption: each word's share of what the caption is worth.

    phi_w = sum over T without w of  |T|! (m - |T| - 1)! / m! * ( v(T and w) - v(T) )

v(T) is the cosine of the image and the caption in which of m words only T stand (see `coalitions`).
Shapley, "A value for n-person games", 1953. `players`: "content" (default), the words that say
something by themselves, or "all". Up to `exact` players (12) all 2^m captions are read and the
values are exact; beyond that `permutations` orders are drawn with `seed`, each with its reverse
(Castro et al. 2009; antithetic, Mitchell et al., JMLR 2022), and the column `shapley_error` of
the pairs states the largest standard error of the caption's values (0 where they are exact).

Sign: above zero the word raises the score, below zero it lowers it. The values of a caption's
players sum to v(all) - v(none). A word that is no player is part of every caption and gets 0;
every token of a word has the word's value.

Known weakness: 2^m captions for one, most of them no sentences.
"""

from math import factorial

import numpy as np
import torch

from ..errors import UserError
from .coalitions import players as players_of
from .coalitions import spread, standing, worth
from .registry import method

OPTIONS = ("players", "exact", "permutations", "seed")


def prepare(pairs, tagger, options: dict, usable=None) -> tuple[dict, dict[int, str]]:
    """The options, checked and completed. Raises UserError for one that cannot be meant."""
    options = {"players": "content", "exact": 12, "permutations": 64, "seed": 0} | options
    if options["players"] not in ("content", "all"):
        raise UserError(f"unknown players {options['players']!r}: choose content or all")
    for name, least, most in (("exact", 0, 16), ("permutations", 2, 10**6), ("seed", 0, 2**63)):
        value = options[name]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise UserError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return options, {}


@method(
    "shapley",
    signed=True,
    paper="Shapley 1953",
    layers=None,
    towers=("text",),
    reads="input",
    options=OPTIONS,
    prepare=prepare,
)
@torch.no_grad()
def shapley(view, players, exact, permutations, seed):
    """Values a token, [B, 1, n], on the cosine scale; notes the standard error [B]."""
    found, errors = {}, []
    for row, caption in enumerate(view.captions):
        who = players_of(caption, players == "content")
        if len(who) <= exact:
            joined = standing(len(who))
            values, error = exact_values(worth(view, row, who, joined), joined), 0.0
        else:
            draw = np.random.default_rng([seed, caption.row])
            values, error = sampled_values(view, row, who, permutations, draw)
        found[row] = dict(zip(who, values.tolist(), strict=True))
        errors.append(error)
    view.notes["shapley_error"] = torch.tensor(errors, dtype=torch.float64)
    return spread(view, found)


def exact_values(v: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """Shapley values [m] from the worth [2^m] of all coalitions [2^m, m]."""
    m, size = joined.shape[1], joined.sum(1)
    shares = np.array([factorial(s) * factorial(m - s - 1) / factorial(m) for s in range(m)] + [0])
    return v @ np.where(joined, shares[size - 1, None], -shares[size, None])


def sampled_values(view, row: int, who: list[int], permutations: int, draw):
    """(values [m], the largest of their standard errors) from random orders and their reverses."""
    m, pairs = len(who), -(-permutations // 2)
    orders = np.stack([draw.permutation(m) for _ in range(pairs)])
    orders = np.stack([orders, orders[:, ::-1]], axis=1)  # [pairs, 2, m]
    place = orders.argsort(-1)
    joined = place[..., None, :] < np.arange(m + 1)[:, None]  # [pairs, 2, m + 1, m]
    distinct, index = np.unique(joined.reshape(-1, m), axis=0, return_inverse=True)
    v = worth(view, row, who, distinct)[index.ravel()].reshape(pairs, 2, m + 1)
    gains = np.take_along_axis(np.diff(v, axis=-1), place, axis=-1).mean(1)  # [pairs, m]
    return gains.mean(0), float(gains.std(0, ddof=1).max() / np.sqrt(pairs)) if pairs > 1 else 0.0
