"""Compute the table that the ablation notebooks share, so that they find it in the cache.

    python -m clip_attribution.studies.shared_table --cache runs/tables --receipt r.json

The figure graph runs this once before the notebooks; run by hand, a notebook computes the table
itself.
"""

from ..errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.studies.shared_table")

import argparse
import sys
from pathlib import Path

from ..errors import UserError, exit_status
from ..io.output import only_own
from ..io.tables import read_json, write_json
from ..models.clip import load_clip
from .foils.table import AblationTable, ablation_table
from .sample import data_facts, image_root, load_pairs


def shared_table(
    clip, dataset="scenes", data="", images="", n_pairs=800, seed=0, cache=None, progress=False
) -> AblationTable:
    """The ablation table for a notebook's parameters, read from `cache` where it is there.

    Raises UserError when no pair could be computed, with the first reason.
    """
    pairs = load_pairs(dataset, data, n_pairs, seed)
    root = image_root(dataset, data, images)
    table = ablation_table(clip, pairs, cache or None, image_root=root, progress=progress)
    errors = table.pairs["error"].dropna()
    if len(errors) == len(table.pairs):
        raise UserError(f"not one of {len(errors)} pairs could be computed: {errors.iloc[0]}")
    return table


def report(table: AblationTable) -> str:
    """Size of the table and what is missing from it, in one line."""
    pairs, errors = table.pairs, table.pairs["error"].dropna()
    lost = f"; {len(errors)} left out, the first because: {errors.iloc[0]}" if len(errors) else ""
    cut = int(pairs["truncated"].sum())
    cut = f"; {cut} longer than the context and cut" if cut else ""
    return (
        f"{len(pairs):,} captions ({pairs['is_foil'].sum():,} foils), {len(table.words):,} "
        f"words, {len(table.variants)} ReLU variants x {table.values.shape[1]} layer counts"
        f"{cut}{lost}"
    )


def main(argv: list[str] | None = None) -> int:
    """Command line, see the module's docstring. 0: done, 2: unusable arguments."""
    parser = argparse.ArgumentParser(
        "python -m clip_attribution.studies.shared_table", description=__doc__.split("\n")[0]
    )
    for name in ("model", "pretrained", "data", "images"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--n_pairs", type=int, default=800, help="foil pairs (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default="runs/tables", help="folder of tables (%(default)s)")
    parser.add_argument("--receipt", help="JSON file that says what was computed")
    parser.add_argument("--parameters", metavar="FILE", help="a JSON file of these options")
    args = vars(parser.parse_args(argv))

    def run():
        file, values = args.pop("parameters"), args
        values |= read_json(file) if file else {}
        model, pretrained, receipt = (
            values.pop(name) for name in ("model", "pretrained", "receipt")
        )
        if receipt:
            only_own(Path(receipt), lambda path: {"weights_hash", "data"} <= read_json(path).keys())
        clip = load_clip(model or None, pretrained or None)
        table = shared_table(clip, **values, progress=sys.stderr.isatty())
        facts = data_facts(table.pairs, values["dataset"], values["data"])
        known = {"weights_hash": clip.weights_hash, "data": facts, "parameters": values}
        if receipt:
            write_json(known, receipt)
        print(report(table))

    return exit_status(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())
