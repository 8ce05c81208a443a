"""Hooks and the public workflow run what the Makefile runs, and nothing else."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.M)[1].split())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))


def test_the_workflow_runs_the_two_commands_of_the_readme():
    (job,) = WORKFLOW["jobs"].values()
    commands = [step["run"].split() for step in job["steps"] if "run" in step]
    assert [command[:2] for command in commands] == [["make", "test"], ["make", "figures"]]
    assert {command[1] for command in commands} <= TARGETS
    assert {word for command in commands for word in command[2:]} == {"PYTHON=python"}
    assert re.search(r"^PYTHON \?=", MAKEFILE, re.M)


def test_make_test_checks_the_types_of_the_core():
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]["files"]
    assert all((ROOT / place).exists() for place in checked)
    assert {Path(place).stem for place in checked} >= {"metrics", "models", "attribution"}
    assert re.search(r"^\t@\$\(PY\) -m mypy", MAKEFILE, re.M)


def test_the_workflow_covers_both_systems_and_the_range_of_pythons():
    (job,) = WORKFLOW["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest"], "python": ["3.11", "3.13"]}
    assert job["runs-on"] == "${{ matrix.os }}"
    assert {"push", "pull_request"} == set(WORKFLOW[True])  # YAML 1.1 reads the key `on` so
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_hooks_run_the_tools_that_make_test_runs():
    (repository,) = HOOKS["repos"]
    assert repository["repo"] == "local"  # no second version of a tool
    venv = re.search(r"^VENV := (.+)$", MAKEFILE, re.M)[1]
    tools = [hook["entry"].removeprefix(f"{venv}/bin/python -m ") for hook in repository["hooks"]]
    assert tools == ["ruff check", "ruff format", "nbstripout"]
    for tool, hook in zip(tools, repository["hooks"], strict=True):
        assert re.search(rf"^\t+@?\$\(PY\) -m {tool} ", MAKEFILE, re.M), tool
        assert hook["language"] == "system"
