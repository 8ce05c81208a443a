"""Do relation and attribute words get less attribution than objects?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "..sample": "image_root",
        "...metrics.intervals": "mean_estimate",
        "...models.untrained": "random_weights",
        "...text.pos": "load_tagger tagger_name",
        "...text.roles": "parse_captions",
        ".captions": "DATASETS caption_facts foil_loses load_captions",
        ".cases": "case ingredient_table ingredients typical",
        ".figures": "case_figure ingredient_histograms ratio_panels role_boxes",
        ".findings": "finding_deficiency finding_entropy finding_ingredients finding_parser"
        " finding_ratio finding_roles published_means published_ratio small_print",
        ".measures": "attribute_roles caption_means chosen completeness gap_table normalised"
        " quick ratio_curve ratio_halves ratios role_agreement role_table",
    },
)
