"""Which files of this library a notebook or module needs, read from its imports.

The figure graph re-runs what depends on a changed file, and only that. Nothing is imported for it:
imports are read from the source, those inside functions too.
"""

import ast
import json
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def library_files(*sources: Path) -> list[Path]:
    """The library's files that the sources (.py or .ipynb) import, directly or through others.

    `from clip_attribution import load_clip` counts as the module that holds the name, so that no
    notebook depends on the whole library.
    """
    found: set[Path] = set()
    todo = [Path(source) for source in sources]
    while todo:
        new = imported(todo.pop()) - found
        found |= new
        todo += new
    return sorted(found)


@cache
def imported(source: Path) -> set[Path]:
    """The library's files that one source names in its imports, or as `room.study` of one."""
    files: set[Path] = set()
    known: dict[str, list[str]] = {}  # what a name of the source stands for, below the package
    for node in ast.walk(ast.parse(code_of(source))):
        if isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            files |= {file for name in names if name[0] == PACKAGE.name for file in chain(name[1:])}
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, source)
            for alias in node.names if base is not None else ():
                known[alias.asname or alias.name] = [*base, alias.name]
                files |= set(chain([*base, alias.name]))
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in known:
            files |= set(chain([*known[node.value.id], node.attr]))
        elif source.name != "lazy.py" and called(node, "import_module"):
            files |= set(source.parent.rglob("*.py"))  # loaders are found by name: any of them
    return files


def code_of(source: Path) -> str:
    """The Python code of a module or of a notebook's cells."""
    text = source.read_text("utf-8")
    if source.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def base_of(node: ast.ImportFrom, source: Path) -> list[str] | None:
    """Where `from X import ...` looks, as names below the package; None outside of it."""
    named = (node.module or "").split(".") if node.module else []
    if node.level:
        folder = source.resolve().parents[node.level - 1].relative_to(PACKAGE)
        return [*folder.parts, *named]
    return named[1:] if named[:1] == [PACKAGE.name] else None


def chain(names: list[str]) -> list[Path]:
    """The files behind a.b.c: of each package on the way, and of the last name that is a module.

    A package that is named itself, as in `studies.roles`, brings what it offers (see `lazy`); one
    that is merely on the way brings the module that holds the name.
    """
    depth = next((d for d in range(len(names), 0, -1) if module(names[:d])), 0)
    files = [file for d in range(1, depth + 1) if (file := module(names[:d]))]
    return files + offered(names[:depth], names[depth:]) if names else files


@cache
def homes(file: Path) -> dict[str, str]:
    """What a package offers without importing it: {module: its names}, see `lazy.attach`."""
    tree = ast.walk(ast.parse(file.read_text("utf-8")))
    return next((ast.literal_eval(node.args[1]) for node in tree if called(node, "attach")), {})


def called(node, name: str) -> bool:
    """Whether a node is a call of this function."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == name


def offered(package: list[str], wanted: list[str]) -> list[Path]:
    """The files whose names a package offers: all of them, or the one that holds `wanted`."""
    start = ".".join([PACKAGE.name, *package])
    found = [
        resolve_name(home, start)
        for home, names in homes(module(package)).items()
        if names and (not wanted or wanted[0] in names.split())
    ]
    return [file for place in found for file in chain(place.split(".")[1:])]


def module(names: list[str]) -> Path | None:
    """The file of a module or package given by its names; None where there is none."""
    place = PACKAGE.joinpath(*names)
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None
