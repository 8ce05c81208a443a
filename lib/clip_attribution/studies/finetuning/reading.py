"""Does the model see relations, and does it read them? The start of the comparison of `compare`."""

from pathlib import Path

import pandas as pd

from ...models.clip import Clip
from ...models.sources import embedded_path
from ...training.unread import unread
from ..foils.findings import listed
from .comparison import UNTUNED, TunedRun, load_run
from .tables import signed

READS, ONLY_SEES = "sees and reads relations", "sees relations only"
KNOWN = {UNTUNED: "as given", READS: READS, ONLY_SEES: ONLY_SEES}
TESTS = {"position": "place", "swap_relation": "order", "state": "state"}
READING = (*(f"{kind} accuracy" for kind in TESTS), "attribute accuracy", "T2I R@1")


def start_models(clip: Clip, cache, only_sees: bool = True, steps=None) -> tuple[Clip, list]:
    """The model that fine-tuning begins with, and the runs that led to it.

    Parameters
    ----------
    clip
        The model as given.
    cache
        Folder of all runs.
    only_sees
        Begin with the model of `training.unread`, for the embedded model alone.
    steps
        Optimizer steps of its two recipes; None for their own.

    Returns
    -------
    tuple of (Clip, list of TunedRun)
        Without `only_sees`, and with any other model, `clip` itself and a run that is it.
    """
    runs = [TunedRun(UNTUNED, False, 0, pd.DataFrame(), None)]
    if only_sees and clip.pretrained == "embedded":
        files = unread(embedded_path(), Path(cache) / "unread", steps, str(clip.device))
        runs += [
            TunedRun(name, False, 0, pd.DataFrame(), file)
            for name, file in zip((READS, ONLY_SEES), files, strict=True)
        ]
    return load_run(clip, runs[-1]), runs


def finding_reading(data: pd.DataFrame) -> str:
    """What the models of `start_models` know of places and order; data: `evaluate_runs`."""
    lines = []
    for variant, name in KNOWN.items():
        own = data[data["variant"] == variant].set_index("measure")
        if len(own):
            known = [
                f"{label} {signed(own.loc[f'{kind} accuracy'], 'value', '.1f')}"
                for kind, label in TESTS.items()
            ]
            n = own["n"][f"{next(iter(TESTS))} accuracy"]
            lines.append(f"{name.capitalize()}: {listed(known)} % ({n} pairs each).")
    return "\n".join(lines)
