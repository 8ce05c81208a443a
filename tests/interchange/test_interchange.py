"""Interchange interventions: what must hold of every one, and a slow oracle."""

import copy
from concurrent.futures import ThreadPoolExecutor

import cae_models
import interchange_oracles
import pytest
import torch
from oracles import weights_of
from small_towers import CAPTIONS, FAMILIES
from torch.nn.functional import normalize, softplus
from torch.nn.utils.parametrizations import orthogonal
from torch.nn.utils.parametrize import register_parametrization

from clip_attribution import load_clip
from clip_attribution.errors import UserError
from clip_attribution.interchange import (
    Alignment,
    interchange_features,
    interchange_scores,
    plain_scores,
    scores,
    scoring,
    site_width,
)
from clip_attribution.interchange.engine import find_site, replaced
from clip_attribution.trace import inputs
from clip_attribution.trace.pooling import text_rows

BASE = ["a red cup on a table", "two dogs, one cat.", "umbrella", "a blue anchor"]
SOURCE = ["umbrella", "the small blue anchor is next to an umbrella", "a cup", "two red dogs"]
HEADS, QUICK = 2, True  # of the tiny model
SITES = [0, 1, "features"]


@pytest.fixture(scope="module")
def clip():
    return cae_models.tiny(double=True)


def images(clip, n=4, seed=3):
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
    assert moved.max() > 1e-3 if size else moved.max() < 1e-9


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


# ---------------------------------------------------------------- gradients


@pytest.fixture
def trained():
    """The tiny model in float64 with gradients, ids of both texts, and image features."""
    clip = cae_models.tiny(double=True)
    clip.model.requires_grad_(True)
    ids = [clip.tokenizer(texts, clip.context_length) for texts in (BASE, SOURCE)]
    return clip.model, ids, images(clip)


def loss(model, ids, features, basis, site=1):
    """IIT-DAS on base captions: softplus( C(cap) - DII(cap <- des) )."""
    own, mixed = (
        scores(model, found, features) for found in interchange_features(model, *ids, site, basis)
    )
    return softplus(own - mixed).mean()


WEIGHTS = [
    "transformer.resblocks.0.attn.in_proj_weight",
    "transformer.resblocks.1.mlp.c_fc.weight",
    "transformer.resblocks.2.attn.out_proj.weight",
    "token_embedding.weight",
    "text_projection",
    "logit_scale",
]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", [*WEIGHTS, "rotation"])
def test_gradients_are_finite_differences(trained, name, site):
    model, ids, features = trained
    w = rotation(site_width(cae_models.tiny(), site)).requires_grad_(True)
    value = w if name == "rotation" else dict(model.named_parameters())[name]
    (gradient,) = torch.autograd.grad(loss(model, ids, features, w[:, :9], site), value)
    direction, step = normalize(gradient.flatten(), dim=0).view_as(gradient), 1e-5

    def at(distance):
        with torch.no_grad():
            value.add_(distance * direction)
            found = loss(model, ids, features, w[:, :9], site)
            value.sub_(distance * direction)
            return found

    numeric = (at(step) - at(-step)) / (2 * step)
    assert numeric > 1e-5
    torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-6, atol=1e-9)


def test_gradients_flow_through_both_texts(trained):
    model, ids, features = trained
    basis = rotation(32)[:, :9]
    weight = model.token_embedding.weight
    (gradient,) = torch.autograd.grad(loss(model, ids, features, basis), weight)
    moved = gradient.abs().sum(-1) > 0
    for own, other in (ids, ids[::-1]):
        alone = sorted(set(own[2].tolist()) - set(other[2].tolist()) - {0})
        assert alone and moved[alone].all()


def test_a_trained_rotation_gets_the_gradient_of_the_coordinates(trained):
    """The projector's gradient is that of z' W^T for torch's orthogonal parametrization."""
    model, ids, features = trained
    layer = torch.nn.Linear(32, 32, bias=False).double()
    layer.weight.data = rotation(32)
    layer = orthogonal(layer, orthogonal_map="matrix_exp")
    free = layer.parametrizations.weight.original
    (found,) = torch.autograd.grad(loss(model, ids, features, layer.weight[:, :9]), free)
    w, slow = dict(model.named_parameters()), []
    for image, base, source in zip(features, *ids, strict=True):
        own, mixed = (
            interchange_oracles.interchange_score(
                w, image, base, source, 1, size, layer.weight, HEADS, QUICK
            )
            for size in (0, 9)
        )
        slow.append(softplus(own - mixed))
    (wanted,) = torch.autograd.grad(torch.stack(slow).mean(), free)
    assert wanted.abs().max() > 1e-6
    close(found, wanted, 1e-12)


# ---------------------------------------------------------------- other towers


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    name = "small-quickgelu" if "quickgelu" in request.param else "small"
    clip = load_clip(name, model_config=FAMILIES[request.param](folder))
    clip.model.double()
    return request.param, clip


def one_pair(clip, image, base, source, alignment, position):
    """The score by the model's own forward of one text at a time, nothing trimmed or batched."""
    states, block = {}, find_site(clip.model, alignment.site)
    basis = alignment.basis(len(alignment.rotation)).double()

    def keep(state):
        states["source"] = state[0, position[1]].clone()
        return state

    def put(state):
        own = state[0, position[0]].clone()
        state = state.clone()
        state[0, position[0]] = own + basis @ (basis.T @ (states["source"] - own))
        return state

    with torch.no_grad():
        for text, change in ((source, keep), (base, put)):
            with replaced(block, change):
                ids = clip.tokenizer([text], clip.context_length)
                feature = clip.model.encode_text(ids, normalize=True)[0]
    return clip.model.logit_scale.exp() * feature @ normalize(image, dim=0)


def test_every_tower_that_pools_at_one_position(family):
    name, clip = family
    features, base, source = images(clip, 3), CAPTIONS[:3], CAPTIONS[1:]
    if name == "XLM-R mean":
        with pytest.raises(UserError, match="pools over all its tokens.*features"):
            interchange_scores(clip, features, base, source, Alignment(0, 3))
    else:
        alignment = Alignment.random(clip, 0, 16)
        alignment = Alignment(0, 16, alignment.rotation.double())
        found = interchange_scores(clip, features, base, source, alignment)
        rows = [
            text_rows(clip.model, clip.tokenizer(texts, clip.context_length))
            for texts in (base, source)
        ]
        wanted = [
            one_pair(clip, image, b, s, alignment, at)
            for image, b, s, *at in zip(features, base, source, *rows, strict=True)
        ]
        close(found, torch.stack(wanted))
        assert (found - plain_scores(clip, features, base)).abs().max() > 1e-4
    whole = Alignment("features", site_width(clip, "features"))
    found = interchange_scores(clip, features, base, source, whole)
    close(found, plain_scores(clip, features, source))


def test_adapters_by_parametrize_are_carried():
    clip = cae_models.tiny(double=True)
    alignment = Alignment.random(clip, 1, 8)
    plain = interchange_scores(clip, images(clip), BASE, SOURCE, alignment)
    adapter = torch.nn.Identity()
    for block in clip.model.transformer.resblocks:
        register_parametrization(block.attn, "in_proj_weight", adapter)
    close(interchange_scores(clip, images(clip), BASE, SOURCE, alignment), plain, 1e-12)
    adapter.forward = lambda weight: 1.1 * weight
    found = interchange_scores(clip, images(clip), BASE, SOURCE, alignment)
    assert (found - plain).abs().max() > 1e-3


# ---------------------------------------------------------------- the model, and faults


def state_of(model):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()], [m.training for m in model.modules()]
    return copy.deepcopy(model.state_dict()), hooks, flags


def same(one, other):
    return one[1:] == other[1:] and all(torch.equal(v, other[0][k]) for k, v in one[0].items())


@pytest.mark.parametrize("training", [False, True])
def test_the_model_stays_bit_identical_also_after_an_exception(training):
    clip = cae_models.tiny()
    clip.model.train(training)
    before = state_of(clip.model)
    alignment = Alignment.random(clip, 1, 8)
    interchange_scores(clip, images(clip), BASE, SOURCE, alignment)
    plain_scores(clip, images(clip), BASE)
    assert same(state_of(clip.model), before)

    def fail(*args):
        raise RuntimeError("planted")

    handle = clip.model.transformer.resblocks[2].register_forward_hook(fail)
    for site in (1, "features"):
        with pytest.raises(RuntimeError, match="planted"):
            interchange_scores(clip, images(clip), BASE, SOURCE, Alignment(site, 8, None))
    handle.remove()
    with pytest.raises(UserError, match="a basis of 5 rows for states of 32"):
        ids = clip.tokenizer(BASE, clip.context_length)
        interchange_features(clip.model, ids, ids, 1, torch.eye(5)[:, :2])
    assert same(state_of(clip.model), before)


@pytest.mark.parametrize("site", [2, 3, 40])
def test_a_site_that_does_not_exist(clip, site):
    for call in (
        lambda: Alignment.random(clip, site, 3),
        lambda: interchange_scores(clip, images(clip), BASE, SOURCE, Alignment(site, 3)),
    ):
        with pytest.raises(UserError, match=f"no site {site}: .* sites 0 to 1 .* 'features'"):
            call()


def test_an_intervention_that_never_fires(clip, monkeypatch):
    """A forward that goes past the block, as one compiled or replaced by a faster one would."""
    monkeypatch.setattr(clip.model.transformer, "forward", lambda x, attn_mask: x)
    with pytest.raises(UserError, match="never took place"):
        interchange_scores(clip, images(clip), BASE, SOURCE, Alignment(0, 3, rotation(32)))


def test_wrong_lengths_and_widths(clip):
    with pytest.raises(UserError, match="for 4 and 3 texts"):
        interchange_scores(clip, images(clip), BASE, SOURCE[:3], Alignment(0, 3))
    with pytest.raises(UserError, match=r"shape \[24\]"):
        plain_scores(clip, images(clip)[0], BASE)
    with pytest.raises(UserError, match="state of 33 numbers, but site 0 .* has 32"):
        interchange_scores(clip, images(clip), BASE, SOURCE, Alignment(0, 33))


def test_threads_do_not_see_one_another_s_intervention(clip):
    alignments = [Alignment.random(clip, site, 9, site) for site in (0, 1)] * 4
    features = images(clip)

    def run(alignment):
        return interchange_scores(clip, features, BASE, SOURCE, alignment)

    wanted = [run(alignment) for alignment in alignments]
    with ThreadPoolExecutor(4) as pool:
        plain = pool.submit(plain_scores, clip, features, BASE)
        found = list(pool.map(run, alignments))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert torch.equal(plain.result(), plain_scores(clip, features, BASE))
