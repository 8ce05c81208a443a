"""What is measured while training: descriptions over captions, transfer, their trade-off."""

from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn.functional import normalize

from ...interchange import scores
from ...metrics.transfer import trade_off, transfer_score
from ...trace.inputs import trimmed
from ...trace.pooling import encode_text
from ...trace.reading import widen
from .examples import Task, Texts

AT_ONCE = 256  # texts in one pass


@contextmanager
def evaluating(model):
    """Hold a model in eval mode and without gradients; every module's own mode comes back."""
    before = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in before.items():
            module.training = mode


def encode_ids(model, ids: Tensor, device) -> Tensor:
    """Text features [n, D] of ids [n, context], not normalised; equal rows are encoded once.

    So texts of the same tokens tie exactly, whatever they are batched with.
    """
    distinct, place = torch.unique(ids, dim=0, return_inverse=True)
    order = (distinct != 0).sum(1).argsort(stable=True)
    parts = distinct[order].split(AT_ONCE)
    found = [widen(encode_text(model, trimmed(model, part.to(device)))) for part in parts]
    return torch.cat(found)[order.argsort()][place.to(device)]


def text_scores(model, texts: Texts, device) -> tuple[Tensor, Tensor]:
    """Scores [n] of the captions and of the descriptions, on the CPU."""
    ids = torch.cat([texts.captions, texts.descriptions])
    images = texts.images.to(device)
    features = encode_ids(model, ids, device).chunk(2)
    caption, description = (scores(model, own, images).cpu() for own in features)
    return caption, description


def preference(caption: Tensor, description: Tensor) -> dict:
    """Share of descriptions with the strictly higher score, and the share of ties."""
    return {
        "preference": (description > caption).double().mean().item(),
        "ties": int((description == caption).sum()),
    }


def class_heads(model, task: Task, device) -> Tensor:
    """Unit vectors [classes, D], a class the mean of its prompts."""
    features = normalize(encode_ids(model, task.prompts, device), dim=-1)
    classes = int(task.classes.max()) + 1
    heads = torch.zeros(classes, features.shape[1], device=device, dtype=features.dtype)
    return normalize(heads.index_add(0, task.classes.to(device), features), dim=-1)


def predict(model, task: Task, device, heads: Tensor | None = None) -> np.ndarray:
    """The class [n] of each image by the highest cosine; heads: `class_heads`, if known."""
    heads = class_heads(model, task, device) if heads is None else heads
    return (task.images.to(device).to(heads) @ heads.T).argmax(-1).cpu().numpy()


def task_f1(model, tasks: list[Task], device, known: list[tuple[Task, Tensor]]) -> dict:
    """Macro-F1 of each task. known: tasks with their `class_heads`, by this model; grows."""
    found = {}
    for task in tasks:
        same = (own for other, own in known if same_prompts(task, other))
        heads = next(same, None)
        if heads is None:
            heads = class_heads(model, task, device)
            known.append((task, heads))
        predicted = predict(model, task, device, heads)
        found[task.name] = float(f1_score(task.labels.numpy(), predicted, average="macro"))
    return found


def same_prompts(task: Task, other: Task) -> bool:
    """Whether two tasks have the same classes with the same prompts."""
    return torch.equal(task.prompts, other.prompts) and torch.equal(task.classes, other.classes)


def evaluate(model, texts: dict[str, Texts], tasks: dict[str, list[Task]], first, device) -> dict:
    """Row of the log: of each split the preference, ties, F1 of its tasks, transfer and trade-off.

    first: the row of the untuned model, which the transfer is relative to; None for its own.
    Without tasks the trade-off is the preference.
    """
    row, heads = dict[str, Any](), list[tuple[Task, Tensor]]()
    with evaluating(model):
        for split, own in texts.items():
            found = preference(*text_scores(model, own, device))
            f1 = task_f1(model, tasks.get(split, []), device, heads)
            found |= {f"f1_{name}": value for name, value in f1.items()}
            row |= {f"{split}_{name}": value for name, value in found.items()}
            begin = row if first is None else first
            before = [begin[f"{split}_f1_{name}"] for name in f1]
            known = bool(f1) and all(before)
            transfer = transfer_score(list(f1.values()), before) if known else None
            row[f"{split}_transfer"] = transfer
            share = found["preference"]
            row[f"{split}_trade_off"] = share if transfer is None else trade_off(share, transfer)
    return row
