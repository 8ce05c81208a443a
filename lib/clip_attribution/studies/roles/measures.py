"""What the words of each role are given: CAE's composition deficiency, with intervals.

Everything starts from a frame of tokens (`attribute_roles`): method, pair_id, token_index, token,
start, end, attribution, role ("object", "attribute", "relation", "" for other words). A caption's
a_obj, a_rel, a_attr are the means over its tokens of a role, and a_comp the mean over relation and
attribute tokens together (Li et al., EMNLP 2024). Intervals are 95 % bootstrap over captions.
"""

import numpy as np
import pandas as pd

from ...attribution import attribute, get_method
from ...attribution.role_level import role_masks, roles_of
from ...errors import UserError
from ...metrics.intervals import (
    bootstrap,
    interval,
    mean_estimate,
    ratio_estimate,
    resampled,
)
from ...metrics.weighted import weighted_difference
from ...text.roles import ROLES

METHODS = ("attention", "cae_gradcam", "perturbation", "gradient", "integrated_gradients")
OPTIONS = {"perturbation": {"k": 16}, "integrated_gradients": {"n_steps": 20}}
SLOW = tuple(OPTIONS)
MEANS = (*ROLES, "composition", "other")
LEAST = 100  # captions at which the curve of accuracy against the ratio begins (methods.md 4.6)
POINTS = 200  # of a curve


def chosen(methods: str) -> list[str]:
    """The methods named, with spaces between, or "all" for METHODS. Raises UserError."""
    names = list(METHODS) if methods.strip() == "all" else list(dict.fromkeys(methods.split()))
    if not names:
        raise UserError(f"no method named: say all, or some of {', '.join(METHODS)}")
    return [get_method(name).name for name in names]


def quick(methods: list[str]) -> list[str]:
    """The methods without the slow ones, for a comparison by the way; the first if all are slow."""
    return [name for name in methods if name not in SLOW] or methods[:1]


def attribute_roles(clip, pairs, methods=METHODS, image_root=None, seed=0):
    """(tokens, {method: pairs}) of every caption by every method, without a template.

    Each method is at its defaults but for OPTIONS: integrated gradients take 20 steps, not 50.
    pairs: pair_id, image, caption and concepts (`role_captions.load_captions`). A token has the
    role of the concept in which it starts. tokens: see the module; the pairs are as `attribute`
    gives them. Raises UserError where not one caption could be attributed.
    """
    known = pairs.set_index("pair_id")["concepts"]
    tables, noted = [], {}
    for name in methods:
        options = OPTIONS.get(name, {}) | ({"seed": seed} if name == "perturbation" else {})
        given = pairs[["pair_id", "image", "caption", "concepts"]]
        tokens, noted[name] = attribute(
            clip, given, name, template="", level="token", image_root=image_root, **options
        )
        errors = noted[name]["error"].dropna()
        if len(errors) == len(pairs):
            reason = errors.iloc[0] if len(errors) else "the table is empty"
            raise UserError(f"not one of {len(pairs)} captions has a value by {name}: {reason}")
        tables.append(tokens.assign(role=roles_of(tokens, known)).assign(method=name))
    return pd.concat(tables, ignore_index=True), noted


def completeness(tokens: pd.DataFrame, noted: dict) -> str:
    """How far integrated gradients are from summing to the score less the baseline's (logits)."""
    name = "integrated_gradients"  # tokens, noted: of `attribute_roles`
    if name not in noted:
        return "Integrated gradients are not among these methods."
    gap = noted[name].set_index("pair_id")["completeness_gap"].dropna()
    own = tokens[tokens["method"] == name]
    change = own.groupby("pair_id")["attribution"].sum() - gap
    return (
        f"Integrated gradients, {OPTIONS[name]['n_steps']} steps: a caption's values should "
        f"sum to {change.abs().mean():.2g} on average and miss it by "
        f"{gap.abs().mean():.2g} on average, {gap.abs().max():.2g} at most."
    )


# ---------------------------------------------------------------- captions


def caption_means(tokens: pd.DataFrame) -> pd.DataFrame:
    """One row a caption and method: means over object, attribute, relation and composition tokens,
    over other tokens, and `total`, the sum of |attribution| over all. NaN where there is none."""
    seen = tokens.dropna(subset=["attribution"])
    keys = [seen["method"], seen["pair_id"]]
    parts = role_masks(seen["role"]) | {"other": seen["role"].eq("")}
    means = {
        name: seen["attribution"].where(parts[name]).groupby(keys, sort=False).mean()
        for name in MEANS
    }
    total = seen["attribution"].abs().groupby(keys, sort=False).sum()
    return pd.DataFrame(means).assign(total=total).reset_index()


def normalised(means: pd.DataFrame) -> pd.DataFrame:
    """The means divided by the caption's sum of |attribution|, so that methods can be compared.

    For a method that is never negative this is its share of the caption's sum.
    """
    total = means["total"].where(means["total"] > 0)
    return means.assign(**{name: means[name] / total for name in MEANS}, total=1.0)


def role_table(means: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean of every role and method over captions: method, role, value, low, high, n."""
    rows = [
        {"method": name, "role": role, **mean_estimate(own[role], seed)._asdict()}
        for name, own in means.groupby("method", sort=False)
        for role in MEANS
    ]
    return pd.DataFrame(rows)


def gap_table(means: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """a_obj less that of relation, attribute and composition tokens of the same caption.

    One row a method and role: value, low, high (mean difference), d, d_low, d_high (Cohen's d of
    paired samples, mean over standard deviation), share, share_low, share_high (captions in which
    objects have more; a tie counts as none), n, and deficient: whether the interval of the
    difference lies above 0.
    """
    rows = []
    for name, own in means.groupby("method", sort=False):
        for role in ("relation", "attribute", "composition"):
            gap = (own["object"] - own[role]).dropna().to_numpy()
            mean, share = mean_estimate(gap, seed), mean_estimate(gap > 0, seed)
            size = paired_effect(gap, seed)
            rows.append(
                {
                    "method": name,
                    "role": role,
                    **mean._asdict(),
                    **prefixed("d", size),
                    **prefixed("share", share[:3]),
                    "deficient": bool(mean.low > 0),
                }
            )
    return pd.DataFrame(rows)


def prefixed(name: str, three) -> dict:
    """{name, name_low, name_high} of a value and its interval."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), three, strict=True))


def paired_effect(gap: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Cohen's d of differences [n], mean over standard deviation (n - 1), and its interval.

    NaN where there are fewer than two, or none differs from another.
    """
    if len(gap) < 2 or np.ptp(gap) == 0:
        return np.nan, np.nan, np.nan
    return bootstrap(weighted_effect, (gap,), seed=seed)[:3]


def weighted_effect(weights, gap) -> np.ndarray:
    """Cohen's d of differences [n] counted `weights` [r, n] times each, [r]."""
    n = len(gap)
    mean = weights @ gap / n
    squares = weights * (gap - mean[:, None]) ** 2
    spread = np.sqrt(squares.sum(1) / (n - 1))
    return np.divide(mean, spread, out=np.full(len(mean), np.nan), where=spread > 0)


# ---------------------------------------------------------------- the parser against the truth


def role_agreement(pairs: pd.DataFrame, parsed: list, seed: int = 0) -> pd.DataFrame:
    """Precision, recall and F1 of parsed roles, word by word against the world's own account.

    pairs: with the column words (`scene_pairs`); parsed: a list of Concept a caption. One row a
    role ("all roles" first) and measure: value, low, high, n (the truth's words of that role).
    Without the column, no row: nothing is known.
    """
    columns = ["role", "measure", "value", "low", "high", "n"]
    if "words" not in pairs:
        return pd.DataFrame(columns=columns)
    counts = np.array(
        [role_counts(words, found) for words, found in zip(pairs["words"], parsed, strict=True)]
    )
    counts = np.concatenate([counts.sum(1, keepdims=True), counts], axis=1)
    rows = []
    for number, role in enumerate(("all roles", *ROLES)):
        right, wrong, missed = counts[:, number].T
        over = {
            "precision": right + wrong,
            "recall": right + missed,
            "F1": right + (wrong + missed) / 2,
        }
        for measure, bottom in over.items():
            value, low, high, _ = ratio_estimate(right, bottom, seed=seed)
            rows.append((role, measure, value, low, high, int((right + missed).sum())))
    return pd.DataFrame(rows, columns=columns)


def role_counts(words: list[dict], found) -> np.ndarray:
    """Words [roles, 3] of one caption: found rightly, found wrongly, missed."""
    counts = np.zeros((len(ROLES), 3), int)
    for word in words:
        said = next((c.role for c in found if c.start <= word["start"] < c.end), None)
        for number, role in enumerate(ROLES):
            hits = (
                said == role == word["role"],
                said == role != word["role"],
                said != role == word["role"],
            )
            counts[number] += hits
    return counts


# ---------------------------------------------------------------- accuracy against the ratio


def ratios(means: pd.DataFrame, correct: pd.Series) -> pd.DataFrame:
    """method, pair_id, ratio (a_rel / a_obj), correct; captions whose a_obj is not above 0 and
    those without a relation or a foil are left out."""
    own = means.assign(correct=means["pair_id"].map(correct))
    own["ratio"] = own["relation"] / own["object"].where(own["object"] > 0)
    return own[["method", "pair_id", "ratio", "correct"]].dropna().reset_index(drop=True)


def ratio_curve(data: pd.DataFrame, least: int = LEAST, seed: int = 0) -> pd.DataFrame:
    """x -> accuracy over all captions with a ratio of at most x (CAE, Figure 4), by method.

    data: `ratios`. Starts where `least` captions are counted. Returns method, ratio, n, share
    (of the captions), accuracy, low, high (captions resampled whole, x held fixed).
    """
    tables = [
        curve_of(own.sort_values("ratio"), least, seed).assign(method=name)
        for name, own in data.groupby("method", sort=False)
        if len(own) >= least
    ]
    columns = ["method", "ratio", "n", "share", "accuracy", "low", "high"]
    tables = tables or [pd.DataFrame(columns=columns)]
    return pd.concat(tables, ignore_index=True)[columns]


def curve_of(own: pd.DataFrame, least: int, seed: int) -> pd.DataFrame:
    """`ratio_curve` of one method; own sorted by ratio."""
    correct, n = own["correct"].to_numpy(float), len(own)
    at = np.unique(np.linspace(least - 1, n - 1, POINTS).astype(int))
    drawn = resampled(lambda weights, hits: running_share(weights, hits, at), (correct,), seed=seed)
    low, high = interval(drawn[1:])
    return pd.DataFrame(
        {
            "ratio": own["ratio"].to_numpy()[at],
            "n": at + 1,
            "share": (at + 1) / n,
            "accuracy": drawn[0],
            "low": low,
            "high": high,
        }
    )


def running_share(weights, hits, at) -> np.ndarray:
    """Share of hits among the first at + 1 rows counted `weights` [r, n] times each, [r, len(at)].

    0 where a sample holds none of these rows.
    """
    counted = np.cumsum(weights, axis=1)[:, at]
    return np.cumsum(weights * hits, axis=1)[:, at] / np.maximum(counted, 1)


def ratio_halves(data: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Accuracy of the captions with a ratio above the median, less that of the others, by method.

    data: `ratios`. Returns method, below, above, value (above - below), low, high, n, median.
    """
    rows = []
    for name, own in data.groupby("method", sort=False):
        high_ratio = (own["ratio"] > own["ratio"].median()).to_numpy()
        correct = own["correct"].to_numpy(float)
        above, below = correct[high_ratio], correct[~high_ratio]
        if min(len(above), len(below)) < 2:
            continue
        sides = (correct, high_ratio.astype(float))
        low, high = bootstrap(weighted_difference, sides, seed=seed)[1:3]
        rows.append(
            (
                name,
                below.mean(),
                above.mean(),
                above.mean() - below.mean(),
                low,
                high,
                len(own),
                own["ratio"].median(),
            )
        )
    columns = ["method", "below", "above", "value", "low", "high", "n", "median"]
    return pd.DataFrame(rows, columns=columns)
