"""Does a trained subspace carry what makes a description?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "..roles.findings": "small_print",
        ".figures": "best_image path_dots text_panels",
        ".findings": "finding_gaps finding_names finding_split",
        ".runs": "tuned_models with_controls",
        ".tables": "name_means over_starts rows_facts scene_rows truth_correlations with_norms",
    },
)
