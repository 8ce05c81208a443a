"""Benchmarks: one file each, from its official files to a frame, and the embedded world as they."""

from .registry import (
    COMPOSITION,
    DESCRIPTIONS,
    GROUNDING,
    MISALIGNMENT,
    Benchmark,
    benchmarks,
    get_benchmark,
    load_benchmark,
    names_of,
)

__all__ = [
    "BENCHMARKS",
    "COMPOSITION",
    "DESCRIPTIONS",
    "GROUNDING",
    "MISALIGNMENT",
    "Benchmark",
    "benchmarks",
    "get_benchmark",
    "load_benchmark",
    "names_of",
]


def __getattr__(name):
    if name != "BENCHMARKS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return benchmarks()
