"""Scores of a model on decisions, retrieval and text similarity.

What the composition benchmarks have in common: every distinct image and every distinct text is
encoded once (`trace.encode`; `keep` is its folder for what is finished), and a row that cannot be
scored carries its reason. The summary of a benchmark's record makes its accuracies of the result.
"""

import numpy as np
import pandas as pd
import torch

from ..datasets import get_benchmark
from ..datasets.accuracies import correlation_table, recall_table, winoground_correct
from ..errors import UserError
from ..trace.encode import encode_texts, encode_views

CHUNK = 1024  # queries whose scores against everything are in memory at a time
ROUNDING = 1e-6  # of a cosine in float32: what is nearer counts as equal


def score_choices(
    clip, frame, images=None, template="", batch_size=64, progress=False, keep=None
) -> pd.DataFrame:
    """Score a choice frame (`datasets.choices`): does the model choose the right option?

    images: the folder that the frame's `images` are relative to. template is put before every
    caption. Returns the frame with scores (per case a list over images of lists over captions of
    cosines), correct (1.0 or 0.0, NaN where there is an error; a tie is wrong; of Winoground the
    group score) and error (the loader's reason, or why an image cannot be used), its rows numbered
    from 0. Raises UserError when the frame lacks a column or batch_size is no positive number.
    """
    check(frame, ("images", "captions", "truth", "kind", "crop", "error"), batch_size)
    result = frame.reset_index(drop=True)
    good = result.index[result["error"].isna()]
    rows = result.loc[good]
    views = [
        [_view(name, crop) for name in names]
        for names, crop in zip(rows["images"], rows["crop"], strict=True)
    ]
    pictures, reasons = encode_views(clip, _distinct(views), images, batch_size, progress, keep)
    texts = encode_texts(clip, _distinct(rows["captions"]), template, batch_size, progress, keep)
    scores, errors = [], []
    for view, captions in zip(views, rows["captions"], strict=True):
        errors.append(next((reasons[v] for v in view if v in reasons), None))
        scores.append(None if errors[-1] else _cosines(pictures, view, texts, captions))
    result["scores"] = pd.Series(scores, good, dtype=object).reindex(result.index)
    result["error"] = result["error"].astype(object).where(result["error"].notna(), None)
    result.loc[good, "error"] = pd.Series(errors, good, dtype=object)
    result["correct"] = [
        np.nan if isinstance(error, str) else float(is_correct(table, truth, kind))
        for table, truth, kind, error in zip(
            result["scores"], result["truth"], result["kind"], result["error"], strict=True
        )
    ]
    return result


def is_correct(scores, truth: int, kind: str) -> bool:
    """Whether the right option scores above every other one; scores [images, captions]."""
    scores = np.asarray(scores)
    if kind == "winoground":
        return all(winoground_correct(scores))
    options = scores[0] if kind == "text" else scores[:, 0]
    return bool((options[truth] > np.delete(options, truth)).all())


def retrieval_scores(
    clip,
    pairs,
    images=None,
    template="",
    batch_size=64,
    chunk=CHUNK,
    seed=0,
    progress=False,
    keep=None,
):
    """R@1 and R@5 in both directions, of a pairs frame with one row a caption.

    The gallery is what could be read: an image that cannot takes its captions with it. A
    distractor that scores as high as the right one counts as better. Returns (table, pairs): the
    rows of `accuracies.recall_table`, and the frame with error and rank (the number of
    other images that score at least as high, NaN with an error). Raises UserError.
    """
    check(pairs, ("image", "caption", "error"), batch_size)
    pairs = pairs.reset_index(drop=True)
    pairs["error"] = pairs["error"].astype(object).where(pairs["error"].notna(), None)
    views = [_view(name, None) for name in pairs["image"][pairs["error"].isna()]]
    features, reasons = encode_views(clip, _distinct([views]), images, batch_size, progress, keep)
    readable = pairs["error"].isna()
    pairs.loc[readable, "error"] = np.array([reasons.get(view) for view in views], object)
    good = pairs[pairs["error"].isna()]
    texts = encode_texts(clip, _distinct([good["caption"]]), template, batch_size, progress, keep)
    owner, gallery = pd.factorize(good["image"])
    gallery = [features[_view(name, None)] for name in gallery]
    image = torch.stack(gallery) if gallery else torch.zeros(0, clip.embed_dim)
    text = torch.stack([texts[c] for c in good["caption"]]) if len(good) else image
    ranks = retrieval_ranks(image, text, owner, chunk)
    pairs["rank"] = pd.Series(ranks[0], good.index, dtype=float).reindex(pairs.index)
    return recall_table(*ranks, owner, seed), pairs


def retrieval_ranks(image, text, owner, chunk=CHUNK) -> tuple[np.ndarray, np.ndarray]:
    """Ranks from 0 of the right answers: of each text's image [n], of each image's texts [m].

    image [m, D], text [n, D]: unit features; owner [n]: the image of each text. An image's rank is
    that of its best text among the texts of others, so R@k is the share of ranks below k.
    """
    owner = torch.as_tensor(owner)
    of_text, of_image = [], []
    for start in range(0, len(text), chunk):
        scores = text[start : start + chunk] @ image.T
        own = scores.gather(1, owner[start : start + chunk, None])
        of_text.append((scores > own - ROUNDING).sum(1) - 1)
    for start in range(0, len(image), chunk):
        scores = image[start : start + chunk] @ text.T
        numbers = torch.arange(start, start + len(scores))
        mine = owner[None, :] == numbers[:, None]
        best = scores.masked_fill(~mine, -torch.inf).max(1, keepdim=True).values
        of_image.append(((scores > best - ROUNDING) & ~mine).sum(1))
    empty = [torch.zeros(0, dtype=torch.long)]
    return torch.cat(of_text or empty).numpy(), torch.cat(of_image or empty).numpy()


def sts_scores(clip, frame, batch_size=64, template="", seed=0, progress=False, keep=None):
    """Spearman and Pearson correlation of the text tower's cosine with the graded similarity.

    frame: of `datasets.sts`. Returns (table, frame): the rows of
    `accuracies.correlation_table`, and the frame with its cosine (NaN with an error).
    Raises UserError.
    """
    check(frame, ("sentence1", "sentence2", "score", "error"), batch_size)
    frame = frame.reset_index(drop=True)
    good = frame[frame["error"].isna()]
    both = [list(good["sentence1"]), list(good["sentence2"])]
    texts = encode_texts(clip, _distinct(both), template, batch_size, progress, keep)
    cosines = [float(texts[a] @ texts[b]) for a, b in zip(*both, strict=True)]
    cosine = pd.Series(cosines, good.index, dtype=float)
    table = correlation_table(cosine.to_numpy(), good["score"].to_numpy(float), seed)
    return table, frame.assign(cosine=cosine.reindex(frame.index))


def check(frame, columns, batch_size) -> None:
    """Raise UserError when a column is missing or the batch size is no positive number."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise UserError(f"the frame has no column {missing[0]!r}: take one that a loader gave")
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}")


def _view(name: str, crop) -> tuple:
    return name, tuple(crop) if crop is not None else None


def _distinct(lists) -> list:
    return list(dict.fromkeys(one for several in lists for one in several))


def _cosines(pictures, view, texts, captions) -> list[list[float]]:
    image, text = (
        torch.stack([known[k] for k in keys])
        for known, keys in ((pictures, view), (texts, captions))
    )
    # Summed one by one: in a matrix product equal captions may differ in the last bit.
    return (image[:, None] * text[None]).sum(-1).tolist()


def measure(clip, benchmark: str, frame, images=None, template="", seed=0, options=None, **run):
    """Score a model on the frame of any composition benchmark, retrieval and similarity included.

    options: those of the benchmark's summary; run: batch_size, progress, keep. Returns (table,
    frame): the tidy table (`datasets.accuracies`) and the frame with its scores. Raises UserError.
    """
    run |= {"template": template, "seed": seed}
    if "sentence1" in frame:
        return sts_scores(clip, frame, **run)
    if is_retrieval(frame):
        return retrieval_scores(clip, frame, images, **run)
    del run["seed"]
    scored = score_choices(clip, frame, images, **run)
    return summarise(scored, benchmark, seed, **(options or {})), scored


def is_retrieval(frame: pd.DataFrame) -> bool:
    """Whether a composition frame has one row a caption, to be found among all."""
    return "caption" in frame and "captions" not in frame


def summarise(scored: pd.DataFrame, benchmark: str, seed: int = 0, **options) -> pd.DataFrame:
    """The table of a benchmark from `score_choices`; rows with an error take no part.

    options: those of the summary of the benchmark's record. Raises UserError.
    """
    summary = get_benchmark(benchmark).summarise
    if summary is None:
        raise UserError(f"{benchmark} has no choices to summarise")
    return summary(scored, seed=seed, **options)
