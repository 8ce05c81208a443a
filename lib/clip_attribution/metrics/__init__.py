"""Numbers with their uncertainty: accuracies, precisions, overlaps, decisions, baselines."""

from .intervals import (
    Estimate,
    average_precision,
    bootstrap,
    correlation_estimate,
    foil_wins,
    located,
    location_chance,
    location_hits,
    mean_estimate,
    ratio_estimate,
    resampled,
)

__all__ = [
    "Estimate",
    "average_precision",
    "bootstrap",
    "correlation_estimate",
    "foil_wins",
    "located",
    "location_chance",
    "location_hits",
    "mean_estimate",
    "ratio_estimate",
    "resampled",
]
