"""The composition benchmarks' real files: how many records there are, and what they hold.

Set CLIP_BENCHMARKS to the folder of the benchmarks' official files (see data/README.md).
"""

import json
import os
from pathlib import Path

import pytest
import tiny

from clip_attribution import load_clip
from clip_attribution.datasets import negclip, retrieval, sts, sugarcrepe, valse, vl_checklist
from clip_attribution.evaluation.composition import measure

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
CONFIG = tiny.config(context=77)


def needs(folder):
    """Skip where the folder of a benchmark is not at hand."""
    return pytest.mark.skipif(
        not (ROOT / folder).is_dir(),
        reason=f"needs CLIP_BENCHMARKS, a folder of benchmark files with {folder} in it",
    )


SUGARCREPE = {
    "add_att": 692,
    "add_obj": 2062,
    "replace_att": 788,
    "replace_obj": 1652,
    "replace_rel": 1406,
    "swap_att": 666,
    "swap_obj": 245,
}
VALSE = {  # valid, all
    "existence": (505, 534),
    "plurals": (851, 1000),
    "counting-hard": (868, 1000),
    "counting-small-quant": (900, 1000),
    "counting-adversarial": (691, 756),
    "relations": (535, 614),
    "action-replacement": (648, 779),
    "actant-swap": (949, 1042),
    "coreference-standard": (708, 916),
    "coreference-hard": (104, 141),
    "foil-it": (943, 1000),
}
VL_CHECKLIST = {
    "Attribute/action/vg": 1892,
    "Attribute/color/vg": 11569,
    "Attribute/material/vg": 2470,
    "Attribute/size/vg": 2695,
    "Attribute/state/vg": 941,
    "Attribute/action/vaw": 3039,
    "Object/Location/center/swig_destination": 1063,
    "Object/Location/mid/swig_destination": 530,
    "Object/Location/margin/swig_destination": 45,
    "Object/Location/margin/swig_item": 88,
    "Object/Size/large/swig_destination": 1520,
    "Object/Size/medium/swig_destination": 109,
    "Object/Size/small/swig_destination": 9,
    "Object/Size/small/hake": 1000,
    "Relation/action/vg": 12733,
    "Relation/spatial/vg": 30650,
}


@needs("sugarcrepe")
def test_sugarcrepe_has_its_7511_records():
    frame = sugarcrepe.load(ROOT / "sugarcrepe")
    assert len(frame) == 7511 and frame["error"].isna().all() and frame["case_id"].is_unique
    assert frame["group"].value_counts().to_dict() == SUGARCREPE
    raw = json.loads((ROOT / "sugarcrepe" / "swap_obj.json").read_text("utf-8"))
    assert set(raw) != {str(i) for i in range(len(raw))}  # the keys have gaps
    cases = frame[frame["group"] == "swap_obj"].set_index("case_id")
    for key, record in raw.items():
        case = cases.loc[f"swap_obj:{key}"]
        assert case["captions"] == [record["caption"], record["negative_caption"]]
        assert case["images"] == [record["filename"]] and case["truth"] == 0
    assert 0.1 < frame["captions"].map(lambda c: c[0] != c[0].strip()).mean() < 0.2  # as stored


@needs("sugarcrepe")
@needs("coco")
def test_sugarcrepe_finds_the_photos_that_are_here_and_reports_the_others():
    frame = sugarcrepe.load(ROOT / "sugarcrepe", ROOT / "coco")
    here = frame["images"].map(lambda names: (ROOT / "coco" / names[0]).is_file())
    assert here.sum() == 108
    parts = [frame[here], frame[~here].head(20)]
    clip = load_clip("tiny", model_config=CONFIG, device="cpu")
    for part, expected in zip(parts, (0, 20), strict=True):
        _, scored = measure(clip, "sugarcrepe", part, ROOT / "coco")
        assert scored["error"].notna().sum() == expected
        assert scored["correct"].isna().sum() == expected


@needs("valse")
def test_valse_has_the_published_counts_with_and_without_the_filter():
    for column, valid_only in enumerate((True, False)):
        frame = valse.load(ROOT / "valse", valid_only=valid_only)
        assert frame["error"].isna().all() and frame["case_id"].is_unique
        expected = {name: counts[column] for name, counts in VALSE.items()}
        assert frame["group"].value_counts().to_dict() == expected
    coreference = frame["group"].str.startswith("coreference")
    assert frame["only_caption"].notna().equals(coreference)
    for case in frame[coreference].head(50).itertuples():
        assert case.captions[0].startswith(case.only_caption)


@needs("valse")
@needs("coco")
def test_valse_finds_the_coco_photos_that_are_here():
    for name, count in (("foil-it", 1), ("plurals", 4), ("relations", 2)):
        file = ROOT / "valse" / f"{name}_with_photos.json"
        frame = valse.load(file, ROOT / "coco", valid_only=False)
        assert len(frame) == count and frame["group"].eq(name).all()
        assert all((ROOT / "coco" / images[0]).is_file() for images in frame["images"])


@needs("vl_checklist")
def test_vl_checklist_has_the_records_of_every_file():
    frame = vl_checklist.load(ROOT / "vl_checklist")
    assert frame["group"].value_counts().to_dict() == VL_CHECKLIST and len(frame) == 70353
    assert frame["error"].isna().all() and frame["case_id"].is_unique
    captions = frame["captions"].explode()
    assert captions.eq(captions.str.lower()).all()
    roots = frame["images"].map(lambda names: names[0].split("/")[0]).groupby(frame["source"])
    assert {name: set(values) for name, values in roots} == {
        "vg": {"vg"},
        "vaw": {"vg"},
        "hake": {"hake"},
        "swig": {"swig"},
    }


@needs("vl_checklist")
def test_vl_checklist_swig_has_three_phrases_of_each_sort():
    folder = ROOT / "vl_checklist/data/Object/Size/swig_size/swig_destination"
    file = folder / "swig_destination_medium.json"
    assert len(vl_checklist.load(file)) == 109
    every = vl_checklist.load(file, every=True)
    assert len(every) == 3 * 109 and every["case_id"].is_unique
    empty = ROOT / "vl_checklist/data/Object/Size/swig_size/swig_place/swig_place_small.json"
    assert len(vl_checklist.load(empty)) == 0


@needs("negclip")
def test_negclip_has_its_4839_rows_with_neighbours_within_the_file():
    frame = negclip.load_negclip(ROOT / "negclip" / "valid_neg_clip.tsv")
    assert len(frame) == 4839 and frame["error"].isna().all() and frame["pair_id"].is_unique
    assert frame["neg_image"].explode().dropna().astype(int).between(0, 4838).all()
    assert frame["caption"][0] == "A child holding a flowered umbrella and petting a yak."
    assert len(frame["negatives"][0]) == 2
    here = negclip.load_negclip(ROOT / "negclip" / "valid_neg_clip_with_photos.tsv", ROOT / "coco")
    assert len(here) == 9
    if (ROOT / "coco").is_dir():
        assert all((ROOT / "coco" / name).is_file() for name in here["image"])


@needs("sts")
@pytest.mark.parametrize(
    "folder, name, top, counts",
    [
        ("sick", "sick-r", 1, {"train": 4500, "dev": 500, "test": 4927}),
        ("stsb", "sts-b", 0, {"train": 5749, "dev": 1500, "test": 1379}),
    ],
)
def test_similarity_files_have_their_counts_and_range(folder, name, top, counts):
    for split, count in counts.items():
        frame = sts.load(ROOT / "sts" / folder, benchmark=name, split=split)
        assert len(frame) == count and frame["error"].isna().all()
        assert frame["score"].min() == top and frame["score"].max() == 5


@needs("sts")
def test_similarity_of_sentences_about_the_same_is_higher_even_for_random_weights():
    frame = sts.load(ROOT / "sts" / "sick").head(300)
    clip = load_clip("tiny", model_config=CONFIG, device="cpu")
    table, scored = measure(clip, "sick-r", frame)
    assert scored["cosine"].notna().all() and table["n"].tolist() == [300, 300]
    assert (table["low"] > 0).all()  # shared words alone correlate


@needs("coco")
def test_retrieval_on_the_real_photos_is_at_chance_for_random_weights():
    frame = retrieval.load(ROOT / "coco/annotations/captions_val2017.json", ROOT / "coco")
    assert len(frame) == 270 and frame["image"].nunique() == 54 and frame["error"].isna().all()
    clip = load_clip("tiny", model_config=CONFIG, device="cpu")
    table, pairs = measure(clip, "coco-retrieval", frame, ROOT / "coco")
    assert pairs["error"].isna().all() and table["n"].tolist() == [54, 54, 270, 270]
    assert ((table["low"] <= table["chance"]) & (table["chance"] <= table["high"])).all()
