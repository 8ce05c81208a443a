"""Peak memory of attribute() on 400 and on 4,000 pairs, each in a process of its own.

    python -m benchmarks.memory [--model ViT-B-32-quickgelu] [--pairs 400 4000]

Every pair has an image of its own in a file. Aim: the peak of the second at most 1.2 times that of
the first.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

RESULT = Path(__file__).parent / "results" / "memory.json"
AIM = 1.2
MIB = 1024 if sys.platform != "darwin" else 1024**2  # ru_maxrss is in KiB, on macOS in bytes


def write_images(folder: Path, n: int, side: int = 64) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def peak_of(model: str, n: int, folder: str) -> float:
    """Peak resident memory in MiB of a fresh process that attributes n pairs."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(n), folder]
    done = subprocess.run([*command, "--model", model], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def child(model: str, n: int, folder: str) -> None:
    from clip_attribution import attribute, load_clip

    clip = load_clip() if model == "embedded" else load_clip(model)
    captions = [f"a red umbrella and {i} dogs on the beach" for i in range(n)]
    pairs = {"image": [f"{i}.png" for i in range(n)], "caption": captions}
    _, done = attribute(clip, pairs, image_root=folder)
    assert done["error"].isna().all()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="ViT-B-32-quickgelu", help="or: embedded")
    parser.add_argument("--pairs", type=int, nargs=2, default=[400, 4000])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.model, int(options.child[0]), options.child[1])
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), max(options.pairs))
        peaks = {str(n): peak_of(options.model, n, folder) for n in options.pairs}
    few, many = (peaks[str(n)] for n in options.pairs)
    print(*(f"{n:>6} pairs: {peak:8.0f} MiB" for n, peak in peaks.items()), sep="\n")
    print(f"ratio {many / few:.3f}, aim at most {AIM}: {'met' if many / few <= AIM else 'MISSED'}")
    RESULT.parent.mkdir(exist_ok=True)
    result = {"model": options.model, "peak_mib": peaks, "ratio": many / few, "aim": AIM}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
