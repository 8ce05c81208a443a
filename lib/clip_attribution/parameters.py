"""Parameters of a notebook: what its parameters cell declares, and refusing what does not fit."""

import ast
import json
from pathlib import Path
from typing import NamedTuple

from .errors import UserError


class Parameter(NamedTuple):
    """One line of a parameters cell: its literal and the comment behind it."""

    default: object
    help: str


def check(**parameters) -> dict:
    """Refuse bad values at once: `check(seed=(seed, range(100)), method=(method, METHODS))`.

    Each parameter comes with what is allowed: a type, or a range or collection of values. Returns
    {name: value}, to be shown and to be saved with the results. Raises UserError.
    """
    for name, (value, allowed) in parameters.items():
        if isinstance(allowed, type):
            require(
                type(value) is allowed,
                f"parameter {name} must be {allowed.__name__}, not {value!r}",
            )
        elif isinstance(allowed, range):
            require(
                type(value) is int and value in allowed,
                f"parameter {name} must be a whole "
                f"number from {allowed[0]} to {allowed[-1]}, not {value!r}",
            )
        else:
            require(
                value in allowed,
                f"parameter {name} must be one of {', '.join(map(repr, allowed))}, not {value!r}",
            )
    return {name: value for name, (value, _) in parameters.items()}


def require(condition: bool, message: str) -> None:
    """Raise UserError with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


def declared(notebook: Path) -> dict[str, Parameter]:
    """What the parameters cell of a notebook declares, by name."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    require(len(tagged) == 1, f"{notebook.name} needs exactly one cell tagged 'parameters'")
    source = "".join(tagged[0]["source"])
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: _read(node, source.splitlines()) for node in nodes}


def _read(node: ast.AnnAssign, lines: list[str]) -> Parameter:
    behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    return Parameter(ast.literal_eval(node.value), behind.strip(" #"))


def check_values(notebook: Path, parameters: dict) -> dict:
    """The parameters, if the notebook declares each with a literal of its type. Else UserError."""
    known = declared(notebook)
    for name, value in parameters.items():
        require(
            name in known, f"{notebook.stem} has no parameter {name!r}; it has {', '.join(known)}"
        )
        kind = type(known[name].default)
        fits = type(value) is kind or (kind is float and type(value) is int)
        require(fits, f"{notebook.stem}: parameter {name} must be {kind.__name__}, not {value!r}")
    return parameters


def number_list(name: str, text: str, kind: type) -> list:
    """The numbers of a parameter such as "0 1 2" or "0.1 10": of `kind`, finite, at least 0."""
    try:
        found = [kind(part) for part in text.split()]
    except ValueError:
        found = []
    require(
        bool(found) and all(0 <= value < float("inf") for value in found),
        f"parameter {name} "
        f"must be {kind.__name__} numbers of at least 0 with blanks between, not {text!r}",
    )
    return found


def from_text(text: str, like):
    """A value given on the command line, of the type of the literal `like`; else the text."""
    if isinstance(like, str):
        return text
    try:
        return ast.literal_eval(text.capitalize() if isinstance(like, bool) else text)
    except (ValueError, SyntaxError):
        return text
