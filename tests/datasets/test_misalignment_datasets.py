"""The misalignment benchmarks' loaders, on small files in the official formats."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_attribution.datasets import foil, hat, nocaps_foil, pickapic, rich_hf, seetrue
from clip_attribution.datasets.tfrecord import encode_example, write_records
from clip_attribution.errors import ImageError, UserError
from clip_attribution.io.images import open_image


def write_json(path, content):
    """Write a JSON file, its folder made first; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def picture(path):
    """Write a small image, its folder made first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def only_row(frame):
    """The row of a frame that has one."""
    assert len(frame) == 1
    return frame.iloc[0]


# FOIL-COCO

ORIGINAL = {
    "caption": "a cat watches the dog catcher. \n",
    "image_id": 42,
    "id": 7,
    "foil": False,
    "foil_id": 900,
    "target_word": "ORIG",
    "foil_word": "ORIG",
}
FOIL = ORIGINAL | {
    "caption": "a dog watches the dog catcher. \n",
    "id": 8,
    "foil": True,
    "target_word": "cat",
    "foil_word": "dog",
}
COCO_IMAGES = [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}]


def foil_file(folder, *annotations, name="foilv1.0_test_2017.json"):
    """A FOIL file with these annotations; the folder."""
    content = {"info": {}, "licenses": [], "type": "captions", "images": COCO_IMAGES}
    write_json(folder / name, content | {"annotations": list(annotations)})
    return folder


def captions_file(path, *captions):
    """COCO's captions of image 42."""
    found = [{"image_id": 42, "id": n, "caption": text} for n, text in enumerate(captions)]
    return write_json(path, {"images": COCO_IMAGES, "annotations": found})


def test_foil_gives_one_row_an_annotation_with_the_caption_as_stored(tmp_path):
    frame = foil.load(foil_file(tmp_path, ORIGINAL, FOIL))
    assert list(frame["caption"]) == [ORIGINAL["caption"], FOIL["caption"]]
    assert list(frame["is_foil"]) == [False, True]
    assert pd.isna(frame["foil_word"][0]) and pd.isna(frame["target_word"][0])
    assert (frame["foil_word"][1], frame["target_word"][1]) == ("dog", "cat")
    assert list(frame["pair"]) == ["900", "900"] and list(frame["group"]) == ["", ""]
    assert set(frame["image"]) == {"COCO_val2014_000000000042.jpg"}
    assert frame["pair_id"].is_unique and frame["error"].isna().all()
    assert "references" not in frame


def test_foil_pair_ids_are_unique_where_annotation_ids_repeat(tmp_path):
    frame = foil.load(foil_file(tmp_path, ORIGINAL, FOIL | {"id": 7}))
    assert frame["pair_id"].is_unique


@pytest.mark.parametrize("word", ["ORIG", "orig", "Orig"])
def test_foil_originals_are_known_in_any_case_of_letters(tmp_path, word):
    row = only_row(foil.load(foil_file(tmp_path, ORIGINAL | {"foil_word": word})))
    assert not row["is_foil"] and pd.isna(row["foil_word"]) and pd.isna(row["error"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"caption": None}, "no field 'caption'"),
        ({"caption": 5}, "must be text"),
        ({"image_id": 43}, "no name of image 43"),
        ({"image_id": [42]}, "unhashable"),
        ({"foil": "yes"}, "true or false"),
        ({"foil": False}, "'foil' is false but 'foil_word' is 'dog'"),
        ({"foil_word": "ORIG"}, "'foil' is true but 'foil_word' is 'ORIG'"),
        ({"foil_id": None}, "no field 'foil_id'"),
    ],
)
def test_bad_foil_annotation_is_an_error_of_its_row_alone(tmp_path, change, reason):
    frame = foil.load(foil_file(tmp_path, ORIGINAL, FOIL | change, FOIL))
    assert list(frame["error"].notna()) == [False, True, False]
    assert "record 1" in frame["error"][1] and reason in frame["error"][1]


def test_foil_annotation_that_is_no_record_is_an_error(tmp_path):
    frame = foil.load(foil_file(tmp_path, "text", ORIGINAL))
    assert list(frame["error"].notna()) == [True, False]


def test_foil_references_leave_out_the_own_text_and_its_original(tmp_path):
    folder = foil_file(tmp_path, ORIGINAL, FOIL)
    captions_file(tmp_path / "captions_val2014.json", "a cat watches the dog catcher.", "a pet\n")
    frame = foil.load(folder)
    assert list(frame["references"]) == [["a pet"], ["a pet"]]


def test_foil_references_may_be_an_option_and_may_be_none_at_all(tmp_path):
    folder = foil_file(tmp_path / "foil", ORIGINAL, FOIL)
    file = captions_file(
        tmp_path / "coco" / "captions_val2014.json", "a cat watches the dog catcher."
    )
    assert list(foil.load(folder, references=file)["references"]) == [[], []]
    assert list(foil.load(folder, references=file.parent)["references"]) == [[], []]


def test_foil_without_its_original_finds_it_by_whole_words(tmp_path):
    alone = FOIL | {"caption": "a dog watches the hotdog", "foil_id": 3}
    folder = foil_file(tmp_path, alone)
    captions_file(
        tmp_path / "captions_val2014.json", "a cat watches the hotdog", "a cat watches the hotcat"
    )
    assert only_row(foil.load(folder))["references"] == ["a cat watches the hotcat"]


@pytest.mark.parametrize(
    "content", [[], {}, {"annotations": []}, {"annotations": {}, "images": []}, 3]
)
def test_file_of_another_shape_is_not_taken_for_foil(tmp_path, content):
    file = write_json(tmp_path / "foilv1.0_test_2017.json", content)
    with pytest.raises(UserError, match="not a FOIL or COCO file|must hold a list"):
        foil.load(file)


def test_references_of_another_shape_are_refused(tmp_path):
    folder = foil_file(tmp_path, ORIGINAL)
    write_json(tmp_path / "captions_val2014.json", {"images": [], "annotations": [{"id": 1}]})
    with pytest.raises(UserError, match="annotation 0 is no caption"):
        foil.load(folder)


@pytest.mark.parametrize(
    "place",
    ["val2017/000000000042.jpg", "000000000042.jpg", "val2014/COCO_val2014_000000000042.jpg"],
)
def test_foil_photo_is_found_under_every_name_that_coco_gave_it(tmp_path, place):
    picture(tmp_path / "coco" / place)
    row = only_row(foil.load(foil_file(tmp_path, ORIGINAL), tmp_path / "coco"))
    assert row["image"] == place
    assert open_image(row["image"], tmp_path / "coco").size == (8, 8)


def test_missing_file_says_where_to_get_it(tmp_path):
    for loader in (foil, nocaps_foil, hat, seetrue, rich_hf):
        with pytest.raises(UserError, match="data/README.md"):
            loader.load(tmp_path)


# nocaps-FOIL

NOCAPS = {
    "image_path": "0013ea2087020901.jpg",
    "references": ["A child.", "A boy."],
    "baseline": " A kid in a shirt. ",
    "foil": "A kid in a hair dryer . ",
    "replacement": ["shirt", "hair dryer"],
    "domain": "in-domain",
}


def test_nocaps_record_is_two_samples_of_one_pair(tmp_path):
    records = [NOCAPS, NOCAPS | {"domain": "out-domain"}]
    frame = nocaps_foil.load(write_json(tmp_path / "nocaps-val-foil.json", records))
    assert list(frame["caption"]) == [NOCAPS["baseline"], NOCAPS["foil"]] * 2
    assert list(frame["is_foil"]) == [False, True] * 2
    assert pd.isna(frame["foil_word"][0]) and frame["foil_word"][1] == "hair dryer"
    assert pd.isna(frame["target_word"][0]) and frame["target_word"][1] == "shirt"
    assert list(frame["pair"]) == ["0", "0", "1", "1"]
    assert list(frame["group"]) == ["in-domain"] * 2 + ["out-domain"] * 2
    assert list(frame["references"]) == [NOCAPS["references"]] * 4
    assert frame["pair_id"].is_unique and frame["error"].isna().all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"foil": None}, "no field 'foil'"),
        ({"replacement": ["shirt"]}, "unpack"),
        ({"references": [1]}, "must be text"),
        ({"image_path": 7}, "must be text"),
    ],
)
def test_bad_nocaps_record_is_one_error(tmp_path, change, reason):
    file = write_json(tmp_path / "nocaps-val-foil.json", [NOCAPS | change, NOCAPS])
    frame = nocaps_foil.load(file)
    assert list(frame["error"].notna()) == [True, False, False]
    assert reason in frame["error"][0]


@pytest.mark.parametrize("folder", [".", "images"])
def test_nocaps_photo_is_found_beside_the_file_or_in_its_folder(tmp_path, folder):
    picture(tmp_path / folder / NOCAPS["image_path"])
    file = write_json(tmp_path / "nocaps-val-foil.json", [NOCAPS])
    for image in nocaps_foil.load(file, tmp_path)["image"]:
        assert open_image(image, tmp_path).size == (8, 8)


@pytest.mark.parametrize("loader", [nocaps_foil, hat])
def test_json_that_is_no_list_is_refused(tmp_path, loader):
    with pytest.raises(UserError, match="not a list of records"):
        loader.load(write_json(tmp_path / loader.FILES[0], {"0": {}}))


# HAT

HAT = {
    "sample_id": "a-b",
    "caption": "A sign pointing  in directions.",
    "grounding": [
        ["A", False],
        ["sign", False],
        ["pointing", True],
        ["in", False],
        ["directions.", True],
    ],
    "contains_hallucination": True,
    "image_path": "COCO_val2014_000000016903.jpg",
    "references": ["One.", "Two."],
    "is_gold": False,
    "is_positive": True,
    "is_machine_generated": True,
}
CLEAN = HAT | {
    "grounding": [[word, False] for word in HAT["caption"].split()],
    "contains_hallucination": False,
}


def test_hat_lists_the_hallucinated_tokens_with_their_punctuation(tmp_path):
    picture(tmp_path / "val2017/000000016903.jpg")
    frame = hat.load(write_json(tmp_path / "hat-trainval.json", [HAT, CLEAN]), tmp_path)
    assert list(frame["hallucinated"]) == [["pointing", "directions."], []]
    assert list(frame["is_foil"]) == [True, False]
    assert list(frame["references"]) == [["One.", "Two."]] * 2
    assert set(frame["image"]) == {"val2017/000000016903.jpg"}
    assert frame["caption"][0] == HAT["caption"] and frame["error"].isna().all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"caption": "A sign pointing in directions ."}, "not those of the caption"),
        ({"contains_hallucination": False}, "contradicts the flags"),
        ({"grounding": CLEAN["grounding"]}, "contradicts the flags"),
        ({"grounding": [["A"]]}, "unpack"),
        ({"caption": 3}, "must be text"),
        ({"image_path": None}, "no field 'image_path'"),
    ],
)
def test_bad_hat_record_is_an_error_of_its_row_alone(tmp_path, change, reason):
    frame = hat.load(write_json(tmp_path / "hat-trainval.json", [HAT | change, CLEAN]))
    assert list(frame["error"].notna()) == [True, False]
    assert reason in frame["error"][0]


# SeeTRUE-Feedback

SEETRUE = {
    "": "0",
    "image_caption": 'A woman with a Blue Shirt,\nsitting on a "bench".',
    "image_name": "COCO_val2014_000000000042.jpg",
    "dataset_source": "cococon",
    "id_in_source_dataset": "42.0",
    "image_url": "https://example.org/42.jpg",
    "human_feedback": '["The shirt is yellow, not blue.", "Not blue"]',
    "feedback": "The shirt is yellow",
    "feedback_clean": "The shirt is yellow",
    "caption_misalignment": "blue shirt",
    "visual_misalignment": "yellow shirt",
    "bbox_GroundingDino": "{'boxes': [[0.5, 0.5, 0.5, 0.2]], 'boxes_in_pixels': "
    "[[50.0, 100.0, 50.0, 40.0]], 'size': [200, 100], 'labels': ['yellow shirt(0.76)']}",
    "bbox_PaLI": "307 282 528 509 yellow shirt and 1 2 3 4 a man running and holding a football",
}


def write_csv(path, *rows):
    """Write rows as the official CSV does; the path."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_seetrue_csv_row_is_read_with_all_that_is_in_it(tmp_path):
    row = only_row(seetrue.load(write_csv(tmp_path / "SeeTRUE_Feedback.csv", SEETRUE)))
    assert row["caption"] == SEETRUE["image_caption"] and row["group"] == "cococon"
    assert row["feedback"] == ["The shirt is yellow, not blue.", "Not blue"]
    assert row["visual_misalignment"] == "yellow shirt" and pd.isna(row["error"])
    start, end = row["caption_span"]
    assert row["caption"][start:end] == "Blue Shirt"


def test_seetrue_boxes_become_corners(tmp_path):
    row = only_row(seetrue.load(write_csv(tmp_path / "SeeTRUE_Feedback.csv", SEETRUE)))
    assert row["boxes"] == [[25.0, 80.0, 75.0, 120.0]]
    assert row["box_labels"] == ["yellow shirt(0.76)"]
    assert row["boxes_pali"] == [[282, 307, 509, 528], [2, 1, 4, 3]]
    assert row["labels_pali"] == ["yellow shirt", "a man running and holding a football"]


def test_seetrue_cell_longer_than_the_csv_module_allows_is_read(tmp_path):
    long = SEETRUE | {"human_feedback": json.dumps(["x" * 200_000])}
    row = only_row(seetrue.load(write_csv(tmp_path / "SeeTRUE_Feedback.csv", long)))
    assert len(row["feedback"][0]) == 200_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox_GroundingDino": "{'boxes': ["}, "not a Python dict"),
        ({"bbox_GroundingDino": "__import__('os')"}, "malformed"),
        ({"bbox_GroundingDino": "{'labels': []}"}, "no field 'boxes_in_pixels'"),
        ({"bbox_GroundingDino": "{'boxes_in_pixels': [[5, 5, 0, 1]], 'labels': []}"}, "is empty"),
        ({"bbox_GroundingDino": "{'boxes_in_pixels': [[5, 5, 1]], 'labels': []}"}, "unpack"),
        ({"bbox_PaLI": "1 2 3 yellow shirt"}, "not four numbers and a label"),
        ({"human_feedback": "['no json']"}, "record 0"),
        ({"human_feedback": '"text"'}, "not a list"),
    ],
)
def test_bad_seetrue_row_is_an_error_of_its_row_alone(tmp_path, change, reason):
    file = write_csv(tmp_path / "SeeTRUE_Feedback.csv", SEETRUE | change, SEETRUE)
    frame = seetrue.load(file)
    assert list(frame["error"].notna()) == [True, False]
    assert reason in frame["error"][0]


def test_seetrue_row_with_cells_too_few_or_too_many_is_an_error(tmp_path):
    file = write_csv(tmp_path / "SeeTRUE_Feedback.csv", SEETRUE)
    with open(file, "a") as opened:
        opened.write("1,only a caption\n" + ",".join("x" * 14) + "\n")
    errors = list(seetrue.load(file)["error"])
    assert pd.isna(errors[0]) and "no field" in errors[1] and "more cells" in errors[2]


def test_rows_without_any_box_have_empty_lists(tmp_path):
    none = SEETRUE | {"bbox_PaLI": "", "bbox_GroundingDino": ""}
    row = only_row(seetrue.load(write_csv(tmp_path / "SeeTRUE_Feedback.csv", none)))
    assert row["boxes"] == [] == row["boxes_pali"] and pd.isna(row["error"])


def test_csv_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="not SeeTRUE-Feedback"):
        seetrue.load(write_csv(tmp_path / "SeeTRUE_Feedback.csv", {"a": 1}))


def hugging_face(row, name):
    """The row as the Hugging Face set stores it, with an image of that name inside."""
    return row | {"image": {"bytes": b"not read at all", "path": name}}


def test_seetrue_parquet_gives_the_same_rows_without_reading_the_pictures(tmp_path):
    rows = [hugging_face(SEETRUE, "a.png"), hugging_face(SEETRUE | {"": "1"}, "b.png")]
    (tmp_path / "data").mkdir()
    for piece, row in enumerate(rows):
        name = f"data/test-{piece:05}-of-00002-0123abcd.parquet"
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / name)
    frame = seetrue.load(tmp_path)
    assert len(frame) == 2 and frame["error"].isna().all() and frame["pair_id"].is_unique
    expected = only_row(seetrue.load(write_csv(tmp_path / "SeeTRUE_Feedback.csv", SEETRUE)))
    for name in ("caption", "caption_span", "boxes", "boxes_pali", "feedback", "image"):
        assert frame[name][0] == expected[name]


@pytest.mark.parametrize(
    "place",
    [
        "a.png",
        "cococon/COCO_val2014_000000000042.jpg",
        "images/COCO_val2014_000000000042.jpg",
        "val2017/000000000042.jpg",
    ],
)
def test_seetrue_picture_is_found_by_each_of_its_names(tmp_path, place):
    picture(tmp_path / "images" / place)
    rows = pa.Table.from_pylist([hugging_face(SEETRUE, "a.png")])
    pq.write_table(rows, tmp_path / "test-00000-of-00001.parquet")
    assert only_row(seetrue.load(tmp_path, tmp_path / "images"))["image"] == place


@pytest.mark.parametrize(
    ("caption", "part", "found"),
    [
        ("a blue shirt", "blue shirt", "blue shirt"),
        ("a woman and a man", "man", "man"),  # the word, not the end of "woman"
        ("A Cat", "cat", "Cat"),
        ("a tomcat", "cat", "cat"),
        ("a tomCat", "cat", "Cat"),
        (
            "A banana on the left of an apple.",
            "banana left of an apple",
            "banana on the left of an apple",
        ),
        ("A black cat sleeping, a cat", "sleeping cat", "cat sleeping"),
        (
            "A green apple and a black backpack.",
            "black backpack . green apple",
            "green apple and a black backpack",
        ),
        ("a dog", "cat", None),
        ("a red dog", "red blue green cat", None),
        ("a dog", " ", None),
        ("costs (5.0)?", "(5.0)?", "(5.0)?"),
    ],
)
def test_misaligned_part_of_a_caption_is_found(caption, part, found):
    span = seetrue.find_span(caption, part)
    assert (caption[slice(*span)] if span else None) == found


# Rich-HF-18K

UIDS = ["11111111-aaaa-4aaa-8aaa-000000000001", "22222222-bbbb-4bbb-8bbb-000000000002"]


def encoded_map(mode="L"):
    """A map of 4 x 6 pixels with one value per row, as PNG."""
    values = np.repeat(np.arange(4, dtype=np.uint8)[:, None] * 80, 6, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def rich_hf_example(uid, labels="1 1 0 0 1", **changes):
    """An official record, encoded; features changed to None are left out."""
    features = {
        "filename": f"test/{uid}.png".encode(),
        "aesthetics_score": 0.25,
        "artifact_score": 0.5,
        "misalignment_score": 0.75,
        "overall_score": 1.0,
        "artifact_map": encoded_map(),
        "misalignment_map": encoded_map(),
        "prompt_misalignment_label": labels.encode(),
    }
    kept = {name: value for name, value in (features | changes).items() if value is not None}
    return encode_example(kept)


def pick_a_pic(path, *captions, pictures=(b"\xff\xd8 jpeg", b"\x89PNG png")):
    """A table of Pick-a-Pic in which each prompt has the two uids; the path."""
    rows = [
        {
            "image_0_uid": UIDS[0],
            "image_1_uid": UIDS[1],
            "caption": caption,
            "jpg_0": pictures[0],
            "jpg_1": pictures[1],
            "are_different": True,
        }
        for caption in captions
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


PROMPT = "A cat, red: big!"


@pytest.fixture
def rich(tmp_path):
    """A folder with a test split of one good record and its prompts."""
    write_records(tmp_path / "test.tfrecord", [rich_hf_example(UIDS[0], "1 0 1 0")])
    pick_a_pic(tmp_path / "pickapic_v1" / "data" / "test-00000-of-00001.parquet", PROMPT)
    return tmp_path


def test_rich_hf_record_is_joined_with_its_prompt(rich):
    row = only_row(rich_hf.load(rich))
    assert pd.isna(row["error"])
    assert row["caption"] == PROMPT and row["uid"] == UIDS[0]
    assert row["tokens"] == ["A", "cat", "red", "big"]
    assert row["labels"] == [True, False, True, False]
    assert [PROMPT[start:end] for start, end in row["token_spans"]] == ["cat", "big"]
    scores = [row[name] for name in ("score", "aesthetics_score", "artifact_score")]
    assert scores == [0.75, 0.25, 0.5] and row["overall_score"] == 1.0
    assert not row["truncated_labels"]
    assert row["image"] == f"test/{UIDS[0]}.png"


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("a (b-c), d.e", ["a", "(b-c)", "d", "e"]),
        ('x:y;z "q"? !', ["x", "y", "z", "q"]),
        ("one \n two\tthree", ["one", "\n", "two\tthree"]),
        ("...", []),
    ],
)
def test_rich_hf_tokens_are_split_as_the_authors_split_them(prompt, tokens):
    assert [prompt[start:end] for start, end in rich_hf.split_tokens(prompt)] == tokens


@pytest.mark.parametrize(("labels", "n"), [("1 0", 2), ("1 0 1 0 1 1", 4), ("", 0)])
def test_lists_of_different_lengths_are_cut_and_flagged(rich, labels, n):
    write_records(rich / "test.tfrecord", [rich_hf_example(UIDS[0], labels)])
    row = only_row(rich_hf.load(rich))
    assert row["truncated_labels"] and pd.isna(row["error"])
    assert len(row["tokens"]) == len(row["labels"]) == n


def test_bad_rich_hf_records_are_errors_and_the_others_stay(rich):
    good = rich_hf_example(UIDS[0], "1 0 1 0")
    bad = {
        "no prompt for 'unknown'": rich_hf_example("unknown"),
        "something else than 0 and 1": rich_hf_example(UIDS[0], "1 2"),
        "'misalignment_score' must be one value": rich_hf_example(UIDS[0], misalignment_score=None),
        "'filename' must be one value": rich_hf_example(UIDS[0], filename=3),
        "not a tf.train.Example": b"\x0f\x0f",
    }
    write_records(rich / "test.tfrecord", [good, *bad.values(), good])
    errors = rich_hf.load(rich)["error"]
    assert list(errors.notna()) == [False, *[True] * len(bad), False]
    for number, reason in enumerate(bad, start=1):
        assert f"record {number}" in errors[number] and reason in errors[number]


def test_damaged_record_keeps_its_number_and_the_others_stay(rich):
    records = [rich_hf_example(UIDS[n % 2], "1 0 1 0") for n in range(3)]
    write_records(rich / "test.tfrecord", records)
    content = bytearray((rich / "test.tfrecord").read_bytes())
    start = len(records[0]) + 16
    content[start + 100] ^= 2
    (rich / "test.tfrecord").write_bytes(content)
    frame = rich_hf.load(rich)
    assert list(frame["error"].notna()) == [False, True, False]
    assert frame["error"][1] == f"record 1 at byte {start}: the data's checksum is wrong"
    assert frame["pair_id"].is_unique


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_prompts_may_come_from_a_table_that_is_named(rich, tmp_path, ending):
    file = tmp_path / f"prompts.{ending}"
    rows = [{"image_0_uid": "x", "image_1_uid": UIDS[0], "caption": "Other, text"}]
    if ending == "csv":
        write_csv(file, *rows)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    row = only_row(rich_hf.load(rich, prompts=file))
    assert row["caption"] == "Other, text" and row["truncated_labels"]


def test_prompts_may_come_from_a_folder_of_pieces(rich, tmp_path):
    folder = tmp_path / "elsewhere"
    pick_a_pic(folder / "a" / "test-00000-of-00002.parquet")
    pick_a_pic(folder / "a" / "test-00001-of-00002.parquet", "from piece two, ok")
    with pytest.raises(UserError, match="no column 'image_0_uid'"):
        rich_hf.load(rich, prompts=folder)  # the first piece has no rows and so no columns
    (folder / "a" / "test-00000-of-00002.parquet").unlink()
    assert only_row(rich_hf.load(rich, prompts=folder))["caption"] == "from piece two, ok"


def test_missing_prompts_say_where_to_get_them(tmp_path):
    write_records(tmp_path / "test.tfrecord", [rich_hf_example(UIDS[0])])
    with pytest.raises(UserError, match="no table of prompts .* data/README.md"):
        rich_hf.load(tmp_path)


@pytest.mark.parametrize("name", ["test.tfrecord", "pickapic_v1/data/test-00000-of-00001.parquet"])
def test_pointer_of_git_lfs_is_named_as_such(rich, name):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4096\n"
    (rich / name).write_text(pointer)
    with pytest.raises(UserError, match="Git LFS pointer"):
        rich_hf.load(rich)


def test_broken_table_of_prompts_is_a_user_error(rich):
    (rich / "broken.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(UserError, match="cannot read .*broken.parquet"):
        rich_hf.load(rich)


def test_other_split_is_another_file(rich):
    (rich / "test.tfrecord").rename(rich / "dev.tfrecord")
    assert len(rich_hf.load(rich, split="dev")) == 1


def test_pictures_come_out_of_the_table_and_are_found(rich):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 5), "blue").save(buffer, "JPEG")
    table = pick_a_pic(rich / "p.parquet", PROMPT, PROMPT, pictures=(buffer.getvalue(), None))
    missing = pickapic.extract_pictures(table, rich / "images", [UIDS[0], UIDS[1], "unknown"])
    assert missing == sorted([UIDS[1], "unknown"])
    assert [p.name for p in (rich / "images").iterdir()] == [f"{UIDS[0]}.jpg"]
    row = only_row(rich_hf.load(rich, rich / "images"))
    assert open_image(row["image"], rich / "images").size == (5, 5)


def test_picture_that_is_there_is_kept(rich):
    table = pick_a_pic(rich / "p.parquet", PROMPT)
    (rich / "images").mkdir()
    (rich / "images" / f"{UIDS[0]}.jpg").write_bytes(b"mine")
    assert pickapic.extract_pictures(table, rich / "images", UIDS) == []
    assert (rich / "images" / f"{UIDS[0]}.jpg").read_bytes() == b"mine"
    assert (rich / "images" / f"{UIDS[1]}.png").read_bytes() == b"\x89PNG png"


@pytest.mark.parametrize("uid", ["../escape", "a/b", ".hidden", ""])
def test_uid_that_is_no_file_name_is_refused(rich, uid):
    with pytest.raises(UserError, match="not an image's uid"):
        pickapic.extract_pictures(pick_a_pic(rich / "p.parquet", PROMPT), rich / "images", [uid])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_map_is_decoded_to_one_channel(rich, mode):
    values = rich_hf.decode_map(encoded_map(mode))
    assert values.shape == (4, 6) and values.dtype == np.uint8
    assert values[:, 0].tolist() == [0, 80, 160, 240]
    stored = only_row(rich_hf.load(rich))["misalignment_map"]
    assert rich_hf.decode_map(stored).tolist() == values.tolist()


@pytest.mark.parametrize("encoded", [b"", b"GIF89a", encoded_map()[:50]])
def test_map_that_cannot_be_decoded_is_an_image_error(encoded):
    with pytest.raises(ImageError, match="cannot read a map"):
        rich_hf.decode_map(encoded)
