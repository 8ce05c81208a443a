"""Benchmarks: one loader a dataset, from its official files to a frame; and the embedded world."""

from importlib import import_module
from typing import NamedTuple

import pandas as pd

from ..errors import UserError

MISALIGNMENT, COMPOSITION, GROUNDING = "misalignment", "composition", "grounding"


class Benchmark(NamedTuple):
    """What is measured on a benchmark, the module that loads it, and that loader's options."""

    kind: str
    module: str
    options: dict = {}


BENCHMARKS = {
    "foil": Benchmark(MISALIGNMENT, "foil"),
    "nocaps-foil": Benchmark(MISALIGNMENT, "nocaps_foil"),
    "hat": Benchmark(MISALIGNMENT, "hat"),
    "seetrue": Benchmark(MISALIGNMENT, "seetrue"),
    "rich-hf": Benchmark(MISALIGNMENT, "rich_hf"),
    "aro-relation": Benchmark(COMPOSITION, "aro", {"task": "relation"}),
    "aro-attribute": Benchmark(COMPOSITION, "aro", {"task": "attribute"}),
    "coco-order": Benchmark(COMPOSITION, "aro", {"task": "coco-order"}),
    "flickr30k-order": Benchmark(COMPOSITION, "aro", {"task": "flickr30k-order"}),
    "sugarcrepe": Benchmark(COMPOSITION, "sugarcrepe"),
    "vl-checklist": Benchmark(COMPOSITION, "vl_checklist"),
    "valse": Benchmark(COMPOSITION, "valse"),
    "svo-probes": Benchmark(COMPOSITION, "svo_probes"),
    "comvg": Benchmark(COMPOSITION, "comvg"),
    "winoground": Benchmark(COMPOSITION, "winoground"),
    "coco-retrieval": Benchmark(COMPOSITION, "retrieval"),
    "flickr30k-retrieval": Benchmark(COMPOSITION, "retrieval"),
    "sts-b": Benchmark(COMPOSITION, "sts", {"benchmark": "sts-b"}),
    "sick-r": Benchmark(COMPOSITION, "sts", {"benchmark": "sick-r"}),
    "flickr30k-entities": Benchmark(GROUNDING, "flickr30k_entities"),
    "refcoco": Benchmark(GROUNDING, "refcoco"),
    "refcoco+": Benchmark(GROUNDING, "refcoco", {"dataset": "refcoco+"}),
    "spatialsense": Benchmark(GROUNDING, "spatialsense"),
    "coco": Benchmark(GROUNDING, "coco_instances"),
}


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up. Raises UserError on an unknown name."""
    if name not in BENCHMARKS:
        raise UserError(f"unknown benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load_benchmark(name: str, data, images=None, **options) -> pd.DataFrame:
    """The frame of a benchmark's official files; see its module for columns and options.

    data: the file, or the folder that holds it under its official name. images: the folder of its
    pictures. A malformed record is a row with its reason in `error`. Raises UserError.
    """
    found = get_benchmark(name)
    loader = import_module(f".{found.module}", __name__)
    return loader.load(data, images, **found.options, **options)
