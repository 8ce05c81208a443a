"""Localisation of a preference in a subspace, beside what any subspace and any source would do."""

import numpy as np
import pandas as pd
from torch import Tensor

from ..interchange import Alignment
from ..interchange.scoring import both_scores
from ..metrics.baselines import shuffled
from ..metrics.localisation import DIRECTIONS, localisation


def localisation_table(
    clip,
    image_features: Tensor,
    captions: list[str],
    descriptions: list[str],
    alignment: Alignment,
    images=None,
    n_random: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Interchange accuracy and gap moved by a subspace, with their baselines.

    The baselines: random rotations at the same site and of the same size, and the sources of
    another image. A third, the rotation trained on the frozen model, is this table of that model.

    Parameters
    ----------
    clip
        From `load_clip`.
    image_features
        [n, D]; a row of NaN is left out.
    captions, descriptions
        n texts each, a pair an image.
    alignment
        The subspace in question.
    images
        Names of the images [n], where some have several rows; each row its own by default.
    n_random
        Number of random rotations, each from a seed of its own.
    seed
        Of rotations, other images and bootstrap.

    Returns
    -------
    DataFrame
        Columns rotation ("given" or "random SEED"), source ("same image" or "another image"), then
        those of `metrics.localisation.localisation`.

    Raises
    ------
    UserError
        As `interchange_scores`, and for fewer than two images.
    """
    images = np.arange(len(captions)) if images is None else np.asarray(images)
    own = np.arange(len(captions))
    runs = [("given", "same image", alignment, own)]
    runs += [("given", "another image", alignment, rows_of_others(images, seed))]
    for number in range(seed, seed + n_random):
        rotation = Alignment.random(clip, alignment.site, alignment.size, number)
        runs.append((f"random {number}", "same image", rotation, own))
    parts = []
    for rotation, source, subspace, rows in runs:
        found = localisation_scores(clip, image_features, captions, descriptions, subspace, rows)
        part = localisation(found, images, seed)
        part.insert(0, "source", source)
        part.insert(0, "rotation", rotation)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def localisation_scores(
    clip,
    image_features: Tensor,
    captions: list[str],
    descriptions: list[str],
    alignment: Alignment,
    rows=None,
) -> pd.DataFrame:
    """What `metrics.localisation.localisation` reads, one row a pair of texts.

    Parameters
    ----------
    clip, image_features, captions, descriptions, alignment
        As in `localisation_table`.
    rows
        For each pair the row [n] whose texts are the sources; its own by default.

    Returns
    -------
    DataFrame
        Columns caption, description, up, down. A source of the base's own tokens moves nothing.
    """
    texts, found = {"caption": list(captions), "description": list(descriptions)}, {}
    for direction, (base, other, _) in DIRECTIONS.items():
        source = [texts[other][row] for row in (range(len(captions)) if rows is None else rows)]
        pair = both_scores(clip, image_features, texts[base], source, alignment)
        ids = [clip.tokenizer(one, clip.context_length) for one in (texts[base], source)]
        found[base] = pair[0]
        found[direction] = pair[1].where((ids[0] != ids[1]).any(-1), pair[0])  # not by rounding
    return pd.DataFrame({name: values.double().numpy() for name, values in found.items()})


def rows_of_others(images, seed: int = 0) -> np.ndarray:
    """For each row [n] the first row of another image, all images passed on in one random cycle."""
    frame = pd.DataFrame({"image": pd.Series(images, dtype=object)})
    first = pd.Series(frame.index, frame["image"])[~frame["image"].duplicated().to_numpy()]
    return first[shuffled(frame, seed)["image"]].to_numpy()
