"""Speed and memory of all grounding measures over a stream of heat maps with boxes.

    python -m benchmarks.grounding [--maps 10000] [--threads 2] [--side 224]

Three kinds of maps, each on the full 224 x 224 grid of its image or upsampled to it: `noise`
(every pixel by itself), `blobs` (smooth maps at full resolution), `patches` (blobs on a 14 x 14
grid). One to three boxes a map. Each kind runs in a process of its own, once with a tenth of the
maps and once with all of them; the time is that of the measures alone, without making the maps,
the peak memory that of the process. Aims: at most 20 s for 10,000 maps on two cores, and a peak at
most 1.2 times that of the tenth. CPU seconds and the machine's load at the start are given too: a
wall time from a machine with other work (a load of more than the cores) says little.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.memory import MIB, RESULT

RESULT = RESULT.with_name("grounding.json")
AIM_SECONDS, AIM_MEMORY = 20, 1.2
KINDS = ("noise", "blobs", "patches")
BATCH = 200


def make_maps(kind: str, n: int, side: int, rng) -> np.ndarray:
    """float32 [n, h, w]: white noise, or three Gaussian blobs of random size, place and height."""
    if kind == "noise":
        return rng.random((n, side, side), dtype=np.float32)
    grid = 14 if kind == "patches" else side
    at = (np.arange(grid) + 0.5) / grid
    y, x = rng.random((2, n, 3, 1))
    wide, high = rng.uniform(0.05, 0.3, (n, 3, 1)), rng.uniform(0.3, 1, (n, 3, 1))
    down, across = (np.exp(-(((at - mid) / wide) ** 2)) for mid in (y, x))
    return np.einsum("nkh,nkw->nhw", high * down, across).astype(np.float32)


def make_boxes(n: int, side: int, rng) -> list:
    """One to three boxes a map, each side a tenth to two thirds of the image's."""
    found = []
    for count in rng.integers(1, 4, n):
        extent = rng.uniform(0.1, 0.67, (count, 2)) * side
        start = rng.random((count, 2)) * (side - extent)
        found.append(np.hstack([start, start + extent]).round())
    return found


def batches(kind: str, n: int, side: int, spent: list):
    """Batches of a stream; what it takes to make them is added to `spent`, (wall, CPU) seconds."""
    rng = np.random.default_rng(0)
    for start in range(0, n, BATCH):
        began = np.array([time.perf_counter(), time.process_time()])
        size = min(BATCH, n - start)
        batch = make_maps(kind, size, side, rng), make_boxes(size, side, rng), (side, side)
        spent.append(np.array([time.perf_counter(), time.process_time()]) - began)
        yield batch


def child(kind: str, n: int, side: int, threads: int) -> None:
    """Measure one stream and print the outcome as JSON."""
    from clip_attribution.metrics.grounding import stream_metrics

    spent = []
    began = np.array([time.perf_counter(), time.process_time()])
    frame = stream_metrics(batches(kind, n, side, spent), threads=threads)
    wall, cpu = np.array([time.perf_counter(), time.process_time()]) - began - sum(spent)
    assert len(frame) == n and frame["error"].isna().all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    print(json.dumps({"seconds": wall, "cpu_seconds": cpu, "peak_mib": peak}))


def measure(kind: str, n: int, side: int, threads: int) -> dict:
    """The outcome of one stream in a fresh process; BLAS gets no threads besides ours."""
    command = [sys.executable, "-m", "benchmarks.grounding", "--child", kind, "--maps", str(n)]
    command += ["--side", str(side), "--threads", str(threads)]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | alone
    )
    return json.loads(done.stdout.splitlines()[-1])


def report(kind: str, few: dict, many: dict, scale: float) -> str:
    """One line with what was found and whether the aims, scaled to the number of maps, are met."""
    growth = many["peak_mib"] / few["peak_mib"]
    met = many["seconds"] <= AIM_SECONDS * scale and growth <= AIM_MEMORY
    return (
        f"{kind:8} {many['seconds']:6.1f} s  {many['cpu_seconds']:6.1f} s CPU  "
        f"{many['peak_mib']:5.0f} MiB, {growth:.3f} times a tenth's   {'met' if met else 'MISSED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    facts = options.maps, options.side, options.threads
    if options.child:
        return child(options.child, *facts)
    found, load = {}, os.getloadavg()[0]
    for kind in KINDS:
        few, many = measure(kind, max(1, facts[0] // 10), *facts[1:]), measure(kind, *facts)
        print(report(kind, few, many, facts[0] / 10_000), flush=True)
        found[kind] = many | {"peak_mib_of_a_tenth": few["peak_mib"]}
    aims = {"seconds_per_10000": AIM_SECONDS, "memory_growth": AIM_MEMORY}
    result = {"maps": facts[0], "side": facts[1], "threads": facts[2], "found": found, "aims": aims}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result | {"cores": os.cpu_count(), "load": load}, indent=1) + "\n")


if __name__ == "__main__":
    main()
