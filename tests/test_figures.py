"""The figure graph runs what is out of date and nothing else, and says what failed."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from clip_attribution.dependencies import PACKAGE, code_of, library_files
from clip_attribution.models.sources import embedded_path

ROOT = PACKAGE.parents[1]
SNAKEFILE = ROOT / "notebooks" / "Snakefile"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TABLE = ["cache", "data", "dataset", "images", "model", "n_pairs", "pretrained", "seed"]


def dictionary(source: str, name: str) -> dict:
    """The literal keys and, where they are literals, values of `name = {...}` in a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return {
                key.value: value
                for key, value in zip(node.value.keys, node.value.values, strict=True)
            }
    raise AssertionError(f"no {name} = {{...}}")


def figures_of_snakefile() -> dict[str, list[str]]:
    text = re.search(r"^FIGURES = \{.*?^\}", SNAKEFILE.read_text("utf-8"), re.M | re.S).group()
    return {stem: ast.literal_eval(value) for stem, value in dictionary(text, "FIGURES").items()}


# --- what is declared is what is there ---


def test_the_graph_knows_every_notebook_and_each_of_its_figures():
    declared = figures_of_snakefile()
    assert sorted(declared) == [path.stem for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        assert list(dictionary(code_of(path), "figures")) == declared[path.stem]


def names_of(source: Path) -> set[str]:
    return {str(path.relative_to(PACKAGE)) for path in library_files(source)}


def test_dependencies_follow_imports_and_stop_there():
    names = names_of(ROOT / "notebooks" / "02_layer_ablation.ipynb")
    foils = {"studies/foils/table.py", "studies/foils/figures.py"}
    assert {*foils, "attribution/engine.py", "scenes/vocabulary.py", "models/clip.py"} <= names
    assert not names & {"cli/__init__.py", "evaluation/score.py", "training/pretrain.py"}
    assert not names & {"explore/widget.py", "display/explanation.py"}
    table = names_of(PACKAGE / "studies" / "shared_table.py")
    assert "studies/foils/table.py" in table
    assert not table & {"plots/style.py", "studies/foils/figures.py"}
    roles = names_of(ROOT / "notebooks" / "06_composition_deficiency.ipynb")
    assert {"studies/roles/__init__.py", "studies/roles/measures.py", "text/roles.py"} <= roles
    assert not roles & {"studies/finetuning/tables.py", "studies/grounding/tables.py"}
    loaders = names_of(ROOT / "notebooks" / "05_misalignment_benchmarks.ipynb")
    assert {"datasets/hat.py", "datasets/rich_hf.py"} <= loaders


def estimates(value):
    """Every dict with a value and its interval in nested results."""
    if isinstance(value, dict):
        if None not in (value.get("value"), value.get("low"), value.get("high")):
            yield value
        value = list(value.values())
    for own in value if isinstance(value, list) else []:
        yield from estimates(own)


def test_every_recorded_estimate_lies_in_its_interval():
    found = {}
    for path in sorted((ROOT / "figures").glob("*.json")):
        for one in estimates(json.loads(path.read_text("utf-8"))["results"]):
            found.setdefault(path.stem, []).append(one["low"] <= one["value"] <= one["high"])
    assert len(found) > 10
    assert not [stem for stem, inside in found.items() if not all(inside)]


# --- the graph at work, on notebooks of a few lines in a project of their own ---

LINES = """
import json, pathlib
if seed < 0:
    import clip_attribution.{imported}
folder = pathlib.Path(output)
folder.mkdir(exist_ok=True)
for name in {names}:
    (folder / f"{{name}}.png").write_text("image")
    (folder / f"{{name}}.json").write_text(json.dumps({{"seed": seed}}))
"""
IMPORTED = {
    "01": "display.explanation",
    "02": "studies.foils.figures",
    "03": "studies.foils.figures",
    "04": "studies.pos",
}


def write_notebook(folder: Path, stem: str, suffixes: list[str]) -> None:
    kinds = {"n_pairs": "int = 8", "seed": "int = 0", "epsilon": "float = 0.5"}
    names = {"02": TABLE, "03": TABLE, "04": [*TABLE, "epsilon"]}
    names |= dict.fromkeys(("05", "08", "09"), ["seed", "cache"])
    names = names.get(stem[:2], ["seed"])
    parameters = [f"{name}: {kinds.get(name, 'str = ' + repr(''))}  # {name}" for name in names]
    parameters = [p.replace("dataset: str = ''", "dataset: str = 'scenes'") for p in parameters]
    first = nbformat.v4.new_code_cell("\n".join([*parameters, "output: str = 'x'  # folder"]))
    first.metadata["tags"] = ["parameters"]
    drawn = [f"{stem}{'_' * bool(suffix)}{suffix}" for suffix in suffixes]
    body = LINES.format(imported=IMPORTED.get(stem[:2], "errors"), names=drawn)
    cells = [first, nbformat.v4.new_code_cell(body)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{stem}.ipynb")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The library, the graph and small notebooks, with all figures made once."""
    root = tmp_path_factory.mktemp("project")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "lib" / PACKAGE.name, ignore=skip)
    (root / "notebooks").mkdir()
    (root / "data").mkdir()
    shutil.copy(embedded_path(), root / "data" / "scenes-clip.safetensors")
    shutil.copy(SNAKEFILE, root / "notebooks")
    for stem, suffixes in figures_of_snakefile().items():
        write_notebook(root / "notebooks", stem, suffixes)
    done = snakemake(root)
    assert done.returncode == 0, done.stderr
    return root


def snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the graph as `make figures` does."""
    environment = {**os.environ, "PYTHONPATH": str(root / "lib")}
    environment.pop("CLIP_ATTRIBUTION_DATA", None)
    command = [sys.executable, "-m", "snakemake", "-s", "notebooks/Snakefile", "--cores", "2"]
    command += ["--keep-going", "--max-checksum-file-size", "0", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def jobs(root: Path, *arguments: str) -> set[str]:
    """The notebooks (by number) and tables that would run now."""
    done = snakemake(root, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    return set(re.findall(r"^(?:notebook_)?(\d\d|shared_table)\S* +\d+$", shown, re.M))


@contextmanager
def touched(path: Path):
    """A file that is newer than all others, for a while."""
    before = path.stat()
    os.utime(path)
    try:
        yield
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.slow
def test_all_figures_are_made_with_their_json_and_once(project):
    for stem, suffixes in figures_of_snakefile().items():
        for suffix in suffixes:
            name = f"{stem}{'_' * bool(suffix)}{suffix}"
            assert (project / "figures" / f"{name}.png").exists()
            assert json.loads((project / "figures" / f"{name}.json").read_text()) == {"seed": 0}
    receipt = json.loads((project / "runs" / "tables" / "shared.json").read_text())
    assert receipt["data"]["foils"] == 8 and len(receipt["weights_hash"]) == 16
    again = snakemake(project)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("notebooks/02_layer_ablation.ipynb", {"02"}),
        ("lib/clip_attribution/studies/pos.py", {"04"}),
        ("lib/clip_attribution/display/explanation.py", {"01"}),
        ("lib/clip_attribution/cli/__init__.py", set()),
    ],
)
def test_a_changed_file_runs_what_depends_on_it(project, changed, expected):
    with touched(project / changed):
        assert jobs(project) == expected


@pytest.mark.slow
def test_a_changed_model_runs_the_table_and_all_notebooks(project):
    everything = {stem[:2] for stem in figures_of_snakefile()}
    with touched(project / "data" / "scenes-clip.safetensors"):
        assert jobs(project) == {"shared_table", *everything}


@pytest.mark.slow
def test_a_parameter_runs_the_notebooks_that_have_it(project):
    assert jobs(project, "--config", "epsilon=0.25") == {"04"}
    assert jobs(project, "--config", "n_pairs=9") == {"shared_table", "02", "03", "04"}


@pytest.mark.slow
@pytest.mark.parametrize("given", ["sed=1", "seed=three", "data=nowhere.csv"])
def test_mistakes_are_one_line_before_anything_runs(project, given):
    done = snakemake(project, "--config", given)
    shown = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert done.returncode != 0 and len(shown) == 1 and shown[0].startswith("error: ")


@pytest.mark.slow
def test_a_failed_notebook_leaves_its_copy_and_stops_no_other(project):
    path = project / "notebooks" / "03_relu_ablation.ipynb"
    good = path.read_text("utf-8")
    try:
        path.write_text(good.replace("import json, pathlib", "raise ValueError('no luck')"))
        with touched(project / "notebooks" / "04_part_of_speech.ipynb"):
            done = snakemake(project)
        assert done.returncode != 0
        assert "FAILED, ValueError: no luck (see runs/notebooks/03_relu" in done.stderr
        assert "no luck" in (project / "runs" / "notebooks" / path.name).read_text("utf-8")
        assert (project / "figures" / "04_part_of_speech.png").exists()
        assert not (project / "figures" / "03_relu_ablation.png").exists()
    finally:
        path.write_text(good)
    assert jobs(project) == {"03"}  # what failed, and nothing else, is left to do
