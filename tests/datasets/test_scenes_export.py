"""The embedded world in official files: re-read here with plain json, csv and pyarrow."""

import argparse
import ast
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_attribution.cli.scenes import add_scenes
from clip_attribution.datasets import BENCHMARKS, MISALIGNMENT, names_of
from clip_attribution.datasets import export as module
from clip_attribution.datasets.export import RECEIPT, export
from clip_attribution.datasets.rich_hf import WEIGHTS
from clip_attribution.datasets.scene_images import count_picture, save_picture
from clip_attribution.datasets.scene_samples import in_shares
from clip_attribution.datasets.tfrecord import parse_example, read_records
from clip_attribution.errors import UserError
from clip_attribution.io.tables import temporary_name
from clip_attribution.scenes import (
    SWAPS,
    TYPES,
    generator,
    render_ref,
    sample_scene,
    scene_pairs,
    scene_phrases,
)
from clip_attribution.scenes.vocabulary import (
    COLOURS,
    COUNTS,
    GROUNDS,
    KINDS,
    NAMES,
    NOUNS,
    POSITIONS,
    SIZES,
    STATES,
    is_held_out,
    plural,
)

N, SEED, SIZE = 200, 3, 128
ONE_WORD = (*KINDS, "swap_relation")
SINGULAR = {plural(noun): noun for noun in NOUNS} | {noun: noun for noun in NOUNS}


def kind_of(word):
    """The kind of fact that a word of this world states; the vocabularies do not overlap."""
    vocabularies = {
        "noun": SINGULAR,
        "colour": COLOURS,
        "size": SIZES,
        "count": COUNTS,
        "state": STATES,
        "position": POSITIONS,
        "ground": GROUNDS,
        "name": [name.lower() for name in NAMES],
    }
    (kind,) = [name for name, words in vocabularies.items() if word.lower() in words]
    return kind


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    for name in names_of(MISALIGNMENT):
        assert export(name, root / name, N, SEED, SIZE, progress=False)
    return root


def read(path):
    return json.loads(path.read_text("utf-8"))


def differing(first, second):
    """The places at which two texts of equally many words differ."""
    pairs = list(zip(first.split(), second.split(), strict=True))
    return [place for place, (a, b) in enumerate(pairs) if a != b]


def pictures_of(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".jpg", ".png")}


def test_foil_has_coco_s_shape_and_one_false_word_a_pair(exported):
    content = read(exported / "foil" / "foilv1.0_test_2017.json")
    assert set(content) == {"info", "licenses", "type", "images", "annotations"}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert len(names) == N and len(content["annotations"]) == 2 * N
    assert pictures_of(exported / "foil") == {f"val2014/{name}" for name in names.values()}
    assert all(re.fullmatch(r"COCO_val2014_\d{12}\.jpg", name) for name in names.values())
    fields = {"id", "image_id", "caption", "foil", "foil_id", "target_word", "foil_word"}
    assert all(set(a) == fields for a in content["annotations"])
    assert len({a["id"] for a in content["annotations"]}) == 2 * N
    pairs = {}
    for a in content["annotations"]:
        pairs.setdefault(a["foil_id"], {})[a["foil"]] = a
    kinds = Counter()
    for pair in pairs.values():
        original, foil = pair[False], pair[True]
        assert original["image_id"] == foil["image_id"] and foil["image_id"] in names
        assert original["target_word"] == original["foil_word"] == "ORIG"
        (place,) = differing(original["caption"], foil["caption"])
        assert original["caption"].split()[place].rstrip(".") == foil["target_word"]
        assert foil["caption"].split()[place].rstrip(".") == foil["foil_word"]
        assert kind_of(foil["foil_word"]) == kind_of(foil["target_word"])
        kinds[kind_of(foil["foil_word"])] += 1
    assert set(kinds) == set(KINDS) and min(kinds.values()) >= N // len(ONE_WORD)
    assert any(a["caption"] != a["caption"].strip() for a in content["annotations"])


def test_the_foils_are_those_of_the_loader_of_scenes(exported):
    captions = [
        a["caption"].strip()
        for a in read(exported / "foil" / "foilv1.0_test_2017.json")["annotations"]
    ]
    assert captions == scene_pairs(N, SEED, ONE_WORD)["caption"].tolist()


def test_every_picture_is_the_scene_that_its_entry_names(exported):
    for image in read(exported / "foil" / "foilv1.0_test_2017.json")["images"][:20]:
        with Image.open(exported / "foil" / "val2014" / image["file_name"]) as saved:
            assert saved.format == "JPEG" and saved.size == (image["width"], image["height"])
            assert saved.size == (SIZE, SIZE) and saved.layer[1][1:3] == (1, 1)  # no subsampling
            drawn = np.asarray(render_ref(image["coco_url"]), float)
            assert np.abs(np.asarray(saved) - drawn).mean() < 3


def test_coco_captions_hold_the_original_and_five_other_true_ones(exported):
    foil = read(exported / "foil" / "foilv1.0_test_2017.json")
    coco = read(exported / "foil" / "captions_val2014.json")
    assert coco["images"] == foil["images"]
    assert len({c["id"] for c in coco["annotations"]}) == len(coco["annotations"]) == 6 * N
    captions = {}
    for c in coco["annotations"]:
        captions.setdefault(c["image_id"], []).append(c["caption"].lower().rstrip("."))
    assert all(len(set(texts)) == 6 for texts in captions.values())
    for a in foil["annotations"]:
        text = a["caption"].strip().lower().rstrip(".")
        assert (text in captions[a["image_id"]]) == (not a["foil"])


def test_references_state_nothing_that_the_scene_does_not_show(exported):
    """Every fact word of a reference is a fact of the scene, whose number the image names."""
    foil = read(exported / "foil" / "captions_val2014.json")
    for c in foil["annotations"]:
        scene = sample_scene(generator(SEED, c["image_id"] - 1))
        nouns = {e.noun if e.count == 1 else plural(e.noun) for e in scene.entities}
        facts = nouns | {e.colour for e in scene.entities} | {e.size for e in scene.entities}
        facts |= {name for name, n in COUNTS.items() if n in {e.count for e in scene.entities}}
        facts |= {scene.ground, scene.position, scene.state, (scene.name or "").lower()}
        known = SINGULAR.keys() | COLOURS.keys() | SIZES.keys() | COUNTS.keys() | GROUNDS.keys()
        known |= {*POSITIONS, *STATES, *(name.lower() for name in NAMES)}
        assert {word for word in re.findall(r"\w+", c["caption"].lower()) if word in known} <= facts


def test_nocaps_has_its_fields_shares_and_some_foils_of_several_words(exported):
    records = read(exported / "nocaps-foil" / "nocaps-val-foil.json")
    fields = {"image_path", "references", "baseline", "foil", "replacement", "domain"}
    assert len(records) == N and all(set(r) == fields for r in records)
    paths = {f"images/{r['image_path']}" for r in records}
    assert pictures_of(exported / "nocaps-foil") == paths and len(paths) == N
    several = 0
    for r in records:
        target, word = r["replacement"]
        assert len(set(r["references"])) == 9 and r["baseline"].strip() not in r["references"]
        assert target != word and r["foil"] != r["baseline"]
        found = re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", r["foil"])
        assert r["baseline"] in [
            r["foil"][: m.start()] + target + r["foil"][m.end() :] for m in found
        ]
        several += " " in word
    assert several == sum(
        r["replacement"][0] in ("above", "below")
        for r in records
        if r["replacement"][1] not in ("above", "below")
    )
    assert 0.02 < several / N < 0.12
    counts = Counter(r["domain"] for r in records)
    for domain, share in {"in-domain": 245, "near-domain": 1494, "out-domain": 761}.items():
        assert abs(counts[domain] - share / 2500 * N) <= 1


def test_domains_differ_in_whether_the_model_has_seen_the_combinations(exported):
    novel = {"in-domain": [], "near-domain": [], "out-domain": []}
    for r in read(exported / "nocaps-foil" / "nocaps-val-foil.json"):
        words = re.findall(r"\w+", r["baseline"].lower())
        for colour, noun in zip(words, words[1:], strict=False):
            if colour in COLOURS and noun in SINGULAR:
                novel[r["domain"]].append(is_held_out(SINGULAR[noun], colour))
    assert not any(novel["in-domain"]) and all(novel["out-domain"]) and novel["out-domain"]
    assert 0 < np.mean(novel["near-domain"]) < 0.5


def test_hat_marks_exactly_the_false_words_of_a_third_of_its_captions(exported):
    records = read(exported / "hat" / "hat-trainval.json")
    fields = {
        "sample_id",
        "caption",
        "grounding",
        "contains_hallucination",
        "image_path",
        "session_id",
        "references",
        "is_gold",
        "is_positive",
        "is_machine_generated",
    }
    assert len(records) == N and all(set(r) == fields for r in records)
    assert abs(sum(r["contains_hallucination"] for r in records) - 135 / 400 * N) < 1
    true = scene_pairs(N, SEED, TYPES).query("not is_foil")["caption"]
    for r, twin in zip(records, true, strict=True):
        words, flags = zip(*r["grounding"], strict=True)
        assert list(words) == r["caption"].split()
        assert any(flags) == r["contains_hallucination"]
        changed = [
            place
            for place in differing(twin, r["caption"])
            if words[place] not in ("a", "an", "A", "An")
        ]
        assert [place for place, flag in enumerate(flags) if flag] == changed
        assert len(set(r["references"])) == 5
        assert (r["is_gold"], r["is_positive"], r["is_machine_generated"]) == (False, True, True)
    assert Counter(sum(f for _, f in r["grounding"]) for r in records)[2] > 0  # swaps
    assert pictures_of(exported / "hat") == {f"val2014/{r['image_path']}" for r in records}


def seetrue_rows(folder):
    with open(folder / "SeeTRUE_Feedback.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_seetrue_has_its_columns_sources_and_pictures(exported):
    rows = seetrue_rows(exported / "seetrue")
    assert list(rows[0]) == [
        "",
        "image_caption",
        "image_name",
        "dataset_source",
        "id_in_source_dataset",
        "image_url",
        "human_feedback",
        "feedback",
        "feedback_clean",
        "caption_misalignment",
        "visual_misalignment",
        "bbox_GroundingDino",
        "bbox_PaLI",
    ]
    assert [row[""] for row in rows] == [str(number) for number in range(N)]
    counts = Counter(row["dataset_source"] for row in rows)
    shares = {"cococon": 713, "pickapicon": 635, "drawbench": 404, "coco_t2i": 256}
    assert all(abs(counts[name] - share / 2008 * N) <= 1 for name, share in shares.items())
    names = {f"images/{row['image_name']}" for row in rows}
    assert pictures_of(exported / "seetrue") == names and len(names) == N
    with Image.open(exported / "seetrue" / "images" / rows[1]["image_name"]) as png:
        assert png.format == "PNG"
        assert np.array_equal(png, render_ref(rows[1]["image_url"]))


def test_seetrue_names_what_the_caption_says_and_what_the_picture_shows(exported):
    rows, literal = seetrue_rows(exported / "seetrue"), 0
    true = scene_pairs(N, SEED, TYPES).query("not is_foil")["caption"]
    for row, twin in zip(rows, true, strict=True):
        said, seen = row["caption_misalignment"], row["visual_misalignment"]
        assert said != seen and said.lower() in row["image_caption"].lower()
        assert seen.lower() in twin.lower() and not said.startswith(("a ", "an ", "the "))
        literal += said in row["image_caption"]
        people = json.loads(row["human_feedback"])
        assert len(people) == 3 and all(isinstance(text, str) for text in people)
        assert f"(CAPTION: {said})" in row["feedback"]
        assert f"(CONTRADICTION: {seen})" in row["feedback"]
        assert re.sub(r" \(.*?\)", "", row["feedback"]) == row["feedback_clean"]
    assert 0.8 * N < literal < N


def test_both_box_columns_of_seetrue_give_the_boxes_of_the_phrase(exported):
    boxes_of_rows = []
    for row in seetrue_rows(exported / "seetrue"):
        dino = ast.literal_eval(row["bbox_GroundingDino"])
        assert dino["size"] == [SIZE, SIZE]
        assert len(dino["labels"]) == len(dino["boxes"]) == len(dino["boxes_in_pixels"]) > 0
        pixels = np.array(dino["boxes_in_pixels"])
        assert np.allclose(np.array(dino["boxes"]) * SIZE, pixels)
        corners = np.c_[pixels[:, :2] - pixels[:, 2:] / 2, pixels[:, :2] + pixels[:, 2:] / 2]
        assert (corners >= 0).all() and (corners <= SIZE).all() and (pixels[:, 2:] > 0).all()
        pali = re.findall(r"(\d+) (\d+) (\d+) (\d+) ", row["bbox_PaLI"])
        y0, x0, y1, x1 = np.array(pali, float).T * SIZE / 1000
        assert np.allclose(np.c_[x0, y0, x1, y1], corners, atol=0.1)
        assert row["bbox_PaLI"].count(row["visual_misalignment"]) == len(pali)
        boxes_of_rows.append(corners)
    assert any((boxes == [0, 0, SIZE, SIZE]).all() for boxes in boxes_of_rows)  # grounds


def test_a_false_noun_is_boxed_where_the_true_thing_stands(tmp_path):
    export("seetrue", tmp_path / "out", 30, SEED, foils=("noun",), progress=False)
    known = scene_phrases(30, SEED)
    for row in seetrue_rows(tmp_path / "out"):
        index = int(row["image_url"].split(":")[2])
        boxes = known[known["image"] == f"scene:{SEED}:{index}"]["boxes"]
        dino = ast.literal_eval(row["bbox_GroundingDino"])
        corners = [
            [x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in dino["boxes_in_pixels"]
        ]
        assert any(corners == boxes_ for boxes_ in boxes)


@pytest.fixture(scope="module")
def rich(exported):
    """The test records of Rich-HF, each a dict of features with its prompt and its image."""
    table = pq.read_table(exported / "rich-hf" / "pickapic_v1/data/test-00000-of-00001.parquet")
    columns = ["jpg_0", "jpg_1", "image_0_uid", "image_1_uid", "caption"]
    assert table.column_names == columns and table.num_rows == N
    prompts = {}
    for row in table.to_pylist():
        for side in "01":
            assert row[f"image_{side}_uid"] not in prompts
            prompts[row[f"image_{side}_uid"]] = (row["caption"], row[f"jpg_{side}"], side)
    records = []
    for _, data in read_records(exported / "rich-hf" / "test.tfrecord"):
        features = {name: values[0] for name, values in parse_example(data).items()}
        uid = re.fullmatch(r"test/([0-9a-f-]{36})\.png", features["filename"].decode())[1]
        prompt, jpg, side = prompts[uid]
        records.append(features | {"uid": uid, "prompt": prompt, "jpg": jpg, "side": side})
    return records


def test_rich_hf_labels_every_token_of_every_prompt(rich):
    false = Counter()
    for r in rich:
        labels = r["prompt_misalignment_label"].decode().split(" ")
        tokens = [t for t in re.split("|".join(map(re.escape, ',.?!":; ')), r["prompt"]) if t]
        assert len(labels) == len(tokens) and set(labels) <= {"0", "1"}
        wrong = [token for token, label in zip(tokens, labels, strict=True) if label == "0"]
        expected = 1 - sum(WEIGHTS[kind_of(token)] for token in wrong)
        assert abs(r["misalignment_score"] - min(max(expected, 0), 1)) <= 0.0501
        false[len(wrong)] += 1
    assert len(rich) == N and set(false) == {0, 1, 2} and false[0] == 2 * N // 5
    assert {r["side"] for r in rich} == {"0", "1"}


def test_rich_hf_scores_fall_with_the_number_of_false_words(rich):
    scores = {0: [], 1: [], 2: []}
    for r in rich:
        scores[r["prompt_misalignment_label"].split().count(b"0")].append(r["misalignment_score"])
    means = [np.mean(scores[number]) for number in (0, 1, 2)]
    assert means[0] > means[1] + 0.1 > means[2] + 0.2


def test_rich_hf_has_eight_features_and_maps_of_512_pixels(rich):
    features = {
        "filename",
        "aesthetics_score",
        "artifact_score",
        "misalignment_score",
        "overall_score",
        "artifact_map",
        "misalignment_map",
        "prompt_misalignment_label",
    }
    for r in rich:
        assert set(r) - {"uid", "prompt", "jpg", "side"} == features
        assert all(0 <= r[name] <= 1 for name in features if name.endswith("score"))
    for r in rich[:40]:
        with (
            Image.open(io.BytesIO(r["misalignment_map"])) as heat,
            Image.open(io.BytesIO(r["artifact_map"])) as artifacts,
        ):
            assert heat.size == artifacts.size == (512, 512) and heat.mode == artifacts.mode == "L"
            assert np.asarray(heat).any() == (b"0" in r["prompt_misalignment_label"].split())
            assert not np.asarray(artifacts).any()


def test_every_prompt_of_rich_hf_is_false_in_the_labelled_words_only(rich):
    """The true twin of each prompt is the caption of the same scene in `scene_pairs`."""
    few = N // 10
    true = scene_pairs(N + 2 * few, SEED, TYPES).query("not is_foil")["caption"][:N]
    for r, twin in zip(rich, true, strict=True):
        labels = r["prompt_misalignment_label"].decode().split()
        changed = [
            place
            for place in differing(twin, r["prompt"])
            if twin.split()[place].lower() not in ("a", "an")
        ]
        assert changed == [place for place, label in enumerate(labels) if label == "0"]


def test_rich_hf_pictures_lie_extracted_beside_their_records(rich, exported):
    for r in rich:
        assert (exported / "rich-hf" / "test" / f"{r['uid']}.jpg").read_bytes() == r["jpg"]
    for name, split in (("train", "train"), ("dev", "validation")):
        table = f"pickapic_v1/data/{split}-00000-of-00001.parquet"
        few = [data for _, data in read_records(exported / "rich-hf" / f"{name}.tfrecord")]
        assert len(few) == pq.read_metadata(exported / "rich-hf" / table).num_rows == N // 10
        assert parse_example(few[0])["filename"][0].startswith(f"{name}/".encode())


def all_bytes(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", names_of(MISALIGNMENT))
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(name, tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        export(name, tmp_path / folder, 12, seed, progress=False)
    first, again, other = (all_bytes(tmp_path / folder) for folder in "abc")
    assert first == again and first != other and len(first) > 12


@pytest.mark.parametrize("name", names_of(MISALIGNMENT))
def test_foil_types_can_be_chosen(name, tmp_path):
    export(name, tmp_path / "out", 12, 1, foils=["noun"], progress=False)
    assert read(tmp_path / "out" / RECEIPT)["foils"] == ["noun"]
    if name == "foil":
        annotations = read(tmp_path / "out" / "foilv1.0_test_2017.json")["annotations"]
        assert {kind_of(a["foil_word"]) for a in annotations if a["foil"]} == {"noun"}
    if name == "rich-hf":
        table = pq.read_table(tmp_path / "out/pickapic_v1/data/test-00000-of-00001.parquet")
        prompts = table["caption"].to_pylist()
        true = scene_pairs(14, 1, ("noun",)).query("not is_foil")["caption"][:12]
        for prompt, twin in zip(prompts, true, strict=True):
            words = [prompt.split()[place].rstrip(".") for place in differing(twin, prompt)]
            assert all(kind_of(word) == "noun" for word in words if word.lower() not in ("a", "an"))


@pytest.mark.parametrize("name", ["foil", "nocaps-foil"])
@pytest.mark.parametrize("swap", SWAPS[:2])
def test_a_format_for_one_word_refuses_swaps_of_two(name, swap, tmp_path):
    with pytest.raises(UserError, match=f"'{swap}' do not fit here: choose from noun"):
        export(name, tmp_path / "out", 3, foils=[swap], progress=False)
    assert not list(tmp_path.iterdir())


def test_an_unknown_benchmark_lists_all_names(tmp_path):
    with pytest.raises(UserError, match="unknown benchmark 'coco-caption'") as caught:
        export("coco-caption", tmp_path / "out")
    assert all(name in str(caught.value) for name in BENCHMARKS)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"n": 0}, "n must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"size": 100}, "multiple of 64"),
        ({"size": 8192}, "up to 4096"),
        ({"foils": ["verb"]}, "unknown foil type 'verb': choose from noun"),
        ({"foils": []}, "no foil type given"),
    ],
)
def test_bad_numbers_and_foil_types_are_refused(options, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        export("foil", tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_foils_are_refused_where_the_benchmark_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "get_benchmark", lambda name: SimpleNamespace(write=None))
    with pytest.raises(UserError, match="winoground has fixed foils"):
        export("winoground", tmp_path / "out", foils=["noun"])


def test_a_finished_export_is_not_repeated_and_nothing_else_is_overwritten(tmp_path):
    folder = tmp_path / "out"
    assert export("hat", folder, 5, progress=False)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert not export("hat", folder, 5, progress=False)
    with pytest.raises(UserError, match="holds another export"):
        export("hat", folder, 6, progress=False)
    with pytest.raises(UserError, match="holds another export"):
        export("foil", folder, 5, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    (folder / RECEIPT).unlink()
    with pytest.raises(UserError, match="holds other files"):
        export("hat", folder, 5, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        export("hat", tmp_path / "file", 5, progress=False)


def test_an_empty_folder_and_folders_that_are_not_there_yet_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "deep"):
        export("foil", folder, 2, progress=False)
        assert (folder / "foilv1.0_test_2017.json").is_file()
        assert [p.name for p in folder.parent.glob(".*")] == []


def test_an_interrupted_export_leaves_nothing_and_a_killed_one_is_cleared_away(
    tmp_path, monkeypatch
):
    def interrupted(folder, n, seed, size):
        save_picture(sample_scene(generator(0, 0)), folder / "images" / "0.jpg")
        raise KeyboardInterrupt

    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    left = temporary_name(tmp_path / "out").replace(f"-{os.getpid()}-", f"-{int(gone.stdout)}-")
    (tmp_path / f"{left}x.export" / "val2014").mkdir(parents=True)
    monkeypatch.setattr(module, "get_benchmark", lambda name: SimpleNamespace(write=interrupted))
    with pytest.raises(KeyboardInterrupt):
        export("foil", tmp_path / "out", 2, progress=False)
    assert not list(tmp_path.iterdir())


def test_labels_are_spread_by_their_shares():
    assert in_shares({"a": 2, "b": 1}, 6) == ["a", "b", "a", "a", "b", "a"]
    labels = in_shares({True: 135, False: 265}, 400)
    assert sum(labels) == 135 and abs(sum(labels[:200]) - 67.5) < 1


def run_command(*arguments):
    parser = argparse.ArgumentParser()
    add_scenes(parser.add_subparsers())
    args = parser.parse_args(["scenes", "export", *map(str, arguments)])
    return args.run(args)


def test_the_command_writes_once_and_says_so(tmp_path, capsys):
    options = ("--n", 4, "--seed", 2, "--size", 128, "--foils", "noun, colour")
    assert run_command("foil", tmp_path / "out", *options) == 0
    error = capsys.readouterr().err
    assert "4/4" in error and f"{tmp_path / 'out'}: foil, 4 records" in error
    receipt = read(tmp_path / "out" / RECEIPT)
    names = {"foilv1.0_test_2017.json", "captions_val2014.json"}
    files = receipt.pop("files")
    assert names < files.keys() and len(files) == 6 and receipt.pop("key")
    assert all((tmp_path / "out" / name).stat().st_size == size for name, size in files.items())
    assert receipt == {
        "benchmark": "foil",
        "n": 4,
        "seed": 2,
        "size": 128,
        "foils": ["noun", "colour"],
    }
    assert len(pictures_of(tmp_path / "out")) == 4
    assert run_command("foil", tmp_path / "out", *options) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert run_command("hat", tmp_path / "quiet", "--n", 3, "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_a_picture_saved_outside_an_export_needs_no_bar(tmp_path):
    save_picture(sample_scene(generator(0, 0)), tmp_path / "a" / "0.png")
    count_picture()
    assert (tmp_path / "a" / "0.png").is_file()
