"""How much of a heat map lies where it should?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "...evaluation.grounding": "HEADLINES estimates",
        ".comparisons": "against_baselines against_blind correlations disagreements"
        " pointing_correlations sweep_all",
        ".figures": "correlation_map example_panels metric_distributions role_dots"
        " task_distributions uncertainty_curves",
        ".findings": "finding_baselines finding_blind finding_correlations finding_examples"
        " finding_roles finding_uncertainty headline_table made_with"
        " published_table report_phrases",
        ".tables": "DATASETS all_maps load_phrases measure_all phrase_facts",
    },
)
