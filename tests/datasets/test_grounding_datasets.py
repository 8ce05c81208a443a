"""Grounding loaders on hand-written official files, and the embedded world exported to each."""

import json
import os
import pickle
import re

import numpy as np
import pytest
from PIL import Image

from clip_attribution.datasets import (
    GROUNDING,
    coco_instances,
    flickr30k_entities,
    get_benchmark,
    names_of,
    refcoco,
    restricted_pickle,
    spatialsense,
)
from clip_attribution.datasets.boxes import COLUMNS, corner_box, enclosing, sized_box
from clip_attribution.datasets.scenes_phrases import load_scenes
from clip_attribution.errors import UserError
from clip_attribution.io.images import open_image
from clip_attribution.scenes import generator, render_array, sample_scene, scene_phrases
from clip_attribution.scenes.vocabulary import COLOURS, COUNTS, NOUNS, plural

WRITERS = {name: get_benchmark(name).write for name in names_of(GROUNDING)}


def write(path, content):
    """Write text, or anything else as JSON, with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def reasons(frame):
    """{pair_id: error} of the rows with an error."""
    bad = frame[frame["error"].notna()]
    return dict(zip(bad["pair_id"], bad["error"], strict=True))


# boxes


def test_boxes_are_checked_and_converted():
    assert corner_box([1, 2, 4, 6]) == [1.0, 2.0, 4.0, 6.0]
    assert sized_box([1, 2, 3, 4], 10, 10) == [1.0, 2.0, 4.0, 6.0]
    assert corner_box([-3, 5, 40, 8], 20, 20) == [-3, 5, 40, 8]  # partly outside: as stored
    assert enclosing([[1, 5, 3, 6], [2, 1, 9, 4]]) == [1, 1, 9, 6]


@pytest.mark.parametrize(
    "box, reason",
    [
        ([1, 2, 3], "four numbers"),
        (None, "four numbers"),
        ("1234", "four numbers"),
        ([1, 2, "3", 4], "four numbers"),
        ([1, 2, True, 4], "four numbers"),
        ([1, 2, float("nan"), 4], "not finite"),
        ([1, 2, float("inf"), 4], "not finite"),
        ([5, 2, 5, 4], "empty"),
        ([5, 4, 6, 3], "empty"),
        ([20, 2, 25, 4], "outside"),
        ([1, 10, 2, 12], "outside"),
        ([-5, 1, 0, 3], "outside"),
    ],
)
def test_a_malformed_box_says_why(box, reason):
    with pytest.raises(ValueError, match=reason):
        corner_box(box, 20, 10)


# the restricted unpickler

PYTHON_2 = (  # as cPickle writes with protocol 0: byte strings, text, longs, booleans, memos
    b"(lp1\n(dp2\nS'sent'\np3\nS'caf\\xe9'\np4\nsS'raw'\np5\nVcaf\\u00e9\np6\nsS'n'\np7\nL12L\n"
    b"sS'ok'\np8\nI01\nsS'f'\np9\nF1.5\nsS'none'\nNsS't'\n(I1\nI2\ntsa."
)


def test_plain_data_of_python_2_is_read(tmp_path):
    (tmp_path / "refs.p").write_bytes(PYTHON_2)
    assert restricted_pickle.load(tmp_path / "refs.p") == [
        {
            "sent": "caf\xe9",
            "raw": "caf\xe9",
            "n": 12,
            "ok": True,
            "f": 1.5,
            "none": None,
            "t": (1, 2),
        }
    ]


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"echo > {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_a_command_is_refused(tmp_path, protocol):
    ran = tmp_path / "ran"
    bytes_ = pickle.dumps([{"sent": "x"}, Payload(ran)], protocol)
    (tmp_path / "refs.p").write_bytes(bytes_)
    with pytest.raises(UserError, match=r"asks for (posix|nt)\.system"):
        restricted_pickle.load(tmp_path / "refs.p")
    assert not ran.exists()
    pickle.loads(bytes_)  # the payload is a real one
    assert ran.exists()


@pytest.mark.parametrize(
    "content, named",
    [
        (pickle.dumps(np.int64(3)), r"numpy.*\.(scalar|dtype)"),
        (pickle.dumps(np.zeros(3)), "numpy"),
        (pickle.dumps(OSError("x")), r"builtins\.OSError"),
        (b"c__builtin__\neval\n(S'1'\ntR.", r"\.eval"),
        (b"(lp1\nS'cut", "plain data"),
        (b"", "plain data"),
        (b"no pickle", "plain data"),
    ],
)
def test_everything_but_plain_data_is_refused_by_name(tmp_path, content, named):
    (tmp_path / "refs.p").write_bytes(content)
    with pytest.raises(UserError, match=named) as caught:
        restricted_pickle.load(tmp_path / "refs.p")
    assert "\n" not in str(caught.value)


# Flickr30k Entities

SENTENCES = """\
[/EN#1/people A man 's] [/EN#2/bodyparts/people arm][/EN#3/clothing red sleeve] in [/EN#4/scene a hall] .
[/EN#0/notvisual There] are [/EN#3/clothing two sleeves] near [/EN#5/other a ghost] and [/EN#6/other air] .
Nothing is marked here .
[/EN#1/people A man [/EN#2/other nested] ] stands .
[/EN#7/other a  broken  box] and [/EN#8/other one outside] and [/EN#9/other ]

"""  # noqa: E501 the official file has long lines

XML = """\
<annotation><filename>42.jpg</filename>
<size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>1</name><name>2</name><bndbox><xmin>1</xmin><ymin>11</ymin><xmax>40</xmax><ymax>80</ymax></bndbox></object>
<object><name>3</name><bndbox><xmin>21</xmin><ymin>31</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>4</name><scene>1</scene><nobndbox>0</nobndbox></object>
<object><name>3</name><bndbox><xmin>51</xmin><ymin>5</ymin><xmax>60</xmax><ymax>35</ymax></bndbox></object>
<object><name>5</name><scene>0</scene><nobndbox>1</nobndbox></object>
<object><name>7</name><bndbox><xmin>9</xmin><ymin>5</ymin><xmax>?</xmax><ymax>35</ymax></bndbox></object>
<object><name>8</name><bndbox><xmin>101</xmin><ymin>5</ymin><xmax>120</xmax><ymax>35</ymax></bndbox></object>
</annotation>
"""  # noqa: E501


@pytest.fixture
def flickr(tmp_path):
    """Two photos of the test split; the second has no XML."""
    write(tmp_path / "Sentences/42.txt", SENTENCES)
    write(tmp_path / "Annotations/42.xml", XML)
    write(tmp_path / "Sentences/43.txt", "[/EN#0/notvisual It] is [/EN#1/other a cup] .\r\n")
    write(tmp_path / "test.txt", "42\n43\n44\n../43\n")
    write(tmp_path / "UNRELATED_CAPTIONS", "# format: <imageID> <sentence number>\n42 2\n")
    write(tmp_path / "photos/flickr30k-images/42.jpg", "only its place matters")
    return tmp_path


def test_flickr_phrases_get_the_box_around_their_chain(flickr):
    frame = flickr30k_entities.load(flickr, flickr / "photos")
    assert list(frame.columns) == [*COLUMNS, "chain"] and frame["pair_id"].is_unique
    good = frame[frame["error"].isna()]
    facts = good[["pair_id", "phrase", "type", "boxes"]].values.tolist()
    assert facts == [
        ["42#0:0", "A man 's", "people", [[0, 10, 40, 80]]],
        ["42#0:1", "arm", "bodyparts/people", [[0, 10, 40, 80]]],
        ["42#0:2", "red sleeve", "clothing", [[20, 4, 60, 40]]],
        ["42#1:1", "two sleeves", "clothing", [[20, 4, 60, 40]]],
    ]
    assert good["caption"].iloc[0] == "A man 's arm red sleeve in a hall ."
    assert (good["image"] == "flickr30k-images/42.jpg").all() and (good["group"] == "test").all()
    assert (good["width"] == 100).all() and (good["height"] == 80).all()
    for row in good.itertuples():
        assert row.caption[int(row.start) : int(row.end)] == row.phrase
    assert frame.attrs["left_out"] == {
        "notvisual": 2,
        "scene": 1,
        "nobndbox": 1,
        "unlisted": 1,
        "unrelated": 0,
    }


def test_flickr_boxes_can_stay_separate(flickr):
    frame = flickr30k_entities.load(flickr, protocol="separate").set_index("pair_id")
    assert frame.loc["42#0:2", "boxes"] == [[20, 30, 30, 40], [50, 4, 60, 35]]
    assert frame.loc["42#0:2", "image"] == "42.jpg"


def test_what_is_wrong_in_flickr_files_stands_in_its_row(flickr):
    found = reasons(flickr30k_entities.load(flickr))
    assert set(found) == {"42#3", "42#4:0", "42#4:1", "42#4:2", "43#0:1", "record 2", "record 3"}
    assert "brackets" in found["42#3"] and "empty phrase" in found["42#4:2"]
    assert "four numbers" in found["42#4:0"] and "outside" in found["42#4:1"]
    assert "no Annotations/43.xml" in found["43#0:1"]
    assert "no Sentences/44.txt" in found["record 2"] and "no image id" in found["record 3"]


def test_flickr_options_keep_or_drop_phrases(flickr):
    frame = flickr30k_entities.load(flickr, include_unboxed=True).set_index("pair_id")
    for pair_id, phrase in {"42#0:3": "a hall", "42#1:0": "There", "42#1:2": "a ghost"}.items():
        assert frame.loc[pair_id, "phrase"] == phrase and frame.loc[pair_id, "boxes"] == []
    frame = flickr30k_entities.load(flickr, drop_unrelated=True)
    assert not frame["pair_id"].str.startswith("42#1").any()
    assert frame.attrs["left_out"]["unrelated"] == 4
    assert len(flickr30k_entities.load(flickr / "Sentences/43.txt")) == 1
    assert set(flickr30k_entities.load(flickr, split=None)["group"]) == {""}
    for options in ({"protocol": "any"}, {"split": "val"}):
        with pytest.raises(UserError):
            flickr30k_entities.load(flickr, **options)


@pytest.mark.parametrize(
    "xml, reason",
    [
        ('<!DOCTYPE a [<!ENTITY b "bb">]>' + XML, "document type"),
        ("<annotation>", "no element found"),
        ("", "no element found"),
        ("<annotation></annotation>", "invalid literal"),
    ],
)
def test_a_bad_xml_is_the_error_of_all_its_phrases(flickr, xml, reason):
    write(flickr / "Annotations/43.xml", xml)
    frame = flickr30k_entities.load(flickr)
    assert reason in reasons(frame)["43#0:1"] and "42#0:0" not in reasons(frame)


# RefCOCO


def instances(*annotations, **changes):
    """A COCO instances file with one image of 60 x 40."""
    file = {
        "images": [
            {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 60, "height": 40}
        ],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
    }
    return file | changes


def annotation(number, box, category=1, image=7, **more):
    return {
        "id": number,
        "bbox": box,
        "category_id": category,
        "image_id": image,
        "iscrowd": 0,
        "segmentation": [],
        "area": 1.0,
    } | more


def ref(number, ann_id, split, *texts, image=7):
    sentences = [
        {"tokens": t.split(), "raw": t.upper(), "sent": t, "sent_id": 10 * number + k}
        for k, t in enumerate(texts)
    ]
    return {
        "ref_id": number,
        "ann_id": ann_id,
        "image_id": image,
        "split": split,
        "category_id": 1,
        "file_name": f"COCO_train2014_000000000007_{number}.jpg",
        "sentences": sentences,
        "sent_ids": [],
    }


@pytest.fixture
def refs(tmp_path):
    found = [
        ref(0, 5, "testA", "the lady", "left \xe9 one"),
        ref(1, 5, "train", "not asked for"),
        ref(2, 6, "testA", "no such box"),
        ref(3, 5, "testA", "no image", image=8),
        ref(4, 9, "testA", "flat box"),
        ref(5, 5, "testA", " "),
        "no ref",
    ]
    folder = tmp_path / "refcoco+"
    boxes = annotation(5, [10.5, 20, 5, 6.25]), annotation(9, [1, 1, 0, 5])
    write(folder / "instances.json", instances(*boxes))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(found, 2))
    write(tmp_path / "train2014/COCO_train2014_000000000007.jpg", "only its place matters")
    return tmp_path


def test_refcoco_gives_a_row_an_expression(refs):
    frame = refcoco.load(refs, refs, dataset="refcoco+")
    assert list(frame.columns) == list(COLUMNS) and frame["pair_id"].is_unique
    good = frame[frame["error"].isna()]
    assert good["phrase"].tolist() == ["the lady", "left \xe9 one"] == good["caption"].tolist()
    assert good["boxes"].tolist() == [[[10.5, 20.0, 15.5, 26.25]]] * 2
    assert set(good["image"]) == {"train2014/COCO_train2014_000000000007.jpg"}
    assert (
        good[["type", "group", "width", "height"]].values.tolist()
        == [["person", "testA", 60, 40]] * 2
    )
    found = reasons(frame)
    assert set(found) == {"2:0", "3:0", "4:0", "5:0", "record 6"}
    assert "unknown annotation 6" in found["2:0"] and "unknown image 8" in found["3:0"]
    assert "empty" in found["4:0"] and "no text" in found["5:0"] and "no ref" in found["record 6"]
    assert len(refcoco.load(refs / "refcoco+", dataset="refcoco+", split=None)) == len(frame) + 1


def test_refcoco_says_what_is_missing(refs):
    with pytest.raises(UserError, match="no split 'testB'.*testA, train"):
        refcoco.load(refs, dataset="refcoco+", split="testB")
    with pytest.raises(UserError, match="belongs to refcoco"):
        refcoco.load(refs / "refcoco+", dataset="refcoco")
    with pytest.raises(UserError, match="refs.unc..p"):
        refcoco.load(refs, dataset="refcoco")
    with pytest.raises(UserError, match="no dataset"):
        refcoco.load(refs, dataset="refclef")
    write(refs / "refcoco+/instances.json", [])
    with pytest.raises(UserError, match="not an instances file"):
        refcoco.load(refs, dataset="refcoco+")


# SpatialSense


def relation(number, predicate="on", label=True, **subject):
    """A cat at x 31..264, y 230..434 on ground at x 3..278, y 196..500."""
    return {
        "_id": f"r{number}",
        "predicate": predicate,
        "label": label,
        "object": {"y": 402, "x": 148, "name": "ground", "bbox": [196, 500, 3, 278]},
        "subject": {"y": 317, "x": 157, "name": "cat", "bbox": [230, 434, 31, 264]} | subject,
    }


@pytest.fixture
def spatial(tmp_path):
    image = {
        "url": "https://farm4.staticflickr.com/3543/57_8b.jpg",
        "nsid": "1@N03",
        "height": 500,
        "width": 281,
        "split": "test",
    }
    nyu = {"url": "nyu/some/12.jpg", "height": 500, "width": 281, "split": "test"}
    records = [
        image
        | {
            "annotations": [
                relation(1),
                relation(2, label=False),
                relation(3, "under", bbox=[230, 230, 31, 264]),
                relation(4, bbox=[1, 2, 3]),
                {"_id": "r5"},
                relation(6, label=None),
                7,
            ]
        },
        nyu | {"annotations": [relation(8, "to the left of")]},
        image | {"split": "train", "annotations": [relation(9)]},
        {"split": "test", "annotations": [relation(10)]},
        image | {"url": 5, "annotations": [relation(11)]},
    ]
    write(tmp_path / "annotation.json", records)
    write(tmp_path / "images/nyu/12.jpg", "only its place matters")
    return tmp_path


@pytest.mark.parametrize(
    "setting, phrase, box, role",
    [
        ("triplet", "cat on ground", [31, 230, 264, 434], "relation"),
        ("subject", "cat", [31, 230, 264, 434], "object"),
        ("object", "ground", [3, 196, 278, 500], "object"),
    ],
)
def test_spatialsense_asks_for_one_box_in_each_setting(spatial, setting, phrase, box, role):
    frame = spatialsense.load(spatial, spatial, setting=setting)
    assert list(frame.columns) == [*COLUMNS, "label"] and frame["pair_id"].is_unique
    row = frame.set_index("pair_id").loc["r1"]
    assert (row["phrase"], row["boxes"], row["role"]) == (phrase, [box], role)
    assert row["caption"] == "cat on ground" and row["group"] == setting and row["type"] == "on"
    assert row["caption"][int(row["start"]) : int(row["end"])] == phrase
    assert row["image"] == "flickr/57_8b.jpg" and (row["width"], row["height"]) == (281, 500)
    assert frame.set_index("pair_id").loc["r8", "image"] == "images/nyu/12.jpg"
    assert frame.attrs["left_out"] == {"false": 1} and "r9" not in set(frame["pair_id"])


def test_what_is_wrong_in_spatialsense_stands_in_its_row(spatial):
    found = reasons(spatialsense.load(spatial))
    assert set(found) == {"r3", "r4", "r5", "r6", "0:6", "record 3", "record 4"}
    assert "empty" in found["r3"] and "four numbers" in found["r4"] and "label" in found["r6"]
    assert "'subject'" in found["r5"] and "not a record" in found["0:6"]
    assert "no field 'url'" in found["record 3"] and "no text" in found["record 4"]
    frame = spatialsense.load(spatial, only_true=False, split=None).set_index("pair_id")
    assert not frame.loc["r2", "label"] and frame.loc["r9", "label"] and "r2" not in found
    for options in ({"setting": "all"}, {"split": "valid"}):
        with pytest.raises(UserError):
            spatialsense.load(spatial, **options)


# COCO instances


def test_coco_gives_a_row_a_picture_and_category(tmp_path):
    write(
        tmp_path / "annotations/instances_val2017.json",
        instances(
            annotation(1, [1, 2, 3, 4]),
            annotation(2, [0, 0, 60, 40], 90),
            annotation(3, [55.5, 2, 10, 4]),
            annotation(4, [0, 0, 9, 9], iscrowd=1),
            annotation(5, [1, 2, 0, 4]),
            annotation(6, [1, 2, float("nan"), 4]),
            annotation(7, [70, 2, 3, 4]),
            annotation(8, [1, 2, 3]),
            annotation(9, None, 90),
            annotation(10, [1, 2, 3, 4], 91),
            annotation(11, [1, 2, 3, 4], image=8),
            "no record",
        ),
    )
    write(tmp_path / "val2017/000000000007.jpg", "only its place matters")
    frame = coco_instances.load(tmp_path, tmp_path, prompt="a photo of a {}.")
    assert list(frame.columns) == list(COLUMNS) and frame["pair_id"].is_unique
    good = frame[frame["error"].isna()].set_index("pair_id")
    assert good["boxes"].to_dict() == {
        "7:1": [[1, 2, 4, 6], [55.5, 2, 65.5, 6]],
        "7:90": [[0, 0, 60, 40]],
    }
    assert good["phrase"].tolist() == ["a photo of a person.", "a photo of a toothbrush."]
    assert set(good["image"]) == {"val2017/000000000007.jpg"} and set(good["role"]) == {"object"}
    found = reasons(frame)
    assert set(found) == {"7:1:5", "7:1:6", "7:1:7", "7:1:8", "7:90:9"} | {
        pair_id for pair_id in found if pair_id.startswith("record")
    }
    assert len(found) == 8 and frame.attrs["left_out"] == {"crowd": 1}
    assert "empty" in found["7:1:5"] and "finite" in found["7:1:6"] and "outside" in found["7:1:7"]
    assert {r for r in map(str, found.values()) if "unknown" in r} == {
        "record 2: unknown category 91",
        "record 3: unknown image 8",
    }
    frame = coco_instances.load(tmp_path, per="box")
    good = frame[frame["error"].isna()]
    assert good["pair_id"].tolist() == ["7:1:1", "7:90:2", "7:1:3"]
    assert good["phrase"].tolist() == ["person", "toothbrush", "person"]
    assert set(good["image"]) == {"COCO_train2014_000000000007.jpg"} and len(frame) == 3 + 8


def test_coco_says_what_is_missing(tmp_path):
    write(tmp_path / "instances_val2017.json", {"images": [], "annotations": []})
    for options in ({}, {"split": "train2017"}, {"prompt": "a photo"}, {"per": "image"}):
        with pytest.raises(UserError):
            coco_instances.load(tmp_path, **options)
    write(tmp_path / "instances_val2017.json", instances())
    assert len(coco_instances.load(tmp_path)) == 0


# phrases of the embedded world


def names(entity):
    return {entity.noun, plural(entity.noun)}


def test_the_three_roles_of_scene_phrases_ask_for_three_things():
    frame = load_scenes(150, seed=3, size=128)
    assert list(frame.columns) == list(COLUMNS) and frame["pair_id"].is_unique
    assert set(frame["role"]) == {"object", "attribute", "relation"} and frame["error"].isna().all()
    nouns = {*NOUNS, *map(plural, NOUNS), "sign"}
    for row in frame.itertuples():
        assert row.caption[row.start : row.end] == row.phrase and row.boxes
        index = int(row.image.split(":")[2])
        things = sample_scene(generator(3, index)).entities
        if row.role == "object":
            assert row.phrase in nouns
            named = [e for e in things if row.phrase in names(e)]
        elif row.role == "attribute":
            word = row.phrase.lower()
            assert word in COLOURS or word in COUNTS or word in ("small", "large")
            named = [e for e in things if word in (e.colour, e.size) or COUNTS.get(word) == e.count]
        else:
            named = things[:1]
            words = row.phrase.split()
            assert words[-1] in names(things[1]) and names(things[0]) & set(words[:-1])
        if row.type != "sign":
            assert row.boxes == [[2.0 * c for c in b] for e in named for b in e.boxes]
    whole = [[0.0, 0.0, 128.0, 128.0]]
    assert whole not in frame["boxes"].tolist() and frame.attrs["left_out"]["ground"] > 0


def test_scene_phrases_agree_with_the_captions_own():
    """Every noun and clause lies inside phrases that the world's own loader gives."""
    known = scene_phrases(60, seed=3, size=128)
    spans = {(c, s, e): b for c, s, e, b in known[["caption", "start", "end", "boxes"]].values}
    frame = load_scenes(60, seed=3, size=128, attribute="phrase")
    full = frame[frame["role"] == "attribute"]
    assert len(full) and set(full["type"]) <= {
        "colour",
        "size",
        "count",
        "size/colour",
        "count/colour",
    }
    for row in frame[frame["role"] != "relation"].itertuples():
        holding = [
            boxes
            for (caption, start, end), boxes in spans.items()
            if caption == row.caption and start <= row.start and row.end <= end
        ]
        assert row.boxes in holding


def test_scene_phrases_of_new_combinations_and_options():
    frame = load_scenes(20, seed=1, combinations="novel")
    assert set(frame["group"]) == {"novel"} and frame["image"].str.endswith(":64:novel").all()
    assert open_image(frame["image"].iloc[0]).size == (64, 64)
    with pytest.raises(UserError, match="attribute"):
        load_scenes(1, attribute="noun")


# exports

LOADERS = {
    "flickr30k-entities": lambda folder: flickr30k_entities.load(
        folder, folder, protocol="separate"
    ),
    "refcoco": lambda folder: refcoco.load(folder, folder, split=None),
    "refcoco+": lambda folder: refcoco.load(folder, folder, "refcoco+", split=None),
    "spatialsense": lambda folder: spatialsense.load(folder, folder, setting="object"),
    "coco": lambda folder: coco_instances.load(folder, folder),
}
SEED, N, SIZE = 2, 12, 256


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """{benchmark: (folder, frame)} of the exported world."""
    found = {}
    for name, export in WRITERS.items():
        folder = tmp_path_factory.mktemp("export")
        export(folder, N, SEED, SIZE)
        found[name] = folder, LOADERS[name](folder)
    return found


def scene_behind(image):
    """The scene whose index the image's name ends with."""
    return sample_scene(generator(SEED, int(re.findall(r"\d+", image)[-1]) % 1_000_000))


def pixels(*entities):
    return [[c * SIZE / 64 for c in box] for entity in entities for box in entity.boxes]


def test_every_grounding_export_is_read_back_without_an_error(exported):
    assert set(exported) == set(LOADERS)
    for folder, frame in exported.values():
        assert frame["error"].isna().all() and frame["pair_id"].is_unique
        assert frame["image"].nunique() == N and len(frame) >= N
        assert set(frame["width"]) == {SIZE} == set(frame["height"])
        for image in frame["image"].unique():
            seen = np.asarray(Image.open(folder / image).convert("RGB"), float)
            true = render_array(scene_behind(image), SIZE)
            assert seen.shape == true.shape and abs(seen - true).mean() < 4


def test_exported_flickr_phrases_have_the_boxes_of_their_things(exported):
    folder, frame = exported["flickr30k-entities"]
    texts = [file.read_text() for file in sorted(folder.glob("Sentences/*.txt"))]
    assert len(texts) == N and all(len(text.splitlines()) == 5 for text in texts)
    marked = re.findall(r"/EN#(\d+)/(\w+)", "".join(texts))
    scenes = sum(kind == "scene" for _, kind in marked)
    nothing = sum(chain == "0" for chain, _ in marked)
    assert len(frame) == len(marked) - scenes - nothing and scenes and nothing
    assert frame.attrs["left_out"] == {
        "notvisual": nothing,
        "scene": scenes,
        "nobndbox": 0,
        "unlisted": 0,
        "unrelated": 0,
    }
    for row in frame.itertuples():
        scene = scene_behind(row.image)
        last = row.phrase.split()[-1].lower()
        named = [e for e in scene.entities if last in names(e)]
        assert row.caption[row.start : row.end] == row.phrase
        sign = [[c * SIZE / 64 for c in scene.sign_box or ()]]
        assert row.boxes == (pixels(*named) if named else sign)
        assert named or "sign" in row.phrase
    merged = flickr30k_entities.load(folder, folder)
    assert merged["boxes"].tolist() == [[enclosing(boxes)] for boxes in frame["boxes"]]


def test_exported_coco_has_every_thing(exported):
    _, frame = exported["coco"]
    found = {(row.image, row.type): row.boxes for row in frame.itertuples()}
    assert found == {
        (image, entity.noun): pixels(entity)
        for image in frame["image"].unique()
        for entity in scene_behind(image).entities
    }


@pytest.mark.parametrize("name", ["refcoco", "refcoco+"])
def test_exported_expressions_mean_one_thing(exported, name):
    folder, frame = exported[name]
    single = 0
    for image in frame["image"].unique():
        single += 3 * sum(e.count == 1 for e in scene_behind(image).entities)
    assert len(frame) == single and set(frame["group"]) == {"testA", "testB"}
    places = frame["phrase"].str.contains(r"\b(?:left|right|above|below)\b")
    assert places.any() == (name == "refcoco")
    for row in frame.itertuples():
        (thing,) = [e for e in scene_behind(row.image).entities if e.noun == row.type]
        assert row.boxes == pixels(thing) and row.type in row.phrase
    with open(folder / name / "refs(unc).p", "rb") as file:
        assert file.read(1) == b"("  # protocol 0, as Python 2 writes


def test_exported_relations_hold(exported):
    folder, frame = exported["spatialsense"]
    assert len(frame) == N and frame.attrs["left_out"] == {"false": N}
    assert set(frame["image"].str.rsplit("/", n=1).str[0]) == {"images/flickr", "images/nyu"}
    subjects = spatialsense.load(folder, folder, setting="subject")
    axis = {"above": (1, 1), "under": (1, -1), "to the left of": (0, 1), "to the right of": (0, -1)}
    for row, subject in zip(frame.itertuples(), subjects.itertuples(), strict=True):
        first, second = scene_behind(row.image).entities
        assert row.boxes == [enclosing(pixels(second))]
        assert subject.boxes == [enclosing(pixels(first))]
        along, sign = axis[row.type]
        centres = [(b[along] + b[along + 2]) / 2 for b in (*subject.boxes, *row.boxes)]
        assert sign * (centres[1] - centres[0]) > 0
        assert row.phrase in names(second) and subject.phrase in names(first)
        assert row.caption == f"{subject.phrase} {row.type} {row.phrase}"


def test_an_export_is_the_same_from_the_same_seed(tmp_path):
    for name in ("a", "b"):
        WRITERS["coco"](tmp_path / name, 2, 0, 128)
    files = [sorted((tmp_path / name).rglob("*.*")) for name in ("a", "b")]
    assert len(files[0]) == 3
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
