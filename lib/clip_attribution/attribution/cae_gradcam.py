"""CAE's GradCAM attribution: GAE over all text layers (not the Grad-CAM of `heatmaps`).

    Ebar_l = reduce_h max( dS/dA_l^h * A_l^h , 0 )      R <- R + Ebar_l R  from R = I      a = R[e]

Li et al., "Interpretable Composition Attribution Enhancement for Visio-linguistic Compositional
Understanding", EMNLP 2024, eq. 7-8, with S = cosine / tau. It is `gae` with other defaults: all
layers, not the last. The text of CAE averages over heads and its printed equation sums: `heads` is
"mean" (default, as in Chefer et al.) or "sum". With one layer the two differ by the number of
heads alone; with several the sum gives longer paths more weight.

Sign: never negative. Known weakness: as of `gae`, what speaks against the match is clamped away.
"""

from ..errors import UserError
from .gae import ABOUT, relevance
from .registry import method

REDUCE = {"mean": lambda heads: heads.mean(1), "sum": lambda heads: heads.sum(1)}


@method("cae_gradcam", paper="Li et al., EMNLP 2024", layers="all", options=("heads",), **ABOUT)
def cae_gradcam(view, heads: str = "mean"):
    """What each layer adds to the relevance row, [B, L, n], on the logit scale."""
    if heads not in REDUCE:
        raise UserError(f"unknown head reduction {heads!r}: choose mean or sum")
    return relevance(view, REDUCE[heads])
