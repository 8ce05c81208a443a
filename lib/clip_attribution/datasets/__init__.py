"""Loaders: one a benchmark, official format to pairs frame; `scenes` is the embedded world."""
