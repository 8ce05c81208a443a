"""The grounding loaders on real files: COCO's instances, sentences of Flickr30k Entities.

Set CLIP_BENCHMARKS to the folder of the benchmarks' official files (see data/README.md).
"""

import json
import os
import re
from pathlib import Path

import pytest

from clip_attribution.datasets import coco_instances, flickr30k_entities
from clip_attribution.io.images import open_image

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")


def needs(folder):
    return pytest.mark.skipif(
        not (ROOT / folder).is_dir(), reason=f"needs CLIP_BENCHMARKS with {folder} in it"
    )


@needs("coco/annotations")
@pytest.mark.parametrize("per", ["category", "box"])
@pytest.mark.parametrize("split, crowd, boxes", [("val2017", 1, 296), ("train2017", 2, 328)])
def test_every_box_of_coco_that_is_no_crowd_has_its_row(split, crowd, boxes, per):
    frame = coco_instances.load(ROOT / "coco", ROOT / "coco", split=split, per=per)
    file = json.loads((ROOT / f"coco/annotations/instances_{split}.json").read_text())
    names = {one["id"]: one["file_name"] for one in file["images"]}
    kinds = {one["id"]: one["name"] for one in file["categories"]}
    stored = []
    for one in file["annotations"]:
        x, y, w, h = one["bbox"]
        if not one["iscrowd"]:
            place = f"{split}/{names[one['image_id']]}"
            stored.append((place, kinds[one["category_id"]], x, y, x + w, y + h))
    rows = frame[["image", "phrase", "boxes"]].values
    assert sorted(stored) == sorted((i, p, *box) for i, p, some in rows for box in some)
    assert len(stored) == boxes and frame.attrs["left_out"] == {"crowd": crowd}
    assert frame["error"].isna().all() and frame["pair_id"].is_unique
    assert len(frame) == (boxes if per == "box" else len({row[:2] for row in stored}))


@needs("coco/annotations")
def test_photos_of_coco_have_the_size_that_their_row_states():
    frame = coco_instances.load(ROOT / "coco", ROOT / "coco").drop_duplicates("image")
    for row in frame.head(8).itertuples():
        assert open_image(row.image, ROOT / "coco").size == (row.width, row.height)


@needs("flickr30k_entities/Sentences")
def test_sentences_of_flickr_entities_parse_and_miss_their_xml():
    folder = ROOT / "flickr30k_entities"
    frame = flickr30k_entities.load(folder, split=None)
    texts = [file.read_text() for file in folder.glob("Sentences/*.txt")]
    marks = re.findall(r"/EN#(\d+)/(\S+)", "".join(texts))
    nothing = sum(chain == "0" for chain, _ in marks)
    assert len(texts) == 8 and len(frame) == len(marks) - nothing
    assert frame.attrs["left_out"]["notvisual"] == nothing > 0
    assert frame["error"].str.contains("no Annotations/").all()
    assert sorted(frame["type"]) == sorted(kind for chain, kind in marks if chain != "0")
    assert not frame["caption"].str.contains(r"[\[\]]|/EN").any()
    for row in frame.itertuples():
        assert row.caption[row.start : row.end] == row.phrase
    captions = {
        " ".join(re.sub(r"\[/EN\S+ |\]", "", line).split())
        for line in "\n".join(texts).splitlines()
    }
    assert set(frame["caption"]) <= captions
