"""What the layer x ReLU table costs, beside one CLIP4DM attribution of the same pairs.

    python -m benchmarks.ablation [--pairs 2000] [--repeats 3] [--model NAME]

Scenes of the embedded world, the embedded model. The table holds every number of layers under
every ReLU variant and the share of every head, so it stands for as many runs as it has settings.
Repeats of both are interleaved and the median of the ratios within a round is given: other work on
the machine then falls on both. The two must also agree, setting by setting (largest difference over
a few settings, against runs of their own).
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from benchmarks.engine import RESULT as ENGINE
from clip_attribution import attribute, load_clip
from clip_attribution.scenes import scene_pairs
from clip_attribution.studies.foils.table import ablation_table

RESULT = ENGINE.with_name("ablation.json")
AIM, TOLERANCE = 1.2, 1e-6
CHECKED = (("signed", 1), ("signed", 3), ("negative_heads", 2), ("negative_layers_gradient", 3))


def seconds(action, clip) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    if clip.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(clip, pairs, repeats: int) -> list[tuple[float, float]]:
    """Seconds of (attribution, table) in each round, after one small round to warm up."""
    attribute(clip, pairs.head(64))
    ablation_table(clip, pairs.head(64))
    return [
        (
            seconds(lambda: attribute(clip, pairs), clip),
            seconds(lambda: ablation_table(clip, pairs), clip),
        )
        for _ in range(repeats)
    ]


def largest_difference(clip, pairs) -> float:
    """Between the table and separate runs, over the settings in CHECKED."""
    table = ablation_table(clip, pairs)
    found = []
    for relu, layers in CHECKED:
        words, _ = attribute(clip, pairs, layers=-layers, relu=relu)
        both = words["attribution"] - table.at(relu, layers)["attribution"]
        found.append(float(np.nanmax(np.abs(both))))
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=2000, help="pairs: half of them foils")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=None, help="default: the embedded model")
    options = parser.parse_args()
    clip, pairs = load_clip(options.model), scene_pairs(options.pairs // 2, seed=1)
    rounds = measure(clip, pairs, options.repeats)
    ratio = statistics.median(table / one for one, table in rounds)
    difference = largest_difference(clip, pairs.head(200))
    print(*(f"attribution {one:7.2f} s   table {table:7.2f} s" for one, table in rounds), sep="\n")
    print(f"ratio {ratio:.3f}, aim at most {AIM}: {'met' if ratio <= AIM else 'MISSED'}")
    print(
        f"largest difference to separate runs {difference:.1e}, aim at most {TOLERANCE:.0e}: "
        f"{'met' if difference <= TOLERANCE else 'MISSED'}"
    )
    RESULT.parent.mkdir(exist_ok=True)
    result = {
        "model": clip.name,
        "pairs": len(pairs),
        "seconds": rounds,
        "ratio": ratio,
        "aim": AIM,
        "largest_difference": difference,
        "threads": torch.get_num_threads(),
        "device": clip.device.type,
        "torch": torch.__version__,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
