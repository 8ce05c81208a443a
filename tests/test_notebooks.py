"""Every notebook runs without a screen and finds what it should; the runner refuses mistakes."""

import ast
import json
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from clip_attribution import notebooks
from clip_attribution.errors import UserError
from clip_attribution.metrics.intervals import mean_estimate
from clip_attribution.notebooks import check, find_notebooks, main, require, run_notebook
from clip_attribution.parameters import check_values, declared, from_text, number_list

# Parameters that make a notebook fast; each is checked against what the notebook declares.
TABLE = {"n_pairs": 240, "cache": "tables"}
SMALL = {
    "01_word_attribution": {"seed": 1},
    "02_layer_ablation": TABLE,
    "03_relu_ablation": TABLE,
    "04_part_of_speech": TABLE,
    "05_misalignment_benchmarks": {"n_pairs": 60, "foils": "noun", "cache": "tables"},
    "06_composition_deficiency": {"n_pairs": 120, "methods": "attention cae_gradcam gradient"},
    "07_compositional_benchmarks": {
        "benchmarks": "aro-relation sugarcrepe winoground coco-retrieval sts-b",
        "n": 70,
        "cache": "tables",
    },
    "08_composition_finetuning": {
        "only_sees": False,
        "n_pairs": 60,
        "steps": 4,
        "batch": 8,
        "n_test": 8,
        "hard_negatives": False,
        "shares": "0 10",
        "cache": "tuned",
    },
    "09_grounding_metrics": {
        "methods": "gae_image gradcam rollout",
        "n_pictures": 12,
        "cache": "tables",
    },
    "10_heatmap_methods": {
        "methods": "gae_image rollout",
        "word_methods": "gae",
        "n_pairs": 10,
        "n_checked": 4,
    },
    "11_descriptions_over_captions": {
        "n_train": 60,
        "n_test": 40,
        "n_localised": 10,
        "starts": "0 1",
        "steps": 6,
        "even_steps": 4,
        "cache": "tuned",
    },
    "12_human_ratings": {"n_images": 40, "n_studies": 50},
    "13_mediated_attribution": {"n_scenes": 8, "n_random": 2, "n_steps": 10, "train": False},
    "14_which_method_is_right": {
        "methods": "columns clip4dm leave_one_out",
        "maps": "interactions rollout",
        "n_foils": 6,
        "n_captions": 8,
        "n_stable": 4,
        "cache": "tables",
    },
}
NOTEBOOKS = find_notebooks()
NAMES = [path.stem for path in NOTEBOOKS]


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


# --- the notebooks of the project ---


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run a notebook once, with its small parameters; the content of its JSON."""
    folder, done = tmp_path_factory.mktemp("figures"), {}

    def run(name):
        if name not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                run_notebook(name, SMALL[name], "out")
            done[name] = json.loads((folder / "out" / f"{name}.json").read_text("utf-8"))
            assert (folder / "out" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        return done[name]

    return run


def test_small_parameters_belong_to_notebooks():
    assert set(SMALL) == set(NAMES)
    for path in NOTEBOOKS:
        check_values(path, SMALL[path.stem])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_and_records_what_it_did(results, name):
    record = results(name)
    assert record["notebook"] == name and record["results"]
    assert record["parameters"].items() >= SMALL[name].items()
    assert len(record["model"]["weights_hash"]) == 16 and record["versions"]["torch"]


@pytest.mark.slow
def test_word_attribution_finds_the_foil(results):
    found = results("01_word_attribution")["results"]
    (replaced,) = found["replaced"]
    assert replaced["foil_attribution"] < replaced["attribution"]
    assert found["located"]["low"] > found["chance"]["high"]
    assert found["true_caption_wins"]["value"] > 0.8
    cosines = {row["pair_id"]: row["cosine"] for row in found["neighbours"]}
    assert cosines["true"] > cosines["other scene"]


@pytest.mark.slow
def test_human_ratings_set_the_length_beside_the_score(results):
    found = results("12_human_ratings")["results"]
    assert found["people"] is None and len(found["published"]) == 55
    rows = {(row["of"], row["kind"]): row for row in found["facts"]}
    assert (
        rows["score", "given the other"]["low"] > 0 and rows["length", "all texts"]["value"] > 0.7
    )
    assert "No ratings were given" in found["findings"][1]


@pytest.mark.slow
def test_mediated_attribution_shows_the_control(results):
    found = results("13_mediated_attribution")["results"]
    assert {row["subspace"] for row in found["summary"]} == {"unrotated", "random"}
    assert all(0 < row["share_of_rest"] < 1 for row in found["gaps"]) and found["norms"] is None
    kept = {row["path"]: row["value"] for row in found["summary"] if row["subspace"] == "random"}
    assert abs(kept["through − around"]) < 0.4


@pytest.mark.slow
def test_layer_ablation_finds_false_nouns_above_chance(results):
    record = results("02_layer_ablation")
    rows = [row for row in record["results"]["by_type"] if row["group"] == "noun"]
    located = [row for row in rows if row["measure"] == "location accuracy"]
    with_all = max(located, key=lambda row: row["layers"])
    assert with_all["low"] > with_all["chance"] > 0 and with_all["n"] == 30
    assert record["data"]["foils"] == 240 and len(record["data"]["hash"]) == 16


@pytest.mark.slow
def test_relu_ablation_finds_that_size_without_sign_loses(results):
    found = results("03_relu_ablation")["results"]
    lost = [row for row in found["differences"] if row["group"] == "all foils"]
    assert len(lost) == 2 * 5 and all(row["low"] <= row["value"] <= row["high"] for row in lost)
    assert all(row["high"] < 0 for row in lost if row["variant"] == "absolute")


@pytest.mark.slow
def test_part_of_speech_tells_false_nouns_from_true_ones(results):
    found = results("04_part_of_speech")["results"]
    nouns = next(row for row in found["separation"] if row["pos"] == "NOUN")
    assert nouns["low"] > 0.5 and nouns["n"] >= 30
    assert found["agreement"][0]["pos"] == "all words" and found["agreement"][0]["low"] > 0.9


@pytest.mark.slow
def test_benchmarks_find_false_objects_and_keep_the_promised_false_alarms(results):
    found = results("05_misalignment_benchmarks")["results"]
    rows = {
        (row["benchmark"], row["measure"], row["scorer"]): row
        for row in found["results"]
        if row["group"] == "all"
    }
    for name in ("FOIL", "nocaps-FOIL"):
        floors = [rows[name, "LA", floor] for floor in ("random word", "most frequent word")]
        assert rows[name, "LA", "attribution"]["low"] > max(floor["high"] for floor in floors)
    calibrated = [row for row in found["false_alarms"] if row["rule"] == "conformal"]
    assert len(calibrated) == 4
    for row in calibrated:
        assert row["false_alarms"] < row["rate"] + 4 * row["standard_error"] + 0.01


@pytest.mark.slow
def test_grounding_finds_boxes_more_often_than_maps_that_know_no_picture(results):
    found = results("09_grounding_metrics")["results"]
    low = {
        (row["method"], row["metric"], row["baseline"]): row["low"]
        for row in found["against_baselines"]
    }
    assert low["gae_image", "pg_hit", "centre point"] > 0
    assert all(low["gae_image", metric, "uniform map"] > 0 for metric in ("pg_hit", "io_ratio"))
    stated = [row["value"] for row in found["uncertainty"] if row["measure"] == "uncertain"]
    assert len(set(stated)) <= 3  # one value a method, whatever tau and delta


@pytest.mark.slow
def test_heat_maps_beat_a_random_order_and_rollout_ignores_the_head(results):
    found = results("10_heatmap_methods")["results"]
    gains = {(row["method"], row["kind"]): row["gain_low"] for row in found["pictures"]}
    assert gains["gae_image", "deletion"] > 0 and gains["gae_image", "insertion"] > 0
    kept = {(row["method"], row["depth"]): row["value"] for row in found["sanity"]}
    assert kept["rollout", "head"] == 1 > kept["gae_image", "head"]
    assert found["findings"][-1].endswith("The given model is unchanged.")


@pytest.mark.slow
def test_composition_deficiency_holds_for_the_model_and_not_for_random_weights(results):
    record = results("06_composition_deficiency")
    found = record["results"]
    gaps = {(row["method"], row["role"]): row["deficient"] for row in found["gaps"]}
    assert len(gaps) == 9
    # the softmax of the gradient method is nearly one-hot: it orders no roles here
    assert all(found for (method, _), found in gaps.items() if method != "gradient")
    untrained = [row for row in found["untrained_gaps"] if row["role"] == "composition"]
    assert len(untrained) == 3 and not any(row["deficient"] for row in untrained)
    assert all(row["low"] > 0.9 for row in found["agreement"] if row["role"] == "all roles")
    near = {row["role"]: row for row in found["ingredients"] if row["measure"] == "difference"}
    assert near["object"]["low"] > near["relation"]["high"]
    assert found["curve"][0]["n"] == 100 and record["data"]["foils"] == 120


@pytest.mark.slow
def test_compositional_benchmarks_find_attributes_and_not_exchanged_nouns(results):
    rows = results("07_compositional_benchmarks")["results"]["table"]
    own = {(row["name"], row["measure"]): row for row in rows}
    assert own["sugarcrepe", "attribute accuracy"]["low"] > 50
    swapped = own["aro-relation", "relation accuracy"]
    assert swapped["low"] < 50 < swapped["high"] and swapped["published"] == 58.7
    assert swapped["random_low"] < 50 < swapped["random_high"]
    recall = own["coco-retrieval", "T2I R@1"]
    assert recall["low"] > 10 * recall["chance"] > recall["random"]


@pytest.mark.slow
def test_finetuning_measures_every_variant_and_sets_its_weights(results):
    found = results("08_composition_finetuning")["results"]
    variants = {row["variant"] for row in found["table"]}
    assert {"CLIP", "CLIP-FT", "only L_attr"} < variants and len(variants) == 7
    weights = {row["variant"]: row["lam"] for row in found["weights"]}
    assert min(weights.values()) > 0 and weights["CAE attention"] != weights["CAE gradcam"]
    gap = {row["measure"]: row for row in found["table"] if row["variant"] == "CLIP"}
    assert gap["gap attention"]["value_low"] > 0


@pytest.mark.slow
def test_descriptions_are_measured_before_and_after_every_way_of_training(results):
    found = results("11_descriptions_over_captions")["results"]
    shares = {
        row["variant"]: row
        for row in found["table"]
        if row["measure"] == "descriptions over captions"
    }
    assert len(shares) == 7 and shares["model as given"]["value"] > 0.9
    assert all(row["low"] <= row["value"] <= row["high"] for row in shares.values())
    assert shares["IIT-DAS LoRA"]["starts"] == 2 and shares["IIT-DAS full"]["starts"] == 1
    assert {row["step"] for row in found["log"]} == {0, 2, 4, 6}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_is_stripped_and_defines_nothing(path):
    for cell in cells(path):
        assert not cell.outputs and cell.execution_count is None
        tree = ast.parse(cell.source)
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.AsyncFunctionDef)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_begins_with_title_and_typed_parameters(path):
    first, second = nbformat.read(path, 4).cells[:2]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert second.metadata.tags == ["parameters"]
    lines = ast.parse(second.source).body
    assert all(isinstance(node, ast.AnnAssign) for node in lines)
    for node, (name, parameter) in zip(lines, declared(path).items(), strict=True):
        assert node.annotation.id == type(parameter.default).__name__, name
        assert parameter.help, name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_setup_cell_is_short(path):
    source = nbformat.read(path, 4).cells[2].source
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    assert len(source.splitlines()) <= 12
    assert sum(len(node.names) for node in imports) <= 8
    assert source.splitlines()[-1] == "parameters" and "check(globals()" in source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_about_half_of_a_notebook_is_prose(path):
    prose, code = len(cells(path, "markdown")), len(cells(path))
    assert 0.35 <= prose / (prose + code) <= 0.65 and 15 <= prose + code <= 45


# --- the runner, on notebooks of a few lines ---


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An own folder of notebooks, in which the test also stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    return tmp_path


PARAMETERS = 'seed: int = 0  # a number\nscale: float = 1.5  # a factor\noutput: str = "x"  # to'


def write(folder, name, *sources, parameters=PARAMETERS):
    code = [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
    code[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=code), folder / "notebooks" / f"{name}.ipynb")


def test_parameters_reach_a_kernel_of_this_python(folder):
    lines = "import sys, json, pathlib\np = pathlib.Path(output)\np.mkdir()\n"
    lines += "(p / '01_one.json').write_text(json.dumps([seed, scale, sys.executable]))"
    write(folder, "01_one", lines)
    copy = run_notebook("01", {"seed": 3, "scale": 2}, "out")
    assert copy == Path("runs/notebooks/01_one.ipynb") and copy.exists()
    assert json.loads(Path("out/01_one.json").read_text()) == [3, 2, sys.executable]


def test_a_failing_notebook_stops_no_other(folder, capsys):
    write(folder, "01_bad", "raise ValueError('first line\\nsecond line')")
    write(folder, "02_good", "import pathlib\npathlib.Path(output, '02_good.json').touch()")
    Path("figures").mkdir()
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert "FAILED, ValueError: first line (see runs/notebooks/01_bad.ipynb)" in shown
    assert "second line" not in shown and "figures/02_good.json" in shown
    assert "first line" in Path("runs/notebooks/01_bad.ipynb").read_text("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "sed", "3"],
        ["-p", "seed", "three"],
        ["-p", "seed", "1.5"],
        ["-p", "seed", "True"],
        ["-p", "seed", "-1"],
        ["-p", "scale", "big"],
        ["--only", "07"],
        ["--model", "ViT-B-32"],
    ],
)
def test_mistakes_are_one_line_before_anything_runs(folder, capsys, arguments):
    write(folder, "01_one", "open('ran', 'w')")
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "error: " in shown
    assert not Path("ran").exists() and not Path("runs").exists()


@pytest.mark.parametrize("given", [{"sed": 1}, {"seed": "1"}, {"seed": True}, {"output": 2}])
def test_run_notebook_refuses_unknown_and_ill_typed(folder, given):
    write(folder, "01_one")
    with pytest.raises(UserError) as caught:
        run_notebook("01_one", given)
    assert "\n" not in str(caught.value) and not Path("runs").exists()


def test_a_parameter_goes_to_the_notebooks_that_have_it(folder):
    write(folder, "01_one")
    write(folder, "02_two", parameters='model: str = ""  # name')
    jobs = notebooks.plan(find_notebooks(), {"model": "ViT-B-32", "seed": "3"})
    assert [given for _, given in jobs] == [{"seed": 3}, {"model": "ViT-B-32"}]
    assert [path.stem for path in find_notebooks(["02"])] == ["02_two"]


def test_the_list_shows_defaults_and_help(folder, capsys):
    write(folder, "01_one")
    assert main(["--list"]) == 0
    assert "  seed = 0  a number\n  scale = 1.5  a factor\n" in capsys.readouterr().out


def test_no_notebooks_is_an_error(folder, capsys):
    assert main([]) == 2 and "no notebooks" in capsys.readouterr().err


# --- what notebooks call ---


def test_values_of_the_command_line_take_the_type_of_the_default():
    assert from_text("3", 0) == 3 and from_text("-5e-5", 1.0) == -5e-5
    assert from_text("true", False) is True and from_text("03", "") == "03"
    assert from_text("[1, 2]", [0]) == [1, 2] and from_text("x", 1) == "x"


@pytest.mark.parametrize("text", ["", "a", "-1", "1,2", "0 nan", "inf"])
def test_a_list_of_numbers_is_read_or_refused_in_one_line(text):
    assert number_list("seeds", "0 1 2", int) == [0, 1, 2]
    assert number_list("shares", " 0.1 10 ", float) == [0.1, 10.0]
    with pytest.raises(UserError, match="^parameter shares must be float numbers .*not"):
        number_list("shares", text, float)


def namespace(**values):
    """What a kernel holds after a parameters cell: `seed: int = 3` and so on."""
    kinds = {name: kind for name, (kind, _) in values.items()}
    return {"__annotations__": kinds} | {name: value for name, (_, value) in values.items()}


def test_check_returns_what_the_cell_declares():
    names = namespace(seed=(int, 3), method=(str, "gae"), rate=(float, 1)) | {"other": 5}
    assert check(names, method=["gae", "x"]) == {"seed": 3, "method": "gae", "rate": 1.0}
    assert isinstance(check(names)["rate"], float)


@pytest.mark.parametrize(
    ("name", "kind", "value", "allowed"),
    [
        ("seed", int, -1, None),
        ("seed", int, True, None),
        ("seed", int, 1.0, None),
        ("n_pairs", int, 1, None),
        ("layers", int, 3, None),
        ("n_checked", int, 9, range(2, 9)),
        ("method", str, "no", ["gae"]),
        ("method", str, 3, None),
        ("epsilon", float, "0", None),
    ],
)
def test_check_says_what_is_allowed(name, kind, value, allowed):
    with pytest.raises(UserError, match=f"parameter {name} must be") as caught:
        check(namespace(**{name: (kind, value)}), **{name: allowed})
    assert "\n" not in str(caught.value) and repr(value) in str(caught.value)


def test_check_needs_declared_parameters():
    with pytest.raises(UserError, match="no parameters"):
        check({"seed": 3})
    with pytest.raises(UserError, match="no parameter sed; there are seed"):
        check(namespace(seed=(int, 3)), sed=range(9))


def test_results_are_saved_as_plain_values():
    frame = pd.DataFrame({"value": [0.12345678, np.nan], "n": [1, 2], "name": ["a", None]})
    rows = [{"value": 0.123457, "n": 1, "name": "a"}, {"value": None, "n": 2, "name": None}]
    assert notebooks.plain({"rows": frame, "t": (np.bool_(True), np.float32(2))}) == {
        "rows": rows,
        "t": [True, 2.0],
    }
    assert notebooks.plain(mean_estimate([1.0, 1.0]))["value"] == 1.0


def test_require():
    require(True, "fine")
    with pytest.raises(UserError, match="both"):
        require(False, "give both")


@pytest.mark.slow
def test_the_ranking_puts_interventions_and_interactions_first(results):
    found = results("14_which_method_is_right")["results"]
    first = {name: table[0]["method"] for name, table in found["words"].items()}
    assert first["locate"] in ("leave_one_out", "columns")
    assert first["follow"] == "leave_one_out"
    nets = {row["method"]: row["value"] for row in found["words"]["locate"]}
    assert nets["columns"] > nets["clip4dm"] and abs(nets["random"]) < 0.3
    points = {row["method"]: row["value"] for row in found["regions"]["point"]}
    assert points["interactions"] > 0.8 and abs(points["rollout"]) < 0.3
    assert len(found["cases"]) >= 1 and len(found["findings"]) == 5
