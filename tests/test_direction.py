"""The rooms of the library stand in one order, and a room imports only what stands above it."""

import ast
from importlib.util import resolve_name
from pathlib import Path

import pytest

from clip_attribution.dependencies import PACKAGE, base_of, homes

ROOMS = (
    "errors",
    "versions",
    "moved",
    "lazy",
    "dependencies",
    "scenes",
    "io",
    "plots",
    "text",
    "metrics",
    "models",
    "trace",
    "interchange",
    "attribution",
    "heatmaps",
    "display",
    "datasets",
    "evaluation",
    "training",
    "studies",
    "explore",
    "parameters",
    "__init__",
    "notebooks",
    "cli",
    "__main__",
)


def room(parts: tuple[str, ...]) -> str:
    """The room of a module given by its names below the package."""
    return parts[0] if parts else "__init__"


def imports(source: Path, package: Path):
    """(line, names below the package) of every import of our own, inside functions and lazy too."""
    place = source.relative_to(package).with_suffix("").parts
    start = ".".join([PACKAGE.name, *(part for part in place if part != "__init__")])
    yield from ((1, resolve_name(home, start).split(".")[1:]) for home in homes(source))
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from ((node.lineno, name[1:]) for name in names if name[0] == PACKAGE.name)
        elif isinstance(node, ast.ImportFrom):
            named = node.module.split(".") if node.module else []
            if node.level:
                folder = source.parents[node.level - 1].relative_to(package)
                base = [*folder.parts, *named]
            else:
                base = base_of(node, source)
            if base is not None:
                yield from ((node.lineno, base or [alias.name]) for alias in node.names)


def faults(package: Path) -> list[str]:
    """A line for each file without a room and each import against the order."""
    found = []
    for source in sorted(package.rglob("*.py")):
        own = room(source.relative_to(package).with_suffix("").parts)
        if own not in ROOMS:
            found.append(f"{source.relative_to(package)} has no room")
            continue
        for line, names in imports(source, package):
            other = room(tuple(names))
            other = other if other in ROOMS else "__init__"  # a name of the package itself
            if ROOMS.index(other) > ROOMS.index(own):
                found.append(f"{source.relative_to(package)}:{line} imports {other}")
    return found


def test_imports_run_one_way():
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "code", "fault"),
    [
        ("scenes/planted.py", "from ..io.tables import read_json", "imports io"),
        ("text/planted.py", "def f():\n    from ..studies import sample", "imports studies"),
        ("metrics/planted.py", "import clip_attribution.models.clip", "imports models"),
        ("io/planted.py", "from clip_attribution.trace import trace", "imports trace"),
        ("plots/planted.py", "from .. import metrics", "imports metrics"),
        ("plots/planted.py", 'attach(__name__, {"...models.clip": "load"})', "imports models"),
        ("stray.py", "", "has no room"),
        ("attic/stray.py", "", "has no room"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, file, code, fault):
    place = tmp_path / PACKAGE.name / file
    place.parent.mkdir(parents=True)
    place.write_text(code, "utf-8")
    (found,) = faults(tmp_path / PACKAGE.name)
    assert found.startswith(file) and found.endswith(fault)
