"""Which words of a caption does CLIP believe, and which does it reject?"""

from ..lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "...attribution": "METHODS",
        "...display.explanation": "compare",
        "...display.text": "contrast",
        "...metrics.intervals": "foil_wins location_chance location_hits mean_estimate",
        "...metrics.misalignment": "score_pairs",
        "...metrics.words": "sign_agreement",
        "...scenes": "scene_pairs",
    },
)
