"""A batch of heat maps row by row: which rows can be used, and the work on them in threads."""

import os
from concurrent.futures import ThreadPoolExecutor
from numbers import Real

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import UserError
from .maps import as_batch, check_boxes, check_size, map_fault

CHUNK = 2**19  # pixels a thread works on at once: less, and the threads wait for each other


def over_chunks(maps, boxes, sizes, action, threads=None) -> tuple[dict[str, np.ndarray], list]:
    """action(maps, boxes, size) on every good row, by image size, chunk and thread.

    Returns its arrays put back in the order of the rows, NaN where a row has an error, and the
    reasons, None for a good row.
    """
    maps, boxes = as_batch(maps), list(boxes)
    one = len(sizes) == 2 and all(isinstance(side, Real) for side in sizes)
    sizes = [tuple(sizes)] * len(maps) if one else list(sizes)
    if not len(maps) == len(boxes) == len(sizes):
        raise UserError(f"{len(maps)} maps, {len(boxes)} boxes, {len(sizes)} sizes: one each a map")
    errors, checked = check_rows(maps, boxes, sizes)
    jobs = [(size, rows) for size, rows in chunks(checked)]

    def run(job) -> dict:
        size, rows = job
        return action(maps[rows], [checked[row][1] for row in rows], size)

    found: dict[str, np.ndarray] = {}
    # BLAS with threads of its own would fight with ours for the cores
    with threadpool_limits(1), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for (_, rows), part in zip(jobs, pool.map(run, jobs), strict=True):
            for name, values in part.items():
                whole = found.setdefault(name, np.full((len(maps), *values.shape[1:]), np.nan))
                whole[rows] = values
    return found, errors


def check_rows(maps, boxes, sizes) -> tuple[list, dict]:
    """The reason against each row, or None, and by good row its (size, clipped boxes)."""
    errors: list[str | None] = [None] * len(maps)
    checked = {}
    for row, given in enumerate(sizes):
        try:
            size = check_size(given)
            kept = check_boxes(boxes[row], size)
        except UserError as reason:
            errors[row] = str(reason)
            continue
        errors[row] = map_fault(maps[row])
        if errors[row] is None:
            checked[row] = (size, kept)
    return errors, checked


def chunks(checked: dict):
    """(size, rows) of at most CHUNK pixels, the rows of one size after the other."""
    of_size: dict[tuple[int, int], list[int]] = {}
    for row, (size, _) in checked.items():
        of_size.setdefault(size, []).append(row)
    for size, rows in of_size.items():
        step = max(1, CHUNK // (size[0] * size[1]))
        for start in range(0, len(rows), step):
            yield size, rows[start : start + step]
