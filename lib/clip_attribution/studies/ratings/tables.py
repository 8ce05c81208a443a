"""Table 2 of arXiv 2406.09458 beside what it leaves out, and the same question with a truth.

People: the ratings of Kreiss et al. 2022, where their files are at hand. In the embedded world a
truth stands in their place: how many facts a true description states. That number is counted;
nobody rated anything.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from ...datasets import get_benchmark, load_benchmark
from ...datasets.published import main_table
from ...datasets.ratings import LENGTH, correlations
from ...datasets.sts import facts
from ...errors import UserError
from ...evaluation.descriptions import score_texts
from ...evaluation.rows import folder_of
from ...io.tables import digest
from ...metrics.intervals import correlation_estimate, in_words
from ...metrics.ratings import partial_estimate
from ...metrics.weighted import weighted_pearson
from ...scenes import describe, generator, sample_scene
from ...scenes.clauses import PHRASING

PRETRAINED = "CLIP ViT-B/32"
RAW, TEMPLATE, STORED = "raw text", "A photo depicts ", "stored CLIPScore"
TRIES = 40  # phrasings of a scene among which those of different length are looked for
N, IMAGES = 68, 18  # texts and images of Kreiss et al. 2022
SIDES = {"score": "CLIP's score", "length": LENGTH}


def scene_texts(n_images: int = 300, per_image: int = 4, seed: int = 0) -> pd.DataFrame:
    """True descriptions of scenes that state different numbers of facts, as a frame to be scored.

    Of each scene at most `per_image`, no two with as many facts: pair_id, image, description,
    facts (things, colours, sizes, counts, relations, grounds and names that are stated, each once),
    length (characters), error (None).
    """
    rows = []
    for index in range(n_images):
        scene, found = sample_scene(generator(seed, index)), {}
        for number in range(TRIES):
            caption = describe(scene, generator(seed, index, PHRASING, number))
            found.setdefault(len(facts(caption)), caption.text)
        chosen = generator(seed, index, PHRASING).permutation(sorted(found))[:per_image]
        rows += [
            {
                "pair_id": f"{index}:{n}",
                "image": f"scene:{seed}:{index}",
                "description": found[n],
                "facts": int(n),
                "length": len(found[n]),
                "error": None,
            }
            for n in sorted(chosen)
        ]
    return pd.DataFrame(rows)


def scored_texts(clip, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `scene_texts` with the column score: C on the logit scale, raw text."""
    scored = score_texts(clip, frame)
    return scored.rename(columns={"score_description": "score"})


def against_facts(scored: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Pearson's r of the score and of the length with the number of facts, with 95 % over images.

    kind: over all texts; within images (both less their image's mean); and given the other one.
    """
    inside = scored[["score", "length", "facts"]].astype(float)
    inside = inside - inside.groupby(scored["image"]).transform("mean")
    rows = []
    for name, other in (("score", "length"), ("length", "score")):
        run = {"groups": scored["image"], "seed": seed}
        found = {
            "all texts": correlation_estimate(scored[name], scored["facts"], **run),
            "within images": correlation_estimate(inside[name], inside["facts"], **run),
            "given the other": partial_estimate(
                scored[name], scored["facts"], scored[other], scored["image"], seed
            ),
        }
        rows += [{"of": name, "kind": k} | one._asdict() for k, one in found.items()]
    return pd.DataFrame(rows)


def small_studies(scored: pd.DataFrame, n_studies: int = 1000, seed: int = 0) -> pd.DataFrame:
    """r of score and length with the facts in studies of 18 random images each, [n_studies, 2]."""
    code, images = pd.factorize(scored["image"])
    if len(images) < 2 * IMAGES:
        raise UserError(f"{len(images)} images are too few to draw studies of {IMAGES} from")
    rng = np.random.default_rng(seed)
    drawn = np.zeros((n_studies, len(images)))
    for study in drawn:
        study[rng.choice(len(images), IMAGES, replace=False)] = 1
    truth = scored["facts"].to_numpy(float)
    columns = {name: scored[name].to_numpy(float) for name in SIDES}
    return pd.DataFrame(
        {name: weighted_pearson(drawn[:, code], own, truth) for name, own in columns.items()}
    )


def people(clip, data: str, images: str = "", seed: int = 0):
    """(correlations with the ratings in the folder `data`, its rows); (None, None) without one.

    The model reads the raw text and, for the stored scores were made so, the text behind "A photo
    depicts "; the CLIPScores stored upstream are the last where their file is there.
    """
    if not data:
        return None, None
    root = images or folder_of(data)
    frame = load_benchmark("ratings", data, root)
    both = {RAW: score_texts(clip, frame, root), TEMPLATE: score_texts(clip, frame, root, TEMPLATE)}
    good = frame["error"].isna() & both[RAW]["error"].isna()
    if not good.any():
        reason = both[RAW]["error"].dropna().iloc[0]
        raise UserError(f"not one description of {data} can be scored, the first because: {reason}")
    scores = {name: one["score_description"][good] for name, one in both.items()}
    if frame["score"].notna().any():
        scores[STORED] = frame["score"][good]
    return correlations(frame[good], scores, seed), both[RAW]


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """The measured r of every score, beside the published one of the pretrained model."""
    printed = published_rows()
    printed = printed[printed["scorer"] == PRETRAINED].set_index(["group", "question"])["value"]
    rows = []
    for row in found.to_dict("records"):
        known = printed[row["group"], row["question"]]
        partial = ("partial", "partial_low", "partial_high")
        rows.append(
            {
                "group": row["group"],
                "question": row["question"],
                "score": row["scorer"],
                "r [over texts]": in_words(row, ".3f"),
                "over images": f"[{row['image_low']:.2f}, {row['image_high']:.2f}]",
                "given length": "" if pd.isna(row["partial"]) else in_words(row, ".2f", partial),
                "reliability": row["reliability"],
                "n": row["n"],
                "published": known,
                "difference": np.nan if row["scorer"] == LENGTH else row["value"] - known,
            }
        )
    return pd.DataFrame(rows)


def published_rows() -> pd.DataFrame:
    """Table 2 as printed: group, question, scorer, value, over_starts (its ±), and what the number
    of texts alone allows: low and high of Fisher's 95 % interval for n = 68."""
    rows = main_table(*get_benchmark("ratings").published)
    wide = norm.ppf(0.975) / np.sqrt(N - 3)
    return pd.DataFrame(
        {
            "group": rows["group"],
            "question": rows["measure"].str.removeprefix("Pearson "),
            "scorer": rows["model"],
            "value": rows["value"],
            "over_starts": rows["note"].str.extract(r"\+-([\d.]+)")[0].astype(float),
            "low": np.tanh(np.arctanh(rows["value"]) - wide),
            "high": np.tanh(np.arctanh(rows["value"]) + wide),
        }
    )


def text_facts(scored: pd.DataFrame, seed: int) -> dict:
    """What of the embedded world was measured on, for the record."""
    rows = scored[["image", "description", "facts"]].to_numpy().tolist()
    return {"name": f"embedded world, seed {seed}", "n": len(scored), "hash": digest(rows)}


def data_facts(data: str, rated: pd.DataFrame | None) -> dict:
    """What of people was measured on: the folder's name, usable texts and their hash."""
    if rated is None:
        return {"name": "published values", "n": N, "hash": digest(published_rows().to_csv())}
    good = rated[rated["error"].isna()]
    rows = good[["image", "description"]].to_numpy().tolist()
    return {"name": Path(data).name, "n": len(good), "hash": digest(rows)}
