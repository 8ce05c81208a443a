"""Fine-tune a CLIP on pairs: contrastively, or with CAE's attribution loss beside it.

    python -m clip_attribution.training.finetune PAIRS.csv --objective cae --method attention \\
        --model ViT-B-32 --pretrained openai --out runs/cae
    torchrun --nproc-per-node 4 -m clip_attribution.training.finetune ...

Defaults are those of Li et al. (EMNLP 2024): 5 epochs, batch 256, learning rate 5e-7, cosine after
50 warm-up steps, AdamW with weight decay 0.2. Their weight of the attribution loss is unpublished:
without --lam it is set so that over the first 20 batches its gradient on the text tower is a tenth
(--share) of the contrastive one. A stopped run goes on from its checkpoint when the same command is
given.
"""

from ..errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.training.finetune")

import math
import sys
from copy import deepcopy
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ..errors import UserError, exit_status
from ..io.tables import read_pairs
from ..models.clip import Clip, load_clip
from . import distributed
from .checkpoint import (
    FACTS,
    FINAL,
    LOG,
    STATE,
    key_of,
    load_checkpoint,
    load_final,
    save_checkpoint,
    save_final,
)
from .examples import Examples, negatives_of, read_examples
from .finetune_options import PRECISIONS, build_parser, check_options
from .objective import Weights, accumulate_gradients, make_part

MAX_LAM = 1e6  # beyond it the softmax of a saturated attribution has left nothing but rounding
MAX_SCALE = math.log(100)  # CLIP's own limit of its logit scale, unless it starts above


def finetune(
    clip: Clip, examples: Examples, out, *, save_every: int = 100, progress: bool = False, **options
) -> tuple[Clip, pd.DataFrame]:
    """Fine-tune a copy of `clip`; the given one stays as it is.

    examples: of `read_examples`. options: DEFAULTS of `finetune_options`, where `lam` None is
    calibrated (1 without a contrastive loss), `itc` 0 leaves the contrastive loss out, `method` is
    one of attribution.differentiable.TRAINABLE, and `steps` takes the place of `epochs`. out: a
    folder for model.safetensors, log.jsonl, run.json and, every `save_every` steps, a checkpoint; a
    finished run with the same options, weights and pairs is read back. The model stays in eval
    mode: no dropout, and batch normalisation keeps its statistics.

    Returns (the tuned Clip, frozen; the log, one row a step: step, loss, itc, attr, a_obj, a_comp,
    entropy, used, lam, lr, scale). entropy, in nats, is that of the softmax of the gradient method,
    NaN for the others: near 0 it is saturated and trains nothing. Raises UserError on unusable
    options, a folder with another run, and an image that has become unreadable.
    """
    if save_every < 1:
        raise UserError("save_every must be at least 1")
    rank, world = distributed.start(clip.device)
    cfg = check_options(options, clip, examples, world)
    out, key = Path(out), key_of(clip, examples, cfg)
    model = deepcopy(clip.model).float().requires_grad_(True)
    tuned = changed(clip, model=model, pretrained=str(out / FINAL))
    files = [out / name for name in (FINAL, LOG, STATE)]
    with distributed.claim_first(out / FACTS, files, key, rank, world) as done:
        if done:
            log = load_final(out, model)
            if (out / STATE).exists() and rank == 0:  # a kill may have left it
                (out / STATE).unlink()
        else:
            run = Run(tuned, examples, cfg, rank, world)
            log = train(run, out, key, save_every, progress)
    model.to(clip.dtype).requires_grad_(False)
    return tuned, pd.DataFrame(log)


def train(run: "Run", out: Path, key: str, save_every: int, progress: bool) -> list[dict]:
    """Take all steps from the checkpoint on, if there is one, and write the results; the log."""
    parts = (out, key, run.model, run.optimizer, run.state)
    start, log = load_checkpoint(*parts)
    distributed.agree(start, run.world)
    quiet = not progress or run.rank > 0
    run.calibrate(quiet)
    name = run.cfg["method"] if run.state["lam"] else "contrastive"
    bar = tqdm(
        range(start, run.steps), name, run.steps, initial=start, mininterval=1, disable=quiet
    )
    for step in bar:
        log.append(run.step(step))
        bar.set_postfix({name: f"{log[-1][name]:.3g}" for name in ("itc", "attr")})
        due = (step + 1) % save_every == 0 and step + 1 < run.steps
        if due and run.rank == 0:
            save_checkpoint(*parts, step + 1, log)
    if run.rank == 0:
        save_final(out, key, run.clip, {**run.cfg, **run.state, "steps": run.steps}, log)
    distributed.agree(len(log), run.world)  # nobody goes on before the files are there
    return log


class Run:
    """One run: the model with its optimizer, and the batches that are its own."""

    def __init__(self, clip, examples, cfg, rank: int = 0, world: int = 1):
        self.clip, self.examples, self.cfg = clip, examples, cfg
        self.model, self.rank, self.world = clip.model, rank, world
        self.per_epoch = len(examples.captions) // cfg["batch"]
        self.steps = cfg["steps"] or self.per_epoch * cfg["epochs"]
        self.optimizer = make_optimizer(clip.model, cfg)
        self.state = {"lam": cfg["lam"]}
        self.max_scale = max(MAX_SCALE, clip.model.logit_scale.item())  # of the untuned model

    def rows(self, step: int) -> np.ndarray:
        """This process's rows of one step: a new order in every epoch, the same for one seed.

        What does not fill a batch at the end of an epoch is left out of it.
        """
        epoch, number = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.cfg["seed"], epoch]).permutation(
            len(self.examples.captions)
        )
        batch = order[number * self.cfg["batch"] :][: self.cfg["batch"]]
        return np.array_split(batch, self.world)[self.rank]

    def parts(self, step: int, weights: Weights) -> list:
        """The parts of one step's batch."""
        seed, parts = self.cfg["seed"] * 1_000_003 + step, []
        for rows in np.array_split(self.rows(step), self.cfg["accumulate"]):
            rows = rows.tolist()
            hard = self.cfg["hard_negatives"] and weights.itc
            negatives = negatives_of(self.examples, rows, seed) if hard else []
            parts.append(
                make_part(self.clip, self.examples, rows, negatives, weights, self.cfg["k"], seed)
            )
        return parts

    def gradients(self, step: int, itc: float, lam: float) -> dict:
        """The gradients of one step, summed over processes; what to log."""
        self.optimizer.zero_grad(set_to_none=True)
        weights = Weights(itc, lam, self.cfg["method"], self.cfg["margin"])
        precision = PRECISIONS[self.cfg["precision"]]
        parts = self.parts(step, weights)
        place = self.rank, self.world
        found = accumulate_gradients(self.model, parts, weights, *place, precision)
        distributed.sum_gradients(self.model.parameters(), self.world)
        return found

    def calibrate(self, quiet: bool = True) -> None:
        """Set lam where it was left open. The image tower's gradient does not count: it is off."""
        if self.state["lam"] is None and not self.cfg["itc"]:
            self.state["lam"] = 1.0
        if self.state["lam"] is not None:
            return
        visual, itc, attr = self.model.visual.requires_grad_(False), 0.0, 0.0
        batches = range(min(self.cfg["calibration"], self.steps))
        for step in tqdm(batches, "calibration", disable=quiet):
            self.gradients(step, 1.0, 0.0)
            itc += text_norm(self.model)
            self.gradients(step, 0.0, 1.0)
            attr += text_norm(self.model)
        visual.requires_grad_(True)
        lam = self.cfg["share"] * self.cfg["itc"] * itc / attr if attr else math.inf
        if lam > MAX_LAM:
            raise UserError(
                "the attribution loss has no gradient to speak of on the first batches "
                f"(lam would be {lam:.1g}): give lam"
            )
        self.state["lam"] = distributed.everyones(lam, self.world)[0]

    def step(self, step: int) -> dict:
        """One step of the optimizer; its row of the log."""
        rate, lam = learning_rate(step, self.steps, self.cfg), self.state["lam"]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        found = self.gradients(step, self.cfg["itc"], lam)
        self.optimizer.step()
        with torch.no_grad():
            scale = self.model.logit_scale.clamp_(max=self.max_scale).exp().item()
        return {"step": step, **found, "lam": lam, "lr": rate, "scale": scale}


def text_norm(model) -> float:
    """Norm of the gradient on the text tower."""
    own = [
        p.grad
        for name, p in model.named_parameters()
        if p.grad is not None and not name.startswith(("visual.", "logit_"))
    ]
    return torch.stack([g.norm() for g in own]).norm().item() if own else 0.0


def learning_rate(step: int, steps: int, cfg: dict) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < cfg["warmup"]:
        return cfg["lr"] * (step + 1) / cfg["warmup"]
    done = (step - cfg["warmup"]) / max(1, steps - cfg["warmup"])
    return 0.5 * cfg["lr"] * (1 + math.cos(math.pi * done))


def make_optimizer(model, cfg: dict) -> torch.optim.AdamW:
    """AdamW as in open_clip: gains, biases and the logit scale are not decayed."""
    named = list(model.named_parameters())
    plain = {name for name, p in named if p.ndim < 2 or "bn" in name or "ln" in name}
    decays = {False: cfg["weight_decay"], True: 0.0}
    groups = [
        {"params": [p for name, p in named if (name in plain) == kind], "weight_decay": decay}
        for kind, decay in decays.items()
    ]
    return torch.optim.AdamW(groups, lr=cfg["lr"], betas=(0.9, 0.98), eps=1e-6, fused=True)


def main(argv: list[str] | None = None) -> int:
    """Command line, see the module's docstring. 0: done, 2: unusable, 130 or 143: stopped."""
    parser = build_parser(__doc__.split("\n")[0])
    args = vars(parser.parse_args(argv))

    def run():
        folder = run_command(**args)
        print(folder / "model.safetensors", folder / "log.jsonl", sep="\n")

    try:
        hint = "the same command goes on from the last checkpoint"
        return exit_status(parser.prog, run, hint)
    finally:
        distributed.stop()


def run_command(
    pairs,
    out,
    images,
    model,
    pretrained,
    model_config,
    activation,
    device,
    numerals,
    save_every,
    quiet,
    **options,
):
    """Load model and table, fine-tune, say what was left out; the folder of the results."""
    table = read_pairs(pairs).to_pandas()
    clip = load_clip(
        model,
        pretrained,
        model_config=model_config,
        activation=activation,
        device=distributed.local_device(device),
    )
    rank, _ = distributed.start(clip.device)
    shown, root = not quiet and rank == 0, Path(images) if images else Path(pairs).parent
    examples, left_out = read_examples(clip, table, root, numerals=numerals, progress=shown)
    for row in left_out.itertuples() if rank == 0 else ():
        print(f"left out {row.pair_id}: {row.error}", file=sys.stderr)
    _, log = finetune(clip, examples, out, save_every=save_every, progress=shown, **options)
    if rank == 0 and options["objective"] == "cae":
        print(f"weight of the attribution loss: {log['lam'].iloc[0]:.4g}", file=sys.stderr)
    return Path(out)


if __name__ == "__main__":
    sys.exit(main())
