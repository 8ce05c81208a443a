"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from clip_attribution.dependencies import PACKAGE
from clip_attribution.notebooks import run_notebook

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PAIRS = "image,caption\nscene:1:3,a yellow envelope on grass\n"
# the tests that ask something of every method, on small models
OVER_METHODS = (
    "tests/attribution/test_attribution.py::test_gae_and_attention_are_never_negative_and_say_so",
    "tests/heatmaps/test_heatmaps.py::test_every_tower_has_a_map_or_a_reason",
    "tests/test_direction.py::test_imports_run_one_way",
)


def blocks(title: str) -> list[str]:
    """The Python blocks of one recipe."""
    recipe = re.search(rf"^## {title}\n(.+?)(?=^## |\Z)", TEXT, re.M | re.S)[1]
    return re.findall(r"^```python\n(.+?)^```", recipe, re.M | re.S)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package, with the files of the recipe and nothing else changed."""
    root = tmp_path_factory.mktemp("copy")
    package = root / "lib" / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks("Add a method"):
        file = root / block.splitlines()[0].removeprefix("# ")
        assert not file.exists() and file.is_relative_to(package)
        file.write_text(block.split("\n", 1)[1], "utf-8")
    return root


def run(copy, *command, cwd):
    """Run Python with the copy in place of the package."""
    places = {"PYTHONPATH": str(copy / "lib"), "CLIP_ATTRIBUTION_DATA": str(ROOT / "data")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | places,
        capture_output=True,
        text=True,
        timeout=600,
    )


# One process, because most of its time goes into its imports.
KNOWN = """
import clip_attribution, sys
from clip_attribution import attribute, load_clip
from clip_attribution.attribution import METHODS, layered_methods
from clip_attribution.cli import main
from clip_attribution.heatmaps import METHODS as MAPS, heatmaps
assert clip_attribution.__file__.startswith(sys.argv[1]), clip_attribution.__file__
assert {"attention_gradient"} <= set(METHODS) & set(layered_methods()) and "hirescam" in MAPS
pair, clip = {"image": "scene:1:3", "caption": "a yellow envelope on grass"}, load_clip()
words, pairs = attribute(clip, [pair], "attention_gradient")
assert words.attribution.notna().all() and pairs.error.isna().all()
assert heatmaps(clip, [pair["image"]], ["a sun"], "hirescam").std() > 0
score = ["score", "pairs.csv", "--out", "out", "--quiet", "--method"]
assert main([*score, "attention_gradient"]) == 0
assert main([*score, "nonsense"]) == 2  # and names those that there are
"""


def test_a_method_of_one_file_is_known_everywhere(copy, tmp_path):
    (tmp_path / "pairs.csv").write_text(PAIRS, "utf-8")
    done = run(copy, "-c", KNOWN, str(copy), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "choose one of attention, attention_gradient, " in done.stderr
    assert "attention_gradient" in (tmp_path / "out" / "score.json").read_text("utf-8")


@pytest.mark.slow
def test_the_tests_over_all_methods_pass_with_it(copy):
    done = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OVER_METHODS, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_notebook_runs_and_saves_its_figure(tmp_path, monkeypatch):
    (block,) = blocks("Add a notebook")
    cells = []
    for part in re.split(r"^# %%", block, flags=re.M)[1:]:
        kind, source = part.split("\n", 1)
        if kind.strip() == "[markdown]":
            source = re.sub(r"^# ", "", source, flags=re.M)
            cells.append(nbformat.v4.new_markdown_cell(source.strip()))
        else:
            cells.append(nbformat.v4.new_code_cell(source.strip()))
            cells[-1].metadata["tags"] = kind.split()
    name = re.search(r"`notebooks/(.+?)\.ipynb`", TEXT)[1]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    monkeypatch.chdir(tmp_path)
    run_notebook(tmp_path / f"{name}.ipynb", {"caption": "a yellow sun"}, "out")
    record = json.loads(Path("out", f"{name}.json").read_text("utf-8"))
    assert [word["word"] for word in record["results"]["words"]] == ["a", "yellow", "sun"]
    assert Path("out", f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("notebooks/Snakefile", "FIGURES"),
        ("tests/test_notebooks.py", "SMALL"),
        ("tests/oracles.py", "def "),
        ("lib/clip_attribution/attribution/registry.py", "class Method"),
        ("lib/clip_attribution/attribution/view.py", "class View"),
        ("data/README.md", "official files"),
    ],
)
def test_what_the_recipes_name_is_there(file, name):
    assert file.removeprefix("lib/clip_attribution/") in TEXT
    assert name in (ROOT / file).read_text("utf-8")
