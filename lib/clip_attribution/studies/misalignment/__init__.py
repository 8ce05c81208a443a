"""Which false words do the misalignment benchmarks let CLIP find?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "...plots.colours": "layers_in_words",
        "..foils.findings": "made_with",
        ".cases": "agreement alarm_table examples first_marked sweep",
        ".figures": "benchmark_dots group_dots",
        ".findings": "finding_epsilon finding_examples finding_groups finding_location"
        " finding_ranking finding_speed finding_words headline headline_epsilon"
        " headline_examples headline_groups",
        ".panels": "epsilon_panels example_panels",
        ".tables": "TITLES all_results benchmark_results chosen chosen_foils compared facts_of"
        " overview throughput",
    },
)
