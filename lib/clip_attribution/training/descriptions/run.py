"""One training run: the model with what is trained of it, its batches, its best evaluated step."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal
from tqdm.auto import tqdm

from ...interchange import Alignment
from .. import distributed
from ..adapters import adapters_of, add_adapters, merge_adapters, save_adapters
from ..checkpoint import load_checkpoint, save_checkpoint, save_final
from .evaluation import evaluate
from .examples import TRAIN, VAL
from .losses import example_losses, triplet_losses
from .options import FULL, IIT, JOINT, LAST, LORA

ADAPTERS, ALIGNMENT = "adapters.safetensors", "alignment.safetensors"
STATE_OF_DRAWS = 42  # the published runs draw rows by it, whatever their own seed


class Rotation(nn.Module):
    """W [d, d], orthogonal: W0 expm(A - A^T), A the strict lower triangle of what is trained."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        orthogonal(self, "weight")


class Run:
    """One run; given a Clip whose model is its own to change."""

    def __init__(self, clip, texts: dict, tasks, cfg: dict, rank=0, world=1, first=None):
        self.clip, self.model, self.cfg = clip, clip.model, cfg
        self.tasks, self.rank, self.world, self.untuned = tasks, rank, world, first
        self.rotation = make_rotation(clip, cfg)
        self.trained = prepare(self.model, self.rotation, cfg)
        self.train = texts[TRAIN].take(drawn(len(texts[TRAIN].rows), cfg["sample"], True))
        self.held_out = {name: own for name, own in texts.items() if name != TRAIN}
        if VAL in texts:
            n = len(texts[VAL].rows)
            few = cfg["n_val"] if cfg["n_val"] < n else None
            self.held_out[VAL] = texts[VAL].take(drawn(n, few, False))
        self.units = (2 if cfg["singly"] else 1) * len(self.train.rows)
        self.batch = cfg["batch"] if cfg["singly"] else cfg["batch"] // 2
        self.batch = min(self.batch, self.units // world * world)
        self.per_epoch = self.units // self.batch
        self.steps = cfg["steps"] or self.per_epoch * cfg["epochs"]
        self.optimizer = torch.optim.Adam(
            self.trained.values(), lr=cfg["lr"], weight_decay=cfg["weight_decay"]
        )
        self.best: dict[str, Tensor] = {}
        self.state = {"losses": [], "first": None, "best": None}

    def state_dict(self) -> dict[str, Tensor]:
        """What is trained, as it is and as it was at the best evaluated step."""
        now = {f"now.{name}": own for name, own in self.trained.items()}
        return now | {f"best.{name}": own for name, own in self.best.items()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state_dict` gave."""
        device = self.clip.device
        with torch.no_grad():
            for name, own in self.trained.items():
                own.copy_(tensors[f"now.{name}"])
        own = {n.removeprefix("best."): t for n, t in tensors.items() if n.startswith("best.")}
        self.best = {name: tensor.to(device) for name, tensor in own.items()}

    @property
    def basis(self) -> Tensor | None:
        """The subspace's basis [d, k] in the graph of what is trained."""
        return self.rotation and self.rotation.weight[:, : self.cfg["size"]]

    def numbers(self, step: int) -> np.ndarray:
        """This process's share of one step: triplets, or (singly) 2 * triplet + direction.

        A new order in every epoch, the same for one seed. What does not fill a batch at the end of
        an epoch is left out of it.
        """
        epoch, number = divmod(step, self.per_epoch)
        keys = [self.cfg["seed"], 0 if self.cfg["same_order"] else epoch]
        order = np.random.default_rng(keys).permutation(self.units)
        return np.array_split(order[number * self.batch :][: self.batch], self.world)[self.rank]

    def losses(self, numbers: np.ndarray) -> Tensor:
        """Loss of each unit of a step."""
        cfg, device = self.cfg, self.clip.device
        place = {"cfg": cfg, "site": cfg["site"], "basis": self.basis}
        if not cfg["singly"] and not cfg["random_source"]:
            own = [tensor.to(device) for tensor in self.train.take(numbers)[:3]]
            return triplet_losses(self.model, *own, **place)
        numbers = numbers if cfg["singly"] else np.concatenate([2 * numbers, 2 * numbers + 1])
        rows, down = numbers // 2, torch.from_numpy(numbers % 2 == 1)
        others = other_rows(len(self.train.rows), cfg["seed"])[rows]
        own = self.train.take(rows)
        sources = self.train.take(others if cfg["random_source"] else rows)
        base = torch.where(down[:, None], own.descriptions, own.captions)
        source = torch.where(down[:, None], sources.captions, sources.descriptions)
        ids = (tensor.to(device) for tensor in (own.images, base, source, down))
        found = example_losses(self.model, *ids, **place)
        return found if cfg["singly"] else found.view(2, -1).mean(0)

    def step(self, step: int) -> None:
        """One step of the optimizer."""
        rate = self.cfg["lr"] * (1 - step / self.steps if self.cfg["falling"] else 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.model.train()
        loss = self.losses(self.numbers(step)).sum() / self.batch
        loss.backward()
        self.model.eval()
        distributed.sum_gradients(self.trained.values(), self.world)
        self.optimizer.step()
        self.state["losses"].append(sum(distributed.everyones(loss.item(), self.world)))

    def look(self, step: int) -> dict:
        """Evaluate; keeps a copy of what is trained where it is the best so far. Row of the log."""
        losses, device = self.state["losses"], self.clip.device
        found = self.untuned if step == 0 else None
        found = found or evaluate(
            self.model, self.held_out, self.tasks, self.state["first"], device
        )
        row = {"step": step, "loss": float(np.mean(losses)) if losses else None, **found}
        self.state["losses"], self.state["first"] = [], self.state["first"] or row
        name = f"{self.cfg['select_on']}_trade_off"
        best = self.state["best"]
        if self.cfg["select_on"] == LAST or best is None or row[name] > best[name]:
            self.state["best"] = row
            self.best = {name: own.detach().clone() for name, own in self.trained.items()}
        return row

    def finish(self) -> tuple[dict | None, Alignment | None]:
        """Go back to the best step and merge; the adapters and the alignment, if there are any."""
        with torch.no_grad():
            for name, own in self.trained.items():
                own.copy_(self.best[name])
            adapters = {
                name: {part: getattr(own, part).detach().clone() for part in ("A", "B")}
                for name, own in adapters_of(self.model).items()
            }
            merge_adapters(self.model)
        alignment = None
        if self.cfg["objective"] in (IIT, JOINT):
            weight = self.rotation.weight.detach().cpu().clone() if self.rotation else None
            if self.cfg["rotation"] == "identity":
                weight = None
            alignment = Alignment(self.cfg["site"], self.cfg["size"], weight)
        return adapters or None, alignment


def make_rotation(clip, cfg: dict) -> nn.Module | None:
    """W where the objective has an interchange: drawn by the seed, or the identity."""
    if cfg["objective"] not in (IIT, JOINT):
        return None
    weight = Alignment.random(clip, cfg["site"], cfg["size"], cfg["seed"]).rotation
    if cfg["rotation"] == "identity":
        weight = torch.eye(len(weight))
    rotation = Rotation(weight.to(clip.device))
    return rotation.requires_grad_(cfg["rotation"] == "trained")


def prepare(model, rotation: nn.Module | None, cfg: dict) -> dict[str, nn.Parameter]:
    """Freeze all but what is trained: {name: parameter}. The image tower never is."""
    model.requires_grad_(False)
    if cfg["adapters"] == FULL:
        for name, own in model.named_parameters():
            own.requires_grad_(not name.startswith("visual."))
    if cfg["adapters"] == LORA:
        add_adapters(model, cfg["rank"], cfg["seed"])
    named = [*model.named_parameters()]
    if rotation is not None:
        named += [(f"rotation.{name}", own) for name, own in rotation.named_parameters()]
    return {name: own for name, own in named if own.requires_grad}


def drawn(n: int, size: int | None, replace: bool) -> np.ndarray:
    """Rows that every seed has: all of n, or `size` drawn as pandas' sample(random_state=42)."""
    if size is None:
        return np.arange(n)
    return np.random.RandomState(STATE_OF_DRAWS).choice(n, size, replace)


def other_rows(n: int, seed: int) -> np.ndarray:
    """For each of n rows another one, [n], the same for one seed."""
    order = np.random.default_rng([seed, n]).permutation(n)
    other = np.empty(n, int)
    other[order] = np.roll(order, 1)
    return other


def train(run: Run, out: Path, key: str, save_every: int, progress: bool):
    """Take all steps from the checkpoint on, if there is one, and write the results.

    Returns the log and the alignment.
    """
    parts = (out, key, run, run.optimizer, run.state)
    start, log = load_checkpoint(*parts)
    distributed.agree(start, run.world)
    quiet = not progress or run.rank > 0
    steps = range(start, run.steps + 1)
    name = run.cfg["objective"]
    bar = tqdm(total=run.steps, initial=start, desc=name, mininterval=1, disable=quiet)
    with bar:
        for step in steps:
            if step % run.cfg["eval_every"] == 0 or step == run.steps:
                log.append(run.look(step))
                bar.set_postfix({n: f"{log[-1][f'{n}_preference']:.3f}" for n in run.held_out})
            if step == run.steps:
                break
            run.step(step)
            bar.update()
            due = (step + 1) % save_every == 0 and step + 1 < run.steps
            if due and run.rank == 0:
                save_checkpoint(*parts, step + 1, log)
    adapters, alignment = run.finish()
    if run.rank == 0:
        write(run, out, key, log, adapters, alignment)
    distributed.agree(len(log), run.world)  # nobody goes on before the files are there
    return log, alignment


def write(run: Run, out: Path, key: str, log, adapters, alignment) -> None:
    """Write adapters, alignment, merged weights, log and facts."""
    more = []
    if adapters:
        facts = {"format": "pt", "kind": "adapters", "key": key}
        save_adapters(out / ADAPTERS, adapters, facts)
        more.append(out / ADAPTERS)
    if alignment:
        alignment.save(out / ALIGNMENT)
        more.append(out / ALIGNMENT)
    facts = {**run.cfg, "steps": run.steps, "trained": sum(p.numel() for p in run.best.values())}
    save_final(out, key, run.clip, facts | {"chosen": run.state["best"]}, log, more)
