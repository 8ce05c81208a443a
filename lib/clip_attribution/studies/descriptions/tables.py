"""Tables of the notebook on descriptions: what the runs scored, kept and moved.

An interval over starts is Student's t (95 %); it says nothing about the images. An interval over
images is a bootstrap of the mean over starts.
"""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ...datasets.published import published
from ...evaluation.localisation import localisation_table
from ...interchange import Alignment
from ...metrics.intervals import Estimate, in_words, mean_estimate
from ...metrics.transfer import macro_f1, trade_off, transfer_score
from ...training.descriptions import evaluate, text_scores
from ...training.descriptions.evaluation import predict
from .runs import FROZEN, Prepared, TunedRun

BASE, GIVEN = "base", "model as given"
PREFERENCE, TRANSFER = "descriptions over captions", "transfer score"
TRAINED, RANDOM, OTHER = "trained", "random", "trained, source of another image"
OUTCOMES = ["variant", "measure", "value", "low", "high", "n", "starts", "start_low", "start_high"]
WAYS = {  # of this notebook: as the paper's table names it
    "base": "CLIP ViT-B/32",
    "behavioural full": "Behavioral full",
    "behavioural LoRA": "Behavioral LoRA",
    "IIT-DAS full": "IIT-DAS full",
    "IIT-DAS LoRA": "IIT-DAS LoRA",
}


def logs_of(prepared: Prepared, runs: list[TunedRun], split: str = "test") -> pd.DataFrame:
    """The evaluated steps of all runs: variant, start, step, loss, preference, transfer, f1_TASK.

    Without zero-shot tasks there is no transfer, and no f1.
    """
    frames = []
    for run in runs:
        own = run.tuned.log.filter(regex=rf"^(step|loss|{split}_)")
        own = own.rename(columns=lambda name: name.removeprefix(f"{split}_"))
        frames.append(own.assign(variant=run.variant, start=run.start))
    return pd.concat(frames, ignore_index=True)


def over_starts(values) -> tuple[float, float, float]:
    """Mean of starts, and the ends of its Student t interval; NaN ends for a single start."""
    values = np.asarray(values, float)
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return mean, np.nan, np.nan
    half = student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def outcomes(prepared: Prepared, runs: list[TunedRun]) -> pd.DataFrame:
    """What each way of training scored on the test split at its chosen step; OUTCOMES.

    value is the mean over starts. low, high: over n images, of an F1 the mean of the starts' own
    ends, none for what is made of several tasks; start_low, start_high: over starts. Before the
    runs: the model as given and the base.
    """
    models = {(GIVEN, 0): prepared.clip, (BASE, 0): prepared.base}
    if prepared.base is prepared.clip:
        models.pop((GIVEN, 0))
    models |= {(run.variant, run.start): run.tuned.clip for run in runs if run.variant != FROZEN}
    test, tasks = {"test": prepared.texts["test"]}, {"test": prepared.tasks.get("test", [])}
    first = evaluate(prepared.base.model, test, tasks, None, prepared.base.device)
    rows: dict[str, list] = {}
    for (variant, _), clip in models.items():
        rows.setdefault(variant, []).append(measured(clip, test, tasks, first))
    return pd.DataFrame(
        [
            {"variant": variant, "measure": measure, **summary([own[measure] for own in found])}
            for variant, found in rows.items()
            for measure in found[0]
        ],
        columns=OUTCOMES,
    )


def measured(clip, test: dict, tasks: dict, first: dict) -> dict:
    """{measure: value} of one model: of the preference whether each description wins, [n], of a
    task its macro-F1 as an Estimate over images, else a number."""
    caption, description = text_scores(clip.model, test["test"], clip.device)
    found: dict = {PREFERENCE: (description > caption).double().numpy()}
    for task in tasks["test"]:
        predicted = predict(clip.model, task, clip.device)
        found[f"F1 {task.name}"] = macro_f1(task.labels.numpy(), predicted)
    if tasks["test"]:
        before = [first[f"test_f1_{task.name}"] for task in tasks["test"]]
        own = [found[f"F1 {task.name}"].value for task in tasks["test"]]
        # NaN where the base's F1 of a task is 0, which nothing can be relative to
        found[TRANSFER] = transfer_score(own, before) if all(before) else np.nan
        found["trade-off"] = trade_off(found[PREFERENCE].mean(), found[TRANSFER])
    return found


def summary(values: list) -> dict:
    """Of one measure of several starts: each an Estimate, a number, or one value an image [n]."""
    known = isinstance(values[0], Estimate)
    means = [own.value if known else np.mean(own) for own in values]
    value, low, high = over_starts(means)
    found = {"value": value, "starts": len(values), "start_low": low, "start_high": high}
    if known:
        ends = [np.mean([getattr(own, end) for own in values]) for end in ("low", "high")]
        found |= {"low": ends[0], "high": ends[1], "n": values[0].n}
    elif np.ndim(values[0]):
        estimate = mean_estimate(np.mean(values, 0))
        found |= {"low": estimate.low, "high": estimate.high, "n": estimate.n}
    return found


def localisation_of(
    prepared: Prepared, runs: list[TunedRun], n: int = 300, n_random: int = 2
) -> pd.DataFrame:
    """How much of the gap a subspace moves: a row a variant, start, subspace, measure, direction.

    subspace: trained; random rotations of the same size on the same model; the trained one with a
    source of another image. A way without a rotation of its own has random ones alone. n: images of
    the test split.
    """
    own, frames = prepared.texts["test"], []
    own = own.take(range(min(n, len(own.rows))))
    texts = [[row[place] for row in own.rows] for place in (1, 2)]
    names = [row[0] for row in own.rows]
    for run in runs:
        clip, alignment = run.tuned.clip, run.tuned.alignment
        given = alignment or Alignment.random(clip, seed=run.start)
        frame = localisation_table(
            clip, own.images, *texts, given, names, n_random if alignment else 0, run.start
        )
        place = frame["rotation"].where(frame["rotation"] == "given", RANDOM)
        place = place.replace("given", TRAINED if alignment else RANDOM)
        other = frame["source"] != "same image"
        frame["subspace"] = place.mask(other, OTHER if alignment else f"{RANDOM}, another image")
        frames.append(frame.assign(variant=run.variant, start=run.start))
    return pd.concat(frames, ignore_index=True)


def beside_published(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside what was measured here: a row a way, columns measured, published.

    Published: 9,691 images of Concadia, ViT-B/32, 5 starts. Measured: `outcomes` of another model
    and other data, unless the notebook was given both. Food101's tuned rows are not legible in the
    text at hand.
    """
    paper = published(system="iit_das", table="Table 1")
    paper = paper[paper["dataset"].isin(["Concadia test", "Food101", "ImageNet", "CIFAR100"])]
    columns = {}
    for variant, own in table.groupby("variant", sort=False):
        for row in own.to_dict("records"):
            cell = in_words({k: 100 * row[k] for k in ("value", "low", "high")}, ".1f")
            if np.isnan(row["low"]):
                cell = f"{100 * row['value']:.1f}"
            columns.setdefault(("measured", row["measure"]), {})[variant] = cell
    for variant, name in WAYS.items():
        for row in paper[paper["model"] == name].itertuples():
            width = row.note.partition("+-")[2].partition(",")[0]
            cell = f"{row.printed} ± {width}" if width else row.printed
            columns.setdefault(("published", row.dataset), {})[variant] = cell
    order = [*dict.fromkeys(table["variant"])]
    return pd.DataFrame(columns).reindex(order).fillna("")
