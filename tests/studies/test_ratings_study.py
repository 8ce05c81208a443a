"""The study of ratings: texts with known facts, the published table, what is drawn and said."""

import os
from pathlib import Path

import numpy as np
import pytest
from figure_checks import assert_tidy

from clip_attribution import load_clip, plots
from clip_attribution.errors import UserError
from clip_attribution.studies import ratings
from clip_attribution.studies.ratings.tables import LENGTH, RAW, STORED, TEMPLATE

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset") / "kreiss2022"


@pytest.fixture(scope="module")
def scored():
    return ratings.scored_texts(load_clip(), ratings.scene_texts(60, 4, seed=2))


@pytest.fixture(scope="module")
def truth(scored):
    return ratings.against_facts(scored, 2)


@pytest.fixture(autouse=True)
def style():
    plots.use_style()


def test_texts_of_a_scene_state_different_numbers_of_facts():
    frame = ratings.scene_texts(30, 4, seed=5)
    assert (
        not frame.duplicated(["image", "facts"]).any() and not frame["pair_id"].duplicated().any()
    )
    assert frame.groupby("image").size().max() == 4 and frame["image"].nunique() == 30
    assert frame["facts"].min() == 1 and frame["facts"].max() >= 8
    assert (frame["length"] == frame["description"].str.len()).all()
    assert frame.equals(ratings.scene_texts(30, 4, seed=5))
    assert not frame.equals(ratings.scene_texts(30, 4, seed=6))


def test_r_against_the_facts(scored, truth):
    rows = truth.set_index(["of", "kind"])
    whole = rows.loc["score", "all texts"]
    assert np.isclose(whole["value"], np.corrcoef(scored["score"], scored["facts"])[0, 1])
    assert whole["n"] == 60 and (truth["low"] < truth["value"]).all()
    inside = scored[["score", "facts"]] - scored.groupby("image")[["score", "facts"]].transform(
        "mean"
    )
    wanted = np.corrcoef(inside["score"], inside["facts"])[0, 1]
    assert np.isclose(rows.loc["score", "within images"]["value"], wanted)
    rest = rows.loc["score", "given the other"]
    assert 0 < rest["low"] < rest["value"] < whole["value"]
    assert "knows more than a count of characters" in ratings.finding_facts(truth)
    blind = ratings.against_facts(scored.assign(score=scored["length"] % 7))
    assert "is not distinguishable from" in ratings.finding_facts(blind)


def test_small_studies_scatter_about_the_whole(scored, truth):
    found = ratings.small_studies(scored, 200, 1)
    whole = truth.set_index(["of", "kind"]).loc["score", "all texts"]["value"]
    assert len(found) == 200 and found["score"].std() > 0.01
    assert found["score"].quantile(0.025) < whole < found["score"].quantile(0.975)
    with pytest.raises(UserError, match="too few to draw studies of 18"):
        ratings.small_studies(scored.head(40))
    assert "studies of 18 images" in ratings.finding_studies(found)


def test_the_published_table_has_the_interval_of_68_texts():
    rows = ratings.published_rows()
    assert len(rows) == 55 and rows["over_starts"].isna().sum() == 11
    row = rows[(rows["group"] == "BLV") & (rows["question"] == "overall")].iloc[0]
    assert (row["scorer"], row["value"]) == ("CLIP ViT-B/32", 0.08)
    assert (round(row["low"], 2), round(row["high"], 2)) == (-0.16, 0.31)
    said = ratings.finding_published(rows)
    assert said.startswith("44 cells of tuned models") and "differ from 0" in said


def test_figures_are_tidy(truth, scored):
    assert_tidy(ratings.facts_panels(truth, ratings.small_studies(scored, 50, 1)))
    assert_tidy(ratings.table_dots(ratings.published_rows()))


def test_without_files_nothing_is_said_of_people():
    assert ratings.people(load_clip(), "") == (None, None)
    assert "No ratings were given" in ratings.finding_people(None)
    assert ratings.data_facts("", None)["name"] == "published values"


@pytest.mark.skipif(not ROOT.is_dir(), reason="needs kreiss2022/")
def test_people_from_the_real_files():
    found, rated = ratings.people(load_clip(), str(ROOT))
    assert list(dict.fromkeys(found["scorer"])) == [RAW, TEMPLATE, STORED, LENGTH]
    table = ratings.compared(found)
    stored = table[table["score"] == STORED]
    assert stored["difference"].abs().max() < 0.0056 and len(stored) == 11
    assert ratings.data_facts(str(ROOT), rated)["n"] == 68
    said = ratings.finding_people(found)
    assert "The number of characters differs from 0" in said and "BLV overall (0.57)" in said
    assert_tidy(ratings.table_dots(ratings.published_rows(), found))
