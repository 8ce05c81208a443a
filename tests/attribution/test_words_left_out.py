"""Leave-one-out and Shapley values, from the captions that they stand for."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from clip_attribution import attribute, load_clip
from clip_attribution.attribution.coalitions import is_content
from clip_attribution.errors import UserError
from clip_attribution.scenes import scene_pairs
from clip_attribution.trace.features import encode_pixels, read_pixels

TEMPLATE = "A photo depicts "
IMAGE = "scene:1:3"


@pytest.fixture(scope="module")
def clip():
    return load_clip()


def cosines(clip, texts, image=IMAGE):
    """v of whole texts, each encoded alone by the model's own forward."""

    feature = encode_pixels(clip, [read_pixels(clip, image)])[0]
    with torch.no_grad():
        found = [clip.model.encode_text(clip.tokenizer([t]), normalize=True)[0] for t in texts]
    return torch.stack(found).double() @ feature.double()


def values(clip, caption, method, image=IMAGE, **options):
    words, pairs = attribute(clip, [{"image": image, "caption": caption}], method, **options)
    assert pairs.error[0] is None
    return words.set_index("word").attribution, pairs


def worth_of(clip, words, players):
    """v of a set of players, every other word standing."""

    def worth(stands):
        kept = [w for w in words if w not in players or w in stands]
        return cosines(clip, [(TEMPLATE + " ".join(kept)).strip()])[0].item()

    return worth


def test_leave_one_out_is_the_drop_of_the_caption_without_the_word(clip):
    words = "a yellow envelope on grass".split()
    found, _ = values(clip, " ".join(words), "leave_one_out")
    texts = [TEMPLATE + " ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    whole, *shorter = cosines(clip, [TEMPLATE + " ".join(words), *texts]).tolist()
    np.testing.assert_allclose(found.to_numpy(), [whole - v for v in shorter], atol=1e-6)


def test_shapley_is_the_mean_gain_over_all_orders(clip):
    words, players = "a yellow envelope near grass".split(), "yellow envelope near grass".split()
    worth = worth_of(clip, words, players)
    gains = {player: [] for player in players}
    for order in permutations(players):
        for i, player in enumerate(order):
            gains[player].append(worth(order[: i + 1]) - worth(order[:i]))
    found, pairs = values(clip, " ".join(words), "shapley")
    for player in players:
        assert abs(found[player] - np.mean(gains[player])) < 1e-6
    assert found["a"] == 0 and pairs.shapley_error[0] == 0


def test_shapley_equals_shapiq_and_sums_to_what_the_caption_is_worth(clip):
    from shapiq import ExactComputer

    captions = scene_pairs(20, seed=5, foils=None)
    words, pairs = attribute(clip, captions, "shapley")
    for row in pairs.itertuples():
        own = words[words.pair_id == row.pair_id]
        texts = own.word.tolist()
        players = [i for i, word in enumerate(texts) if is_content(word)]

        def worth(joined, texts=texts, players=players, image=row.image):
            sentences = []
            for one in joined:
                out = {p for p, stands in zip(players, one, strict=True) if not stands}
                kept = [t for i, t in enumerate(texts) if i not in out]
                sentences.append((TEMPLATE + " ".join(kept)).strip())
            return cosines(clip, sentences, image).numpy()

        theirs = ExactComputer(worth, n_players=len(players))("SV").get_n_order_values(1)
        found = own.attribution.to_numpy()[players]
        np.testing.assert_allclose(found, theirs, atol=1e-6)
        everyone = np.ones((1, len(players)), bool)
        total = worth(everyone)[0] - worth(~everyone)[0]
        assert abs(own.attribution.sum() - total) < 1e-6


def test_words_of_equal_worth_have_equal_values(clip):
    found, _ = values(clip, "zzz zzz", "shapley", players="all")
    assert found.index.tolist() == ["zzz", "zzz"]
    assert abs(found.iloc[0] - found.iloc[1]) < 1e-7


def test_sampled_values_come_near_the_exact_ones_and_say_how_near(clip):
    caption = "a small black envelope is below a large blue cow on the snow"
    exact, _ = values(clip, caption, "shapley")
    errors = []
    for permutations_ in (8, 128):
        options = {"exact": 0, "permutations": permutations_, "seed": 3}
        found, pairs = values(clip, caption, "shapley", **options)
        errors.append(pairs.shapley_error[0])
        assert abs(found.sum() - exact.sum()) < 1e-6  # each order adds up
        assert (found - exact).abs().max() < 4 * errors[-1]
        again, _ = values(clip, caption, "shapley", **options)
        assert (found == again).all()
    assert 0 < errors[1] < errors[0]


@pytest.mark.parametrize("method", ["leave_one_out", "shapley"])
def test_batch_equals_single_and_the_model_stays(clip, method):
    before = {k: v.clone() for k, v in clip.model.state_dict().items()}
    captions = scene_pairs(6, seed=2, foils=None)
    together, _ = attribute(clip, captions, method)
    single = pd.concat([attribute(clip, captions[i : i + 1], method)[0] for i in range(6)])
    np.testing.assert_allclose(together.attribution, single.attribution, atol=2e-7)
    assert all(torch.equal(v, before[k]) for k, v in clip.model.state_dict().items())


@pytest.mark.parametrize(
    "options, line",
    [
        ({"players": "nouns"}, "unknown players 'nouns'"),
        ({"exact": 40}, "exact must be a whole number from 0 to 16"),
        ({"permutations": 1.5}, "permutations must be"),
        ({"seed": -1}, "seed must be"),
        ({"draws": 1}, "has no option 'draws'"),
    ],
)
def test_unusable_options_are_refused_in_one_line(clip, options, line):
    with pytest.raises(UserError, match=line):
        values(clip, "a red cat", "shapley", **options)


def test_a_caption_of_function_words_has_no_players(clip):
    found, pairs = values(clip, "there is a", "shapley")
    assert (found == 0).all() and pairs.error[0] is None


def test_content_words_say_something_by_themselves():
    said = "There is a red cat, two boxes, reading on the left of it .".split()
    assert [w for w in said if is_content(w)] == "red cat, two boxes, reading left".split()
