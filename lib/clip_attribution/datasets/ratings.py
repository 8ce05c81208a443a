"""Ratings of image descriptions by blind, low-vision and sighted people (Kreiss et al. 2022).

Kreiss, Bennett, Hooshmand, Zelikman, Morris and Potts, "Context Matters for Image Descriptions for
Accessibility", EMNLP 2022; files `behavioral_data/` and `metrics/clipscore/` of github
elisakreiss/contextual-description-evaluation. Measured as in arXiv 2406.09458: Pearson's r of a
model's score and the mean rating of 68 texts, and what has to stand beside it: the length of the
text, the reliability of the ratings, and how few images there are.
"""

import re
import unicodedata
from collections.abc import Mapping
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..metrics.intervals import correlation_estimate, gain_estimate
from ..metrics.ratings import partial_estimate, reliability
from ..metrics.weighted import weighted_pearson
from .files import find_file, frame_of
from .protocol_rows import tidy
from .registry import DESCRIPTIONS, Benchmark
from .tabular import read_records

GROUPS = {"BLV": "", "sighted, no image": ".preimg", "sighted, with image": ".postimg"}
QUESTIONS = {
    "overall": "q_overall",
    "imaginability": "q_reconstructivity",
    "relevance": "q_relevance",
    "irrelevance": "q_irrelevance",
}
CELLS = tuple(
    (group, question)
    for group in GROUPS
    for question in QUESTIONS
    if (group, question) != ("sighted, with image", "imaginability")  # asked without image alone
)
KEY = ("description", "img_id", "context")
LENGTH, STORED = "number of characters", "stored CLIPScore"
SCALE = range(1, 6)


def load(path, images=None) -> pd.DataFrame:
    """A frame of one row a description: pair_id, image, description, its ratings, error.

    Parameters
    ----------
    path
        The folder of `behavioral_data/` (or that folder itself): `blv_data_criticaltrials.csv`,
        `sighted_data_criticaltrials.csv`, `all_descriptions.csv`.
    images
        The folder of `cosid_images/`, or of the images themselves.

    Returns
    -------
    DataFrame
        One row for each text that BLV people rated, with img_id, context, and for every group and
        question of `CELLS` a column such as "BLV overall": the list of ratings, 1 to 5. The
        attention checks were not rated, and sighted ratings of other texts are left out. score:
        the CLIPScore stored upstream, where `cosid-clipscores.csv` lies in `stored_scores/` or
        `metrics/clipscore/results/`. A rating that is no number from 1 to 5 is a row with its
        reason in error.

    Raises
    ------
    UserError
        On a missing file, or one of another form.
    """
    facts = {r.get("img_id"): r.get("img_file") for r in _records(path, "all_descriptions")}
    names = {img: _image(images, name) for img, name in facts.items() if name}
    stored = load_scores(path)
    cells: dict[tuple, dict[str, list[int]]] = {}
    bad: list = []
    for group, record in _rated(path):
        key = tuple(record.get(name) or "" for name in KEY)
        if group == "BLV" or key in cells:
            try:
                found = _ratings(group, record)
            except ValueError as error:
                bad.append(f"{key[1]}: {error}")
                continue
            for column, rating in found.items():
                cells.setdefault(key, {}).setdefault(column, []).append(rating)

    def rows(number: int, item):
        if isinstance(item, str):
            raise ValueError(item)
        (text, img_id, context), ratings = item
        if not text.strip():
            raise ValueError(f"{img_id}: the description is empty")
        if img_id not in names:
            raise ValueError(f"all_descriptions.csv has no image {img_id!r}")
        row = {"pair_id": str(number), "image": names[img_id], "description": text}
        row |= {"img_id": img_id, "context": context, "score": stored.get(text)}
        return [row | {f"{g} {q}": ratings.get(f"{g} {q}", []) for g, q in CELLS}]

    return frame_of([*cells.items(), *bad], rows).drop(columns=["caption", "group"])


def _rated(path):
    """(group, record) of every row of the two files, BLV people first."""
    for record in _records(path, "blv_data_criticaltrials"):
        yield "BLV", record
    for record in _records(path, "sighted_data_criticaltrials"):
        yield "sighted", record


def _records(path, name: str) -> list[dict]:
    file = find_file(path, f"behavioral_data/{name}.csv", f"{name}.csv")
    records = read_records(file)
    missing = [column for column in KEY[:2] if records and column not in records[0]]
    if missing:
        raise UserError(f"{file} has no column {missing[0]!r}: take the file of Kreiss et al. 2022")
    return records


def _ratings(group: str, record: dict) -> dict[str, int]:
    """{column: rating} of one person and text; ValueError for what is no rating."""
    found = {}
    for name, question in CELLS:
        if name.startswith(group):
            cell = record.get(QUESTIONS[question] + GROUPS[name])
            if cell not in map(str, SCALE):
                raise ValueError(f"{question} is {cell!r}, no rating from 1 to 5")
            found[f"{name} {question}"] = int(cell)
    return found


def _image(images, name: str) -> str:
    """The file of an image: its own name, or that of a copy made for a text (`_version1`)."""
    folder = next((f for f in ("cosid_images", ".") if images and (Path(images) / f).is_dir()), ".")
    stem = _plain(Path(name).stem)
    for file in sorted((Path(images) / folder).iterdir()) if images else []:
        if re.sub(r"_version\d+$", "", _plain(file.stem)) == stem:
            return str(Path(folder, file.name))
    return name


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def load_scores(path) -> dict[str, float]:
    """The CLIPScore of each text as stored upstream; empty where `cosid-clipscores.csv` is not
    there. Raises UserError when it cannot be read."""
    names = ("stored_scores", "metrics/clipscore/results", "../metrics/clipscore/results", ".")
    for folder in names:
        if (file := Path(path, folder, "cosid-clipscores.csv")).is_file():
            return {row["texts"]: float(row["clipscore"]) for row in read_records(file)}
    return {}


def means(frame: pd.DataFrame, group: str, question: str) -> np.ndarray:
    """Mean rating of each text [n]; NaN where nobody rated it."""
    cells = frame[f"{group} {question}"]
    return np.array([np.mean(cell) if len(cell) else np.nan for cell in cells])


def correlations(frame: pd.DataFrame, scores: Mapping, seed: int = 0) -> pd.DataFrame:
    """Pearson's r of each score with the mean ratings, and what it is to be compared with.

    Parameters
    ----------
    frame
        Of `load`, without rows that carry an error.
    scores
        {name: a score of each text [n]}, on any scale. The first is compared with the others.

    Returns
    -------
    DataFrame
        One row a group, question and scorer ("number of characters" is the last): value, low, high
        (95 % over texts), image_low, image_high (over images), n, images, partial and its interval
        partial_low, partial_high (r given the length), length (r of the score and the length),
        reliability of the mean rating, ceiling (its root), and difference, difference_low,
        difference_high: r of the first score less that of this one, on the same texts.
    """
    length = frame["description"].str.len().to_numpy(float)
    every = {name: np.asarray(score, float) for name, score in scores.items()} | {LENGTH: length}
    first, rows = next(iter(every.values())), []
    for group, question in CELLS:
        mean = means(frame, group, question)
        reliable = reliability(list(frame[f"{group} {question}"]), seed)
        for name, score in every.items():
            good = ~np.isnan(score + first + mean)
            x, y, other, chars = score[good], mean[good], first[good], length[good]
            images = frame["img_id"][good]
            texts = correlation_estimate(x, y, seed=seed)
            over = correlation_estimate(x, y, groups=images, seed=seed)
            row = {"group": group, "question": question, "scorer": name} | texts._asdict()
            row |= {"image_low": over.low, "image_high": over.high, "images": over.n}
            row |= {"reliability": reliable, "ceiling": sqrt(max(reliable, 0))}
            if name != LENGTH:
                row["length"] = correlation_estimate(x, chars, seed=seed).value
                row |= _named("partial", partial_estimate(x, y, chars, images, seed))
            if score is not first:
                row |= _named(
                    "difference", gain_estimate(weighted_pearson, y, other, x, images, seed)
                )
            rows.append(row)
    return pd.DataFrame(rows)


def _named(name: str, estimate) -> dict:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def summarise(scored: pd.DataFrame, scorer: str = "model", seed: int = 0) -> pd.DataFrame:
    """The tidy table of `score_description`, beside the stored scores and the length."""
    good = scored[scored["error"].isna()].dropna(subset=["score_description"])
    scores = {scorer: good["score_description"]}
    if good["score"].notna().any():
        scores[STORED] = good["score"]
    found = correlations(good, scores, seed)
    table = found.assign(measure="Pearson " + found["question"], chance=0.0)
    table["note"] = [_note(row) for row in found.to_dict("records")]
    table["n_errors"] = int(scored["error"].notna().sum())
    return tidy(table.to_dict("records"))


def _note(row: dict) -> str:
    """What stands beside one r, in words."""
    said = f"over {row['images']} images [{row['image_low']:.2f}, {row['image_high']:.2f}]"
    said += f"; reliability of the ratings {row['reliability']:.2f}"
    if not pd.isna(row.get("partial")):
        said += f"; given the length {row['partial']:.3f} [{row['partial_low']:.2f}, "
        said += f"{row['partial_high']:.2f}]; r with the length {row['length']:.3f}"
    if not pd.isna(row.get("difference")):
        said += f"; the model is better by {row['difference']:.3f} "
        said += f"[{row['difference_low']:.2f}, {row['difference_high']:.2f}]"
    return said


BENCHMARKS = [
    Benchmark(
        "ratings",
        DESCRIPTIONS,
        "Ratings by blind, low-vision and sighted people",
        "do people rate a description higher that the model scores higher?",
        load,
        None,
        summarise,
        published=("iit_das", "Kreiss 2022"),
        measures="Pearson's r with the mean rating of a text",
        place=2,
    ),
]
