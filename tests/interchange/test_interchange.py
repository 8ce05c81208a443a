"""Interchange interventions: what must hold of every one, and a slow oracle."""

import copy

import cae_models
import interchange_oracles
import pytest
import torch
from oracles import weights_of
from small_towers import CAPTIONS, FAMILIES
from torch.nn.functional import normalize

from clip_attribution import load_clip
from clip_attribution.errors import UserError
from clip_attribution.interchange import (
    Alignment,
    interchange_features,
    interchange_scores,
    plain_scores,
    site_width,
)
from clip_attribution.interchange import scoring as scoring
from clip_attribution.trace import inputs

BASE = ["a red cup on a table", "two dogs, one cat.", "umbrella", "a blue anchor"]
SOURCE = ["umbrella", "the small blue anchor is next to an umbrella", "a cup", "two red dogs"]
HEADS, QUICK = 2, True  # of the tiny model
SITES = [0, 1, "features"]


@pytest.fixture(scope="module")
def clip():
    return cae_models.tiny(double=True)


def images(clip, n=len(BASE), seed=3):
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(n, clip.embed_dim, generator=generator)
    return found.to(clip.model.logit_scale.dtype)


def rotation(d, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0].to(dtype)


def close(one, other, atol=1e-6):
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("size", [0, 1, 9, "all"])
@pytest.mark.parametrize("site", SITES)
def test_equals_the_slow_oracle(clip, site, size):
    width = site_width(clip, site)
    size, w = width if size == "all" else size, rotation(width)
    found = interchange_scores(clip, images(clip), BASE, SOURCE, Alignment(site, size, w))
    ids = [clip.tokenizer(texts, clip.context_length) for texts in (BASE, SOURCE)]
    wanted = [
        interchange_oracles.interchange_score(
            weights_of(clip.model), image, base, source, site, size, w, HEADS, QUICK
        )
        for image, base, source in zip(images(clip), *ids, strict=True)
    ]
    close(found, torch.stack(wanted), 1e-9)
    moved = (found - plain_scores(clip, images(clip), BASE)).abs()
    assert (moved > 1e-3).all() if size else (moved < 1e-9).all()


def test_plain_scores_are_scaled_cosines_of_raw_texts():
    clip = load_clip()
    features = images(clip)
    wanted = clip.logit_scale * (normalize(features, dim=-1) * clip.encode_texts(BASE)).sum(-1)
    found = plain_scores(clip, features, BASE)
    close(found / clip.logit_scale, wanted / clip.logit_scale)
    close(plain_scores(clip, 7 * features, BASE), found, 1e-4)  # the length of a feature is nothing


@pytest.mark.parametrize("site", SITES)
def test_the_own_text_as_source_gives_the_plain_score(clip, site):
    alignment = Alignment.random(clip, site, 7, seed=1)
    found = interchange_scores(clip, images(clip), BASE, BASE, alignment)
    close(found, plain_scores(clip, images(clip), BASE), 1e-12)


@pytest.mark.parametrize("site", SITES)
def test_only_the_span_of_the_subspace_matters(clip, site):
    width, size = site_width(clip, site), 10
    w, inner = rotation(width), torch.block_diag(rotation(size, 1), rotation(width - size, 2))
    one, other = (
        interchange_scores(clip, images(clip), BASE, SOURCE, Alignment(site, size, r))
        for r in (w, w @ inner)
    )
    close(one, other)
    third = interchange_scores(
        clip, images(clip), BASE, SOURCE, Alignment(site, size, w.roll(1, 1))
    )
    assert (one - third).abs().max() > 1e-3


@pytest.mark.parametrize("turn", [None, 5])
def test_all_of_the_features_is_the_source_and_all_of_a_block_is_not(clip, turn):
    width = site_width(clip, "features")
    w = None if turn is None else rotation(width, turn)
    found = interchange_scores(clip, images(clip), BASE, SOURCE, Alignment("features", width, w))
    source = plain_scores(clip, images(clip), SOURCE)
    assert torch.equal(found, source)
    block = Alignment(0, site_width(clip, 0))
    found = interchange_scores(clip, images(clip), BASE, SOURCE, block)
    assert (found - source).abs().max() > 1e-3  # the other positions are the base's


def test_trimmed_equals_untrimmed_and_a_batch_its_members(clip, monkeypatch):
    alignment, features = Alignment.random(clip, 1, 9), images(clip)
    whole = interchange_scores(clip, features, BASE, SOURCE, alignment)
    pairs = zip(features, BASE, SOURCE, strict=True)
    apart = [interchange_scores(clip, i[None], [b], [s], alignment) for i, b, s in pairs]
    close(whole, torch.cat(apart))
    monkeypatch.setattr(scoring, "AT_ONCE", 2)
    close(whole, interchange_scores(clip, features, BASE, SOURCE, alignment))
    ids = [clip.tokenizer(texts, clip.context_length) for texts in (BASE, SOURCE)]
    basis = alignment.basis(32)
    short = interchange_features(clip.model, *ids, 1, basis)
    monkeypatch.setattr("clip_attribution.interchange.engine.trimmed", lambda model, ids: ids)
    for one, other in zip(short, interchange_features(clip.model, *ids, 1, basis), strict=True):
        close(one, other)
    assert inputs.trimmed(clip.model, ids[0]).shape[1] < ids[0].shape[1]


def test_no_texts_give_no_scores(clip):
    none = torch.zeros(0, clip.embed_dim)
    assert plain_scores(clip, none, []).shape == (0,)
    assert interchange_scores(clip, none, [], [], Alignment(0, 3)).shape == (0,)
