"""Interchange interventions: the score of one text with a subspace of another text's state.

    z = h_l[e] W      z' = [z_source[0:k], z_base[k:d]]      h_l[e] <- z' W^T

h_l[e] [d] is the output of block l of the text tower at the pooled position e of each text, W an
orthogonal rotation [d, d], k the size of the subspace. With B the first k columns of W this is
h_base + (h_source - h_base) B B^T, which is how it is computed: only the span of B matters. All
other positions, and every later block, are those of the base text.

At the site "features", the text embedding behind the projection and before its norm, nothing flows
around the intervention (ours).

References
----------
Zur, Kreiss, D'Oosterlinck, Potts, Geiger, "Updating CLIP to prefer descriptions over captions",
EMNLP 2024, arXiv 2406.09458. Geiger et al., "Finding alignments between interpretable causal
variables and distributed neural representations", arXiv 2303.02536.
"""

from .alignment import Alignment
from .engine import FEATURES, interchange_features, site_width
from .scoring import interchange_scores, plain_scores, scores

__all__ = [
    "FEATURES",
    "Alignment",
    "interchange_features",
    "interchange_scores",
    "plain_scores",
    "scores",
    "site_width",
]
