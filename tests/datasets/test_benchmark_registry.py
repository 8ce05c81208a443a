"""A benchmark is one file: that of CONTRIBUTING.md appears wherever benchmarks are listed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_contributing import blocks

from clip_attribution.datasets import BENCHMARKS
from clip_attribution.dependencies import PACKAGE
from clip_attribution.errors import UserError
from clip_attribution.moved import PACKAGE as NAME

ROOT = Path(__file__).parents[2]
(TOY,) = blocks("Add a benchmark")
STUDY = """
from clip_attribution import load_clip
from clip_attribution.studies.composition import tables
found = tables.composition_results(load_clip(), tables.chosen("toy"), n=4, cache="cache")
print(tables.overview(found).to_string(), tables.compared(found).to_string())
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs Python with a copy of the package in which the toy is one new file."""
    root = tmp_path_factory.mktemp("toy")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "lib" / NAME, ignore=skip)
    shutil.copytree(ROOT / "data", root / "data")
    (root / "lib" / NAME / "datasets" / "toy.py").write_text(TOY, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(root / "lib")}
    environment.pop("CLIP_ATTRIBUTION_DATA", None)

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_the_command_line_exports_and_evaluates_it(run):
    run("-m", NAME, "scenes", "export", "toy", "files", "--n", "6", "--quiet")
    shown = run("-m", NAME, "evaluate", "toy", "--data", "files", "--quiet")
    assert "relation accuracy" in shown and "toy" in shown


@pytest.mark.slow
def test_the_composition_notebooks_tables_hold_it(run):
    shown = run("-c", STUDY)
    assert "Toy" in shown and "which caption?" in shown


def missing_in_readme(titles, text: str) -> list[str]:
    """The titles that the README's list of benchmarks leaves out."""
    return [title for title in titles if title not in " ".join(text.split())]


def test_the_readme_names_every_benchmark():
    text = (ROOT / "README.md").read_text("utf-8")
    assert missing_in_readme([one.title for one in BENCHMARKS.values()], text) == []
    assert f"There are {len(BENCHMARKS)} benchmarks" in text
    assert missing_in_readme(["Toy of the registry"], text) == ["Toy of the registry"]


def test_no_other_file_has_a_table_of_benchmarks():
    """A string that is a benchmark's name stands in its own file alone; short words aside."""
    names = {name for name in BENCHMARKS if "-" in name}
    for source in PACKAGE.rglob("*.py"):
        if source.parent.name != "datasets":
            text = source.read_text("utf-8")
            assert not [name for name in names if f'"{name}"' in text], source


def test_an_unknown_name_lists_all():
    from clip_attribution.datasets import get_benchmark

    with pytest.raises(UserError, match=", ".join(list(BENCHMARKS)[:3])):
        get_benchmark("flickr")
