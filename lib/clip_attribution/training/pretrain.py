"""Train the embedded model: an ordinary open_clip CLIP on the embedded world.

    python -m clip_attribution.training.pretrain                    # two CPU cores, over an hour
    python -m clip_attribution.training.pretrain --preset gpu       # one GPU, a quarter of an hour
    python -m clip_attribution.training.pretrain --preset gpu --minutes 15

The loss is CLIP's symmetric cross-entropy over the batch (Radford et al. 2021), on batches of
families (`families`), plus a dense auxiliary loss on the image tower's patch tokens (which noun
and which colour lies under this patch; from step `facts_from` on also its size, count and name)
whose heads are thrown away at the end. The learning rate
is constant after warm-up and falls linearly to zero over the last part of the run, so a run may
be extended by a larger --steps. A run continues from its last checkpoint; with other options than
steps it is refused. --minutes sets the steps by the time of the first ones. --start begins from
a file of such weights, --image-tower no leaves its image tower as it is, and --any-relation yes
lets captions state relations at random (see `unread`).
"""

from ..errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.training.pretrain")

import argparse
import json
import signal
import sys
import time
from io import BytesIO
from pathlib import Path

import open_clip
import torch
from open_clip.model import CLIP
from torch import nn
from tqdm.auto import tqdm

from ..errors import UserError, exit_status, one_line
from ..io.keys import file_key, run_key
from ..io.output import held, make_folder, only_own
from ..io.tables import atomic_path
from ..io.tensors import read_tensors, write_tensors
from .checkpoint import LOG, write_log
from .contrastive import MODEL, PREPROCESS, TEMPLATE, Batches, DenseHead, loss_of
from .families import KIND_WEIGHTS

DEFAULTS = {
    "steps": 4400,
    "batch": 128,
    "lr": 1e-3,
    "warmup": 300,
    "decay": 0.3,
    "weight_decay": 0.05,
    "dense": 1.0,
    "facts_from": 1710,
    "seed": 20240,
    "workers": 1,
    "bfloat16": False,
    "minutes": 0.0,
    "weights": KIND_WEIGHTS,
    "start": "",
    "image_tower": True,
    "any_relation": False,
}
GPU = {
    "steps": 17767,
    "batch": 512,
    "warmup": 500,
    "facts_from": 0,
    "workers": 7,
    "bfloat16": True,
    "weights": KIND_WEIGHTS | {"count": 4, "name": 3, "position": 0.3, "state": 0.3},
}
PRESETS = {"cpu": DEFAULTS, "gpu": DEFAULTS | GPU}
TIMED = 100  # steps after which --minutes sets their number
LONGEST = 10_000_000
LAST = "last.pt"
CURE = "give weights of the embedded model, or of this recipe, to start from"
HOW = ("steps", "minutes", "workers", "start")  # may differ when a run goes on


def make_model(cfg: dict) -> CLIP:
    """The architecture with new weights, or with those of the file `start`."""
    model = CLIP(**MODEL)
    if cfg["start"]:
        try:
            model.load_state_dict(read_tensors(Path(cfg["start"]), CURE)[0])
        except RuntimeError:
            raise UserError(f"{cfg['start']} is of another model: {CURE}") from None
    model.visual.requires_grad_(cfg["image_tower"])
    return model


def learning_rate(step: int, cfg: dict) -> float:
    """Warm-up, plateau, linear fall to zero."""
    fall = cfg["steps"] * cfg["decay"]
    return cfg["lr"] * min((step + 1) / cfg["warmup"], 1.0, (cfg["steps"] - step) / fall)


def make_optimizer(model: nn.Module, head: nn.Module, cfg: dict) -> torch.optim.Optimizer:
    """AdamW; gains, biases and embeddings are not decayed."""
    named = [*model.named_parameters(), *head.named_parameters()]
    plain = [p for n, p in named if p.ndim < 2 or "embedding" in n]
    decayed = [p for n, p in named if not (p.ndim < 2 or "embedding" in n)]
    groups = [
        {"params": decayed, "weight_decay": cfg["weight_decay"]},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=cfg["lr"], betas=(0.9, 0.98), eps=1e-6, fused=True)


def train(cfg: dict, folder: Path, device: str, save_every: float = 120.0) -> CLIP:
    """Run or resume; returns the model. `folder` gets a checkpoint every `save_every` seconds."""
    torch.manual_seed(cfg["seed"])
    model = make_model(cfg).to(device).train()
    head = DenseHead(MODEL["vision_cfg"]["width"]).to(device)
    optimizer = make_optimizer(model, head, cfg)
    last, start, log, began = folder / LAST, 0, [], time.time()
    if last.exists():
        state = read_checkpoint(last, device)
        check_options(state, cfg, last)
        cfg["steps"] = state["cfg"]["steps"] if cfg["minutes"] else cfg["steps"]
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = True
        start, log = state["step"], state["log"]
    elif cfg["minutes"]:
        cfg["steps"] = LONGEST  # until TIMED steps are done
    loader = torch.utils.data.DataLoader(
        Batches(cfg),
        batch_size=None,
        sampler=range(start, cfg["steps"]),
        num_workers=cfg["workers"],
        prefetch_factor=4,
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=ignore_stops,
    )
    half = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=cfg["bfloat16"])
    saved = time.time()
    bar = tqdm(loader, initial=start, total=cfg["steps"], desc="pretrain", mininterval=5)
    for step, batch in enumerate(bar, start):
        batch = [t.to(device, non_blocking=True) for t in batch]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, cfg)
        with half:
            loss, contrastive, top1 = loss_of(
                model, head, batch, cfg["dense"], step >= cfg["facts_from"]
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)  # CLIP's own limit: a scale of 100
        if step % 20 == 0:
            row = {
                "step": step,
                "loss": loss.item(),
                "contrastive": contrastive.item(),
                "top1": top1.item(),
                "scale": model.logit_scale.exp().item(),
            }
            bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "step"})
            log.append(row)
        if time.time() - saved > save_every or step + 1 == cfg["steps"]:
            save_checkpoint(last, model, head, optimizer, step + 1, cfg, log)
            write_log(folder, log)
            saved = time.time()
        if step + 1 == TIMED and cfg["steps"] == LONGEST:
            cfg["steps"] = max(int(TIMED * 60 * cfg["minutes"] / (time.time() - began)), TIMED + 1)
            bar.total = cfg["steps"]
        if step + 1 == cfg["steps"]:
            break
    return model


def check_options(state: dict, cfg: dict, place: Path) -> None:
    """Raise UserError where a checkpoint is of another run: options, code, or more steps."""
    before = state.get("cfg") or {}
    other = [name for name in cfg if name not in HOW and before.get(name) != cfg[name]]
    if not cfg["minutes"] and before.get("steps", 0) > cfg["steps"]:
        other.append("number of steps, which can only grow")
    if other or state.get("key") != key_of(cfg):
        raise UserError(
            f"{place} is of a run with another {', '.join(other or ['code'])}: take another "
            "--folder, or the options of that run"
        )


def read_checkpoint(path: Path, device: str) -> dict:
    """A checkpoint that `save_checkpoint` wrote. Raises UserError for another file."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as reason:  # whatever unpickling makes of a foreign file
        raise UserError(f"cannot read {path} ({one_line(reason)}): take another --folder") from None


def ignore_stops(_) -> None:
    """Let the process that loads batches be stopped by the one that trains alone."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)


def save_checkpoint(path: Path, model, head, optimizer, step: int, cfg: dict, log: list) -> None:
    """Write everything that a resumed run needs; the file is replaced in one step."""
    state = {
        "model": model.state_dict(),
        "head": head.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "cfg": cfg,
        "log": log,
        "key": key_of(cfg),
    }
    content = BytesIO()  # torch hides from a writer that the disk is full
    torch.save(state, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def key_of(cfg: dict) -> str:
    """What decides the weights (see `io.keys`): the recipe's options and code."""
    options, start = {k: v for k, v in cfg.items() if k not in HOW}, cfg["start"]
    if start and not Path(start).is_file():
        raise UserError(f"no file {start}: {CURE}")
    return run_key(__file__, started=start and file_key(Path(start)), **options)


def is_shorter(path: Path, cfg: dict) -> bool:
    """Whether a file is of this recipe, with no more steps: a run may write over it."""
    metadata = read_tensors(path)[1]
    longest = LONGEST if cfg["minutes"] else cfg["steps"]
    return metadata["key"] == key_of(cfg) and json.loads(metadata["training"])["steps"] <= longest


def export(model: CLIP, cfg: dict, path: Path) -> None:
    """Weights as float16 safetensors, with model, preprocessing and training in the metadata."""
    weights = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    training = {
        **{name: value for name, value in cfg.items() if name != "start"},
        "scenes": cfg["steps"] * cfg["batch"],
        "template": TEMPLATE,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
    }
    metadata = {
        "format": "pt",
        "key": key_of(cfg),
        "model_cfg": json.dumps(MODEL),
        "preprocess": json.dumps(PREPROCESS),
        "training": json.dumps(training),
    }
    write_tensors(path, weights, metadata)


def train_into(cfg: dict, folder: Path, out: Path, device: str, save_every: float = 120.0) -> None:
    """Run or resume in `folder` and write the weights to `out`, over nothing of anybody else."""
    make_folder(out.parent)
    with held(folder / LAST):
        only_own(folder / LOG, lambda _: (folder / LAST).exists())
        only_own(out, lambda path: is_shorter(path, cfg))
        export(train(cfg, folder, device, save_every), cfg, out)


def parse_bool(text: str) -> bool:
    """yes or no."""
    return {"yes": True, "no": False}[text]


def parse_weights(text: str) -> dict[str, float]:
    """Weights such as "noun=5,position=0.3"; a kind that is not named is never varied."""
    parts = (part.split("=") for part in text.split(","))
    return {kind: float(weight) for kind, weight in parts}


def main(arguments: list[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="cpu", help="default: %(default)s")
    for name, value in DEFAULTS.items():
        kind = {bool: parse_bool, dict: parse_weights}.get(type(value), type(value))
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    parser.add_argument("--folder", type=Path, default=Path("runs/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("runs/pretrain/scenes-clip.safetensors"))
    parser.add_argument("--save-every", type=float, default=120.0, help="seconds (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = vars(parser.parse_args(arguments))
    given = {k: options[k] for k in DEFAULTS if options[k] is not None}
    cfg = PRESETS[options["preset"]] | given
    folder, out = options["folder"], options["out"]

    def run() -> None:
        train_into(cfg, folder, out, options["device"], options["save_every"])

    return exit_status(parser.prog, run, "the same command goes on from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
