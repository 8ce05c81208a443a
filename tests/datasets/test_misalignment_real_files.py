"""The misalignment benchmarks' loaders on the official files.

Set CLIP_BENCHMARKS to the folder of the benchmarks' official files (see data/README.md).
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from clip_attribution.datasets import foil, hat, nocaps_foil, seetrue
from clip_attribution.io.images import open_image

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
pytestmark = pytest.mark.skipif(
    not (ROOT / "aloha").is_dir(), reason="needs CLIP_BENCHMARKS, a folder of benchmark files"
)


def test_nocaps_foil_has_2500_records_of_two_samples():
    frame = nocaps_foil.load(ROOT / "aloha")
    foils = frame[frame["is_foil"]]
    assert (len(frame), len(foils), frame["error"].notna().sum()) == (5000, 2500, 0)
    counts = {"in-domain": 245, "near-domain": 1494, "out-domain": 761}
    assert Counter(foils["group"]) == counts == Counter(frame["group"][~frame["is_foil"]])
    several = foils["foil_word"].str.split().str.len() > 1
    assert several.sum() == 285 and 1 - several.mean() == pytest.approx(0.886)
    assert Counter(map(len, foils["references"])) == {9: 2496, 8: 4}
    assert frame["pair_id"].is_unique and (frame["pair"].value_counts() == 2).all()
    bare = frame["caption"] != frame["caption"].str.strip()
    assert frame.loc[bare, "pair"].nunique() == 590


def test_hat_has_400_captions_135_of_them_hallucinated():
    frame = hat.load(ROOT / "aloha")
    assert (len(frame), frame["error"].notna().sum()) == (400, 0)
    assert frame["is_foil"].sum() == 135 and frame["is_foil"].mean() == 0.3375
    assert frame["image"].nunique() == 385
    assert frame["hallucinated"].map(bool).eq(frame["is_foil"]).all()
    assert Counter(map(len, frame["references"])) == {5: 399, 6: 1}


def test_seetrue_has_2008_rows_from_four_sources():
    frame = seetrue.load(ROOT / "seetrue")
    assert (len(frame), frame["error"].notna().sum()) == (2008, 0)
    assert Counter(frame["group"]) == {
        "cococon": 713,
        "pickapicon": 635,
        "drawbench": 404,
        "coco_t2i": 256,
    }
    assert frame["image"].nunique() == 1996
    assert frame["boxes"].map(bool).all() and frame["boxes_pali"].map(bool).all()


def test_seetrue_misalignments_are_found_in_their_captions():
    frame = seetrue.load(ROOT / "seetrue")
    texts = list(zip(frame["caption"], frame["caption_misalignment"], strict=True))
    exact = [part in caption for caption, part in texts]
    any_case = [part.lower() in caption.lower() for caption, part in texts]
    assert (sum(exact), sum(any_case)) == (1681, 1803)
    spans = list(frame["caption_span"])
    found = [
        caption[slice(*span)] if span else None
        for (caption, _), span in zip(texts, spans, strict=True)
    ]
    literal = [
        text is not None and text.lower() == part.lower()
        for text, (_, part) in zip(found, texts, strict=True)
    ]
    assert literal == any_case
    assert sum(text is None for text in found) == 4


def test_derived_foil_file_has_998_pairs():
    frame = foil.load(ROOT / "foil_shape/foil_shape_from_valse.json")
    assert (len(frame), frame["is_foil"].sum(), frame["error"].notna().sum()) == (1996, 998, 0)
    assert (frame["pair"].value_counts() == 2).all() and frame["image"].nunique() == 990
    foils = frame[frame["is_foil"]]
    assert all(w in c for w, c in zip(foils["foil_word"], foils["caption"], strict=True))


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        (foil, "foil_shape/foil_shape_from_valse_with_photos.json"),
        (hat, "aloha/hat-trainval_with_photos.json"),
        (seetrue, "seetrue/SeeTRUE_Feedback_with_photos.csv"),
    ],
)
def test_photos_of_the_subsets_are_opened(loader, name):
    frame = loader.load(ROOT / name, ROOT / "coco")
    assert len(frame) and frame["error"].isna().all()
    for image in frame["image"]:
        assert min(open_image(image, ROOT / "coco").size) > 100
