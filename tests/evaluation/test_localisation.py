"""Localisation of a preference with its baselines, on the embedded model."""

import numpy as np
import pandas as pd
import pytest
import torch

from clip_attribution import load_clip
from clip_attribution.errors import UserError
from clip_attribution.evaluation.localisation import (
    localisation_scores,
    localisation_table,
    rows_of_others,
)
from clip_attribution.interchange import Alignment, interchange_scores, plain_scores, site_width
from clip_attribution.io.images import open_image
from clip_attribution.scenes import scene_caption

N = 12


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def data(clip):
    """Image features, captions (about the image) and descriptions (of it)."""
    features = clip.encode_images([open_image(f"scene:33:{i}") for i in range(N)])
    captions = [scene_caption(33, i, register="about")[1].text for i in range(N)]
    return features, captions, [scene_caption(33, i)[1].text for i in range(N)]


def close(one, other):
    np.testing.assert_allclose(one, other, atol=2e-5, rtol=0)  # of scores of some tens


def test_scores_are_those_of_the_interchange_each_way(clip, data):
    features, captions, descriptions = data
    alignment = Alignment.random(clip, 3, 40)
    found = localisation_scores(clip, *data, alignment)
    close(found.caption, plain_scores(clip, features, captions))
    close(found.description, plain_scores(clip, features, descriptions))
    close(found.up, interchange_scores(clip, features, captions, descriptions, alignment))
    close(found.down, interchange_scores(clip, features, descriptions, captions, alignment))
    rows = rows_of_others(np.arange(N))
    other = localisation_scores(clip, *data, alignment, rows)
    source = [descriptions[row] for row in rows]
    close(other.up, interchange_scores(clip, features, captions, source, alignment))
    close(other.caption, found.caption)


def test_all_of_the_features_moves_the_whole_gap_and_nothing_none(clip, data):
    whole = Alignment("features", site_width(clip, "features"))
    table = localisation_table(clip, *data, whole, n_random=1)
    own = table[table.source == "same image"]  # any rotation of all coordinates does the same
    close(own.value[own.measure == "gap moved"], [1, 1, 1, 1])
    scores = localisation_scores(clip, *data, whole)
    share = (scores.description > scores.caption).mean()
    close(own.value[own.measure == "interchange accuracy"], [share] * 4)
    other = table[(table.source == "another image") & (table.measure == "gap moved")]
    assert other.value.iloc[0] < 0.5  # another image's description does not fit this one
    table = localisation_table(clip, *data, Alignment(4, 0), n_random=2)
    assert list(table.rotation.unique()) == ["given", "random 0", "random 1"]
    assert len(table) == 4 * 5 and (table.n == N).all()
    gaps = table.value[table.measure == "gap"]
    close(table.value[table.measure != "gap"], 0)
    assert gaps.nunique() == 1 and gaps.iloc[0] > 1  # of the model, whatever the subspace


def test_a_pair_of_the_same_tokens_is_no_success(clip, data):
    features, captions, _ = data
    shouted = [caption.upper() for caption in captions]
    table = localisation_table(
        clip, features, captions, shouted, Alignment.random(clip), n_random=0
    )
    own = table[table.source == "same image"].set_index("measure").value
    assert (own["interchange accuracy"] == 0).all() and own["gap moved"].isna().all()


def test_a_row_without_features_is_left_out_and_images_are_the_units(clip, data):
    features, captions, descriptions = data
    features = features.clone()
    features[3] = torch.nan
    texts = captions, descriptions
    names = [f"{i // 2}.png" for i in range(N)]
    table = localisation_table(clip, features, *texts, Alignment.random(clip), names, n_random=0)
    assert (table.n == N // 2).all() and table.value.notna().all()
    alone = localisation_table(clip, features, *texts, Alignment.random(clip), n_random=0)
    assert (alone.n == N - 1).all()


def test_sources_come_from_another_image():
    images = ["a", "a", "b", "c", "b", "d"]
    found = rows_of_others(images, seed=2)
    assert all(images[row] != own for row, own in zip(found, images, strict=True))
    of = pd.Series([images[row] for row in found]).groupby(images).nunique()
    assert (of == 1).all() and len({images[row] for row in found}) == 4
    with pytest.raises(UserError, match="two different images"):
        rows_of_others(["a", "a"])
