"""What is true of the world and of the model, and the ranking of methods by it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from clip_attribution import attribute, load_clip
from clip_attribution.attribution import METHODS
from clip_attribution.evaluation import ranking, truths
from clip_attribution.heatmaps import METHODS as MAPS
from clip_attribution.heatmaps import image_attribution
from clip_attribution.scenes import render_array, scene_of, scene_pairs
from clip_attribution.studies.truth.findings import beaten
from clip_attribution.studies.truth.tables import rank_agreement


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def played(clip):
    return truths.games(clip, 6, seed=1, most=5)


def test_an_undrawn_thing_is_gone_and_the_rest_stays():
    scene = next(s for i in range(99) if (s := scene_of(f"scene:1:{i}")[0]).sign_box)
    for thing in truths.things(scene):
        changed = (render_array(scene) != render_array(truths.undrawn(scene, [thing]))).any(-1)
        inside = np.zeros((64, 64), bool)
        for x0, y0, x1, y1 in truths.boxes(scene, thing):
            inside[y0:y1, x0:x1] = True
        assert changed.any() and not changed[~inside].any()


def test_the_drop_of_a_word_is_the_mean_over_captions_with_another_one(clip):
    found = truths.word_truths(clip, 3, seed=1, k=2)
    assert (found["replaced"] <= 2).all() and found["drop"].notna().all()
    scene, caption = truths.scene_caption(1, 0)
    place = next(i for i, word in enumerate(caption.words) if word.kind == "noun")
    others = truths.fitting(scene, caption, place)
    word = caption.words[place]
    texts = [caption.text[: word.start] + o + caption.text[word.end :] for o in others]
    every = truths.word_truths(clip, 1, seed=1, k=len(others))
    drop = every[every["start"] == word.start]["drop"].iloc[0]
    asked = [{"image": "scene:1:0", "caption": text} for text in [caption.text, *texts]]
    cosine = attribute(clip, asked)[1]["cosine"].to_numpy()
    assert abs(drop - (cosine[0] - cosine[1:].mean())) < 1e-6


def test_a_game_ends_with_the_whole_caption_and_image(clip, played):
    for one in played:
        cosine = attribute(clip, [{"image": one.image, "caption": one.caption}])[1]["cosine"][0]
        assert one.worth.shape == (2 ** len(one.words), 2 ** len(one.things))
        assert abs(one.worth[-1, -1] - cosine) < 1e-6


def planted_game(pairwise):
    """A game whose worth is the sum of the given interactions of the words and things present."""
    words, things = (truths.standing(n).astype(float) for n in pairwise.shape)
    who = [(i, "abcdefg"[i], None) for i in range(pairwise.shape[0])]
    worth = words @ pairwise @ things.T
    return truths.Game("scene:1:0", "", None, who, list(range(pairwise.shape[1])), worth)


def test_exact_interactions_and_drops_of_a_game_that_is_known():
    pairwise = np.random.default_rng(0).normal(size=(4, 3))
    one = planted_game(pairwise)
    np.testing.assert_allclose(one.interactions(), pairwise, atol=1e-12)
    np.testing.assert_allclose(one.drops(), pairwise.sum(0), atol=1e-12)


def planted(clip, pairs, name, seed=0):
    """Words whose values are perfect, by chance, or those of a method that always says the same."""
    words, _ = attribute(clip, pairs, "raw_attention")
    rng = np.random.default_rng(seed)
    false = pairs.set_index("pair_id")["foil_index"].reindex(words["pair_id"]).to_numpy()
    place = words["word_index"].to_numpy()
    values = {
        "perfect": np.where(place == false, -1.0, rng.random(len(words))),
        "random": rng.random(len(words)),
        "always the last": -place.astype(float),
    }
    return words.assign(attribution=values[name]), 1.0


def test_a_planted_perfect_method_is_first_and_a_random_one_last(clip):
    names = ["random", "always the last", "perfect"]
    rows = ranking.locate(clip, names, n=12, seed=3, values=planted)
    table = ranking.summary(rows, "net")
    assert table["method"].iloc[0] == "perfect" and table["value"].iloc[0] > 0.8
    others = table.set_index("method")
    assert others.loc["always the last", "value"] == 0  # the control takes its hits away
    assert others.loc["random", "low"] < 0.1
    assert set(beaten(rows, "net", "perfect")) == {"random", "always the last"}
    assert len(rows) == 3 * 12 * 8 and rows["chance"].between(0, 1).all()


def test_a_method_that_is_the_truth_orders_and_follows_it_perfectly(clip, played):
    drops = truths.word_truths(clip, 30, seed=1)

    def as_the_truth(clip, pairs, name, seed=0):
        words, _ = attribute(clip, pairs, "raw_attention")
        both = words.merge(drops[["pair_id", "start", "drop"]], on=["pair_id", "start"], how="left")
        return words.assign(attribution=both["drop"].fillna(0).to_numpy()), 1.0

    rows = ranking.order_words(clip, ["truth"], 30, seed=1, values=as_the_truth)
    assert rows["tau"].min() > 0.999 and (rows["sign"] == 1).all()
    followed = ranking.follow(clip, ["shapley", "random"], played).groupby("method")["r"].mean()
    assert followed["shapley"] > 0.9 > followed["random"]


def test_a_map_of_the_thing_itself_points_and_matches(clip, played):
    def of_the_thing(clip, asked, name, seed=0):
        maps = np.zeros((len(asked), 8, 8))
        for row, one in enumerate(asked.itertuples()):
            if getattr(one, "thing", None) in (0, 1):
                scene = scene_of(one.image)[0]
                own = ranking.inside(scene, one.thing, (8, 8))
                maps[row] = own * (ranking.inside(scene, 1 - one.thing, (8, 8)) == 0)
        return maps if name == "thing" else -maps, 1.0

    two = [one for one in played if len(one.scene.entities) == 2]
    rows = ranking.point(clip, ["thing", "not the thing"], two, values=of_the_thing)
    means = rows.groupby("method")[["right", "wrong"]].mean()
    assert means.loc["thing", "right"] == 1 and means.loc["thing", "wrong"] == 0
    assert means.loc["not the thing", "right"] == 0
    follows = ranking.match(clip, ["interactions", "random"], played).groupby("method")["r"].mean()
    assert follows["interactions"] > 0.6 > follows["random"]
    ordered = ranking.order_things(clip, ["interactions", "centre"], played)
    assert ordered["right"].between(0, 1).all() and len(ordered) == 2 * len(played)


def test_baselines_know_neither_image_nor_model(clip):
    pairs = ranking.with_concepts(scene_pairs(2, 0, None))
    for name in ranking.BASELINES:
        words, _ = ranking.word_values(clip, pairs, name)
        again, _ = ranking.word_values(clip, pairs.assign(image="scene:9:9"), name)
        assert (words["attribution"] == again["attribution"]).all()
    assert {"columns", "leave_one_out", "clip4dm_all"} <= set(ranking.word_methods())
    assert {"interactions", "rollout"} <= set(ranking.map_methods())


def test_every_registered_method_is_ranked():
    text = {name for name, method in METHODS.items() if "text" in method.towers}
    assert text - set(ranking.word_methods()) == {"mediated"}  # a part; its whole is there
    image = {name for name, method in METHODS.items() if "image" in method.towers}
    shown = set(ranking.map_methods())
    assert set(MAPS) <= shown and set(ranking.BASELINES) <= set(ranking.word_methods())
    assert all({name, f"{name}_image"} & shown for name in image)


def test_image_attributions_are_asked_as_the_heat_maps_are(clip, played):
    two = [one for one in played if len(one.scene.entities) == 2]
    asked = ranking.asked_words(two, lambda one, thing: thing in (0, 1))
    maps, ms = ranking.map_values(clip, asked, "columns_image")
    wanted = image_attribution(clip, list(asked["image"]), list(asked["word"]), "columns")
    assert np.array_equal(maps, wanted) and np.ptp(maps) > 0 and ms > 0


@pytest.mark.parametrize("grid", [(8, 8), (7, 7), (14, 14), (3, 5)])
def test_the_part_of_a_patch_in_a_box_is_its_area(grid):
    scene = scene_of("scene:1:0")[0]
    share = ranking.inside(scene, 0, grid)
    pixels = np.zeros((64, 64), bool)
    for x0, y0, x1, y1 in truths.boxes(scene, 0):
        pixels[y0:y1, x0:x1] = True
    assert share.shape == grid and share.min() >= 0 and share.max() <= 1
    assert abs(share.mean() - pixels.mean()) < 1e-12
    rows, cols = grid
    y, x = np.divmod(int(share.argmax()), cols)
    centre = pixels[int((y + 0.5) * 64 / rows), int((x + 0.5) * 64 / cols)]
    assert centre and share.max() > 0.5


def test_rank_correlations_are_those_of_ranks():
    """Against the definitions written out, on values with ties."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.integers(0, 4, (2, 7)).astype(float)
        if np.ptp(one) == 0 or np.ptp(other) == 0:
            continue
        tau, rho = ranking.rank_correlations(one, other)
        a, b = (np.sign(v[:, None] - v)[np.triu_indices(7, 1)] for v in (one, other))
        assert tau == pytest.approx((a @ b) / np.sqrt((a @ a) * (b @ b)))
        ranks = [pd.Series(v).rank().to_numpy() for v in (one, other)]
        assert rho == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert ranking.rank_correlations(np.ones(3), np.arange(3.0)) == (0.0, 0.0)


def test_agreement_of_rankings_is_scipys_kendall():
    names, rng = [*"abcdef", "random"], np.random.default_rng(0)
    tables = {
        k: pd.DataFrame({"method": names, "value": rng.permutation(7)[: len(names)]}) for k in "xy"
    }
    found = rank_agreement(tables)
    own = [tables[k].set_index("method")["value"][:6] for k in "xy"]
    assert found.loc["x", "y"] == pytest.approx(kendalltau(*own).statistic)
