"""How much of the heat lies in the box: IoU, Dice, weighted distance penalty, inside share.

The definitions are those of Q-GroundCAM where its text gives them (IoU and Dice, by A. Monteux,
"Metrics for semantic segmentation", 2019); the formulas of the penalty and of the inside-outside
ratio are not available as text and are reconstructed here, with alternatives by name.
"""

from typing import NamedTuple

import numpy as np

from ..errors import UserError

SMOOTH = 0.001
THRESHOLD = 0.5
ROUNDING = 1e-9  # a value that interpolation leaves a hair below the threshold has reached it


class Sums(NamedTuple):
    """What the measures need of maps A [n, H, W], the mask M and the distances D: each [n]."""

    inside: np.ndarray  # sum of A M
    outside: np.ndarray  # sum of A (1 - M)
    penalty: np.ndarray  # sum of A D, D = 0 inside
    box: np.ndarray  # sum of M
    distance: np.ndarray  # sum of D
    farthest: np.ndarray  # largest D
    diagonal: float  # of the image, in pixels


def sums(heat: np.ndarray, distance: np.ndarray) -> tuple[Sums, Sums]:
    """Sums of maps in [0, 1] [n, H, W], as they are and as [A >= 0.5], with distance [n, H, W]."""
    mask, warm = distance == 0, heat >= THRESHOLD - ROUNDING
    box, reach = counts(mask), distance.sum(axis=(1, 2))
    facts = box, reach, distance.max(axis=(1, 2)), float(np.hypot(*heat.shape[1:]))
    # inside and outside are sums of their own: exactly 0 where there is no heat
    inside, outside = (heat.sum(axis=(1, 2), where=where) for where in (mask, ~mask))
    strayed = [np.einsum("nhw,nhw->n", a, distance) for a in (heat, warm)]
    soft = Sums(inside, outside, strayed[0], *facts)
    return soft, Sums(counts(warm & mask), counts(warm & ~mask), strayed[1], *facts)


def counts(masks: np.ndarray) -> np.ndarray:
    """Number of True of each mask [n, H, W]."""
    return np.array([np.count_nonzero(mask) for mask in masks], dtype=float)


def iou(s: Sums) -> np.ndarray:
    """(I + s) / (T - I + s), I = sum A M, T = sum A + sum M, s = 0.001. In (0, 1]."""
    total = s.box + s.inside + s.outside
    return (s.inside + SMOOTH) / (total - s.inside + SMOOTH)


def dice(s: Sums) -> np.ndarray:
    """2 (I + s) / (T + s), as `iou`. The stated form exceeds 1 on a perfect map, by s / (T + s)."""
    return 2 * (s.inside + SMOOTH) / (s.box + s.inside + s.outside + SMOOTH)


def io_ratio(s: Sums) -> np.ndarray:
    """In / (In + Out) = sigmoid(log(In / Out)): the share of the heat inside. 0 without heat."""
    total = s.inside + s.outside
    return np.divide(s.inside, total, out=np.zeros_like(total), where=total > 0)


def wdp(s: Sums, form: str = "share") -> np.ndarray:
    """Weighted distance penalty, lower is better; NaN where the map has no heat.

    With P = sum of A D over the pixels outside, D the distance to the box in pixels:

        share           P / (P + sum A M): 0 without heat outside, 1 without heat inside, the same
                        for any scale of A. The default, nearest to the published values.
        share_diagonal  the same with D over the image's diagonal: free of resolution
        share_farthest  the same with D over its largest value
        exponential     1 - exp(-P / sum M)
        mean_distance   mean D of the heat outside, over the largest D
        mean_penalty    P / sum D
    """
    if form not in WDP_FORMS:
        raise UserError(f"wdp {form!r}: use one of {', '.join(WDP_FORMS)}")
    with np.errstate(invalid="ignore", divide="ignore"):
        value = WDP_FORMS[form](s)
    value = np.where(s.outside == 0, 0.0, value)  # also where the box covers the image: D = 0
    return np.where(s.inside + s.outside > 0, value, np.nan)


def share(s: Sums, unit=1.0) -> np.ndarray:
    penalty = s.penalty / unit
    return penalty / (penalty + s.inside)


WDP_FORMS = {
    "share": share,
    "share_diagonal": lambda s: share(s, s.diagonal),
    "share_farthest": lambda s: share(s, s.farthest),
    "exponential": lambda s: 1 - np.exp(-s.penalty / s.box),
    "mean_distance": lambda s: s.penalty / s.outside / s.farthest,
    "mean_penalty": lambda s: s.penalty / s.distance,
}


def overlap(heat: np.ndarray, distance: np.ndarray, form: str = "share") -> dict[str, np.ndarray]:
    """Every overlap measure of maps in [0, 1] [n, H, W]; distance: distance maps [n, H, W]."""
    soft, binary = sums(heat, distance)
    return {
        "iou_soft": iou(soft),
        "iou_binary": iou(binary),
        "dice_soft": dice(soft),
        "dice_binary": dice(binary),
        "wdp_soft": wdp(soft, form),
        "wdp_binary": wdp(binary, form),
        "wdp_norm": wdp(soft, "share_diagonal"),
        "io_ratio": io_ratio(soft),
        "covers": (soft.farthest == 0).astype(float),
    }
