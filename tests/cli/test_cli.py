"""The command line: help, exit statuses, one line an error."""

import subprocess
import sys

import pytest
from score_tables import make_rows, save_model, save_pictures, save_rows

from clip_attribution.cli import build_parser, join_numbers, main
from clip_attribution.versions import package_version

COLUMNS = {"caption": "a boat", "image": "a.png"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    model = save_model(folder)
    rows = make_rows(save_pictures(folder), 3)
    return folder, save_rows(rows, folder / "pairs.jsonl"), model


def status_and_line(arguments, capsys):
    """Exit status and the one line on stderr."""
    try:
        status = main([str(arg) for arg in arguments])
    except SystemExit as leave:
        status = leave.code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    return status, captured.err


BAD_ARGUMENTS = [
    ([], "COMMAND"),
    (["paint"], "paint"),
    (["score"], "PAIRS"),
    (["score", "pairs.csv"], "--out"),
    (["score", "absent.csv", "--out", "OUT"], "absent.csv: No such file"),
    (["score", "PAIRS", "--out", "OUT", "--shard", "3/2"], "3/2"),
    (["score", "PAIRS", "--out", "OUT", "--shard", "0/2"], "0/2"),
    (["score", "PAIRS", "--out", "OUT", "--shard", "two"], "I/N"),
    (["score", "PAIRS", "--out", "OUT", "--batch-size", "0"], "at least 1"),
    (["score", "PAIRS", "--out", "OUT", "--epsilon", "small"], "small"),
    (["score", "PAIRS", "--out", "OUT", "--start-layer", "last"], "last"),
    (["score", "PAIRS", "--out", "OUT", "--decision", "best"], "best"),
    (["score", "PAIRS", "--out", "OUT", "--precision", "int8"], "int8"),
    (["score", "PAIRS", "--out", "OUT", "--method", "guess"], "guess"),
    (["score", "PAIRS", "--out", "OUT", "--image-root", "absent"], "absent is not a folder"),
    (["score", "PAIRS", "--out", "PAIRS"], "cannot write"),
    (["score", "PAIRS", "--out", "PAIRS/below"], "cannot write"),
    (["score", "PAIRS", "--out", "OUT", "--model", "ViT-B-23"], "ViT-B-32"),
    (["score", "PAIRS", "--out", "OUT", "--model-config", "absent.json"], "absent.json"),
    (["score", "PAIRS", "--out", "OUT", "--model", "ViT-B-32", "--pretrained", "no"], "no"),
]


@pytest.mark.parametrize("arguments, reason", BAD_ARGUMENTS, ids=lambda value: str(value)[-40:])
def test_unusable_arguments(place, tmp_path, capsys, arguments, reason):
    names = {"PAIRS": str(place[1]), "OUT": str(tmp_path / "out")}
    for name, path in names.items():
        arguments = [arg.replace(name, path) for arg in arguments]
    status, line = status_and_line(arguments, capsys)
    assert status == 2
    assert line.startswith("clip-attribution") and reason in line and "Traceback" not in line


def test_columns_of_the_result_are_refused(place, tmp_path, capsys):
    table = save_rows([COLUMNS | {"cosine": 1.0}], tmp_path / "again.jsonl")
    arguments = ["score", table, "--out", tmp_path / "out", *place[2]]
    status, line = status_and_line(arguments, capsys)
    assert status == 2 and "'cosine'" in line


def test_one_line_from_a_process_of_its_own(place, tmp_path):
    arguments = ["score", place[1], "--out", tmp_path / "out", "--model", "no-such-model"]
    done = run_module(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no-such-model" in done.stderr


def run_module(*arguments):
    """`python -m clip_attribution` in a process of its own."""
    call = [sys.executable, "-m", "clip_attribution", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=600)


def test_progress_and_summary(place, tmp_path, capsys):
    arguments = ["score", str(place[1]), "--out", str(tmp_path), *place[2]]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "3/3" in captured.err and "3 rows, 0 with an error" in captured.err
    assert captured.out == ""
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]])
def test_help(arguments):
    code = "import sys; from clip_attribution.cli import main\ntry: main(sys.argv[1:])\n"
    code += "finally: assert not {'torch', 'pandas', 'open_clip', 'spacy'} & set(sys.modules)"
    call = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    expected = {"--help": "examples:", "--version": f"clip-attribution {package_version()}"}
    assert (expected | {"score": "exit status:"})[arguments[0]] in done.stdout


def test_every_option_of_the_contract():
    text = build_parser()._subparsers._group_actions[0].choices["score"].format_help()
    contract = "out model pretrained model-config method start-layer template decision epsilon"
    contract += " image-root batch-size device precision shard"
    assert all(f"--{name}" in text for name in contract.split())


def test_negative_numbers_are_values():
    arguments = ["score", "p", "--out", "o", "--epsilon", "-5e-5", "--start-layer", "-6"]
    args = build_parser().parse_args(join_numbers(arguments))
    assert (args.epsilon, args.start_layer) == (-5e-5, -6)
    assert join_numbers(["a", "-1"]) == ["a", "-1"]
