"""Run the notebooks without a screen; and what they call: `check`, `number_list`,
`require` and `save`.

    python -m clip_attribution.notebooks                            # all of them, into figures/
    python -m clip_attribution.notebooks --only 01 -p seed 3 -p method gae
    python -m clip_attribution.notebooks --list                     # parameters and their meaning

A notebook's cell tagged `parameters` holds typed literals, each with its meaning as a comment.
Papermill only warns of an unknown name and takes a value of any type; here both are refused before
anything runs. Executed copies stay in runs/notebooks/, also of a notebook that failed.
"""

from .errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.notebooks")

import argparse
import json
import logging
import math
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from .errors import exit_status, one_line
from .io.output import make_folder, only_own
from .io.tables import atomic_path, read_json, write_json
from .parameters import check, check_values, declared, from_text, number_list, require
from .versions import versions

__all__ = ["check", "number_list", "require", "save", "run_notebook"]

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
EXECUTED, TABLES = Path("runs", "notebooks"), Path("runs", "tables")
SHORTHANDS = ("model", "pretrained", "dataset", "data")  # options of their own, set by `make`


def save(
    name: str, output: str, figures: dict, results: dict, parameters: dict, clip, data=None
) -> None:
    """Save a notebook's figures, each with a JSON beside it, and print the paths.

    figures: {suffix: Figure} -> OUTPUT/NAME.png for the suffix "" and OUTPUT/NAME_SUFFIX.png.
    results: what the notebook found, as plain values, frames (a list of rows) and estimates (a
    dict); numbers are kept to six digits. The JSON
    adds parameters, the model with the hash of its weights, versions, and `data`: what is known of
    the pairs (`pairs.data_facts`).
    """
    folder = Path(output)
    make_folder(folder)
    facts = {
        "notebook": name,
        "parameters": parameters,
        "model": clip.facts(),
        **({"data": data} if data else {}),
        "versions": versions(),
        "results": plain(results),
    }
    for suffix, figure in figures.items():
        path = folder / f"{name}{'_' * bool(suffix)}{suffix}.png"
        for file in (path, path.with_suffix(".json")):
            only_own(
                file, lambda _, at=path: read_json(at.with_suffix(".json"))["figure"] == at.name
            )
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
        write_json({"figure": path.name, **facts}, path.with_suffix(".json"))
        print(path, path.with_suffix(".json"), sep="\n")


def plain(value):
    """Results as nested lists and dicts, numbers at six digits; what is not finite is None."""
    if isinstance(value, pd.DataFrame):
        value = value.astype(object).where(value.notna(), None).to_dict("records")
    if isinstance(value, np.generic):
        value = value.item()
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def find_notebooks(only: list[str] | None = None) -> list[Path]:
    """The notebooks in order; `only` keeps those whose names begin so. Raises UserError."""
    found = sorted(FOLDER.glob("[0-9]*.ipynb"))
    require(bool(found), f"no notebooks in {FOLDER}: run from a clone of the project")
    for start in only or []:
        known = ", ".join(path.stem for path in found)
        matches = any(path.stem.startswith(start) for path in found)
        require(matches, f"no notebook begins with {start!r}; there are {known}")
    return [path for path in found if not only or path.stem.startswith(tuple(only))]


def run_notebook(
    name: str | Path, parameters: dict | None = None, out_dir="figures", progress: bool = False
) -> Path:
    """Execute one notebook (its name or how that begins) in a fresh kernel of this interpreter.

    Relative paths in the parameters start at the current folder. Returns the executed copy.
    Raises UserError on an unknown name and an ill-typed value, before anything runs, and
    papermill's PapermillExecutionError when a cell fails; the copy is there then too.
    """
    source = name if isinstance(name, Path) else find_notebooks([name])[0]
    places = {"output": str(out_dir), "cache": str(TABLES)}
    places = {name: place for name, place in places.items() if name in declared(source)}
    given = check_values(source, {**places, **(parameters or {})})
    import papermill  # slow to import, and no notebook needs it

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it reads parameters less well
    make_folder(EXECUTED)
    copy = only_own(EXECUTED / source.name, lambda path: "papermill" in read_json(path)["metadata"])
    with kernel_of_this_python():
        papermill.execute_notebook(
            braced(source),
            braced(copy),
            given,
            progress_bar=progress,
            kernel_name="python3",
            language="python",
        )
    return copy


def braced(path: Path) -> str:
    """A path for papermill, which fills in the parameters that stand in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


@contextmanager
def kernel_of_this_python():
    """Let the kernel "python3" be this interpreter, whatever kernels are installed around it."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR"]
    argv += ["-f", "{connection_file}"]
    before = os.environ.get("JUPYTER_PATH")
    with TemporaryDirectory() as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        facts = {"argv": argv, "display_name": "Python 3", "language": "python"}
        facts["env"] = {"CLIP_ATTRIBUTION_HEADLESS": "1"}  # nobody is there to move a slider
        spec.write_text(json.dumps(facts), "utf-8")
        os.environ["JUPYTER_PATH"] = folder + (os.pathsep + before if before else "")
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH")
            os.environ.update({"JUPYTER_PATH": before} if before else {})


def plan(notebooks: list[Path], texts: dict) -> list[tuple[Path, dict]]:
    """Each notebook with those of the given parameters that it declares; all checked first."""
    known = {path: declared(path) for path in notebooks}
    names = sorted({name for parameters in known.values() for name in parameters})
    for name in texts:
        require(
            name in names, f"no notebook has the parameter {name!r}; there are {', '.join(names)}"
        )
    jobs = []
    for path, parameters in known.items():
        own = {n: from_text(t, parameters[n].default) for n, t in texts.items() if n in parameters}
        jobs.append((path, check_values(path, own)))
    return jobs


def run_all(jobs, out_dir: str) -> int:
    """Run the notebooks one after the other with a line for each; the number that failed."""
    failed = 0
    for number, (path, parameters) in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {path.stem} ...", file=sys.stderr, flush=True)
        start = time.time()
        reason = attempt(path, parameters, out_dir)
        failed += bool(reason)
        outcome = reason or ", ".join(map(str, written(out_dir, path.stem, start)))
        print(f"      {time.time() - start:.0f} s: {outcome}", file=sys.stderr, flush=True)
    return failed


def attempt(path: Path, parameters: dict, out_dir: str) -> str | None:
    """Run one notebook; None, or one line that says what failed and where the copy is."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        run_notebook(path, {"output": out_dir} | parameters, progress=sys.stderr.isatty())
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {one_line(ValueError(error.evalue))}"
    except (DeadKernelError, CellTimeoutError) as error:
        reason = one_line(error)
    else:
        return None
    return f"FAILED, {reason} (see {EXECUTED / path.name})"


def written(out_dir: str, stem: str, since: float) -> list[Path]:
    """The files of a notebook that are newer than `since`."""
    files = sorted(Path(out_dir).glob(f"{stem}*"))
    return [path for path in files if path.stat().st_mtime >= since - 1]


def list_parameters(notebooks: list[Path]) -> None:
    """Print every notebook's parameters with default and meaning."""
    for path in notebooks:
        print(path.stem)
        for name, parameter in declared(path).items():
            print(f"  {name} = {parameter.default!r}  {parameter.help}")


def separate(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The words without `-p NAME VALUE`, and these: a value may begin with a dash."""
    rest, texts = [], {}
    while words:
        if words[0] == "-p" and len(words) > 2:
            texts[words[1]], words = words[2], words[3:]
        else:
            rest, words = [*rest, words[0]], words[1:]
    return rest, texts


def read_object(path: str) -> dict:
    """The object that a JSON file holds. Raises UserError."""
    value = read_json(path)
    require(isinstance(value, dict), f"{path} must hold a JSON object, {{name: value}}")
    return value


def main(argv: list[str] | None = None) -> int:
    """Command line, see the module's docstring. 0: all ran, 1: some failed, 2: bad arguments."""
    parser = argparse.ArgumentParser(
        "python -m clip_attribution.notebooks", description="Run the notebooks without a screen."
    )
    parser.add_argument("--only", action="append", metavar="01", help="names that begin so")
    parser.add_argument(
        "-p",
        nargs=2,
        action="append",
        metavar=("NAME", "VALUE"),
        default=[],
        help="a parameter, for the notebooks that have it",
    )
    for name in SHORTHANDS:
        parser.add_argument(f"--{name}", help=f"short for -p {name} VALUE")
    parser.add_argument("--parameters", metavar="FILE", help="a JSON file of parameters")
    parser.add_argument("--out", default="figures", help="folder of the figures (%(default)s)")
    parser.add_argument("--list", action="store_true", help="show all parameters and stop")
    words, texts = separate(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    given = {name: getattr(args, name) for name in SHORTHANDS if getattr(args, name)} | texts

    def run():
        values = given | (read_object(args.parameters) if args.parameters else {})
        out = values.pop("output", args.out)
        notebooks = find_notebooks(args.only)
        if args.list:
            return list_parameters(notebooks)
        return min(1, run_all(plan(notebooks, values), out))

    return exit_status(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())
