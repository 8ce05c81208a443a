"""`tune`: a run from its options to its files; and the even base that scenes begin with."""

import hashlib
from copy import deepcopy
from dataclasses import replace as changed
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from torch import Tensor

from ...errors import UserError
from ...interchange import Alignment
from ...io.keys import run_key
from ...models.clip import Clip
from .. import distributed
from ..checkpoint import FACTS, FINAL, LOG, STATE, load_final
from .examples import Task, Texts
from .options import EVEN, IIT, JOINT, LORA, check_options, with_preset
from .run import ADAPTERS, ALIGNMENT, Run, train


class Tuned(NamedTuple):
    """A tuned model, frozen and plain; its alignment (None without an interchange); the log, one
    row an evaluation; the folder of its files."""

    clip: Clip
    alignment: Alignment | None
    log: pd.DataFrame
    folder: Path


def tune(
    clip: Clip,
    texts: dict[str, Texts],
    out,
    *,
    tasks: dict[str, list[Task]] | None = None,
    preset: str = "scripts",
    save_every: int = 100,
    progress: bool = False,
    first: dict | None = None,
    **options,
) -> Tuned:
    """Train a copy of a model; the given one stays as it is.

    Parameters
    ----------
    clip
        From `load_clip`; trained in float32.
    texts
        {split: Texts} of `read_texts`; train is needed, val and test are evaluated.
    out
        Folder for model.safetensors, adapters.safetensors, alignment.safetensors, log.jsonl and
        run.json; a finished run with the same options, model and texts is read back.
    tasks
        {split: zero-shot tasks}, for the transfer; without them the trade-off is the preference.
    preset
        scripts, paper, or scenes (for the embedded world).
    first
        What another run from the same model, texts and tasks measured at step 0 (the columns of its
        log but step and loss), which then is not measured again.
    options
        Of `options.DEFAULTS`; what is None or not given is the preset's.

    Returns
    -------
    Tuned
        At the evaluated step with the largest trade-off of the split `select_on`.

    Raises
    ------
    UserError
        Unusable options, a tower that cannot carry adapters or has no single pooled position, a
        folder with another run.
    """
    if save_every < 1:
        raise UserError("save_every must be at least 1")
    rank, world = distributed.start(clip.device)
    cfg = check_options(with_preset(preset, options), clip, texts, world)
    tasks, out = tasks or {}, Path(out)
    key = key_of(clip, texts, tasks, cfg)
    model = deepcopy(clip.model).float()
    tuned = changed(clip, model=model, pretrained=str(out / FINAL))
    files = [out / FINAL, out / LOG]
    files += [out / ADAPTERS] * (cfg["adapters"] == LORA)
    files += [out / ALIGNMENT] * (cfg["objective"] in (IIT, JOINT))
    with distributed.claim_first(
        out / FACTS, [*files, out / STATE], key, rank, world, passing=1
    ) as done:
        if done:
            log = load_final(out, model)
            there = cfg["objective"] in (IIT, JOINT)
            alignment = Alignment.load(out / ALIGNMENT) if there else None
        else:
            run = Run(tuned, texts, tasks, cfg, rank, world, first)
            log, alignment = train(run, out, key, save_every, progress)
    model.to(clip.dtype).eval().requires_grad_(False)
    return Tuned(tuned, alignment, pd.DataFrame(log), out)


def folder_for(clip, texts, cache, *, tasks=None, preset="scripts", **options) -> Path:
    """A folder below `cache` that no other run has: named by objective, adapters and key.

    Arguments of `tune`.
    """
    cfg = check_options(with_preset(preset, options), clip, texts)
    key = key_of(clip, texts, tasks or {}, cfg)
    return Path(cache) / f"{cfg['objective']}-{cfg['adapters']}-{key}"


def key_of(clip, texts: dict, tasks: dict, cfg: dict) -> str:
    """What decides the result: model, features and ids, options, code."""
    known = {split: [hash_of(own) for own in texts[split][:3]] for split in texts}
    asked = {
        split: [(own.name, *(hash_of(part) for part in own[1:])) for own in tasks[split]]
        for split in tasks
    }
    source = str(Path(__file__).with_name("__init__.py"))
    return run_key(source, [clip], **cfg, texts=known, tasks=asked)


def hash_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's numbers."""
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def even_base(clip: Clip, texts: dict[str, Texts], out, progress: bool = False, **options) -> Tuned:
    """A copy of a model that prefers neither text, kept in the folder `out`.

    The embedded model was trained with both registers and prefers descriptions from the start,
    whereas CLIP prefers neither (49.4 % on Concadia). Here its text tower learns to give both texts
    of an image one score, and to find the image by either. texts, options: of `tune`.
    """
    own = {"objective": EVEN, "adapters": "full", "preset": "scenes"} | options
    return tune(clip, texts, out, progress=progress, **own)
