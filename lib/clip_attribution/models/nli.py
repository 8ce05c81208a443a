"""The NLI model of SeeTRUE-Feedback: does one text entail another.

A sequence classifier of Hugging Face, loaded on demand; the paper's is facebook/bart-large-mnli.
"""

from pathlib import Path

import numpy as np
import torch

from ..errors import UserError, one_line
from .configs import refuse_code, without_code
from .fingerprint import PROBE, hash_of_weights
from .hub import hub_without_waiting

DEFAULT = "facebook/bart-large-mnli"
CONTRADICTION, ENTAILMENT = 0, 2  # where the labels are not named, as in that model
NO_LIMIT = 10**6  # a tokenizer that knows no limit says a huge number


def load_nli(name_or_folder=DEFAULT, device="auto", batch_size: int = 32):
    """An NLI model as a function: entailment(premises, hypotheses) -> P(entailment), float64 [n].

    name_or_folder: a name on the hub, or a folder with the model's config, weights and tokenizer.
    The probability is the softmax over the logits of contradiction and entailment alone. A
    hypothesis without text, an empty prediction, gets 0. Raises UserError without the package
    transformers, without a network or such a model, and for a model that is no NLI classifier.
    """
    tokenizer, model = _load(str(name_or_folder))
    labels = _labels(model.config)
    model = model.eval().to(_device(device))
    cut = {"truncation": True, "max_length": _limit(tokenizer, model.config)}

    @torch.inference_mode()
    def scores(premises, hypotheses):
        inputs = tokenizer(premises, hypotheses, padding=True, return_tensors="pt", **cut)
        logits = model(**inputs.to(model.device)).logits.float()
        return logits[:, labels].softmax(-1)[:, 1].double().cpu().numpy()

    def entailment(premises, hypotheses) -> np.ndarray:
        pairs = list(zip(premises, hypotheses, strict=True))
        known = [row for row, (_, text) in enumerate(pairs) if text.strip()]
        known.sort(key=lambda row: sum(map(len, pairs[row])))  # texts of a batch of like length
        found = np.zeros(len(pairs))
        for start in range(0, len(known), batch_size):
            rows = known[start : start + batch_size]
            found[rows] = scores(*map(list, zip(*(pairs[row] for row in rows), strict=True)))
        return found

    ids = tokenizer([PROBE])["input_ids"]
    facts = model.config.to_dict(), ids, cut
    entailment.fingerprint = lambda: (hash_of_weights(model), facts)  # type: ignore[attr-defined]
    return entailment


def _load(name: str):
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as reason:
        raise UserError(
            "the NLI score needs the package transformers: pip install clip-attribution[hf]"
        ) from reason
    local = {"local_files_only": True} if Path(name).is_dir() else {}
    local["trust_remote_code"] = False
    refuse_code(name)
    try:
        with hub_without_waiting(), without_code():
            model = AutoModelForSequenceClassification.from_pretrained(name, **local)
            return AutoTokenizer.from_pretrained(name, **local), model
    except (OSError, ValueError, KeyError, RuntimeError) as reason:
        raise UserError(
            f"cannot load the NLI model {name!r} (no network, or no such model or folder?): give a "
            f"folder with its config, weights and tokenizer: {one_line(reason)}"
        ) from reason


def _labels(config) -> list[int]:
    """Indices of contradiction and entailment. Raises UserError where they cannot be told."""
    names = {name.lower(): index for name, index in config.label2id.items()}
    found = [
        index
        for wanted in ("contradict", "entail")
        for name, index in names.items()
        if name.startswith(wanted)
    ]
    if len(found) == 2:
        return found
    if config.num_labels == 3 and all(name.startswith("label_") for name in names):
        return [CONTRADICTION, ENTAILMENT]
    raise UserError(f"no NLI model: its labels are {', '.join(config.label2id)}")


def _limit(tokenizer, config) -> int | None:
    if tokenizer.model_max_length < NO_LIMIT:
        return tokenizer.model_max_length
    return getattr(config, "max_position_embeddings", None)


def _device(device) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
