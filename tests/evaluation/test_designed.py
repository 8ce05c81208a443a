"""Every text method, heat map and the interactions on towers whose use of each word is known."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from designed_towers import DESIGNS, NOTHING, Design, patches_seen, tower
from designed_towers import C as CONSTANT
from PIL import Image

from clip_attribution import attribute, interactions
from clip_attribution.attribution import METHODS
from clip_attribution.heatmaps import METHODS as MAPS
from clip_attribution.heatmaps import heatmaps
from clip_attribution.interchange import Alignment

NAMES = {design.name: design for design in DESIGNS}
TEXT = [name for name, method in METHODS.items() if "text" in method.towers]
GIVEN = {  # what these methods have to be told
    "perturbation": {"candidates": {"word": [NOTHING]}},
    "mediated": {"alignment": Alignment("features", 4)},  # all of the embedding: nothing around it
}
EXACT = 1e-5  # of the worth; the design itself holds to 1e-6
QUADRATURE = 0.01  # of integrals along a path with a bend

# What each method must say on each tower, and why. "drops": what is lost with each word; "shares":
# the Shapley values; "raised": drops above 0, the others 0; "attention": weights, whatever the
# values; "noun alone": the noun's drop, 0 for the attribute; "sum": the parts add up to the worth.
# Interventions (one word out, or replaced by nothing) are drops wherever, by their definition, and
# Shapley values are shares.
ALWAYS = {"leave_one_out": "drops", "perturbation": "drops", "shapley": "shares"}
MUST = {
    # Without layers between, attention times value is what a word is worth; heads do not mix. What
    # reads no value gives `near`, with the largest weight and no value, the most.
    "direct": {
        **dict.fromkeys(("clip4dm", "columns", "gradient_x_attention"), "drops"),
        **dict.fromkeys(("integrated_gradients", "mediated"), "shares"),
        **dict.fromkeys(("gae", "cae_gradcam"), "raised"),
        **dict.fromkeys(("attention", "raw_attention", "rollout"), "attention"),
    },
    # The attribute is read by its noun alone. Columns read the noun's row too; EOT's row alone
    # gives the attribute 0 (clip4dm, gae). The path of integrated gradients shuts the attention
    # to the noun as well, so its parts are no shares.
    "through": {
        "columns": "drops",
        "clip4dm": "noun alone",
        **dict.fromkeys(("gae", "cae_gradcam"), "noun alone"),
        **dict.fromkeys(("integrated_gradients", "mediated"), "sum"),
    },
    # A product: a derivative at the whole caption is a drop, an integral from nothing a share.
    "both": {
        **dict.fromkeys(("clip4dm", "columns", "gae", "cae_gradcam"), "drops"),
        **dict.fromkeys(("integrated_gradients", "mediated"), "shares"),
    },
    # Beside the other each word is worth little: so say drops and derivatives.
    "either": {
        **dict.fromkeys(("clip4dm", "columns", "gae", "cae_gradcam"), "drops"),
        **dict.fromkeys(("integrated_gradients", "mediated"), "shares"),
    },
}
CELLS = [(t, m, truth) for t, own in MUST.items() for m, truth in (ALWAYS | own).items()]


@pytest.fixture(scope="module")
def image():
    """A checked image: patches of many colours, red of both signs after preprocessing."""
    cells = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(cells.repeat(8, 0).repeat(8, 1))


def said(design: Design, method: str, image, caption=None) -> pd.Series:
    """What a method says of each word, in units of the design's worth times what gives the number
    of its layers and heads that it takes means over."""
    clip, chosen = tower(design.name), METHODS[method]
    pair = {"image": image, "caption": caption or design.caption}
    words, pairs = attribute(clip, [pair], method, **GIVEN.get(method, {}))
    assert pairs["error"][0] is None
    values = words.set_index("word")["attribution"]
    if chosen.unit in ("attention", "share"):
        return values
    unit = patches_seen(clip, image).sum() / CONSTANT**2
    mean = 1 if chosen.reads == "input" else 4 * (1 + design.through * (chosen.combine == "mean"))
    return values / unit / (100 if chosen.unit == "logit" else 1) * mean


def wanted(design: Design, truth: str) -> pd.Series:
    drops = pd.Series(design.drops())
    if truth == "raised":
        return drops.clip(lower=0)
    if truth == "noun alone":
        return drops * [0, 1]
    return drops if truth == "drops" else pd.Series(design.shares())


def test_the_score_is_the_design_for_every_set_of_words(image):
    for design in DESIGNS:
        clip, words = tower(design.name), [use.word for use in design.words]
        sets = [[w for k, w in enumerate(words) if n >> k & 1] for n in range(1, 2 ** len(words))]
        pairs = [{"image": image, "caption": " ".join(one)} for one in sets]
        cosine = attribute(clip, pairs, "raw_attention")[1]["cosine"].to_numpy()
        unit = patches_seen(clip, image).sum() / CONSTANT**2
        worth = [design.worth(set(one)) for one in sets]
        assert np.ptp(worth) > 0.1
        np.testing.assert_allclose(cosine / unit, worth, atol=EXACT)


@pytest.mark.parametrize("name, method, truth", CELLS)
def test_a_method_says_what_it_must(image, name, method, truth):
    design = NAMES[name]
    found = said(design, method, image)
    if truth == "attention":
        weights = pd.Series({use.word: use.weight for use in design.words})
        assert found.idxmax() == "near" and design.drops()["near"] == 0
        np.testing.assert_allclose(found / found["near"], weights / weights["near"], atol=EXACT)
    elif truth == "sum":
        every = {use.word for use in design.words}
        assert abs(found.sum() - design.worth(every)) < QUADRATURE
        assert (found - wanted(design, "shares")).abs().max() > 5 * QUADRATURE
    else:
        integral = name != "direct" and truth == "shares" and method != "shapley"
        np.testing.assert_allclose(
            found, wanted(design, truth), atol=QUADRATURE if integral else EXACT
        )


def test_every_text_method_stands_in_a_tower():
    """A new method has to say here what it must say; `gradient` is a share of strengths without
    sign, which is right nowhere (see the next test)."""
    assert set(ALWAYS) | set(MUST["direct"]) | {"gradient"} == set(TEXT)


@pytest.mark.parametrize("method", TEXT)
def test_who_is_right_where_is_who_must_be(image, method):
    """The towers tell methods apart: whoever need not be right on a tower is wrong on it."""
    for name, design in NAMES.items():
        truth = (ALWAYS | MUST[name]).get(method)
        both = {"drops", "shares"}  # which are one in the tower without layers between
        right = both if name == "direct" and truth in both else {truth} & both
        found = said(design, method, image)
        near = {k for k in both if np.abs(found - wanted(design, k)).max() < 2 * QUADRATURE}
        assert near == right, (name, found.to_dict())


@pytest.mark.parametrize("method", TEXT)
def test_words_of_a_tower_that_knows_no_places_keep_their_values(image, method):
    design = NAMES["direct"]
    first = said(design, method, image)
    for order in list(permutations(first.index))[1::7]:
        moved = said(design, method, image, " ".join(order))
        assert moved.index.tolist() == list(order)
        np.testing.assert_allclose(moved[first.index], first, atol=EXACT)


def test_interactions_are_the_product_of_word_and_patch(image):
    design, clip = NAMES["direct"], tower("direct")
    seen = patches_seen(clip, image)
    assert seen.min() < -0.01 and seen.max() > 0.01
    found = interactions(clip, [{"image": image, "caption": design.caption}])
    for row, heat in zip(found.words.itertuples(), found.maps, strict=True):
        np.testing.assert_allclose(heat * CONSTANT**2, design.drops()[row.word] * seen, atol=EXACT)


def test_interactions_of_a_word_read_through_its_noun_lie_with_the_noun(image):
    """Only the row of EOT is multiplied: the weakness that the module states."""
    design, clip = NAMES["through"], tower("through")
    maps = interactions(clip, [{"image": image, "caption": design.caption}]).maps * CONSTANT**2
    seen = patches_seen(clip, image)
    np.testing.assert_allclose(maps[0], 0, atol=EXACT)
    np.testing.assert_allclose(maps[1], design.drops()["cat"] * seen, atol=EXACT)


@pytest.mark.parametrize("name", MAPS)
def test_a_heat_map_says_what_it_must(image, name):
    """Gradient times attention is exact, and GAE its positive part; rollout is the attention alone
    and a value path the value alone, each whatever the other; one weight a channel (Grad-CAM and
    gScoreCAM) cannot be attention times value."""
    clip = tower("direct")
    seen = patches_seen(clip, image)
    _, _, blue = patch_means(clip, image)
    attention = np.exp(blue) / (1 + np.exp(blue).sum())
    heat = heatmaps(clip, [image], ["grass"], name)[0]
    exact = {
        "clip4dm_image": seen,
        "gae_image": np.clip(seen, 0, None),
        "rollout": attention,
        "value_path": seen / attention,
    }
    if name in exact:
        np.testing.assert_allclose(unit(heat), unit(exact[name]), atol=1e-4)
    else:
        assert name in ("gradcam", "gscorecam") and unit(heat).ravel() @ unit(seen).ravel() < 0.95


def patch_means(clip, image) -> np.ndarray:
    pixels = clip.preprocess(image).double().numpy()
    return pixels.reshape(3, 4, 8, 4, 8).mean((2, 4))


def unit(heat) -> np.ndarray:
    return heat / np.linalg.norm(heat)
