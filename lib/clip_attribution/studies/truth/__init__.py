"""Which attribution method is right, where the truth is known?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "..foils.figures": "legend_above",
        "..grounding.findings": "model_in_words",
        "...evaluation.ranking": "BASELINES KNOWN map_methods summary word_methods",
        "...evaluation.truths": "games word_truths",
        "...models.untrained": "random_weights",
        ".cases": "case_panels disagreements",
        ".figures": "kind_map rank_dots region_dots stability_map",
        ".findings": "advice finding_kinds finding_ranks finding_stability headline_words",
        ".tables": "REGIONS WORDS chosen facts_of known_kinds more_models rank_agreement ranked",
    },
)
