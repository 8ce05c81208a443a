"""Which files of this library a notebook or module needs, read from its imports.

The figure graph re-runs what depends on a changed file, and only that. Nothing is imported for it:
imports are read from the source, those inside functions too.
"""

import ast
import json
from pathlib import Path

from . import _HOMES

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


def imported(source: Path) -> set[Path]:
    """The library's files that one source names in its imports."""
    files: set[Path] = set()
    for node in ast.walk(ast.parse(code_of(source))):
        if isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            files |= {file for name in names if name[0] == PACKAGE.name for file in chain(name[1:])}
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, source)
            if base is not None:
                files |= {file for alias in node.names for file in chain([*base, alias.name])}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
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
    """The files behind a.b.c: of each package on the way, and of the last name that is a module."""
    if len(names) == 1 and names[0] in _HOMES and not module(names):
        names = [_HOMES[names[0]]]
    files = (module(names[:depth]) for depth in range(1, len(names) + 1))
    return [file for file in files if file]


def module(names: list[str]) -> Path | None:
    """The file of a module or package given by its names; None where there is none."""
    place = PACKAGE.joinpath(*names)
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None
