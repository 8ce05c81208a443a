"""Parameters of any text reach the notebooks unchanged, and nothing of them is executed."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from filelock import FileLock

from clip_attribution import figures
from clip_attribution.dependencies import PACKAGE
from clip_attribution.errors import UserError
from clip_attribution.figures import content, named_content, named_values, split_words
from clip_attribution.notebooks import plan, separate
from clip_attribution.parameters import check, from_text

ROOT = PACKAGE.parents[1]
PARTS = [
    *"'\"`#:{}[]()$&|;<>*?!~%^=-\\ \t\n",
    *("007", "1_2", "0x1", "1e5", "true", "null", "nan", "-p", "--out", "{x}", "{{", "[a, b]"),
    *("$(touch ran)", "`touch ran`", "; touch ran", "${HOME}", "$$", "$(shell touch ran)", "@{0}"),
    *(
        "caption",
        " #7",
        "a: b",
        "é",
        "漢字",
        "🙂",
        "\u2028",
        "\u0085",
        "\ufeff",
        "\r\n",
        "'''",
        "%s",
    ),
]
ODD = [
    ("caption", "a bus: number #7"),
    ("caption", "007"),
    ("caption", "1_2"),
    ("caption", "[a, b]"),
    ("caption", "{x}"),
    ("caption", "$(touch ran)"),
    ("caption", "`touch ran`"),
    ("caption", 'a "quoted" dog\'s\nname'),
    ("caption", "🙂 = $HOME"),
    ("caption", "--out"),
    ("n", "50"),
]


def texts(count: int, seed: int = 0) -> list[str]:
    """Random texts of odd parts; none empty."""
    rng = random.Random(seed)
    return ["".join(rng.choices(PARTS, k=rng.randint(1, 8))) for _ in range(count)]


def write_notebook(path: Path, parameters: list[str], body: str) -> None:
    cells = [nbformat.v4.new_code_cell("\n".join(parameters)), nbformat.v4.new_code_cell(body)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


BODY = """
import json, pathlib
values = {name: globals()[name] for name in __annotations__}
folder = pathlib.Path(output)
folder.mkdir(exist_ok=True)
(folder / "NAME.png").write_text("image")
(folder / "NAME.json").write_text(json.dumps(values))
"""
HEAD = ["output: str = 'x'  # folder", "model: str = ''  # name", "pretrained: str = ''  # weights"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the Makefile, an installed environment and two notebooks, of which one has
    200 parameters of text."""
    root = tmp_path_factory.mktemp("graph")
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-tagger.txt"):
        shutil.copy(ROOT / name, root)
        os.utime(root / name, (0, 0))
    (root / "lib").mkdir()
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "lib" / PACKAGE.name, ignore=skip)
    (root / "data").mkdir()
    (root / "data" / "scenes-clip.safetensors").touch()
    (root / "notebooks").mkdir()
    source = (ROOT / "notebooks" / "Snakefile").read_text("utf-8")
    start, stop = source.index("FIGURES = {"), source.index("}\n", source.index("FIGURES = {"))
    own = 'FIGURES = {"01_many": [""], "02_few": [""], "03_table": [""]'
    (root / "notebooks" / "Snakefile").write_text(source[:start] + own + source[stop:], "utf-8")
    many = [f"p{i}: str = ''  # text" for i in range(200)]
    few = ["caption: str = ''  # text", "n: int = 3  # count", "image: str = ''  # path"]
    shared = [
        "dataset: str = 'pairs'  # which",
        "data: str = ''  # table",
        "images: str = ''  # at",
    ]
    shared += ["n_pairs: int = 2  # count", "seed: int = 0  # names", "files: str = ''  # folder"]
    for name, parameters in (("01_many", many), ("02_few", few), ("03_table", shared)):
        path = root / "notebooks" / f"{name}.ipynb"
        write_notebook(path, HEAD + parameters, BODY.replace("NAME", name))
    (root / ".venv" / "bin").mkdir(parents=True)
    python = root / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (root / ".venv" / ".installed").touch()
    return root


def run(root: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if k != "CLIP_ATTRIBUTION_DATA"}
    environment = inherited | {"PYTHONPATH": str(root / "lib"), **environment}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def found(root: Path, name: str, out: str = "figures") -> dict:
    return json.loads((root / out / f"{name}.json").read_text("utf-8"))


def snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    start = [sys.executable, "-m", "snakemake", "-s", "notebooks/Snakefile", "--cores", "1"]
    return run(root, *start, *arguments)


# --- text through the whole graph ---


@pytest.mark.slow
def test_two_hundred_random_texts_arrive_as_they_are_and_nothing_runs(project):
    given = {f"p{i}": text for i, text in enumerate(texts(200))}
    words = " ".join(shlex.quote(f"{name}={text}") for name, text in given.items())
    done = run(project, "make", "figures", f"PARAMETERS={words}")
    assert done.returncode == 0, done.stderr
    assert {name: found(project, "01_many")[name] for name in given} == given
    assert not list(project.rglob("ran"))


HOSTILE = {
    "MODEL": "$(shell touch ran)`touch ran`",
    "PRETRAINED": '$$(touch ran) "$(touch ran)',
    "DATASET": "'; touch ran; '\n${PATH} {x}",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["arguments", "environment"])
def test_make_and_its_shell_run_nothing_of_a_variable(project, way):
    pairs = [f"{name}={value}" for name, value in HOSTILE.items()]
    given, environment = (pairs, {}) if way == "arguments" else ([], HOSTILE)
    done = run(project, "make", "figures", *given, "CORES=1", **environment)
    assert not list(project.rglob("ran"))
    assert done.returncode == 0, done.stderr
    read = found(project, "03_table")
    assert {name: read[name.lower()] for name in HOSTILE} == HOSTILE


@pytest.mark.parametrize(
    "given",
    [
        {"CORES": "1; touch ran"},
        {"CORES": "`touch ran`"},
        {"PARAMETERS": "'caption=no end"},
        {"PARAMETERS": "caption=a bus: number $(shell touch ran)"},
        {"PARAMETERS": "=x"},
        {"PARAMETERS": "$(touch ran)"},
        {"MODEL": os.fsdecode(b"latin-\xe9")},
    ],
)
def test_what_cannot_be_used_is_one_line(project, given):
    done = run(project, "make", "figures", *(f"{name}={value}" for name, value in given.items()))
    assert done.returncode == 2 and not list(project.rglob("ran"))
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1 and said[0].startswith("error: ") and len(said[0]) < 400


@pytest.mark.slow
@pytest.mark.parametrize("out", ["my figures", "{x}; $(touch ran)'b\"\nc", "s3://x"])
def test_a_folder_of_any_name_receives_the_figures(project, out):
    (project / "own.json").write_text(json.dumps({"caption": out, "out": out}), "utf-8")
    target = ["--configfile", "own.json"]
    done = snakemake(project, *target)
    assert done.returncode == 0, done.stderr
    assert found(project, "02_few", out)["caption"] == out
    assert not list(project.rglob("ran"))
    assert "Nothing to be done" in snakemake(project, "-n", *target).stdout


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--config", "--configfile"])
def test_snakemake_itself_takes_texts_as_they_are(project, way):
    text = "[a: {b}, '#7', 007]"
    (project / "own.json").write_text(json.dumps({"caption": text, "n": 50}), "utf-8")
    given = [f"caption={text}"] if way == "--config" else ["own.json"]
    done = snakemake(project, "runs/notebooks/02_few.done", way, *given)
    assert done.returncode == 0, done.stderr
    wanted = {"caption": text, "n": 3 if way == "--config" else 50}
    assert wanted.items() <= found(project, "02_few").items()


# --- what is named is an input ---


def jobs(root: Path) -> set[str]:
    """The notebooks that would run now with the values of own.json."""
    done = snakemake(root, "--dry-run", "--configfile", "own.json")
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^notebook_(\d\d)\S* +\d+$", done.stdout + done.stderr, re.M))


def replace(path: Path, content: bytes) -> None:
    """Other content under the same size and time."""
    stat = path.stat()
    assert len(content) == stat.st_size
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.slow
def test_replaced_files_run_what_names_them_and_nothing_else(project):
    (project / "photo.jpg").write_bytes(b"one")
    (project / "weights.pt").write_bytes(b"one")
    (project / "bench" / "deep").mkdir(parents=True)
    (project / "bench" / "deep" / "file").write_bytes(b"one")
    (project / "seen").mkdir()
    (project / "seen" / "a.png").write_bytes(b"one")
    (project / "seen" / "b.png").write_bytes(b"one")
    pd.DataFrame({"image": ["a.png"], "caption": ["x"]}).to_csv(project / "t.csv", index=False)
    given = {"image": "photo.jpg", "pretrained": "weights.pt", "files": "bench"}
    given |= {"data": "t.csv", "images": "seen"}
    (project / "own.json").write_text(json.dumps(given), "utf-8")
    assert snakemake(project, "--configfile", "own.json").returncode == 0
    os.utime(project / "photo.jpg")
    replace(project / "seen" / "b.png", b"two")  # not in the table
    assert jobs(project) == set()
    for name, expected in {
        "photo.jpg": {"02"},
        "bench/deep/file": {"03"},
        "seen/a.png": {"03"},
        "weights.pt": {"01", "02", "03"},
        "t.csv": {"03"},
    }.items():
        good = (project / name).read_bytes()
        replace(project / name, good.replace(b"one", b"two").replace(b"a.png", b"b.png"))
        assert jobs(project) == expected, name
        replace(project / name, good)


def test_content_of_files_folders_and_what_is_absent(tmp_path):
    (tmp_path / "a").write_text("x")
    assert content(tmp_path / "a") == content(tmp_path / "a") != content(tmp_path)
    before = content(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content(tmp_path) != before and content(tmp_path / "a") == ""
    assert named_content({"image": "scene:1:2", "caption": str(tmp_path), "seed": 3}) == {}
    assert set(named_content({"files": str(tmp_path), "nli": str(tmp_path / "b")})) == {
        "files",
        "nli",
    }


# --- a killed run ---


@pytest.mark.slow
def test_after_a_kill_the_next_run_goes_on(project):
    (project / "own.json").write_text(json.dumps({"caption": "killed"}), "utf-8")
    command = "-m snakemake -s notebooks/Snakefile --cores 1 --configfile own.json".split()
    started = subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "lib")},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    locks = project / ".snakemake" / "locks"
    try:
        while started.poll() is None and not any(locks.glob("*")):
            time.sleep(0.05)
        beside = snakemake(project)
        assert beside.returncode == 1
        assert beside.stderr.strip().startswith("error: another process makes figures")
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert any(locks.glob("*"))
    done = snakemake(project, "--rerun-incomplete", *command[-2:])
    assert done.returncode == 0, done.stderr
    assert found(project, "02_few")["caption"] == "killed"


def test_a_lock_without_a_holder_is_removed_and_one_with_a_holder_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    left.parent.mkdir(parents=True)
    left.touch()
    other = FileLock(tmp_path / ".snakemake" / "graph.lock")
    with other:
        with pytest.raises(UserError, match="another process"):
            figures.unlock(dry_run=False)
        assert figures.unlock(dry_run=True) is None and left.exists()
    figures.unlock(dry_run=False).release()
    assert not left.exists()


# --- reading of words and types ---


@pytest.mark.parametrize(("name", "text"), ODD)
def test_words_keep_names_and_values(name, text):
    word = f"{name}={text}"
    assert named_values([word]) == {name: text}
    assert split_words(shlex.quote(word)) == [word]
    assert separate(["-p", name, text, "--list"]) == (["--list"], {name: text})


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("007", "", "007"),
        ("1_2", "", "1_2"),
        ("nan", "", "nan"),
        ("007", 1, 7),
        ("1_2", 1, "1_2"),
        ("１２", 1, "１２"),
        ("1e3", 1, "1e3"),
        ("0x10", 1, "0x10"),
        (" 5", 1, " 5"),
        ("-5e-5", 1.0, -5e-5),
        (".5", 1.0, 0.5),
        ("nan", 1.0, "nan"),
        ("inf", 1.0, "inf"),
        ("1_0.0", 1.0, "1_0.0"),
        ("TRUE", False, True),
        ("1", False, "1"),
        ("__import__('os')", False, "__import__('os')"),
        ("(" * 5000, [0], "(" * 5000),
        (3, 1, 3),
        (None, 1.0, None),
    ],
)
def test_a_text_is_read_by_the_type_of_the_parameter(text, like, value):
    read = from_text(text, like)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("value", ["a\ud800b", 7, None, ["a"], b"a"])
def test_a_parameter_of_text_takes_text_alone(tmp_path, value):
    write_notebook(tmp_path / "01_x.ipynb", ["caption: str = ''  # text"], "")
    with pytest.raises(UserError, match="parameter caption must be") as caught:
        plan([tmp_path / "01_x.ipynb"], {"caption": value})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "nan", None])
def test_a_number_is_finite(value):
    with pytest.raises(UserError, match="parameter epsilon must be"):
        check({"__annotations__": {"epsilon": float}, "epsilon": value})
