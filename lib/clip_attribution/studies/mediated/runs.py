"""The models that are explained, each with its subspace, and random subspaces beside them."""

from pathlib import Path
from typing import Any, NamedTuple

from ...interchange import Alignment
from ...io.tables import read_json
from ...models.clip import load_clip

TRAINED, IDENTITY, RANDOM = "trained", "unrotated", "random"
ALIGNMENT = "alignment.safetensors"
OBJECTIVES = {"behavioural": "behavioural", "iit": "IIT-DAS"}


class Tuned(NamedTuple):
    """A model to be explained: its name, the start of its training, and its alignment."""

    name: str
    start: int
    clip: Any
    alignment: Any
    subspace: str = TRAINED


def tuned_models(clip, runs="", cache="", starts: int = 0, steps: int = 200) -> list[Tuned]:
    """The tuned models in the folders below `runs`, in order.

    Without any, `starts` of each of `OBJECTIVES` are trained `steps` steps on the embedded world,
    from an even base, and kept in `cache`; with 0 starts the given model is explained as it is. A
    run's folder holds `model.safetensors`, `run.json` and, where a subspace was trained with it,
    `alignment.safetensors` (see `training.descriptions`). Without one half of the coordinates
    after the last block but one stands in, unrotated.
    """
    found = []
    for file in sorted(Path(runs).glob("**/model.safetensors")) if runs else []:
        facts = read_json(file.parent / "run.json")
        name = " ".join(str(facts[k]) for k in ("objective", "adapters") if facts.get(k))
        own = load_clip(pretrained=file, device=clip.device, tokenizer=clip.tokenizer)
        alignment, subspace = Alignment.half(own), IDENTITY
        if (file.parent / ALIGNMENT).is_file():
            alignment, subspace = Alignment.load(file.parent / ALIGNMENT), TRAINED
        start = int(facts.get("seed", 0))
        found.append(Tuned(name or file.parent.name, start, own, alignment, subspace))
    if found or not starts:
        return found or [Tuned(clip.name, 0, clip, Alignment.half(clip), IDENTITY)]
    return trained_on_scenes(clip, Path(cache) / "mediated", starts, steps)


def trained_on_scenes(clip, cache: Path, starts: int, steps: int) -> list[Tuned]:
    """The even base and `starts` tuned models of each objective, trained on scenes with LoRA.

    Nothing is selected: the last step is kept.
    """
    from ...training.descriptions import even_base, read_texts, scene_texts, tune

    texts, _ = read_texts(clip, scene_texts(3000, 100, 1), keep=cache / "features")
    base = even_base(clip, texts, cache / "even", steps=150, eval_every=150).clip
    found = [Tuned("even base", 0, base, Alignment.half(base), IDENTITY)]
    for objective, title in OBJECTIVES.items():
        for seed in range(starts):
            out = cache / f"{objective}-lora-{seed}"
            last = {"steps": steps, "eval_every": steps, "select_on": "last"}
            own = tune(base, texts, out, preset="scenes", objective=objective, seed=seed, **last)
            place = own.alignment or Alignment.half(own.clip)
            subspace = TRAINED if own.alignment else IDENTITY
            found.append(Tuned(f"{title} LoRA", seed, own.clip, place, subspace))
    return found


def random_subspaces(clip, alignment: Alignment, n: int, seed: int = 0) -> list[Alignment]:
    """n random subspaces of the same size at the same site, the control of a trained one."""
    seeds = [1_000_003 * seed + number for number in range(n)]
    return [Alignment.random(clip, alignment.site, alignment.size, one) for one in seeds]


def with_controls(models: list[Tuned], n: int = 3, seed: int = 0) -> list[Tuned]:
    """The models, and n random subspaces of the first and of each trained one's first start."""
    first = {one.name: one for one in reversed(models) if one.subspace == TRAINED}
    own = models[:1] + [one for one in models[1:] if first.get(one.name) is one]
    return models + [
        one._replace(alignment=control, start=number, subspace=RANDOM)
        for one in own
        for number, control in enumerate(random_subspaces(one.clip, one.alignment, n, seed))
    ]
