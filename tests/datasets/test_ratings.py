"""Ratings of descriptions: cells, the eleven correlations, and what stands beside them."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from clip_attribution import load_clip
from clip_attribution.datasets import ratings
from clip_attribution.datasets.export import export
from clip_attribution.errors import UserError
from clip_attribution.evaluation.run import evaluate_files
from clip_attribution.scenes import render_ref

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset") / "kreiss2022"
real = pytest.mark.skipif(not ROOT.is_dir(), reason="needs kreiss2022/")
QUESTIONS = ("q_overall", "q_relevance", "q_irrelevance", "q_imgfit")
TEXTS = {f"text {i} about a {'very ' * i}long thing": f"img{i % 3}" for i in range(8)}


def rows_of(group, rating):
    sides = [""] if group == "blv" else [".preimg", ".postimg"]
    names = [q + side for q in QUESTIONS for side in sides]
    names.append("q_reconstructivity" + sides[0])
    for number, (text, image) in enumerate(TEXTS.items()):
        for rater in range(4):
            value = rating(number, rater)
            facts = {"context": "Art", "img_id": image, "description": text}
            yield facts | dict.fromkeys(names, value)


def write(folder, rows, name):
    rows = list(rows)
    path = folder / "behavioral_data" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    """Eight made-up texts on three images; raters agree that the later text is better."""
    write(tmp_path, rows_of("blv", lambda i, rater: 1 + min(4, i // 2 + rater // 2)), BLV)
    other = {"context": "Art", "img_id": "img1", "description": "unrated by BLV people"}
    sighted = list(rows_of("sighted", lambda i, rater: 5 - i // 2))
    write(tmp_path, [*sighted, sighted[0] | other], "sighted_data_criticaltrials")
    images = [{"img_id": f"img{i}", "img_file": f"Ph\u00e4to{i}.JPG"} for i in range(3)]
    keys = {"context": "", "description": "", "article_text": ""}
    write(tmp_path, [keys | image for image in images], "all_descriptions")
    (tmp_path / "cosid_images").mkdir()
    for i in range(3):  # decomposed letters, and a copy's name
        render_ref(f"scene:1:{i}").save(tmp_path / "cosid_images" / f"Pha\u0308to{i}_version4.jpg")
    return tmp_path


BLV = "blv_data_criticaltrials"


def test_a_row_is_a_text_with_its_ratings(folder):
    frame = ratings.load(folder, folder)
    assert len(frame) == 8 and frame["error"].isna().all()
    assert frame["image"][0] == "cosid_images/Pha\u0308to0_version4.jpg"
    assert frame["BLV overall"][2] == [2, 2, 3, 3] and frame["BLV overall"].map(len).eq(4).all()
    assert frame["sighted, with image relevance"][7] == [2, 2, 2, 2]
    assert "sighted, with image imaginability" not in frame and frame["score"].isna().all()
    assert ratings.means(frame, "BLV", "overall")[2] == 2.5


def test_a_rating_that_is_none_is_a_row_with_its_reason(folder):
    def rating(i, rater):
        return "" if (i, rater) == (3, 1) else 3

    write(folder, rows_of("blv", rating), BLV)
    frame = ratings.load(folder)
    assert len(frame) == 9 and "overall is '', no rating from 1 to 5" in frame["error"][8]
    assert len(frame["BLV overall"][3]) == 3
    assert frame["image"][0] == "Ph\u00e4to0.JPG"


def test_correlations_beside_the_length(folder):
    frame = ratings.load(folder)
    score = np.array([1.0, 2, 3, 4, 5, 6, 8, 7])
    table = ratings.correlations(frame, {"model": score, "other": -score})
    assert len(table) == 3 * len(ratings.CELLS)
    model, other, length = table[table["question"] == "overall"].head(3).to_dict("records")
    mean, chars = ratings.means(frame, "BLV", "overall"), frame["description"].str.len()
    assert np.isclose(model["value"], np.corrcoef(score, mean)[0, 1])
    assert np.isclose(length["value"], np.corrcoef(chars, mean)[0, 1])
    assert model["n"] == 8 and model["images"] == 3 and model["image_low"] <= model["value"]
    assert np.isclose(other["difference"], 2 * model["value"])
    rest = [x - np.polyval(np.polyfit(chars, x, 1), chars) for x in (score, mean)]
    assert np.isclose(model["partial"], np.corrcoef(rest)[0, 1])
    assert np.isclose(model["ceiling"] ** 2, model["reliability"])


def test_one_command(folder, tmp_path):
    results, errors = evaluate_files("ratings", folder, out=tmp_path / "out", quiet=True)
    assert errors == 0
    blv = results[(results["group"] == "BLV") & (results["measure"] == "Pearson overall")]
    assert blv["scorer"].tolist()[:2] == [load_clip().name, ratings.LENGTH]
    printed = blv[blv["published"]].set_index("scorer")
    assert printed.loc["CLIP ViT-B/32", "value"] == 0.08 and len(printed) == 5
    assert np.isclose(printed.loc["CLIP ViT-B/32", "difference"], blv["value"].iloc[0] - 0.08)
    assert results["published"].sum() == 55  # five models, eleven cells
    assert "over 3 images" in blv["note"].iloc[0] and "reliability" in blv["note"].iloc[0]


def test_the_world_has_no_ratings(tmp_path):
    with pytest.raises(UserError, match="nothing like ratings: use its official files"):
        export("ratings", tmp_path / "made")


@real
def test_the_eleven_published_cells_from_the_stored_scores():
    frame = ratings.load(ROOT, ROOT)
    assert len(frame) == 68 and frame["error"].isna().all() and frame["img_id"].nunique() == 18
    assert all((ROOT / image).is_file() for image in frame["image"])
    assert frame["BLV overall"].map(len).eq(4).all()
    assert frame["sighted, no image overall"].map(len).sum() == 449
    table = ratings.correlations(frame, {"stored": frame["score"]})
    stored = table[table["scorer"] == "stored"]
    assert stored["value"].round(4).tolist() == [
        *(0.0745, 0.1047, 0.0853, 0.0890),
        *(-0.0136, 0.0645, 0.0000, -0.1674),
        *(0.1381, 0.1060, -0.0797),
    ]
    assert stored["n"].eq(68).all() and stored["images"].eq(18).all()
    length = table[table["scorer"] == ratings.LENGTH]["value"].round(4).tolist()
    assert length[:2] == [0.5729, 0.4512]
    assert abs(stored["length"].iloc[0] - 0.008) < 0.001
    assert abs(stored["partial"].iloc[0] - 0.085) < 0.001
    reliable = [0.63, 0.54, 0.50, 0.11, 0.61, 0.35, 0.73, 0.70, 0.65, 0.67, 0.72]
    np.testing.assert_allclose(stored["reliability"], reliable, atol=0.02)
