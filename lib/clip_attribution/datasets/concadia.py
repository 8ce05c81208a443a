"""Concadia (Kreiss et al., EMNLP 2022): images of Wikipedia, each with a description and a caption.

A description replaces the image for somebody who cannot see it; a caption adds to what is seen.
Files `wiki_split.json` and `resized/` of github elisakreiss/concadia. Measured as in arXiv
2406.09458: how often a model scores the description above the caption.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..metrics.intervals import Estimate, ratio_estimate
from ..scenes import scene_caption
from ..text.tokens import encode
from ..text.words import caption_fault
from .files import find_file, find_image, frame_of, load_json, require_fields
from .protocol_rows import tidy
from .registry import DESCRIPTIONS, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .tabular import read_records

TEXTS = ("caption", "description")
MEASURE, LONGER = "description over caption", "the longer text"
CONTEXT = 77  # positions of CLIP's text tower; two are BOS and EOT
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".p", ".bin")
SPLIT = 4  # third key of the random stream that draws the splits


def load(
    path, images=None, split: str | None = "test", keep_identical: bool = False
) -> pd.DataFrame:
    """A frame of one row an image: pair_id, image, caption, description, split and more.

    Parameters
    ----------
    path
        `wiki_split.json`, or the folder that holds it and `resized/`.
    images
        The folder of `resized/`, or of the images themselves.
    split
        train, val or test; None for all.
    keep_identical
        Keep training pairs whose two texts are the same tokens. No loss can tell these apart, so
        they are left out by default; in val and test they stay, as ties.

    Returns
    -------
    DataFrame
        caption and description as stored; article_id (all images of an article are in one split)
        and context, the paragraph around; identical: whether CLIP reads the same tokens;
        truncated: whether a text has more than CLIP's 77 positions; error: why a record cannot be
        used. `attrs["left_out"]` counts the identical training pairs that were left out.

    Raises
    ------
    UserError
        On a missing file, one of another form, an unknown split, and on a pickle: reading one may
        run what is in it.
    """
    if Path(path).suffix.lower() in PICKLES:
        raise UserError(f"{path} is a pickle, which can run code: give Concadia's wiki_split.json")
    file = find_file(path, "wiki_split.json")
    content = load_json(file)
    records = content.get("images") if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise UserError(f"{file} has no list 'images': take Concadia's wiki_split.json")
    splits = {str(one.get("split")) for one in records if isinstance(one, dict)}
    if split is not None and split not in splits:
        raise UserError(f"no split {split!r} in {file}: choose from {', '.join(sorted(splits))}")
    wanted = [one for one in records if split is None or not is_of_other(one, split)]
    frame = frame_of(wanted, partial(_row, images))
    if "identical" not in frame:
        return frame
    dropped = frame["identical"].eq(True) & frame["split"].eq("train") & (not keep_identical)
    frame = frame[~dropped].reset_index(drop=True)
    frame.attrs["left_out"] = int(dropped.sum())
    return frame


def is_of_other(record, split: str) -> bool:
    """Whether a record belongs to another split; what is no record is reported in every one."""
    return isinstance(record, dict) and record.get("split") != split


def _row(images, number: int, record: dict) -> list[dict]:
    require_fields(record, "filename", "split", *TEXTS)
    texts = {name: record[name].get("raw") for name in TEXTS}
    for name, text in texts.items():
        if fault := caption_fault(text):
            raise ValueError(f"{record['filename']}: {fault.replace('caption', name, 1)}")
    ids = [encode(_tokenizer(), text) for text in texts.values()]
    name = record["filename"]
    facts = {
        "pair_id": Path(name).stem,
        "image": find_image(images, [f"resized/{name}", name]),
        **texts,
        "group": record["split"],
        "split": record["split"],
        "article_id": record.get("article_id"),
        "context": (record.get("context") or {}).get("raw"),
        "identical": ids[0][: CONTEXT - 2] == ids[1][: CONTEXT - 2],
        "truncated": max(map(len, ids)) > CONTEXT - 2,
    }
    return [facts]


@cache
def _tokenizer():
    from open_clip.tokenizer import SimpleTokenizer  # seconds to import

    return SimpleTokenizer()


def report(frame: pd.DataFrame) -> str:
    """What `load` found, in one line: images, identical pairs, truncated texts, errors."""
    identical, truncated = (int(frame[name].eq(True).sum()) for name in ("identical", "truncated"))
    return (
        f"{len(frame)} images; {identical} pairs of identical tokens kept, "
        f"{frame.attrs.get('left_out', 0)} left out of training; {truncated} beyond {CONTEXT} "
        f"positions; {int(frame['error'].notna().sum())} with an error"
    )


def load_scores(path) -> pd.DataFrame:
    """The CLIPScores that Kreiss et al. stored for 300 images: one row an image.

    path: the folder of `concadia-captions-clipscores.csv` and `concadia-descriptions-
    clipscores.csv` (github elisakreiss/contextual-description-evaluation,
    `metrics/clipscore/results/`). Columns image, caption, description, score_caption,
    score_description. Raises UserError.
    """
    sides = []
    for name in TEXTS:
        records = pd.DataFrame(read_records(find_file(path, f"concadia-{name}s-clipscores.csv")))
        named = {"imgstem_version": "image", "texts": name, "clipscore": f"score_{name}"}
        sides.append(records.rename(columns=named)[list(named.values())])
    found = sides[0].merge(sides[1], on="image", validate="1:1")
    return found.astype({f"score_{name}": float for name in TEXTS})


def preference(score_description, score_caption, units=None, seed: int = 0) -> tuple[Estimate, int]:
    """Share of images whose description scores strictly higher, and the number of ties.

    score_description, score_caption [n]: on any one scale; a tie counts against the description.
    units [n]: the image of each row, drawn whole; each row its own by default.
    """
    description, caption = (np.asarray(x, float) for x in (score_description, score_caption))
    known = ~np.isnan(description + caption)
    wins = np.where(known, description > caption, np.nan)
    return ratio_estimate(wins, None, units, seed), int((description == caption)[known].sum())


def summarise(scored: pd.DataFrame, scorer: str = "model", seed: int = 0) -> pd.DataFrame:
    """The tidy table of `score_caption` and `score_description`, beside which text is longer."""
    good = scored[scored["error"].isna()].dropna(subset=["score_caption"])
    lengths = [good[name].str.len() for name in TEXTS]
    facts = [int(good[name].eq(True).sum()) for name in ("identical", "truncated")]
    sides = {
        scorer: (good["score_description"], good["score_caption"]),
        LONGER: (lengths[1], lengths[0]),
    }
    rows = []
    for name, (description, caption) in sides.items():
        found, ties = preference(description, caption, good["image"], seed)
        labels = {"measure": MEASURE, "scorer": name, "group": "all", "chance": 0.5}
        note = f"{ties} ties, counted against the description"
        rows.append(labels | found._asdict() | {"note": note})
    rows[0]["note"] += "; {} pairs of identical tokens; {} beyond 77 positions".format(*facts)
    return tidy(rows).assign(n_errors=int(scored["error"].notna().sum()))


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """wiki_split.json and resized/: two scenes an article, articles 8 : 1 : 1 divided by the seed.

    The caption says what a scene is about, the description what is seen in it.
    """
    articles = (n + 1) // 2
    order = np.random.default_rng([seed, SPLIT]).permutation(articles)
    tenth = -(-articles // 10)
    split = np.full(articles, "train", dtype=object)
    split[order[:tenth]], split[order[tenth : 2 * tenth]] = "test", "val"
    records = []
    for index in range(n):
        scene, seen = scene_caption(seed, index)
        _, about = scene_caption(seed, index, register="about")
        save_picture(scene, folder / "resized" / f"{index}.jpg", size)
        texts = {"description": seen.text, "caption": about.text}
        texts["context"] = f" This article tells of {about.text.rstrip('.').lower()}."
        record = {"article_id": f"Scene {index // 2}", "filename": f"{index}.jpg"}
        record["orig_filename"] = f"scene:{seed}:{index}"
        record |= {name: {"raw": text, "tokens": text.split()} for name, text in texts.items()}
        records.append(record | {"split": split[index // 2]})
    write_json({"images": records}, folder / "wiki_split.json")


BENCHMARKS = [
    Benchmark(
        "concadia",
        DESCRIPTIONS,
        "Concadia",
        "description or caption: which does the model prefer?",
        load,
        write,
        summarise,
        published=("iit_das", "Concadia test", MEASURE),
        measures="share of images whose description scores above the caption",
        options=("split",),
        place=1,
    ),
]
