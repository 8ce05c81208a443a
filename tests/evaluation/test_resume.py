"""A killed `clip-attribution score` goes on where it was, and ends with the same bytes."""

import multiprocessing
import os
import time

import pytest
import torch
from score_tables import make_rows, save_model, save_pictures, save_rows

from clip_attribution.cli import main

FORK = multiprocessing.get_context("forkserver")  # imports torch once for all processes
FORK.set_forkserver_preload(["clip_attribution.evaluation.score"])


def score(arguments, folders):
    """What each process runs; one thread, so that bytes can be compared."""
    torch.set_num_threads(1)
    for folder in folders:
        assert main([*map(str, arguments), "--out", str(folder)]) == 0


def start(arguments, *folders):
    """Score into the folders, one after the other, in a process of its own."""
    process = FORK.Process(target=score, args=(arguments, folders))
    process.start()
    return process


def kill_after(process, parts, count):
    """Kill -9 the process after `count` more finished chunks; the times of all parts there are."""
    before, end = set(parts.glob("*.pairs.parquet")), time.monotonic() + 300
    while len(set(parts.glob("*.pairs.parquet")) - before) < count:
        assert process.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    process.join()
    return {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}


@pytest.mark.slow
def test_killed_run_goes_on(tmp_path):
    table = save_rows(make_rows(save_pictures(tmp_path), 320), tmp_path / "pairs.jsonl")
    options = ["score", table, "--quiet", "--chunk-rows", 4, *save_model(tmp_path)]
    out, whole = tmp_path / "out", tmp_path / "whole"
    parts = out / "parts"
    other = kill_after(start([*options, "--start-layer", -1], out), parts, 2)
    first = kill_after(start(options, out), parts, 3)
    assert first.items() > other.items() and not (out / "words.parquet").exists()
    second = kill_after(start(options, out), parts, 3)
    assert second.items() > first.items()
    last = start(options, out, whole)
    last.join()
    assert last.exitcode == 0
    assert sorted(os.listdir(out)) == ["pairs.parquet", "score.json", "words.parquet"]
    for name in os.listdir(out):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
