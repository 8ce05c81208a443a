"""CAE's four attributions and integrated gradients, through the engine."""

import copy

import cae_oracles
import numpy as np
import pandas as pd
import pytest
import spacy
import torch
from cae_models import (
    CANDIDATES,
    CAPTIONS,
    CONCEPTS,
    CONFIG,
    SCENE,
    oracle_of,
    picture,
    sharpen,
    tiny,
)

from clip_attribution import attribute, load_clip
from clip_attribution.attribution import METHODS, layered_methods
from clip_attribution.errors import UserError
from clip_attribution.text.concepts import draw, gather_candidates, word_concepts


@pytest.fixture(scope="module")
def clip():
    return tiny()


@pytest.fixture(scope="module")
def pairs():
    return pd.DataFrame({"image": [picture(i) for i in range(5)], "caption": CAPTIONS})


def token_rows(clip, pairs, method, template="", **options):
    """For each caption its ids [n], its image feature [D] and its values by `attribute`."""
    tokens, done = attribute(clip, pairs, method, template=template, level="token", **options)
    assert done.error.isna().all()
    images = clip.encode_images(list(pairs.image))
    for row, caption in enumerate(pairs.caption):
        ids = clip.tokenizer([template + caption])[0]
        values = tokens.attribution[tokens.pair_id == row].to_numpy()
        yield ids[: ids.argmax() + 1], images[row], values


# ---------------------------------------------------------------- each method against an oracle


def test_attention_is_the_mean_over_all_layers_and_raw_attention_the_last(clip, pairs):
    oracle = oracle_of(clip)
    last = {}
    for number, (ids, _, values) in enumerate(token_rows(clip, pairs, "raw_attention")):
        _, maps = cae_oracles.text_feature(oracle.w, ids, 2, True)
        wanted = maps[-1].mean(0)[-1, 1:-1].numpy()
        np.testing.assert_allclose(values, wanted, atol=1e-6)
        last[number] = values
    for number, (ids, image, values) in enumerate(token_rows(clip, pairs, "attention")):
        np.testing.assert_allclose(values, oracle.attention(ids, image)[1:-1], atol=1e-6)
        assert np.abs(values - last[number]).max() > 1e-2


@pytest.mark.parametrize("heads", ["mean", "sum"])
def test_gradcam_equals_the_explicit_recursion(clip, pairs, heads):
    oracle = oracle_of(clip)
    for ids, image, values in token_rows(clip, pairs, "cae_gradcam", heads=heads):
        wanted = oracle.cae_gradcam(ids, image, heads)[1:-1].detach().numpy()
        assert wanted.max() > 1e-3
        np.testing.assert_allclose(values, wanted, atol=1e-5 * wanted.max(), rtol=1e-4)


def test_gradcam_is_gae_over_all_layers(clip, pairs):
    ours, gae = attribute(clip, pairs, "cae_gradcam")[0], attribute(clip, pairs, "gae", "all")[0]
    pd.testing.assert_frame_equal(ours, gae)


def test_gradient_equals_explicit_autograd(clip, pairs):
    oracle = oracle_of(clip)
    for ids, image, values in token_rows(clip, pairs, "gradient"):
        wanted = oracle.gradient(ids, image)[1:-1].detach().numpy()
        np.testing.assert_allclose(values, wanted, atol=1e-5, rtol=1e-4)
        assert values.sum() == pytest.approx(1, abs=1e-5) and len(set(values)) == len(values)


def test_the_template_takes_no_share_of_the_gradient(clip, pairs):
    template, oracle = "A photo depicts ", oracle_of(clip)
    for ids, image, values in token_rows(clip, pairs, "gradient", template):
        wanted = oracle.gradient(ids, image, first=4)[4:-1].detach().numpy()
        np.testing.assert_allclose(values, wanted, atol=1e-5, rtol=1e-4)


def test_gradient_over_the_whole_context_counts_bos_and_padding(clip, pairs):
    oracle, images = oracle_of(clip), clip.encode_images(list(pairs.image))
    found = [values for _, _, values in token_rows(clip, pairs, "gradient", scope="all")]
    for row, values in enumerate(found):
        ids = clip.tokenizer([CAPTIONS[row]])[0]
        wanted = oracle.gradient(ids, images[row], everywhere=True).detach()
        np.testing.assert_allclose(values, wanted[1 : ids.argmax()], atol=1e-6, rtol=1e-4)


def test_entropy_of_the_gradient_is_noted(clip, pairs):
    _, done = attribute(clip, pairs, "gradient", template="")
    for entropy, (_, _, values) in zip(
        done.attribution_entropy, token_rows(clip, pairs, "gradient"), strict=True
    ):
        assert entropy == pytest.approx(-(values * np.log(values)).sum(), abs=1e-5)
    _, warm = attribute(clip, pairs, "gradient", template="", temperature=1e9)
    lengths = attribute(clip, pairs, template="", level="token")[0].groupby("pair_id").size()
    np.testing.assert_allclose(warm.attribution_entropy, np.log(lengths), atol=1e-5)


def test_integrated_gradients_equal_a_loop_and_captum_on_its_own(clip, pairs):
    from captum.attr import IntegratedGradients

    oracle, pairs = oracle_of(clip), pairs[:2]
    _, done = attribute(clip, pairs, "integrated_gradients", template="")
    embed = oracle.w["token_embedding.weight"]
    for row, (ids, image, values) in enumerate(token_rows(clip, pairs, "integrated_gradients")):
        wanted, gap = oracle.integrated_gradients(ids, image)
        np.testing.assert_allclose(values, wanted[1:-1].numpy(), atol=2e-5, rtol=1e-3)
        assert done.completeness_gap[row] == pytest.approx(gap.item(), abs=2e-5)

        def score(x, ids=ids, image=image):
            return torch.stack([oracle.score(ids, image, one) for one in x])

        base = ids.clone()
        base[1:-1] = ids[-1]
        other = IntegratedGradients(score).attribute(embed[ids][None], embed[base][None])
        np.testing.assert_allclose(values, other[0].sum(-1)[1:-1].numpy(), atol=2e-5, rtol=1e-3)


def test_integrated_gradients_replace_the_template_as_well(clip, pairs):
    template, oracle = "A photo depicts ", oracle_of(clip)
    ids, image, values = next(token_rows(clip, pairs[:1], "integrated_gradients", template))
    wanted, _ = oracle.integrated_gradients(ids, image)
    np.testing.assert_allclose(values, wanted[4:-1].numpy(), atol=2e-5, rtol=1e-3)


def test_more_steps_close_the_completeness_gap(clip, pairs):
    gaps = []
    for n_steps in (2, 50):
        _, done = attribute(clip, pairs, "integrated_gradients", n_steps=n_steps)
        gaps.append(done.completeness_gap.abs().max())
    assert gaps[1] < 1e-3 < gaps[0]


# ---------------------------------------------------------------- perturbation


def test_perturbation_with_every_candidate_is_the_exhaustive_replacement(clip):
    pair = pd.DataFrame({"image": [picture(0)], "caption": [SCENE], "concepts": [CONCEPTS]})
    words, _ = attribute(clip, pair, "perturbation", candidates=CANDIDATES, k=99)
    image = clip.encode_images([picture(0)])[0]
    used = {"object": ["dog", "big kite", "Umbrella"], "attribute": ["blue", "small"]}
    used |= {"relation": ["next to", "below"]}
    found = words.set_index("word").attribution
    for start, end, role in CONCEPTS:
        wanted = cae_oracles.exhaustive_drop(
            clip, SCENE, (start, end), used[role], image, "A photo depicts "
        )
        assert found[SCENE[start:end]] == pytest.approx(wanted, abs=1e-4)
    assert found["a"].isna().all()  # of no concept


def test_draws_have_the_exhaustive_mean_as_expectation(clip):
    pair = pd.DataFrame({"image": [picture(0)], "caption": [SCENE], "concepts": [CONCEPTS]})

    def one(**options):
        words, _ = attribute(clip, pair, "perturbation", candidates=CANDIDATES, **options)
        return words.attribution.dropna().to_numpy()

    drawn = np.stack([one(k=1, seed=seed) for seed in range(20)])
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0) - one(k=99)) < 4 * error).all() and (error > 0).all()
    np.testing.assert_array_equal(one(k=1, seed=3), drawn[3])


def test_draws_leave_out_what_the_caption_holds_and_repeat_nothing():
    caption, candidates = (
        "a Red cup and a blue cup",
        {"word": ["RED", "blue", "cup", "x", "y", "z"]},
    )
    spans = [span for span in word_concepts(caption) if span.end - span.start > 2]
    assert [caption[s:e] for s, e, _ in spans] == ["Red", "cup", "and", "blue", "cup"]
    for k, count in ((1, 1), (2, 2), (3, 3), (9, 3)):
        for seed in range(20):
            for (start, end, _), texts in zip(
                spans, draw(caption, spans, candidates, k, seed), strict=True
            ):
                new = [t[start : len(t) - len(caption) + end] for t in texts]
                assert len(set(new)) == len(new) == count and set(new) <= {"x", "y", "z"}


def test_without_concepts_words_are_replaced_by_words_of_the_same_tag(clip, pairs):
    nlp = spacy.blank("en")
    patterns = [[{"LOWER": {"IN": ["cup", "table", "dogs", "cat", "anchor", "umbrella"]}}]]
    nlp.add_pipe("attribute_ruler").add(patterns, {"POS": "NOUN"})
    words, done = attribute(clip, pairs, "perturbation", tagger=nlp, k=99, template="")
    assert done.error.isna().all()
    cup = words.attribution[words.word == "cup"].item()
    image = clip.encode_images([pairs.image[0]])[0]
    others = ["dogs", "cat", "anchor", "umbrella"]
    wanted = cae_oracles.exhaustive_drop(clip, SCENE, (6, 9), others, image)
    assert cup == pytest.approx(wanted, abs=1e-4)
    spoken = words.word.str.contains(r"\w")
    assert words.attribution[spoken].notna().all()
    assert words.attribution[words.word.isin([".", ","])].isna().all()


def test_words_as_concepts_leave_punctuation_outside():
    caption = 'he said "stop"! and -- left...'
    found = [caption[s:e] for s, e, _ in word_concepts(caption)]
    assert found == ["he", "said", "stop", "and", "left"]
    table = gather_candidates([caption, "He left"], [word_concepts(caption), word_concepts("He")])
    assert table == {"word": ["and", "he", "left", "said", "stop"]}


def test_a_quoted_word_takes_the_value_of_its_concept(clip, pairs):
    words, _ = attribute(clip, pairs, "perturbation", template="")
    tokens, _ = attribute(clip, pairs, "perturbation", template="", level="token")
    stop = tokens[(tokens.pair_id == 4) & (tokens.token == "stop")].attribution.item()
    assert words.attribution[words.word == '"stop"!'].item() == pytest.approx(stop)


FAULTS = [
    ([(0, 99, "object")], "does not lie in the caption"),
    ([(3, 3, "object")], "does not lie in the caption"),
    ([(1, 2)], "list of"),
    (None, "list of"),
    ("cup", "list of"),
]


def test_unusable_concepts_are_the_rows_own_error(clip):
    cells = [CONCEPTS] + [fault for fault, _ in FAULTS] + [[]]
    table = pd.DataFrame({"image": [picture(0)] * 7, "caption": [SCENE] * 7, "concepts": cells})
    words, done = attribute(clip, table, "perturbation", candidates=CANDIDATES)
    for row, (_, reason) in enumerate(FAULTS, start=1):
        assert reason in done.error[row] and "\n" not in done.error[row]
    assert done.error[[0, 6]].isna().all() and set(words.pair_id) == {0, 6}
    alone, _ = attribute(clip, table[:1], "perturbation", candidates=CANDIDATES)
    np.testing.assert_allclose(words.attribution[:6], alone.attribution, atol=1e-5)
    assert words.attribution[words.pair_id == 6].isna().all()


def test_nothing_to_replace_is_said_at_once(clip, pairs):
    with pytest.raises(UserError, match="pass candidates"):
        attribute(clip, pairs[:1], "perturbation")
    with pytest.raises(UserError, match="pass candidates"):
        attribute(clip, pairs, "perturbation", candidates={"noun": ["dog"]})
    with pytest.raises(UserError, match="k must be"):
        attribute(clip, pairs, "perturbation", k=0)


# ---------------------------------------------------------------- all through one engine

NEW = ("attention", "cae_gradcam", "gradient", "perturbation", "integrated_gradients", "mediated")


@pytest.mark.parametrize("method", NEW)
def test_a_batch_equals_its_members(clip, pairs, method):
    options = {"candidates": {"word": ["star", "boat", "in"]}} if method == "perturbation" else {}
    many = pd.concat([pairs, pairs.iloc[::-1]], ignore_index=True)
    together, _ = attribute(clip, many, method, **options)
    apart = [attribute(clip, many[i : i + 1], method, **options)[0] for i in range(10)]
    apart = pd.concat(apart).attribution
    np.testing.assert_allclose(together.attribution, apart, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("method", NEW)
def test_words_are_means_of_their_tokens(clip, pairs, method):
    words, _ = attribute(clip, pairs, method)
    tokens, _ = attribute(clip, pairs, method, level="token")
    assert list(tokens.columns[:6]) == [
        "pair_id",
        "token_index",
        "token",
        "start",
        "end",
        "attribution",
    ]
    for word in words[words.seen].itertuples():
        inside = (tokens.start >= word.start) & (tokens.start < word.end)
        own = tokens[(tokens.pair_id == word.pair_id) & inside]
        assert len(own) == word.n_tokens
        np.testing.assert_allclose(own.attribution.mean(), word.attribution, atol=1e-6)
    for token in tokens.itertuples():
        assert CAPTIONS[token.pair_id][token.start : token.end] == token.token


@pytest.mark.parametrize("method", NEW)
def test_the_model_stays_bit_identical(clip, pairs, method):
    before = copy.deepcopy(clip.model.state_dict())
    flags = {}
    for number, (name, weight) in enumerate(clip.model.named_parameters()):
        flags[name] = number % 3 == 0
        weight.requires_grad_(flags[name])
    attribute(clip, pairs, method)
    after = clip.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {n: p.requires_grad for n, p in clip.model.named_parameters()} == flags
    assert all(p.grad is None for p in clip.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in clip.model.modules())
    clip.model.requires_grad_(False)


def test_bad_rows_touch_no_other(clip, pairs):
    bad = [{"image": "no/such.png", "caption": "a cat"}, {"image": picture(1), "caption": None}]
    table = pd.concat([pairs, pd.DataFrame(bad), pairs[:1]], ignore_index=True)
    for method in ("gradient", "integrated_gradients", "perturbation"):
        words, done = attribute(clip, table, method)
        assert done.error[5:7].notna().all() and done.error.drop([5, 6]).isna().all()
        first, last = (words.attribution[words.pair_id == i].to_numpy() for i in (0, 7))
        np.testing.assert_allclose(first, last, atol=1e-5)
        assert len(attribute(clip, table[5:7], "gradient")[0]) == 0


def test_encoding_by_rows_and_in_full_give_the_same_drops(clip, pairs, monkeypatch):
    fast, _ = attribute(clip, pairs, "perturbation")
    monkeypatch.setattr("clip_attribution.trace.inputs.can_run_rows", lambda model: False)
    slow, _ = attribute(clip, pairs, "perturbation")
    np.testing.assert_allclose(fast.attribution, slow.attribution, atol=2e-5)


def test_unusable_arguments(clip, pairs):
    with pytest.raises(UserError, match="has no layers"):
        attribute(clip, pairs, "gradient", layers=-1)
    with pytest.raises(UserError, match="has no layers"):
        attribute(clip, pairs, "integrated_gradients", per_layer=True)
    with pytest.raises(UserError, match="it takes heads"):
        attribute(clip, pairs, "cae_gradcam", scope="all")
    with pytest.raises(UserError, match="takes none"):
        attribute(clip, pairs, n_steps=3)
    with pytest.raises(UserError, match="head reduction"):
        attribute(clip, pairs, "cae_gradcam", heads="max")
    with pytest.raises(UserError, match="unknown scope"):
        attribute(clip, pairs, "gradient", scope="words")
    with pytest.raises(UserError, match="unknown level"):
        attribute(clip, pairs, level="caption")
    without_layers = {"leave_one_out", "shapley", *NEW[2:]}
    assert set(METHODS) - set(layered_methods()) == without_layers


@pytest.mark.parametrize("method", NEW)
def test_half_precision_is_close(clip, pairs, method):
    half = load_clip("tiny", model_config=CONFIG, device="cpu", precision="bf16")
    sharpen(half.model)
    exact, found = (attribute(c, pairs, method)[0].attribution.dropna() for c in (clip, half))
    assert len(found) == len(exact) and np.corrcoef(exact, found)[0, 1] > 0.97


@pytest.mark.gpu
@pytest.mark.parametrize("method", NEW)
def test_a_gpu_gives_the_same(clip, pairs, method):
    cuda = load_clip("tiny", model_config=CONFIG, device="cuda")
    sharpen(cuda.model)
    here, there = (attribute(c, pairs, method)[0].attribution for c in (clip, cuda))
    np.testing.assert_allclose(there, here, atol=1e-4, rtol=1e-3)


def test_every_method_says_what_its_values_are():
    units = {name: METHODS[name].unit for name in METHODS}
    assert units["gradient"] == "share" and units["attention"] == units["rollout"] == "attention"
    assert units["perturbation"] == units["cae_gradcam"] == units["integrated_gradients"] == "logit"
    assert units["clip4dm"] == "cosine"
