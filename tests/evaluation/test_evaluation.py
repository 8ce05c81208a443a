"""`evaluate`: the misalignment benchmarks, from exported files to results above baselines."""

import json
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest

from clip_attribution import load_clip
from clip_attribution.cli import main
from clip_attribution.datasets import BENCHMARKS, MISALIGNMENT
from clip_attribution.datasets.export import export
from clip_attribution.datasets.published import beside, main_table, published
from clip_attribution.errors import UserError
from clip_attribution.evaluation.report import show
from clip_attribution.evaluation.run import evaluate, sample

NAMES = [name for name, benchmark in BENCHMARKS.items() if benchmark.kind == MISALIGNMENT]
ROWS = {"foil": 2, "nocaps-foil": 2, "hat": 1, "seetrue": 1, "rich-hf": 1}
FLOORS = ("random word", "most frequent word")
PAIRS = {"hat": 400}  # a third of its captions are false
EPSILONS = {"hat": -1e-3}  # at the paper's -5e-5 this model joins too many words to segments


@pytest.fixture(scope="module")
def clip():
    return load_clip(device="cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Each benchmark's files with 150 foils of objects, made when first asked for."""
    folder, done = tmp_path_factory.mktemp("exported"), {}

    def find(name):
        if name not in done:
            export(name, folder / name, PAIRS.get(name, 150), 3, 64, ("noun",), False)
            done[name] = folder / name
        return done[name]

    return find


def pick(results, measure, scorer):
    """The one row of all groups with this measure and scorer."""
    rows = results[(results["measure"] == measure) & (results["group"] == "all")]
    (row,) = rows[rows["scorer"] == scorer].to_dict("records")
    return row


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_false_objects_are_found_above_the_floors(clip, exported, tmp_path, name):
    results, words, pairs = evaluate(
        clip,
        name,
        exported(name),
        tmp_path,
        quiet=True,
        start_layer=0,
        epsilon=EPSILONS.get(name),
    )
    assert len(pairs) == PAIRS.get(name, 150) * ROWS[name] and pairs["error"].isna().all()
    assert set(words["pair_id"]) == set(pairs["pair_id"])
    found = results[~results["value"].isna()]
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
    if name in ("foil", "nocaps-foil", "hat"):
        located = pick(results, "LA", "attribution")
        for floor in FLOORS:
            assert located["low"] > pick(results, "LA", floor)["high"], floor
        precise = pick(results, "AP", "F-CLIPScore")
        assert precise["low"] > precise["chance"]
    else:
        right = pick(results, "F1", "attribution")
        assert right["low"] > right["chance"]
    if name == "seetrue":
        assert right["low"] > pick(results, "F1", "random word")["high"]
    if name == "rich-hf":
        assert right["low"] > pick(results, "F1", "every token")["high"]
        assert pick(results, "Spearman", "F-CLIPScore")["low"] > 0


def test_a_missing_picture_is_an_error_on_its_own_rows(clip, exported, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(exported("hat"), data)
    records = json.loads((data / "hat-trainval.json").read_text("utf-8"))
    next(data.rglob(records[0]["image_path"])).unlink()
    records[1]["grounding"] = records[1]["grounding"][:-1]
    (data / "hat-trainval.json").write_text(json.dumps(records), "utf-8")
    options = ["--data", str(data), "--out", str(tmp_path / "out"), "--quiet", "--device", "cpu"]
    assert main(["evaluate", "hat", *options]) == 3
    assert "CLIP4DM ViT-B/32 (published)" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (facts["pairs"], facts["errors"]) == (400, 2)
    results = pd.read_csv(tmp_path / "out/results.csv")
    assert pick(results, "AP", "CLIPScore")["n"] == 398


def test_a_limit_keeps_captions_with_their_foils(clip, exported, tmp_path):
    _, _, pairs = evaluate(clip, "foil", exported("foil"), tmp_path, limit=41, quiet=True)
    assert len(pairs) == 40 and (pairs.groupby("pair")["is_foil"].sum() == 1).all()


def test_a_limit_holds_for_decisions_and_keeps_the_captions_of_a_picture_together():
    cases = pd.DataFrame({"case_id": list("abcdef"), "error": None})
    assert len(sample(cases, 4, 0)) == 4 and len(sample(cases, 9, 0)) == 6
    drawn = {tuple(sample(cases, 2, seed)["case_id"]) for seed in range(20)}
    assert len(drawn) > 5
    captions = pd.DataFrame({"pair_id": range(30), "image": [f"{i // 5}.jpg" for i in range(30)]})
    part = sample(captions, 12, 1, "image")
    assert len(part) == 10 and (part["image"].value_counts() == 5).all()
    assert len(sample(captions, 3, 1, "image")) == 5


def test_a_killed_run_goes_on_and_gives_the_same_bytes(exported, tmp_path):
    data = str(exported("foil"))
    command = [sys.executable, "-m", "clip_attribution", "evaluate", "foil", "--data", data]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "--out", str(whole), "--quiet"], check=True, capture_output=True)
    small = ["--out", str(killed), "--quiet", "--chunk-rows", "20"]
    process = subprocess.Popen([*command, *small], stdout=subprocess.DEVNULL)
    while not list(killed.glob("parts/*.pairs.parquet")) and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in (killed / "parts").glob("*")}
    assert done
    again = subprocess.run([*command, *small], capture_output=True, text=True, check=True)
    assert "attribution" in again.stdout and not (killed / "parts").exists()
    assert (killed / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    for name in ("words.parquet", "pairs.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(killed / name), pd.read_parquet(whole / name))


@pytest.mark.parametrize(
    "name, options, line",
    [
        ("flickr", {}, "unknown benchmark 'flickr'"),
        ("foil", {}, "none of foilv1.0_test_2017.json"),
        ("foil", {"images": "absent"}, "is not a folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, capsys, name, options, line):
    arguments = ["evaluate", name, "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    for option, value in options.items():
        arguments += [f"--{option}", value]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_another_kind_of_benchmark_is_refused(clip, tmp_path):
    with pytest.raises(UserError, match="coco"):
        evaluate(clip, "coco", tmp_path, tmp_path / "out")


def test_published_numbers_are_marked_and_as_printed():
    table = published(system="clip4dm", dataset="HAT", metric="LA")
    assert table.set_index("model")["value"]["CLIP4DM ViT-H/14"] == 0.35
    assert published(model="Rich-HF augmented prompt", metric="recall")["printed"].item() == "0.341"
    one = pd.DataFrame(
        [
            {
                "measure": "LA",
                "scorer": "attribution",
                "group": "all",
                "value": 0.5,
                "low": 0.4,
                "high": 0.6,
                "n": 9,
                "chance": 0.1,
                "ceiling": 1.0,
                "note": "",
            }
        ]
    )
    both = beside(one, "hat")
    assert both["published"].sum() == len(published(system="clip4dm", table="main HAT")) - 5
    grounding = main_table("qgroundcam", "RefCOCO+ testA").set_index(["model", "measure"])["value"]
    assert grounding["BLIP base", "pg_hit"] == pytest.approx(0.679)
    assert grounding["BLIP base", "pg_uncertain"] == pytest.approx(198 / 5726)
    assert grounding["BLIP base", "io_ratio"] == 0.39
    relation = main_table("cae", "ARO", "relation accuracy").set_index("model")["value"]
    assert relation["CLIP ViT-B/32"] == 58.7 and not len(main_table())
    shown = show(both)
    assert "0.500 [0.400, 0.600]" in shown and "ALOHa (published)" in shown


def test_template_and_alignment_are_the_benchmarks_own_unless_given(tmp_path):
    out = tmp_path / "out"
    for name, given, expected in (
        ("sugarcrepe", [], {"template": ""}),
        ("sugarcrepe", ["--template", "a "], {"template": "a "}),
        ("rich-hf", [], {"template": "A photo depicts ", "alignment": "rich_hf_tokens"}),
        ("rich-hf", ["--alignment", "offsets"], {"alignment": "offsets"}),
    ):
        if not (tmp_path / name).exists():
            export(name, tmp_path / name, 12, 0, 64, None, False)
        command = ["evaluate", name, "--data", str(tmp_path / name), "--out", str(out), "--quiet"]
        assert main([*command, *given]) == 0
        file = "evaluation.json" if name == "sugarcrepe" else "score.json"
        facts = json.loads((out / file).read_text("utf-8"))
        assert facts.get("options", facts).items() >= expected.items()
        shutil.rmtree(out)


def test_grounding_and_composition_are_evaluated_by_the_same_command(tmp_path, capsys):
    for name in ("refcoco", "sugarcrepe"):
        export(name, tmp_path / name, 12, 0, 64, None, False)
        out = tmp_path / f"out-{name}"
        options = ["--data", str(tmp_path / name), "--out", str(out), "--quiet"]
        if name == "refcoco":
            options += ["--heatmaps", "gae_image,value_path"]
        assert main(["evaluate", name, *options, "--device", "cpu"]) == 0
        assert not (out / "parts").exists() and (out / "rows.parquet").exists()
    shown = capsys.readouterr().out
    assert "uniform map" in shown and "CLIP-FT (published)" in shown
    results = pd.read_csv(tmp_path / "out-refcoco/results.csv")
    rows = results[(results["measure"] == "pg_hit") & (results["group"] == "all")]
    assert set(rows["scorer"]) == {"gae_image", "value_path", "centre point", "uniform map"}


def test_aro_counts_small_groups_only_when_asked_to(tmp_path, capsys):
    export("aro-attribute", tmp_path / "data", 40, 0, 64, None, False)
    command = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["evaluate", "aro-attribute", *command]) == 2
    assert "no group has 25 cases: lower at_least" in capsys.readouterr().err
    assert main(["evaluate", "aro-attribute", *command, "--at-least", "2"]) == 0
    results = pd.read_csv(tmp_path / "out/results.csv")
    assert (results["n"].iloc[1:] >= 2).all()
    assert json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))["at_least"] == 2
    assert main(["evaluate", "sugarcrepe", *command, "--at-least", "2"]) == 2
    assert "at_least is for aro-relation" in capsys.readouterr().err


def noted(out):
    """Note and n of the row of an ARO table that stands beside the published value."""
    results = pd.read_csv(out / "results.csv", keep_default_na=False)
    row = results[results["group"] == "all"].iloc[0]
    return row["note"], float(row["n"])


def test_aros_list_is_found_beside_the_data_or_given_and_the_note_says_which(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    export("aro-relation", data, 60, 0, 64, None, False)
    records = json.loads((data / "visual_genome_relation.json").read_text("utf-8"))
    counts = pd.Series([record["relation_name"] for record in records]).value_counts()
    most, least = counts.index[0], int(counts.iloc[1])
    command = ["evaluate", "aro-relation", "--data", str(data), "--quiet", "--out"]
    assert main([*command, str(out), "--at-least", str(least)]) == 0
    without = f"relations with >= {least} cases; ARO's own list was not given"
    assert noted(out)[0] == without and without in capsys.readouterr().out
    (data / "excluded_relations.json").write_text(json.dumps([most]))
    assert main([*command, str(out)]) == 2  # there are results of other options
    assert "another folder" in capsys.readouterr().err and noted(out)[0] == without
    out = tmp_path / "list"
    assert main([*command, str(out)]) == 0
    assert noted(out) == ("relations, less the 1 of the given list", 60 - counts.iloc[0])
    assert json.loads((out / "evaluation.json").read_text("utf-8"))["exclude"] == [most]
    given = tmp_path / "own.txt"
    given.write_text("\n".join(counts.index[:2]))
    out = tmp_path / "own"
    assert main([*command, str(out), "--exclude", str(given)]) == 0
    assert noted(out) == ("relations, less the 2 of the given list", 60 - counts.iloc[:2].sum())
    capsys.readouterr()
    assert main([*command, str(out), "--exclude", str(tmp_path / "none.txt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_limit_leaves_the_rule_of_aro_as_it_is(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    export("aro-attribute", data, 60, 0, 64, None, False)
    records = json.loads((data / "visual_genome_attribution.json").read_text("utf-8"))
    counts = pd.Series(["_".join(record["attributes"]) for record in records]).value_counts()
    command = ["evaluate", "aro-attribute", "--data", str(data), "--out", str(out), "--quiet"]
    assert main([*command, "--at-least", "2", "--limit", "30"]) == 0
    rows = pd.read_csv(out / "results.csv")
    here = set(rows.loc[rows["measure"] == "accuracy", "group"])
    assert here < set(counts.index[counts >= 2])
    absent = int((counts >= 2).sum()) - len(here)
    assert noted(out)[0] == (
        "attribute pairs with >= 2 cases; ARO asks for 25; "
        f"{absent} of these, counted in the whole file, have no case here"
    )
