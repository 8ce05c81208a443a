"""What does a model know of composition, benchmark by benchmark?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        ".cases": "finding_case typical_case",
        ".figures": "accuracy_dots retrieval_dots",
        ".findings": "finding_accuracy finding_gap finding_random finding_retrieval",
        ".tables": "all_groups chosen compared composition_results counting_rules facts_of"
        " main_rows overview",
        "..roles.findings": "small_print",
    },
)
