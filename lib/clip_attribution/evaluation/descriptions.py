"""Scores of a model on descriptions and captions, on ratings of descriptions, and on classes.

What arXiv 2406.09458 measures of a model besides its attributions: every distinct image and every
distinct text is encoded once, a row that cannot be scored carries its reason, and the summary of
the benchmark's record makes its table of the result.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..datasets import get_benchmark, load_benchmark
from ..errors import UserError
from ..io.keys import rows_key, run_key
from ..trace.encode import encode_texts, encode_views
from ..trace.features import distinct, image_features
from .report import FILES, count, reported, say_done, stored
from .rows import sample

TEXTS = ("caption", "description")
CHUNK = 4096  # images whose scores against every class are in memory at a time


def evaluate_descriptions(
    clip,
    benchmark,
    data,
    out,
    chosen=None,
    *,
    images=None,
    limit=None,
    seed=0,
    quiet=False,
    template="",
    batch_size=64,
    **ignored,
):
    """The measure of a benchmark of descriptions or of transfer, see `measure`.

    Arguments as for `run.evaluate`; chosen: options of the benchmark's own (split, prompts).
    Returns (results, the frame with its scores); both are written to `out`.
    """
    record, chosen = get_benchmark(benchmark), chosen or {}
    frame = load_benchmark(benchmark, data, images, **({} if record.texts else chosen))
    frame = sample(frame, limit, seed, "image")
    texts = record.texts and record.texts(frame, data, **chosen)
    facts = {"benchmark": benchmark, "seed": seed, "limit": limit, "template": template} | chosen
    run = run_key(__file__, [clip], batch_size=batch_size, texts=texts, **facts)
    key = rows_key(run, frame.to_dict("list"), list(frame["image"].dropna()), images)
    if known := stored(out, FILES, key, quiet):
        return known
    with reported(out, FILES, key) as (write, parts):
        options = {"template": template, "seed": seed, "batch_size": batch_size}
        results, scored = measure(
            clip, benchmark, frame, images, texts, progress=not quiet, keep=parts, **options
        )
        write(results, facts | {"model": clip.weights_hash, **count(scored)}, scored)
    say_done(out, scored, quiet)
    return results, scored


def measure(clip, benchmark: str, frame, images=None, texts=None, template="", seed=0, **run):
    """Score a model on the frame of a benchmark of descriptions; (its tidy table, the scores).

    texts: of a benchmark with classes, {label: its prompts}. template: put before each caption and
    description; by default there is none. run: batch_size, progress, keep. Raises UserError.
    """
    record = get_benchmark(benchmark)
    if texts is None:
        scored = score_texts(clip, frame, images, template, **run)
    else:
        scored = classify(clip, frame, texts, images, **run)
    return record.summarise(scored, scorer=clip.name, seed=seed), scored


def score_texts(clip, frame, images=None, template="", batch_size=64, progress=False, keep=None):
    """C = exp(logit_scale) · cosine of each row's image with its caption and its description.

    Texts that the model reads as the same tokens are encoded once, so that they tie exactly.
    Returns the frame with score_caption and score_description (those whose text it has) and error,
    its rows numbered from 0. Raises UserError where it has neither text.
    """
    frame = frame.reset_index(drop=True)
    columns = [name for name in TEXTS if name in frame]
    if not columns:
        raise UserError(f"the frame has no column {' or '.join(TEXTS)}: take one of a loader")
    good = frame.index[frame["error"].isna()]
    run = {"batch_size": batch_size, "progress": progress, "keep": keep}
    found, errors = encode_rows(clip, list(frame.loc[good, "image"]), images, **run)
    same = same_tokens(clip, [text for name in columns for text in frame.loc[good, name]], template)
    texts = encode_texts(clip, list(dict.fromkeys(same.values())), template, **run)
    for name in columns:
        cosines = [
            np.nan if feature is None else float((feature * texts[same[text]]).sum())
            for feature, text in zip(found, frame.loc[good, name], strict=True)
        ]
        frame[f"score_{name}"] = np.nan
        frame.loc[good, f"score_{name}"] = clip.logit_scale * np.array(cosines)
    return with_errors(frame, good, errors)


def same_tokens(clip, texts, template="", at_once=4096) -> dict[str, str]:
    """For each text the first one that the model reads as the same ids."""
    first, found = {}, {}
    texts = list(dict.fromkeys(texts))
    for start in range(0, len(texts), at_once):
        part = texts[start : start + at_once]
        ids = clip.tokenizer([template + text for text in part], clip.context_length)
        for text, row in zip(part, ids.numpy(), strict=True):
            found[text] = first.setdefault(row.tobytes(), text)
    return found


def encode_rows(clip, refs, images=None, batch_size=64, progress=False, keep=None):
    """(features, errors): for each image a unit vector [D] or None, and None or why there is none.

    Files are read once and kept in `keep` until all is there; images in memory are encoded anew.
    """
    if all(isinstance(ref, str) for ref in refs):
        views = [(ref, None) for ref in refs]
        features, reasons = encode_views(
            clip, dict.fromkeys(views), images, batch_size, progress, keep
        )
        return [features.get(v) for v in views], [reasons.get(v) for v in views]
    first, number = distinct(refs)
    found = image_features(clip, first, images, batch_size, progress)
    rows = [found[i] for i in number]
    return (
        [row if isinstance(row, Tensor) else None for row in rows],
        [row if isinstance(row, str) else None for row in rows],
    )


def with_errors(frame, good, errors):
    """The frame with the reasons of the rows `good` that could not be scored, else None."""
    frame["error"] = frame["error"].astype(object).where(frame["error"].notna(), None)
    frame.loc[good, "error"] = np.array(errors, dtype=object)
    return frame


def classify(clip, frame, texts, images=None, batch_size=64, progress=False, keep=None):
    """The class of each row's image by the highest cosine; the first of equal ones.

    frame: with image, label and error. texts: {label: the prompts of its class}; a class is the
    mean of its prompts' unit features, scaled to unit length. Returns the frame with prediction
    (missing with an error) and error, its rows numbered from 0.
    """
    frame = frame.reset_index(drop=True)
    run = {"batch_size": batch_size, "progress": progress, "keep": keep}
    labels = sorted(texts)
    features = encode_texts(clip, list(dict.fromkeys(t for k in labels for t in texts[k])), **run)
    heads = torch.stack([torch.stack([features[t] for t in texts[k]]).mean(0) for k in labels])
    heads = normalize(heads, dim=-1)
    good = frame.index[frame["error"].isna()]
    found, errors = encode_rows(clip, list(frame.loc[good, "image"]), images, **run)
    there = [feature for feature in found if feature is not None]
    best = [
        labels[i]
        for start in range(0, len(there), CHUNK)
        for i in (torch.stack(there[start : start + CHUNK]) @ heads.T).argmax(-1).tolist()
    ]
    known = good[[feature is not None for feature in found]]
    frame["prediction"] = pd.Series(best, known, dtype="Int64").reindex(frame.index)
    if not all(isinstance(ref, str) for ref in frame["image"].dropna()):
        frame["image"] = frame["pair_id"]  # an image in memory has no name
    return with_errors(frame, good, errors)
