"""Numbers with their uncertainty: accuracies, precisions, overlaps, decisions, baselines."""

from .intervals import (
    Estimate,
    average_precision,
    correlation_estimate,
    foil_wins,
    located,
    location_chance,
    location_hits,
    mean_estimate,
    ratio_estimate,
)

__all__ = [
    "Estimate",
    "average_precision",
    "correlation_estimate",
    "foil_wins",
    "located",
    "location_chance",
    "location_hits",
    "mean_estimate",
    "ratio_estimate",
]
