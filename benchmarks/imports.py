"""How long `import clip_attribution` takes, and what it draws in that it should not.

    python -m benchmarks.imports

Aim: under half a second, without torch's compilers, spaCy, papermill or snakemake.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "imports.json"
AIM = 0.5  # seconds
HEAVY = ("torch._dynamo", "torch._inductor", "spacy", "papermill", "snakemake")
RUNS = 5


def imported() -> dict[str, float]:
    """Cumulative seconds of every module that the package imports, in a fresh process."""
    command = [sys.executable, "-X", "importtime", "-c", "import clip_attribution"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    cells = (line.removeprefix("import time:").split("|") for line in lines[1:])
    return {name.strip(): int(total) / 1e6 for _, total, name in cells}


def main() -> None:
    """Measure, print and record."""
    runs = [imported() for _ in range(RUNS)]
    seconds = statistics.median(run["clip_attribution"] for run in runs)
    heavy = [name for name in HEAVY if name in runs[0]]
    print(f"import clip_attribution: {seconds:.3f} s (aim {AIM}); heavy: {heavy or 'none'}")
    result = {"seconds": seconds, "runs": RUNS, "modules": len(runs[0]), "heavy": heavy}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
