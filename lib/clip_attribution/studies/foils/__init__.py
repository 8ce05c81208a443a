"""How many layers, and which signs, find the false word of a caption?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "..sample": "DATASETS data_facts tagged true_tags",
        "..shared_table": "report shared_table",
        "...attribution.clip4dm": "REDUCE",
        "...plots.colours": "layers_in_words",
        "...text.pos": "load_tagger tagger_name",
        ".figures": "OURS contribution_maps difference_dots difference_map layer_curves"
        " layer_curves_by_type variant_curves variant_dots",
        ".findings": "finding_heads finding_layers finding_loss finding_pos finding_separation"
        " finding_tagger finding_types finding_variants made_with",
        ".measures": "agreement detection_chance differences layer_count pooled scores"
        " scores_at separation_by_pos share_by_layer some",
        ".table": "contribution_by_head detection_by_pos label_words location_by_layers",
    },
)
