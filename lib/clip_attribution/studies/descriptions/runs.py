"""The runs of the notebook on descriptions: data, base, and each way of training with its starts.

Every run lies in a folder of its own below `cache`, named by all that decides it, and is read back
when it is asked for again.
"""

import time
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from ...models.clip import Clip
from ...training.descriptions import (
    Tuned,
    even_base,
    folder_for,
    read_frame,
    read_texts,
    scene_tasks,
    scene_texts,
    tune,
)

VARIANTS = {
    "behavioural LoRA": {"objective": "behavioural", "adapters": "lora"},
    "IIT-DAS LoRA": {"objective": "iit", "adapters": "lora"},
    "joint LoRA": {"objective": "joint", "adapters": "lora"},
    "behavioural full": {"objective": "behavioural", "adapters": "full"},
    "IIT-DAS full": {"objective": "iit", "adapters": "full"},
}
FROZEN = "rotation alone"  # of the frozen model: what a subspace finds that nobody has put there
WITH_FROZEN = VARIANTS | {FROZEN: {"objective": "iit", "adapters": "none"}}
HELD_OUT = ("val", "test")


class Prepared(NamedTuple):
    """What all runs share. clip: the model as given; base: the one that they begin with; texts:
    {split: Texts}; tasks: {split: zero-shot tasks}; preset: of `training.descriptions`; cost: of
    the even base, {"seconds", "steps", "log"}, None where there is none.
    """

    clip: Clip
    base: Clip
    texts: dict
    tasks: dict
    preset: str
    cost: dict | None
    left_out: int


class TunedRun(NamedTuple):
    """One start of one way of training."""

    variant: str
    start: int
    tuned: Tuned


def prepare(
    clip: Clip,
    cache,
    *,
    data: str = "",
    images: str = "",
    even: bool = True,
    n_train: int = 3000,
    n_test: int = 1000,
    steps: int | None = None,
    progress: bool = False,
) -> Prepared:
    """Read the texts, encode their images, and make the even base or read it back.

    data: Concadia's files or a table; without it the embedded world, n_train scenes, n_test to
    test on and half as many to choose the step on. even: begin from the even base; steps: its own,
    None for the recipe's.
    """
    cache = Path(cache)
    frame = read_frame(data, images or None) if data else scene_texts(n_train, n_test // 2, n_test)
    root = images or (data if Path(data).is_dir() else Path(data).parent) if data else None
    texts, left_out = read_texts(clip, frame, root, keep=cache / "features", progress=progress)
    tasks = {}
    if not data:
        for split in HELD_OUT:
            tasks[split] = scene_tasks(clip, min(300, n_test), split, cache / "features")
    if not even:
        preset = "scripts" if data else "scenes"
        return Prepared(clip, clip, texts, tasks, preset, None, len(left_out))
    began, own = time.perf_counter(), {"tasks": tasks, "steps": steps}
    kind = {"objective": "even", "adapters": "full", "preset": "scenes"}
    folder = folder_for(clip, texts, cache, **own, **kind)
    base = even_base(clip, texts, folder, progress=progress, **own)
    cost = {
        "seconds": time.perf_counter() - began,
        "steps": int(base.log["step"].max()),
        "log": base.log,
    }
    return Prepared(clip, base.clip, texts, tasks, "scenes", cost, len(left_out))


def tuned_runs(
    prepared: Prepared,
    cache,
    *,
    starts=(0, 1, 2),
    full_starts=(0,),
    steps: int | None = None,
    variants=None,
    progress: bool = False,
    **options,
) -> list[TunedRun]:
    """Train the base in every way, from several starts; a second call reads back.

    starts: seeds of both objectives with LoRA, the first one for the rotation alone; full_starts:
    those of full training, which costs several times as much, and of the joint objective. steps: of
    each run, evaluated three times on the way; None for the preset's. options: of `tune`. variants:
    {name: options}, `WITH_FROZEN` by default.
    """
    variants = WITH_FROZEN if variants is None else variants
    jobs = [
        (name, own, seed)
        for name, own in variants.items()
        for seed in starts_of(own, starts, full_starts)
    ]
    found, common = [], {"tasks": prepared.tasks, "preset": prepared.preset, **options}
    if steps:
        common |= {"steps": steps, "eval_every": max(1, steps // 3)}
    place = prepared.base, prepared.texts
    for name, own, seed in tqdm(jobs, "runs", disable=not progress):
        chosen = common | own | {"seed": seed}
        folder = folder_for(*place, cache, **chosen)
        first = step_0(found[0].tuned) if found else None  # all begin with the same model
        tuned = tune(*place, folder, progress=progress, first=first, **chosen)
        found.append(TunedRun(name, seed, tuned))
    return found


def starts_of(way: dict, starts, full_starts):
    """The seeds of one way of training: all of them for the two objectives with LoRA."""
    if way["adapters"] == "none":
        return starts[:1]
    return full_starts if way["adapters"] == "full" or way["objective"] == "joint" else starts


def step_0(tuned: Tuned) -> dict:
    """What a run's log has of the model that it began with, step and loss apart."""
    row = tuned.log.to_dict("records")[0]
    return {k: None if v != v else v for k, v in row.items() if k not in ("step", "loss")}
