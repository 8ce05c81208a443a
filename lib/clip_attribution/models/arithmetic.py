"""A model as it is by itself, whatever a caller has put around it or around the call."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def exact() -> Iterator[None]:
    """Inside, torch computes as it does by itself, whatever surrounds the call: without autocast,
    with gradients where they are asked for, in float32 where nothing else is said.
    """
    with (
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        torch.inference_mode(False),
        default_dtype(torch.float32),
    ):
        yield


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Inside, new tensors are of this type; a caller's `torch.set_default_dtype` is put back."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def bare(model: Any) -> Any:
    """The model itself, without what runs it in parallel or compiled, where no hook sees it."""
    while True:
        if isinstance(model, torch.nn.DataParallel | DistributedDataParallel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule":  # of torch.compile
            model = model.get_submodule("_orig_mod")
        else:
            return model
