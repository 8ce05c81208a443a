"""The library stays small: length of a file, lines of the core, what a figure pulls in."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

from clip_attribution.dependencies import PACKAGE, library_files

MOST = 300  # lines of a file
CORE = (
    "errors",
    "versions",
    "io",
    "text",
    "metrics",
    "models",
    "trace",
    "attribution",
    "heatmaps",
    "display",
)
CORE_LINES = 7609  # the aim is 4,500: lower this number whenever the core has shrunk
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> int:
    """The lines that hold code: no blank lines, comments or docstrings."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        holds_docstring = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if holds_docstring and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def files(*rooms: str) -> list[Path]:
    """The Python files of these rooms."""
    places = [(PACKAGE / room, PACKAGE / f"{room}.py") for room in rooms]
    return [p for room, file in places for p in (room.rglob("*.py") if room.is_dir() else [file])]


def test_code_lines_leave_out_what_is_no_code():
    text = '"""Said\nin two lines."""\n\n# why\nx = [\n    1,\n]\n\n\ndef f():\n    """Said."""\n'
    assert code_lines(text) == 4


def test_every_room_has_files():
    assert all(path.is_file() for room in CORE for path in files(room))


def test_no_file_is_long():
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    long = {name: n for name, n in lengths.items() if n > MOST}
    assert long == {}


def test_the_core_does_not_grow():
    assert sum(code_lines(path.read_text("utf-8")) for path in files(*CORE)) <= CORE_LINES


def test_plots_pull_in_little():
    """A figure is drawn from frames alone: no model, no benchmark behind it."""
    allowed = {"__init__", "errors", "versions", "moved", "io", "metrics", "plots"}
    found = {path.relative_to(PACKAGE).parts[0] for path in library_files(*files("plots"))}
    assert {name.removesuffix(".py") for name in found} <= allowed


def test_tests_lie_in_the_rooms():
    """Tests of a room lie in its folder; what concerns the whole project lies above them, or in
    campaigns."""
    tests = Path(__file__).parent
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    rooms = {path.name for path in PACKAGE.iterdir()} | {".", "campaigns"}
    assert set(map(str, folders)) <= rooms


def test_the_tiny_model_is_defined_once():
    tests = Path(__file__).parent
    texts = {path.name: path.read_text("utf-8") for path in tests.rglob("*.py")}
    field = '"vocab_size": ' + "49408"
    assert [name for name, text in texts.items() if field in text] == ["tiny.py"]


def test_importing_the_package_imports_nothing_heavy():
    code = "import clip_attribution, sys; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "spacy", "papermill", "snakemake", "pandas", "matplotlib"}
    assert not heavy & set(shown.stdout.split())
