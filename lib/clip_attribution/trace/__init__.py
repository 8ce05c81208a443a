"""Attention and its gradient, read out of a tower while the model's own forward runs."""

from .hooks import Trace, TraceError, count_layers, trace

__all__ = ["Trace", "TraceError", "count_layers", "trace"]
