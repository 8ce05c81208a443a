"""Every family of open_clip models, reduced, with random weights: attributions or a clear error."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_towers import CAPTIONS, FAMILIES

from clip_attribution import attribute, attribute_all_variants, image_attribution, load_clip
from clip_attribution.attribution import METHODS, batch, layered_methods
from clip_attribution.errors import UserError
from clip_attribution.trace.hooks import trace
from clip_attribution.trace.pooling import can_trim, encode_text, text_rows
from clip_attribution.trace.rows import can_run_rows, encode_image

NO_TEXT = ("XLM-R mean",)
NO_IMAGE = ("CoCa", "SigLIP", "ResNet")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    name = "small-quickgelu" if "quickgelu" in request.param else "small"
    return request.param, load_clip(name, model_config=FAMILIES[request.param](folder))


def image(seed=0):
    pixels = np.random.RandomState(seed).randint(0, 255, (80, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def pairs():
    return pd.DataFrame({"image": [image(i) for i in range(4)], "caption": CAPTIONS})


def test_words(family, pairs):
    name, clip = family
    for method in METHODS:
        if name in NO_TEXT:
            with pytest.raises(UserError, match="pools over all its tokens"):
                attribute(clip, pairs, method)
            continue
        words, done = attribute(clip, pairs, method)
        assert done.error.isna().all() and done.truncated.tolist() == [False] * 3 + [True]
        valued = words.seen & (~words.word.isin([".", ","]) | (method != "perturbation"))
        assert np.isfinite(words.attribution[valued]).all()
        spoken = words[(words.pair_id < 3) & ~words.word.isin([".", ","])]  # SigLIP drops those
        assert spoken.seen.all() and not words.seen.all()
        assert (words.attribution[words.seen] != 0).any()


def test_cosines_are_those_of_the_model(family, pairs):
    name, clip = family
    if name in NO_TEXT:
        return
    texts = ["A photo depicts " + caption for caption in pairs.caption]
    wanted = (clip.encode_images(list(pairs.image)) * clip.encode_texts(texts)).sum(-1)
    np.testing.assert_allclose(attribute(clip, pairs)[1].cosine, wanted, atol=2e-6)


def test_a_batch_equals_its_members(family, pairs):
    name, clip = family
    if name in NO_TEXT:
        return
    table = attribute_all_variants(clip, pairs)
    apart = [attribute_all_variants(clip, pairs[i : i + 1]).values for i in range(4)]
    np.testing.assert_allclose(table.values, np.concatenate(apart, axis=-1), atol=1e-6)


def test_the_row_is_the_only_one_that_leads_to_the_score(family):
    name, clip = family
    if name in NO_TEXT:
        return
    ids = clip.tokenizer(["a cup of coke", "dogs"])
    rows = text_rows(clip.model, ids)
    with trace(clip.model, "text", start=-1) as traced:
        traced.backward(encode_text(clip.model, ids).float().square().sum())
    gradient = traced.head_output_grads(traced.layers[-1]).abs().sum((1, 3))  # [B, n]
    assert (gradient.argmax(-1) == rows).all()
    assert (gradient > 0).sum(-1).tolist() == [1, 1]


def test_trimming_only_where_it_is_exact(family):
    name, clip = family
    assert can_trim(clip.model) == (name not in ("CoCa", "SigLIP", "XLM-R cls", "XLM-R mean"))
    if can_trim(clip.model):
        ids = clip.tokenizer(["a cup of coke", "dogs"])
        with torch.no_grad():
            short, full = (encode_text(clip.model, x) for x in (ids[:, : ids[0].argmax() + 1], ids))
        np.testing.assert_allclose(short, full, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(full, clip.model.encode_text(ids), atol=1e-5, rtol=1e-5)


def test_the_row_alone_equals_the_whole_trace(family, pairs, monkeypatch):
    name, clip = family
    if not can_run_rows(clip.model):
        assert name in ("CoCa", "SigLIP", "XLM-R cls", "XLM-R mean")
        return
    fast = attribute_all_variants(clip, pairs)
    gae = attribute(clip, pairs, "gae")[0].attribution
    monkeypatch.setattr(batch, "can_run_rows", lambda model: False)
    slow = attribute_all_variants(clip, pairs)
    np.testing.assert_allclose(fast.values, slow.values, atol=1e-7, rtol=1e-4)
    np.testing.assert_allclose(fast.pairs.cosine, slow.pairs.cosine, atol=1e-6)
    other = attribute(clip, pairs, "gae")[0].attribution
    np.testing.assert_allclose(gae, other, atol=1e-6, rtol=1e-4)


def test_image_features_are_those_of_the_model(family):
    name, clip = family
    pixels = torch.stack([clip.preprocess(image(i)) for i in range(3)])
    with torch.no_grad():
        ours, theirs = encode_image(clip.model, pixels), clip.model.encode_image(pixels, False)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_heat_maps(family):
    name, clip = family
    images, texts = [image(0), image(1)], ["a dog", "two cats"]
    for method in layered_methods("image"):
        if name in NO_IMAGE:
            with pytest.raises(UserError, match="class token"):
                image_attribution(clip, images, texts, method)
            continue
        maps = image_attribution(clip, images, texts, method)
        assert maps.shape == (2, *clip.grid) and np.isfinite(maps).all() and (maps != 0).any()
