"""Does training on the attribution give relation and attribute words their weight?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "...datasets.published": "published",
        ".comparison": "compare of_share",
        ".figures": "deficiency_dots outcome_dots strength_curves training_curves",
        ".outcomes": "evaluate_runs",
        ".reading": "KNOWN READING finding_reading start_models",
        ".tables": "ABLATION finding_accuracy finding_deficiency finding_ingredients"
        " finding_strength logs_of weights_of wide",
    },
)
