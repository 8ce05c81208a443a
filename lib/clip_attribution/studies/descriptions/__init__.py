"""Can a CLIP be taught to prefer descriptions over captions, and what does it lose?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        ".drawing": "training_step",
        ".figures": "curves localisation_dots trade_off_dots",
        ".findings": "finding_base finding_gap finding_localisation finding_preference "
        "finding_trade_off",
        ".runs": "VARIANTS prepare tuned_runs",
        ".tables": "beside_published localisation_of logs_of outcomes over_starts",
    },
)
