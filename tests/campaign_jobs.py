"""The commands that campaigns stop, crowd and starve, small, each in a process of its own."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from score_tables import make_rows, save_model, save_pictures, save_rows

LONG = os.environ.get("CAMPAIGN") == "long"
FORK = multiprocessing.get_context("forkserver")  # imports torch once for all processes
FORK.set_forkserver_preload(["campaign_warm"])
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # that it is found
TEMPORARY = (".tmp", ".lock", ".export", ".changed")


class Job(NamedTuple):
    """A command: module with `main`, arguments, and its output option with {out} in it."""

    module: str
    arguments: list

    def command(self, out) -> list[str]:
        """The arguments for one output folder."""
        return [str(argument).replace("{out}", str(out)) for argument in self.arguments]


def make_jobs(folder: Path) -> dict[str, Job]:
    """All commands that write for long, on tables of a few rows."""
    from clip_attribution.cli import main

    model = save_model(folder)
    names = save_pictures(folder)
    table = save_rows(make_rows(names, 32), folder / "pairs.jsonl")
    for name in ("foil", "sugarcrepe", "refcoco"):
        assert main(["scenes", "export", name, str(folder / name), "--n", "8", "--quiet"]) == 0
    cli = "clip_attribution.cli"
    first = FORK.Process(target=abs, args=(1,))  # the server is up before anything is timed
    first.start()
    first.join()

    def evaluate(name, *more):
        data = ["evaluate", name, "--data", folder / name, "--out", "{out}", "--quiet"]
        return Job(cli, [*data, *model, "--chunk-rows", 4, *more])

    score = ["score", table, "--out", "{out}", "--quiet", "--chunk-rows", 4, *model]
    tuned = [table, "--out", "{out}", "--quiet", *model, "--steps", 6, "--batch", 4]
    tuned += ["--save-every", 2, "--calibration", 2, "--warmup", 2]
    trained = ["--folder", "{out}", "--out", "{out}/clip.safetensors", "--device", "cpu"]
    trained += ["--steps", 4, "--batch", 4, "--warmup", 2, "--facts-from", 2, "--save-every", 1]
    return {
        "score": Job(cli, score),
        "misalignment": evaluate("foil"),
        "composition": evaluate("sugarcrepe"),
        "grounding": evaluate("refcoco", "--heatmaps", "gae_image,gradcam"),
        "finetune": Job("clip_attribution.training.finetune", tuned),
        "pretrain": Job("clip_attribution.training.pretrain", trained),
        "export": Job(cli, ["scenes", "export", "hat", "{out}", "--n", 8, "--quiet"]),
    }


def run(module: str, arguments: list[str], said: str, limit: int | None) -> None:
    """What a process does: the command, its output in the file `said`; limit: bytes of a file."""
    import resource

    torch.set_num_threads(1)
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    status = __import__(module, fromlist=["main"]).main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def start(job: Job, out: Path, said: Path, limit: int | None = None):
    """Start a command; `said` gets what it prints."""
    process = FORK.Process(target=run, args=(job.module, job.command(out), str(said), limit))
    process.start()
    return process


def finish(job: Job, out: Path, said: Path, limit: int | None = None) -> tuple[int, str]:
    """Run a command to its end: its exit status, and what it printed."""
    process = start(job, out, said, limit)
    process.join(300)
    assert process.exitcode is not None, "still running after five minutes"
    return process.exitcode, said.read_text("utf-8", "replace")


def contents(out: Path) -> dict:
    """The files below a folder by name; of pickled state only what it holds, not how."""
    files = {str(p.relative_to(out)): p for p in sorted(out.rglob("*")) if p.is_file()}
    return {name: own(path, out) for name, path in files.items()}


def own(path: Path, out: Path):
    """Bytes of a file, without the name of the folder that it lies in; a state's tensors."""
    if path.name == "last.pt":
        state = torch.load(path, weights_only=True)
        return state["step"], {name: t.tolist() for name, t in state["model"].items()}, state["log"]
    return path.read_bytes().replace(str(out).encode(), b"OUT")


def leftovers(folder: Path) -> list[str]:
    """What should not outlive a command."""
    return [p.name for p in folder.rglob(".*") if p.name.endswith(TEMPORARY)] + [
        p.name for p in folder.rglob("*") if p.name == "parts" or p.name.startswith(".tmp")
    ]
