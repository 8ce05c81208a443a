"""The engine against explicit autograd and Hugging Face's CLIP, one pair at a time."""

import copy
import gc

import numpy as np
import open_clip
import oracles
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image

from clip_attribution import attribute, attribute_all_variants, image_attribution, load_clip
from clip_attribution.attribution import METHODS, RELU_VARIANTS, layered_methods, resolve_layers
from clip_attribution.errors import UserError

TEMPLATE = "A photo depicts "
CONFIG = tiny.config(4, 6, side=64, patch=16, context=77, width=64, embed=64, quick_gelu=True)
CAPTIONS = [
    "a cup of coke",
    "A man, riding. A horse.",
    'he said "stop"! and left...',
    "a state-of-the-art well-lit room",
    "the dog's owner isn't here",
    "un café déjà vu, naïve façade",
    "two 🐶🐶 dogs and a 😀 face",
    "a  red   car  with  double  spaces",
    "umbrella",
    'welcome". said the sign ...!?, U.S. flag',
    "a very long caption about dogs, cats and horses. " * 9,
]


def random_image(seed, size=64):
    pixels = np.random.RandomState(seed).randint(0, 255, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sharpen(model, factor=3.0):
    """Scale the queries and keys, so that attention is far from uniform."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "in_proj_weight" in name:
                weight[: 2 * len(weight) // 3] *= factor
    return model


@pytest.fixture(scope="module")
def clip():
    loaded = load_clip("tiny", model_config=CONFIG)
    sharpen(loaded.model)
    return loaded


@pytest.fixture(scope="module")
def pairs():
    images = [random_image(seed) for seed in range(len(CAPTIONS))]
    return pd.DataFrame({"image": images, "caption": CAPTIONS})


@pytest.fixture(scope="module")
def hugging(clip):
    return oracles.hugging_face(clip.model, 4, 4, quick=True)


KEPT = {}


def eot_row(clip, image, caption, side=None):
    """Maps, gradients, EOT position and cosine by explicit autograd, or by Hugging Face."""
    key = (id(clip), id(image), caption, side is None)
    if key not in KEPT:
        KEPT[key] = compute_eot_row(clip, image, caption, side)
    return KEPT[key]


def compute_eot_row(clip, image, caption, side):
    ids = clip.tokenizer([TEMPLATE + caption])[0]
    pixels = clip.preprocess(image)
    if side is None:
        feature, maps = oracles.explicit_text(clip.model, ids, 4, True)
        constant, _ = oracles.explicit_image(clip.model, pixels, 4, True)
    else:
        feature, maps = oracles.hugging_face_text(side, ids)
        constant, _ = oracles.hugging_face_image(side, pixels)
    score = feature @ constant.detach()
    grads = oracles.map_gradients(score, maps)
    maps, grads = ([x.detach().reshape(-1, 77, 77) for x in found] for found in (maps, grads))
    return maps, grads, int(ids.argmax()), score.item()


def expected(clip, pairs, matrix, layers, side=None, factor=1.0):
    """Word attributions of all pairs by the slow way, one array."""
    words = []
    for image, caption in zip(pairs.image, pairs.caption, strict=True):
        maps, grads, eot, _ = eot_row(clip, image, caption, side)
        used = oracles.last_layers(layers, len(maps))
        scaled = [grads[k] * factor for k in used]
        row = matrix([maps[k] for k in used], scaled)[eot]
        words.append(oracles.word_merge(clip.tokenizer, TEMPLATE + caption, row, 3))
    return torch.cat(words).numpy()


@pytest.mark.parametrize("layers", [-1, -3, -6, "all"])
@pytest.mark.parametrize("side", ["explicit", "hugging_face"])
def test_clip4dm_equals_autograd(clip, pairs, hugging, layers, side):
    words, _ = attribute(clip, pairs, layers=layers)
    other = hugging if side == "hugging_face" else None
    number = 0 if layers == "all" else layers
    wanted = expected(clip, pairs, oracles.clip4dm_matrix, number, other)
    assert np.abs(wanted[~np.isnan(wanted)]).max() > 1e-3  # or the tolerance would say nothing
    np.testing.assert_allclose(words.attribution, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [-1, "all"])
def test_gae_equals_the_matrix_recursion(clip, pairs, layers):
    words, _ = attribute(clip, pairs, "gae", layers=layers)
    number = 0 if layers == "all" else layers
    factor = clip.model.logit_scale.exp().item()
    wanted = expected(clip, pairs, oracles.gae_matrix, number, factor=factor)
    scale = np.nanmax(np.abs(wanted))
    # gradients near 0 are clamped, so rounding moves a value by more than it moves a gradient:
    # between processors by up to 2e-5 of the largest value
    np.testing.assert_allclose(words.attribution, wanted, atol=5e-5 * scale, rtol=0)


OTHERS = [
    ("raw_attention", -1, oracles.attention_matrix),
    ("attention", "all", oracles.attention_matrix),
    ("rollout", "all", oracles.rollout_matrix),
    ("gradient_x_attention", -3, oracles.gradient_x_attention_matrix),
    ("columns", "all", oracles.columns_matrix),
    ("columns", -3, oracles.columns_matrix),
]


@pytest.mark.parametrize(("method", "layers", "matrix"), OTHERS)
def test_other_methods_equal_their_matrices(clip, pairs, method, layers, matrix):
    words, _ = attribute(clip, pairs, method, layers=layers)
    wanted = expected(clip, pairs, matrix, 0 if layers == "all" else layers)
    np.testing.assert_allclose(words.attribution, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("relu", RELU_VARIANTS)
@pytest.mark.parametrize("method", ["clip4dm", "columns"])
def test_relu_variants(clip, pairs, method, relu):
    def matrix(maps, grads):
        return getattr(oracles, f"{method}_matrix")(maps, grads, relu)

    words, _ = attribute(clip, pairs, method, relu=relu, layers=-6)
    np.testing.assert_allclose(words.attribution, expected(clip, pairs, matrix, -6), atol=1e-6)


def test_all_variants_in_one_pass_equal_single_runs(clip, pairs):
    table = attribute_all_variants(clip, pairs)
    assert table.values.shape == (6, 6, len(table.words))
    assert table.variants == list(RELU_VARIANTS)
    for number, relu in enumerate(table.variants):
        for k in (1, 3, 6):
            words, _ = attribute(clip, pairs, relu=relu, layers=-k)
            at = table.layer_counts.index(k)
            np.testing.assert_allclose(table.values[number, at], words.attribution, atol=1e-6)


def test_cosine_and_per_layer_columns(clip, pairs):
    words, done = attribute(clip, pairs, per_layer=True)
    slow = [eot_row(clip, row.image, row.caption)[3] for row in pairs.itertuples()]
    np.testing.assert_allclose(done.cosine, slow, atol=1e-6)
    mean = words[["L3", "L4", "L5"]].mean(axis=1)
    np.testing.assert_allclose(words.attribution, mean, atol=1e-7)


@pytest.mark.parametrize("method", layered_methods())
def test_a_batch_equals_its_members(clip, method):
    many = [CAPTIONS[i % len(CAPTIONS)] + f" {i}" for i in range(64)]
    table = pd.DataFrame({"image": [random_image(i % 5) for i in range(64)], "caption": many})
    together, _ = attribute(clip, table, method, batch_size=64)
    some = range(64) if method == "clip4dm" else range(0, 64, 5)
    apart = pd.concat([attribute(clip, table[i : i + 1], method)[0] for i in some])
    together = together[together.pair_id.isin(some)]
    loose = 0 if method == "clip4dm" else 1e-4  # the others are not on the cosine scale
    np.testing.assert_allclose(together.attribution, apart.attribution, atol=1e-6, rtol=loose)


@pytest.mark.parametrize("method", layered_methods("image"))
def test_image_maps_equal_their_matrices(clip, method):
    same = {"raw_attention": "attention", "cae_gradcam": "gae"}  # but for the layers
    matrix = getattr(oracles, f"{same.get(method, method)}_matrix")
    layers = METHODS[method].layers
    images, texts = [random_image(7), random_image(8)], ["a red car", "two dogs, one cat"]
    maps = image_attribution(clip, images, texts, method)
    assert maps.shape == (2, 4, 4) and maps.dtype == np.float32
    constants = clip.encode_texts(texts)
    factor = clip.logit_scale if method in ("gae", "cae_gradcam") else 1.0
    for i in range(2):
        feature, found = oracles.explicit_image(clip.model, clip.preprocess(images[i]), 4, True)
        grads = oracles.map_gradients(feature @ constants[i], found)
        used = oracles.last_layers(0 if layers == "all" else layers, 4)
        row = matrix([found[k].detach() for k in used], [grads[k] * factor for k in used])[0, 1:]
        np.testing.assert_allclose(maps[i], row.reshape(4, 4), atol=1e-6, rtol=1e-5)


def test_the_model_stays_bit_identical(clip, pairs):
    before = copy.deepcopy(clip.model.state_dict())
    text = clip.encode_texts(["a cat"])
    for method in layered_methods():
        attribute(clip, pairs[:3], method)
        image_attribution(clip, [pairs.image[0]], ["a cat"], method)
    after = clip.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(text, clip.encode_texts(["a cat"]))
    assert not any(p.requires_grad or p.grad is not None for p in clip.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in clip.model.modules())


def test_an_opposing_token_comes_out_below_zero():
    """A model built by hand: 'cat' writes the image's direction into EOT, 'dog' its opposite."""
    config = copy.deepcopy(CONFIG) | {"quick_gelu": False, "embed_dim": 4}
    config["text_cfg"] |= {"width": 8, "heads": 1, "layers": 1}
    clip = load_clip("toy", model_config=config)
    model, block = clip.model, clip.model.transformer.resblocks[0]
    cat, dog, the = (clip.tokenizer.encode(word)[0] for word in ("cat", "dog", "the"))
    with torch.no_grad():
        for weight in [*block.parameters(), model.positional_embedding]:
            weight.zero_()
        for norm in (block.ln_1, block.ln_2, model.ln_final):
            norm.weight.fill_(1.0)
        model.token_embedding.weight.zero_()
        model.token_embedding.weight[:, 6:] = torch.tensor([3.0, -3.0])  # the norms stay alive
        model.token_embedding.weight[cat, 0], model.token_embedding.weight[cat, 1] = 1.0, -1.0
        model.token_embedding.weight[dog, 0], model.token_embedding.weight[dog, 1] = -1.0, 1.0
        block.attn.in_proj_weight[16:] = torch.eye(8)  # values are the input, attention is uniform
        block.attn.out_proj.weight.copy_(torch.eye(8))
        image = clip.encode_images([random_image(0)])[0]
        model.text_projection.zero_()
        model.text_projection[0] = image  # the first coordinate is the image's direction
        model.text_projection[6, torch.tensor([1, 2])] = torch.stack([-image[2], image[1]])
    words, _ = attribute(clip, [{"image": random_image(0), "caption": "the cat dog"}], layers=-1)
    the, cat, dog = words.attribution
    assert cat > 1e-3 and dog < -1e-3 and abs(the) < min(cat, -dog)


def test_words_beyond_the_context_are_not_seen(clip):
    caption = "one two three four five six seven, " * 20
    words, done = attribute(clip, [{"image": random_image(0), "caption": caption}])
    assert done.truncated[0] and done.n_tokens[0] == 2 + 3 + 8 * 20
    assert words.seen.sum() == 72 and words.seen[:72].all()  # 77 less BOS, EOT and the template
    assert words.attribution[words.seen].notna().all()
    assert words.attribution[~words.seen].isna().all() and len(words) == 160
    assert (words.n_tokens[~words.seen] == 0).all()


def test_a_word_without_a_token_of_its_own_is_not_seen(clip):
    words, _ = attribute(clip, [{"image": random_image(0), "caption": "and left..."}])
    assert words.word.tolist() == ["and", "left", ".", ".", "."]
    assert words.seen.tolist() == words.attribution.notna().tolist() == [True] * 3 + [False] * 2


def test_spans_are_in_the_original_caption(clip, pairs):
    words, _ = attribute(clip, pairs)
    for word in words.itertuples():
        assert CAPTIONS[word.pair_id][word.start : word.end] == word.word


BAD = [
    (None, "a cat"),
    ("no/such/file.png", "a cat"),
    (random_image(3), ""),
    (random_image(3), "  \t\n "),
    (random_image(3), None),
    (random_image(3), 3.5),
    (random_image(3), "null \0 byte"),
    (random_image(3), "half a \ud800 character"),
]


def test_bad_rows_carry_their_reason_and_touch_no_other(clip, pairs):
    good = pairs.to_dict("records")
    mixed = [row for i, pair in enumerate(good) for row in (pair, bad_row(i))]
    clean, _ = attribute(clip, [pair | {"pair_id": 2 * i} for i, pair in enumerate(good)])
    words, done = attribute(clip, mixed)
    pd.testing.assert_frame_equal(words, clean, rtol=0, atol=1e-7)
    assert done.error[::2].isna().all() and len(done) == len(mixed)
    assert all(isinstance(reason, str) and "\n" not in reason for reason in done.error[1::2])
    assert done.cosine[1::2].isna().all()


def bad_row(number):
    image, caption = BAD[number % len(BAD)]
    return {"image": image, "caption": caption}


def test_only_bad_rows_give_an_empty_words_frame(clip, pairs):
    words, done = attribute(clip, [bad_row(1)], per_layer=True)
    full, _ = attribute(clip, pairs, per_layer=True)
    assert len(words) == 0 and list(words.columns) == list(full.columns)
    assert attribute(clip, [bad_row(1)][:0] or pairs[:0])[1].empty


def test_each_distinct_image_is_encoded_once(clip, tmp_path):
    path = tmp_path / "a.png"
    random_image(0).save(path)
    same = random_image(1)
    images = [str(path), same, str(path), same, path]
    calls = []
    handle = clip.model.visual.register_forward_hook(lambda m, args, out: calls.append(len(out)))
    _, done = attribute(clip, {"image": images, "caption": list("abcde")})
    handle.remove()
    assert calls == [2] and done.error.isna().all()


def test_columns_ids_and_tags(clip, pairs):
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("attribute_ruler").add([[{"IS_ALPHA": True}]], {"POS": "NOUN"})
    table = pairs.assign(pair_id=[f"p{i}" for i in range(len(pairs))], group="g")
    words, done = attribute(clip, table, tagger=nlp)
    assert set(words.pair_id) == set(table.pair_id) and (done.group == "g").all()
    assert (words.pos[words.word == "coke"] == "NOUN").all()
    assert list(done.columns[:2]) == list(pairs.columns)


def test_unusable_arguments(clip, pairs):
    with pytest.raises(UserError, match="'caption'"):
        attribute(clip, pd.DataFrame({"image": [1]}))
    with pytest.raises(UserError, match="occurs twice"):
        attribute(clip, pairs.assign(pair_id=1))
    with pytest.raises(UserError, match="unknown method"):
        attribute(clip, pairs, "lime")
    with pytest.raises(UserError, match="no ReLU variants"):
        attribute(clip, pairs, "gae", relu="absolute")
    with pytest.raises(UserError, match="unknown relu"):
        attribute(clip, pairs, relu="none")
    with pytest.raises(UserError, match="batch_size"):
        attribute(clip, pairs, batch_size=0)
    with pytest.raises(UserError, match="unknown alignment"):
        attribute(clip, pairs, alignment="words")
    with pytest.raises(UserError, match="one text an image"):
        image_attribution(clip, [random_image(0)], [])


def test_equal_and_almost_equal_captions_share_a_batch(clip):
    captions = ["a red car"] * 3 + ["a red cat", "a", "a red car"]
    for some in (captions, captions[:3]):
        table = pd.DataFrame({"image": [random_image(0)] * len(some), "caption": some})
        words, _ = attribute(clip, table, template="")
        alone, _ = attribute(clip, table[:1], template="")
        for pair in (0, 2):
            found = words.attribution[words.pair_id == pair]
            np.testing.assert_allclose(found, alone.attribution, atol=1e-6)


def test_the_meaning_of_layers():
    assert resolve_layers(-3, 12) == [9, 10, 11]
    assert resolve_layers(-99, 4) == resolve_layers(0, 4) == resolve_layers(2, 4) == [0, 1, 2, 3]
    assert resolve_layers([-1, 2, 2], 6) == [2, 5]
    for wrong in ([], [9], "last", 1.5, None, True):
        with pytest.raises(UserError):
            resolve_layers(wrong, 6)


def test_a_list_of_layers_that_is_not_the_top(clip, pairs):
    words, _ = attribute(clip, pairs, layers=[1, 3], per_layer=True)
    every, _ = attribute(clip, pairs, layers="all", per_layer=True)
    np.testing.assert_allclose(words[["L1", "L3"]], every[["L1", "L3"]], atol=1e-6)


def test_another_template_and_none(clip, pairs):
    for template in ("", "A photo of a Mr. Smith, and ", "Look:"):
        words, done = attribute(clip, pairs[:2], template=template)
        assert done.error.isna().all() and words.attribution.notna().all()
        assert list(words.word[:4]) == ["a", "cup", "of", "coke"]


def test_half_precision_is_close_and_reduced_in_float32(pairs):
    config = CONFIG | {"quick_gelu": False}
    full, half = (load_clip("tiny", model_config=config, precision=p) for p in ("fp32", "bf16"))
    exact, _ = attribute(full, pairs)
    words, done = attribute(half, pairs)
    scale = exact.attribution.abs().max()
    assert (words.attribution - exact.attribution).abs().max() < 0.1 * scale
    assert np.corrcoef(words.attribution.dropna(), exact.attribution.dropna())[0, 1] > 0.99


def test_many_calls_keep_nothing(clip, pairs):
    def tensors():
        gc.collect()
        return sum(torch.is_tensor(thing) for thing in gc.get_objects())

    attribute(clip, pairs[:2])
    before = tensors()
    for _ in range(30):
        attribute(clip, pairs[:2])
    assert tensors() <= before


def test_gae_and_attention_are_never_negative_and_say_so(clip, pairs):
    for name, method in METHODS.items():
        words, _ = attribute(clip, pairs, name)
        assert (words.attribution.min() < 0) == method.signed


def test_over_long_captions_are_cut_as_open_clip_cuts_them(clip):
    caption = CAPTIONS[-1]
    image = random_image(0)
    _, done = attribute(clip, [{"image": image, "caption": caption}])
    ids = open_clip.tokenize([TEMPLATE + caption])
    with torch.no_grad():
        text = clip.model.encode_text(ids, normalize=True)
    cosine = (text @ clip.encode_images([image]).T).item()
    np.testing.assert_allclose(done.cosine[0], cosine, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("method", layered_methods())
def test_a_gpu_gives_the_same(clip, pairs, method):
    cuda = load_clip("tiny", model_config=CONFIG, device="cuda")
    sharpen(cuda.model)
    here, there = (attribute(c, pairs, method)[0].attribution for c in (clip, cuda))
    np.testing.assert_allclose(there, here, atol=1e-5, rtol=1e-3)
    images = list(pairs.image[:2])
    maps = [image_attribution(c, images, ["a dog", "two cats"], method) for c in (clip, cuda)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5, rtol=1e-3)


def test_an_old_name_of_a_method_warns_and_gives_the_same(clip, pairs):
    with pytest.warns(DeprecationWarning, match="gradcam is now cae_gradcam"):
        old, _ = attribute(clip, pairs, "gradcam")
    new, _ = attribute(clip, pairs, "cae_gradcam")
    pd.testing.assert_frame_equal(old, new)
