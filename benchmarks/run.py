"""`make bench`: time of the import, speed of the engine, memory of scoring, cost of each method.

Results go to benchmarks/results.
"""

import subprocess
import sys

PARTS = ("imports", "engine", "memory", "ablation", "methods")


def main() -> None:
    """Run each benchmark in a process of its own, so that none is measured in another's wake."""
    for part in PARTS:
        print(f"== benchmarks.{part}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=True)


if __name__ == "__main__":
    main()
