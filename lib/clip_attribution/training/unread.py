"""A model that sees relations and does not read them: the one that CAE's fine-tuning could help.

    python -m clip_attribution.training.unread --start data/scenes-clip.safetensors

The embedded model knows hardly any relation, and either of its towers may be to blame. So two
models are made of it. `SEEING` goes on with both towers, on families that differ in a relation.
`UNREAD` begins there and goes on with the text tower alone, on the same families with captions that
state relations at random: its image tower, the same to the last bit, still tells them apart, and
its text tower has learnt to read over them.
"""

from ..errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.training.unread")

import argparse
import sys
from pathlib import Path

from ..errors import exit_status
from ..io.tables import digest
from ..io.tensors import read_tensors
from .families import KIND_WEIGHTS
from .pretrain import DEFAULTS, LAST, key_of, train_into

TUNED = DEFAULTS | {"lr": 5e-4, "warmup": 20, "dense": 0.0, "facts_from": 0}
WEIGHTS = {name: weight / 3 for name, weight in KIND_WEIGHTS.items()} | {"position": 6, "state": 2}
SEEING = TUNED | {"steps": 120, "weights": WEIGHTS}
UNREAD = TUNED | {"steps": 90, "weights": WEIGHTS, "image_tower": False, "any_relation": True}


def unread(start: Path, folder: Path, steps=None, device: str = "cpu") -> tuple[Path, Path]:
    """Make the model that sees and reads relations, and the one that only sees them.

    Parameters
    ----------
    start
        Weights of the embedded model, or of one that `pretrain` wrote.
    folder
        Where both files are kept; a second call reads them back, a stopped one goes on.
    steps
        Optimizer steps (of seeing, of forgetting); None: those of the recipes.
    device
        Where they are trained.

    Returns
    -------
    tuple of Path
        Weights for `load_clip(pretrained=...)`: the first reads relations, the second does not;
        the image tower is the same.

    Raises
    ------
    UserError
        Weights of another model, or a folder with another run.
    """
    recipes = {"seeing": dict(SEEING), "unread": dict(UNREAD)}
    for cfg, count in zip(recipes.values(), steps or (), strict=False):
        cfg["steps"] = count
    made = []
    for name, cfg in recipes.items():
        cfg["start"] = str(made[-1] if made else start)
        place = Path(folder) / f"{name}-{digest(key_of(cfg), cfg['steps'])}"
        out = place / "model.safetensors"
        if not (out.exists() and read_tensors(out)[1].get("key") == key_of(cfg)):
            train_into(cfg, place, out, device)
        (place / LAST).unlink(missing_ok=True)
        made.append(out)
    return tuple(made)


def main(arguments: list[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--start", type=Path, required=True, help="weights to begin with")
    parser.add_argument("--folder", type=Path, default=Path("runs/unread"))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    def run() -> None:
        print(*unread(options.start, options.folder, device=options.device), sep="\n")

    return exit_status(parser.prog, run, "the same command goes on from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
