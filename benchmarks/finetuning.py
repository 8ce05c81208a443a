"""CAE's fine-tuning over several seeds: what each variant changes, and whether all seeds agree.

    python -m benchmarks.finetuning [--seeds 3] [--steps 40] [--pairs 200] [--cache FOLDER]

All variants of notebook 08 on the model that sees relations and does not read them (`--start
embedded`: on the embedded model), each with the same steps, batch and pairs, in as many orders of
the training pairs as there are seeds. Written: means over seeds with their interval
over test images, the paired changes since before tuning and against CLIP-FT, and the spread
between seeds. Tuned models are kept in `cache`, a second call reads them back.
Not part of `make bench`: it measures what is learnt, not how fast.
"""

import argparse
import json

import torch

from benchmarks.engine import RESULT as ENGINE
from clip_attribution import load_clip
from clip_attribution.notebooks import plain
from clip_attribution.studies.finetuning.comparison import compare
from clip_attribution.studies.finetuning.outcomes import evaluate_runs
from clip_attribution.studies.finetuning.reading import finding_reading, start_models
from clip_attribution.studies.finetuning.tables import (
    finding_accuracy,
    finding_deficiency,
    weights_of,
)

RESULT = ENGINE.with_name("finetuning.json")
PAIRS, CALIBRATION = 1280, 8  # training pairs; batches that the weight is calibrated on
SHOWN = ("relation accuracy", "attribute accuracy", "object accuracy", "I2T R@1", "T2I R@1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="orders of the training pairs")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of every run")
    parser.add_argument("--pairs", type=int, default=200, help="test pairs of each foil type")
    parser.add_argument("--cache", default="runs/finetuning", help="folder of the tuned models")
    parser.add_argument("--start", choices=("only_sees", "embedded"), default="only_sees")
    options = parser.parse_args()
    given = load_clip()
    clip, models = start_models(given, options.cache, options.start == "only_sees")
    known = evaluate_runs(given, models, n=options.pairs, methods=(), progress=True)
    runs = compare(
        clip,
        cache=options.cache,
        steps=options.steps,
        seeds=range(options.seeds),
        n_pairs=PAIRS,
        calibration=CALIBRATION,
        progress=True,
    )
    table = evaluate_runs(clip, runs, n=options.pairs, n_attributed=128, progress=True)
    print(
        finding_reading(known),
        finding_deficiency(table),
        *(finding_accuracy(table, name) for name in SHOWN),
        sep="\n",
    )
    facts = {
        "model": given.name,
        "start": models[-1].variant,
        "weights": clip.weights_hash,
        "seeds": options.seeds,
        "steps": options.steps,
        "training_pairs": PAIRS,
        "calibration": CALIBRATION,
        "test_pairs_a_type": options.pairs,
        "torch": torch.__version__,
    }
    result = facts | {"known": known, "lam": weights_of(runs), "table": table}
    RESULT.write_text(json.dumps(plain(result), indent=1) + "\n")


if __name__ == "__main__":
    main()
