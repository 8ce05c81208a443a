"""Which heat map should one believe?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "..grounding.findings": "finding_areas finding_foil finding_sanity made_with"
        " model_in_words",
        "..grounding.tables": "all_maps load_captions phrase_facts",
        "..sample": "image_root",
        "...evaluation.deletion": "FILLS RANDOM areas mean_curves picture_curves summary"
        " word_curves",
        "...evaluation.sanity": "by_depth randomisation unchanged",
        "...heatmaps": "METHODS",
        "...io.images": "open_image",
        ".figures": "curve_panels limits_of map_panels phrase_maps sanity_panels share_below_zero",
    },
)
