"""A killed `clip-attribution score` goes on where it was, and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import clip_attribution
import pytest
from test_score import make_rows, save_model, save_pictures, save_rows

RUN = "import sys; from clip_attribution.cli import main; sys.exit(main(sys.argv[1:]))"
RUN_TWICE = "import sys; from clip_attribution.cli import main; a = sys.argv[2:]\n"
RUN_TWICE += "sys.exit(max(main([*a, '--out', out]) for out in sys.argv[1].split()))"


def start(code, *arguments):
    """Python code in a process of its own, with one thread so that bytes can be compared."""
    library = str(Path(clip_attribution.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": library, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=env)


def kill_after(process, parts, count):
    """Kill the process when it has finished `count` chunks; times of all parts there are then."""
    before, end = set(parts.glob("*.pairs.parquet")), time.monotonic() + 300
    while len(set(parts.glob("*.pairs.parquet")) - before) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}


@pytest.mark.slow
def test_killed_run_goes_on(tmp_path):
    table = save_rows(make_rows(save_pictures(tmp_path), 1200), tmp_path / "pairs.jsonl")
    options = ["score", table, "--quiet", "--chunk-rows", 8, *save_model(tmp_path)]
    out, whole = tmp_path / "out", tmp_path / "whole"
    parts = out / "parts"
    other = kill_after(start(RUN, *options, "--out", out, "--start-layer", -1), parts, 2)
    first = kill_after(start(RUN, *options, "--out", out), parts, 3)
    assert first.items() > other.items() and not (out / "words.parquet").exists()
    second = kill_after(start(RUN, *options, "--out", out), parts, 3)
    assert second.items() > first.items()
    assert start(RUN_TWICE, f"{out} {whole}", *options).wait() == 0
    assert sorted(os.listdir(out)) == ["pairs.parquet", "score.json", "words.parquet"]
    for name in os.listdir(out):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
