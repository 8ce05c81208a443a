"""Figures from frames: signed bars, coloured captions, heat maps. Nothing is computed here."""

from .panels import interaction_panels
from .style import (
    caption_panel,
    contrast_figure,
    explanation_figure,
    footnote,
    heatmap_panel,
    layer_panel,
    use_style,
    word_bars,
)

__all__ = [
    "caption_panel",
    "contrast_figure",
    "explanation_figure",
    "footnote",
    "heatmap_panel",
    "interaction_panels",
    "layer_panel",
    "use_style",
    "word_bars",
]
