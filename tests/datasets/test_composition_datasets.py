"""The composition benchmarks' loaders, and the exports of the embedded world that they read."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_attribution.datasets import (
    COMPOSITION,
    aro,
    aro_order,
    comvg,
    get_benchmark,
    names_of,
    negclip,
    retrieval,
    sts,
    sugarcrepe,
    svo_probes,
    valse,
    vl_checklist,
    winoground,
)
from clip_attribution.datasets.choices import COLUMNS
from clip_attribution.errors import UserError
from clip_attribution.evaluation.run import counting_options
from clip_attribution.scenes import generator, sample_scene
from clip_attribution.scenes.vocabulary import plural

LOADERS = {
    "aro-relation": aro.load,
    "aro-attribute": lambda path, images: aro.load(path, images, "attribute"),
    "coco-order": lambda path, images: aro.load(path, images, "coco-order"),
    "flickr30k-order": lambda path, images: aro.load(path, images, "flickr30k-order"),
    "sugarcrepe": sugarcrepe.load,
    "vl-checklist": vl_checklist.load,
    "valse": valse.load,
    "svo-probes": svo_probes.load,
    "comvg": comvg.load,
    "winoground": winoground.load,
    "coco-retrieval": retrieval.load,
    "flickr30k-retrieval": retrieval.load,
    "sts-b": sts.load,
    "sick-r": sts.load,
}
N = 24


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that gives the folder of a benchmark's export, written once."""
    root, done = tmp_path_factory.mktemp("exports"), {}

    def folder(name):
        if name not in done:
            done[name] = root / name
            done[name].mkdir()
            get_benchmark(name).write(done[name], N, 3, 64)
        return done[name]

    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def options(frame, row=0):
    """(right caption or image, the others) of a choice."""
    case = frame.iloc[row]
    every = case["captions"] if case["kind"] == "text" else case["images"]
    return every[case["truth"]], [o for i, o in enumerate(every) if i != case["truth"]]


# Exports


@pytest.mark.parametrize("name", names_of(COMPOSITION))
def test_an_export_is_read_back_without_an_error_and_with_every_picture(name, exported):
    folder = exported(name)
    frame = LOADERS[name](folder, folder)
    known = frame["error"].isna()
    if name.endswith("order"):  # a caption of two words may have no other order
        assert known.mean() > 0.9
    else:
        assert known.all()
    key = "case_id" if "case_id" in frame else "pair_id"
    assert frame[key].is_unique
    expected = 5 * N if "order" in name or "retrieval" in name else N
    assert len(frame) == expected
    if "images" in frame:
        assert set(COLUMNS) <= set(frame)
        assert all((folder / image).is_file() for case in frame["images"][known] for image in case)


@pytest.mark.parametrize("name", ["aro-relation", "valse", "comvg", "sick-r"])
def test_an_export_has_the_same_bytes_each_time(name, exported, tmp_path):
    get_benchmark(name).write(tmp_path, N, 3, 64)
    first = {p.relative_to(exported(name)): p for p in exported(name).rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path): p for p in tmp_path.rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert all(first[name].read_bytes() == second[name].read_bytes() for name in first)


def centre(scene, noun):
    """The middle of the thing called so (singular or plural), and whether there is one."""
    entity = next(e for e in scene.entities if noun in (e.noun, plural(e.noun)))
    boxes = np.array(entity.boxes)
    return (boxes[:, :2].min(0) + boxes[:, 2:].max(0)) / 2


def holds(text, scene):
    """Whether "the A is to the left of the B" is true of a scene, from where its things lie."""
    words = text.split()
    (xa, ya), (xb, yb) = centre(scene, words[1]), centre(scene, words[-1])
    return {"left": xa < xb, "right": xa > xb, "above": ya < yb, "below": ya > yb}[
        next(w for w in words if w in ("left", "right", "above", "below"))
    ]


def test_the_true_relation_holds_in_the_exported_scene_and_the_false_one_does_not(exported):
    records = json.loads((exported("aro-relation") / "visual_genome_relation.json").read_text())
    for record in records:
        scene = sample_scene(generator(3, record["image_id"] - 1))
        assert holds(record["true_caption"], scene) and not holds(record["false_caption"], scene)
        assert record["relation_name"] in record["true_caption"]


def test_the_crop_holds_both_things_of_the_relation(exported):
    frame = aro.load(exported("aro-relation"))
    for image, (x, y, w, h) in zip(frame["images"], frame["crop"], strict=True):
        scene = sample_scene(generator(3, int(image[0].removesuffix(".jpg")) - 1))
        for x0, y0, x1, y1 in (box for entity in scene.entities for box in entity.boxes):
            assert x <= max(x0, 0) and y <= max(y0, 0)
            assert x + w >= min(x1, 64) and y + h >= min(y1, 64)


def test_exported_attributes_are_the_colours_of_the_things(exported):
    frame = aro.load(exported("aro-attribute"), None, "attribute")
    for row, image in enumerate(frame["images"]):
        scene = sample_scene(generator(3, int(image[0].removesuffix(".jpg")) - 1))
        colours = [e.colour for e in scene.entities]
        true, (false,) = options(frame, row)
        assert frame["group"][row] == "_".join(colours)
        assert [w for w in true.split() if w in colours] == colours
        assert [w for w in false.split() if w in colours] == colours[::-1]


def test_exported_svo_negatives_differ_in_the_part_that_the_group_names(exported):
    frame = svo_probes.load(exported("svo-probes"))
    places = {"subject": 0, "verb": 1, "object": 2}
    assert set(frame["group"]) == set(places)
    for case in frame.itertuples():
        pos, neg = case.pos_triplet.split(","), case.neg_triplet.split(",")
        assert [i for i in range(3) if pos[i] != neg[i]] == [places[case.group]]


def test_exported_winoground_captions_have_the_same_words_and_different_pictures(exported):
    folder = exported("winoground")
    frame = winoground.load(folder, folder)
    for case in frame.itertuples():
        first, second = (sorted(text.replace("an ", "a ").split()) for text in case.captions)
        assert first == second and case.captions[0] != case.captions[1]
        pictures = [(folder / image).read_bytes() for image in case.images]
        assert pictures[0] != pictures[1]


def test_exported_existence_is_about_what_is_in_the_scene(exported):
    frame = valse.load(exported("valse") / "data" / "existence.json")
    for case in frame.itertuples():
        scene = sample_scene(generator(3, int(case.images[0][4:-4]) - 1))
        there = any(plural(e.noun) in case.captions[0].split() for e in scene.entities)
        assert there == ("are no" not in case.captions[0])


def test_exported_similarity_is_five_for_the_same_facts_and_lower_for_fewer(exported):
    frame = sts.load(exported("sts-b"), split="test")
    assert frame["score"].between(0, 5).all() and frame["score"].nunique() > 3
    same = frame["sentence1"].str.lower().str.rstrip(".") == frame[
        "sentence2"
    ].str.lower().str.rstrip(".")
    assert (frame["score"][same] == 5).all()


# Loaders on single records


def aro_record(**changes):
    record = {
        "image_path": "1.jpg",
        "image_id": 1,
        "true_caption": "the dog is on the mat",
        "false_caption": "the mat is on the dog",
        "relation_name": "on",
        "bbox_x": 1,
        "bbox_y": 2,
        "bbox_w": 30,
        "bbox_h": 40,
    }
    return record | changes


def test_aro_puts_the_false_caption_first_and_carries_the_crop(tmp_path):
    frame = aro.load(write(tmp_path / "visual_genome_relation.json", [aro_record()]))
    assert options(frame) == ("the dog is on the mat", ["the mat is on the dog"])
    assert frame["truth"][0] == 1 and frame["crop"][0] == [1, 2, 30, 40]
    assert frame["group"][0] == "on"


def test_bad_records_carry_their_reason_and_leave_the_others_alone(tmp_path):
    records = [
        aro_record(),
        aro_record(bbox_w=0),
        aro_record(true_caption=None),
        "nonsense",
        aro_record(bbox_x="left"),
        aro_record(bbox_h=float("nan")),
        aro_record(false_caption=" "),
    ]
    frame = aro.load(write(tmp_path / "visual_genome_relation.json", records))
    assert frame["error"].isna().tolist() == [True] + 6 * [False]
    reasons = (
        "no box",
        "no field 'true_caption'",
        "not a record",
        "could not convert",
        "no box",
        "caption 0 is no text",
    )
    for reason, error in zip(reasons, frame["error"][1:], strict=True):
        assert reason in error and "\n" not in error
    assert frame["case_id"].is_unique and frame["truth"].isna().tolist() == [False] + 6 * [True]


def test_the_excluded_relations_are_read_from_a_notebook_or_a_list(tmp_path):
    cell = {"source": ["import x\n", "symmetric = ['beside', 'next to']\n", "print(symmetric)"]}
    notebook = write(tmp_path / "a.ipynb", {"cells": [{"source": "# no"}, cell]})
    assert aro.excluded_relations(notebook) == ["beside", "next to"]
    assert aro.excluded_relations(write(tmp_path / "a.json", ["near"])) == ["near"]
    names = write(tmp_path / "a.txt", "\ufeffnear\n\n in between \n")
    assert aro.excluded_relations(names) == ["near", "in between"]
    empty = [
        write(tmp_path / "b.ipynb", {"cells": []}),
        write(tmp_path / "b.txt", "\n"),
        write(tmp_path / "b.json", []),
        write(tmp_path / "c.json", {"x": 1}),
    ]
    for path in empty:
        with pytest.raises(UserError, match="no list of relation names"):
            aro.excluded_relations(path)
    for absent in ("no.txt", "no.json"):
        with pytest.raises(UserError, match="cannot read"):
            aro.excluded_relations(tmp_path / absent)


def test_the_excluded_relations_are_looked_for_beside_the_data(tmp_path):
    data = write(tmp_path / "visual_genome_relation.json", [aro_record()])
    assert aro.find_excluded(data) is None
    cell = {"source": ["symmetric = ['beside']\n"]}
    name = "Replicate ARO! VG-Relation, VG-Attribution.ipynb"
    places = {  # the later ones go before
        f"notebooks/{name}": {"cells": [cell]},
        name: {"cells": [cell, cell]},
        "excluded_relations.txt": "near\n",
        "excluded_relations.json": ["by"],
    }
    for place, expected in zip(places, ("beside", "beside", "near", "by"), strict=True):
        write(tmp_path / place, places[place])
        assert aro.find_excluded(data) == aro.find_excluded(tmp_path) == [expected]


def test_what_counts_in_aro_is_refused_elsewhere(tmp_path):
    path = write(tmp_path / "a.json", ["near"])
    assert counting_options("aro-relation", at_least=3, exclude=path) == {
        "at_least": 3,
        "exclude": ["near"],
    }
    assert counting_options("sugarcrepe") == {}
    for name, given in (("sugarcrepe", {"at_least": 2}), ("aro-attribute", {"exclude": path})):
        with pytest.raises(UserError, match="is for aro-relation"):
            counting_options(name, **given)


def test_negclip_lists_are_read_and_bad_ones_reported(tmp_path):
    lines = [
        "\ttitle\tfilepath\tneg_caption\tneg_image",
        "0\tA dog, a cat.\tcoco/val2014/COCO_val2014_000000000042.jpg\t['A cat , a dog .']\t[7, 9]",
        "1\tA dog.\tx.jpg\t[]\t[1]",
        "2\tA dog.\tx.jpg\t['a' for a in b]\t[1]",
    ]
    photo = tmp_path / "val2017" / "000000000042.jpg"
    photo.parent.mkdir()
    Image.new("RGB", (4, 4)).save(photo)
    path = write(tmp_path / "valid_neg_clip.tsv", "\n".join(lines))
    frame = negclip.load_negclip(path, tmp_path)
    assert frame["image"][0] == "val2017/000000000042.jpg"
    assert frame["negatives"][0] == ["A cat , a dog ."] and frame["neg_image"][0] == [7, 9]
    assert frame["negatives"][1] == []
    assert frame["error"].isna().tolist() == [True, True, False] and "no list" in frame["error"][2]


@pytest.mark.parametrize(
    "text, expected",
    [
        ('  A "big" dog; (brown): runs!  ', "a big dog brown runs"),
        ("one two " * 20, " ".join(["one two"] * 15)),
        ("It's a well-known, old\nplace.", "it's a well-known, old place"),
    ],
)
def test_captions_are_cleaned_as_in_aro(text, expected):
    assert aro_order.clean(text) == expected


def test_each_shuffle_moves_only_its_own_words():
    words = "a big dog and a small cat sit".split()
    kinds = ["", "adjective", "noun", "", "", "adjective", "noun", ""]
    seen = {kind: set() for kind in aro_order.SHUFFLES}
    for seed in range(40):
        made = aro_order.shuffled(words, kinds, np.random.default_rng(seed))
        for kind, text in made.items():
            seen[kind].add(text)
            assert sorted(text.split()) == sorted(words)
    names, rest, within, runs = (seen[kind] for kind in aro_order.SHUFFLES)
    every = {
        f"a {a} {n} and a {b} {m} sit"
        for a, b in (("big", "small"), ("small", "big"))
        for n, m in (("dog", "cat"), ("cat", "dog"))
    }
    assert names == every
    assert all([t.split()[i] for i in (1, 2, 5, 6)] == ["big", "dog", "small", "cat"] for t in rest)
    assert all(set(t.split()[:3]) == set(words[:3]) for t in within) and len(within) > 5
    threes = ["a big dog", "and a small", "cat sit"]
    assert runs <= {
        f"{threes[i]} {threes[j]} {threes[3 - i - j]}" for i in range(3) for j in range(3) if i != j
    }
    assert len(runs) == 6


def test_shuffles_are_fixed_by_the_seed_and_one_that_changes_nothing_is_left_out(tmp_path):
    captions = ["A brown dog chases a small white cat over the old wooden fence.", "Dog."]
    path = write(tmp_path / "coco_karpathy_test.json", [{"image": "1.jpg", "caption": captions}])
    frames = [aro.load(path, None, "coco-order", seed=seed) for seed in (0, 0, 1)]
    first, again, other = (frame["captions"][0] for frame in frames)
    assert first == again != other
    assert first[0] == captions[0].lower().rstrip(".") and frames[0]["truth"][0] == 0
    assert frames[0]["shuffles"][0] == list(aro_order.SHUFFLES) and len(first) == 5
    assert "no shuffle changes" in frames[0]["error"][1]


def test_sugarcrepe_reads_keys_with_gaps_and_finds_a_photo_of_another_year(tmp_path):
    record = {"filename": "000000000042.jpg", "caption": " a ", "negative_caption": "b"}
    write(tmp_path / "swap_obj.json", {"7": record, "900": {"filename": "x.jpg"}, "12": record})
    photo = tmp_path / "train2014" / "COCO_train2014_000000000042.jpg"
    photo.parent.mkdir()
    photo.touch()
    frame = sugarcrepe.load(tmp_path, tmp_path)
    assert frame["case_id"].tolist() == ["swap_obj:7", "swap_obj: record 1", "swap_obj:12"]
    assert frame["images"][0] == ["train2014/COCO_train2014_000000000042.jpg"]
    assert frame["captions"][0] == [" a ", "b"] and frame["group"].eq("swap_obj").all()
    assert frame["error"][1].startswith("swap_obj: record 1: no field 'caption'")


def test_valse_filters_by_votes_and_keeps_words_of_any_type(tmp_path):
    def record(votes, word="1", foil_word="2", **more):
        return {
            "image_file": "v7w_5.jpg",
            "caption": "c",
            "foil": "f",
            "classes": word,
            "classes_foil": foil_word,
            "mturk": {"caption": votes},
        } | more

    write(
        tmp_path / "data" / "existence.json",
        {
            "a": record(3, 0, [1, 2]),
            "b": record(1),
            "c": record(2, "x", True, only_caption="o"),
            "d": {k: v for k, v in record(3).items() if k != "mturk"},
        },
    )
    frame, every = valse.load(tmp_path), valse.load(tmp_path, valid_only=False)
    assert frame["case_id"].tolist() == ["existence:a", "existence:c", "existence: record 3"]
    assert len(every) == 4 and "mturk" in frame["error"][2]
    assert frame["target_word"].tolist()[:2] == ["0", "x"]
    assert frame["foil_word"].isna().all() and frame["only_caption"][1] == "o"


def test_vl_checklist_takes_names_from_the_corpus_and_lowers_both_captions(tmp_path):
    rows = [
        ["a.jpg", {"POS": ["Cup ON table", "x", "y"], "NEG": ["Cup under table", "v", "w"]}],
        ["b.jpg", {"POS": ["p"], "NEG": []}],
    ]
    write(tmp_path / "data" / "Relation" / "vg" / "spatial.json", rows)
    write(tmp_path / "data" / "Object" / "Size" / "hake_size" / "hake_obj_small.json", [])
    write(tmp_path / "data" / "Relation" / "swig_action.json", rows[:1])
    corpus = 'ANNO_PATH: "data/Relation/vg/spatial.json"\nIMG_ROOT: "vg/"\nTYPE: "TUPLE_JSON"'
    write(tmp_path / "corpus" / "v1" / "Relation" / "spatial" / "vg.yaml", corpus)
    frame = vl_checklist.load(tmp_path)
    assert frame["group"].tolist() == ["Relation/action/swig", *["Relation/spatial/vg"] * 2]
    assert frame["captions"][1] == ["cup on table", "cup under table"]
    assert frame["images"].tolist()[:2] == [["swig/a.jpg"], ["vg/a.jpg"]]
    assert "zip()" in frame["error"][2] or "shorter" in frame["error"][2]
    every = vl_checklist.load(tmp_path, every=True)
    assert every["captions"].tolist()[1:3] == [["x", "v"], ["y", "w"]]
    assert every["case_id"].is_unique


def test_svo_probes_takes_the_wrong_part_and_the_file_that_is_there(tmp_path):
    lines = [
        "sentence,pos_triplet,neg_triplet,pos_url,neg_url,pos_image_id,neg_image_id,subj_neg,"
        "verb_neg,obj_neg",
        'A man.,"man,sit,bed","man,lie,bed",http://x/p.jpg?a,http://x/n.jpg,1,2,False,True,False',
        "A man.,a,b,http://x,http://y,one,2,False,False,True",
        "short",
    ]
    write(tmp_path / "svo_probes.csv", "\n".join(lines))
    (tmp_path / "p.jpg").touch()
    frame = svo_probes.load(tmp_path, tmp_path)
    assert frame["images"][0] == ["p.jpg", "2.jpg"] and frame["kind"][0] == "image"
    assert frame["group"][0] == "verb" and frame["truth"][0] == 0
    assert frame["error"].notna().tolist() == [False, True, True]


@pytest.mark.parametrize("text", ["man,sit,table", "(man, sit,table)", "('man', 'sit', 'table')"])
def test_comvg_triplets_may_stand_in_brackets(text):
    assert comvg.triplet(text) == ["man", "sit", "table"]


def test_comvg_names_the_wrong_part_with_and_without_a_column_for_it(tmp_path):
    lines = [
        "sentence_id,sentence,pos_triplet,neg_triplet,pos_image_id,neg_image_id",
        "1,a man sits,\"man,sit,table\",\"('dog', 'sit', 'table')\",5,6.0",
    ]
    frame = comvg.load(write(tmp_path / "ComVG.csv", "\n".join(lines)))
    assert frame["group"][0] == "subject" and frame["images"][0] == ["5.jpg", "6.jpg"]
    official = 'id,sentence,pos_triplet,pos_image_id,neg_image_id,neg_value\n1,a,"m,s,t",5,6,verb'
    assert comvg.load(write(tmp_path / "ComVG.csv", official))["group"][0] == "verb"


def winoground_record(number, **changes):
    record = {
        "id": number,
        "image_0": f"ex_{number}_img_0",
        "image_1": f"ex_{number}_img_1",
        "caption_0": "a b",
        "caption_1": "b a",
        "tag": "Noun",
        "secondary_tag": "",
        "num_main_preds": 1,
        "collapsed_tag": "Object",
    }
    return record | changes


def test_winoground_reads_lines_and_the_tags_beside_them(tmp_path):
    lines = [json.dumps(winoground_record(0)), "{", json.dumps(winoground_record(3))]
    write(tmp_path / "data" / "examples.jsonl", "\n".join(lines))
    assert winoground.load(tmp_path)["tags"].isna().all()
    write(tmp_path / "new_tag_assignments.json", {"0": [], "3": ["Unusual Text"]})
    frame = winoground.load(tmp_path)
    assert frame["tags"].tolist() == [[], None, ["Unusual Text"]]
    assert frame["images"][0] == ["ex_0_img_0.png", "ex_0_img_1.png"]
    assert frame["captions"][0] == ["a b", "b a"] and frame["group"][0] == "Object"
    assert "not a record" in frame["error"][1]


def test_winoground_pictures_inside_a_parquet_file_become_files(tmp_path):
    Image.new("RGB", (5, 3), "red").save(tmp_path / "x.png")
    cell = {"bytes": (tmp_path / "x.png").read_bytes(), "path": "ex_0_img_0.png"}
    record = winoground_record(0, image_0=cell, image_1=cell | {"path": None})
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "test-00000-of-00001.parquet")
    folder = tmp_path / "images"
    assert winoground.unpack(tmp_path, folder) == 2
    frame = winoground.load(tmp_path, folder)
    assert frame["images"][0] == ["ex_0_img_0.png", "ex_0_img_1.png"]
    assert Image.open(folder / "ex_0_img_1.png").size == (5, 3)


CAPTIONS = ["A dog.", " a cat\n"]


@pytest.mark.parametrize(
    "name, content",
    [
        ("coco_karpathy_test.json", [{"image": "1.jpg", "caption": CAPTIONS}]),
        (
            "dataset_flickr30k.json",
            {
                "images": [
                    {"filename": "9.jpg", "split": "train", "sentences": [{"raw": "no"}]},
                    {
                        "filename": "1.jpg",
                        "split": "test",
                        "sentences": [{"raw": c} for c in CAPTIONS],
                    },
                ]
            },
        ),
        ("results_20130124.token", "1.jpg#0\tA dog.\n1.jpg#1\t a cat\n2.jpg#0\tno\n"),
        (
            "captions_val2017.json",
            {
                "images": [{"id": 5, "file_name": "1.jpg"}],
                "annotations": [{"image_id": 5, "caption": c} for c in CAPTIONS],
            },
        ),
    ],
)
def test_retrieval_reads_every_form_of_the_splits(name, content, tmp_path):
    ids = write(tmp_path / "ids.txt", "1\n") if name.endswith("token") else None
    frame = retrieval.load(write(tmp_path / name, content), ids=ids)
    assert frame["image"].tolist() == ["1.jpg", "1.jpg"] and frame["error"].isna().all()
    assert [c.strip("\n") for c in frame["caption"]] == ["A dog.", " a cat"]
    assert frame["pair_id"].is_unique


def test_the_exported_token_file_holds_the_captions_of_the_json_file(exported):
    folder = exported("flickr30k-retrieval")
    first = retrieval.load(folder, folder)
    second = retrieval.load(folder / "results_20130124.token", folder, ids=folder / "test.txt")
    assert first["caption"].tolist() == second["caption"].tolist()
    assert first["image"].tolist() == second["image"].tolist()


SENTENCES = ('A "girl sings.', "A girl is, singing.")


@pytest.mark.parametrize(
    "name, text, group",
    [
        ("sts-test.csv", "news\tMSR\t2012\t1\t2.5\t{0}\t{1}\textra\n", "news"),
        (
            "test.tsv",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
            "\tscore\n0\tnews\tf\t2012\t1\tx\ty\t{0}\t{1}\t2.5\n",
            "news",
        ),
        ("SICK_test_annotated.txt", "5\t{0}\t{1}\t2.5\tNEUTRAL\n", "NEUTRAL"),
        (
            "SICK_test.txt",
            "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
            "5\t{0}\t{1}\t2.5\tNEUTRAL\n",
            "NEUTRAL",
        ),
    ],
)
def test_similarity_files_are_read_in_every_form_and_a_stray_quote_swallows_nothing(
    name, text, group, tmp_path
):
    header, _, row = text.format(*SENTENCES).rpartition("\n")[0].rpartition("\n")
    write(tmp_path / name, f"{header}\n{row}\n{row}\n".lstrip("\n"))
    frame = sts.load(tmp_path)
    assert len(frame) == 2 and frame["error"].isna().all()
    row = frame.iloc[1]
    assert (row["sentence1"], row["sentence2"]) == SENTENCES
    assert row["score"] == 2.5 and row["group"] == group


def test_plain_similarity_files_have_quotes_and_bad_scores_are_reported(tmp_path):
    text = '"A girl, singing",B,2.5\nA,B,many\nA,,1\n'
    frame = sts.load(write(tmp_path / "stsb-en-test.csv", text))
    assert frame["sentence1"][0] == "A girl, singing"
    assert frame["error"].notna().tolist() == [False, True, True]


def test_a_similarity_file_without_scores_is_refused(tmp_path):
    path = write(tmp_path / "test.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
    with pytest.raises(UserError, match="no scores"):
        sts.load(path)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_a_folder_without_the_official_file_is_a_one_line_error(load, tmp_path):
    with pytest.raises(UserError) as raised:
        load(tmp_path, None)
    assert "\n" not in str(raised.value) and "README" in str(raised.value)


@pytest.mark.parametrize("name", ["sugarcrepe", "aro-relation", "svo-probes"])
def test_a_choice_frame_survives_parquet(name, exported, tmp_path):
    frame = LOADERS[name](exported(name), exported(name))
    frame.to_parquet(tmp_path / "a.parquet")
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert [list(c) for c in back["captions"]] == frame["captions"].tolist()
