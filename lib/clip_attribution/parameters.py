"""Parameters of a notebook: what its parameters cell declares, and refusing what does not fit."""

import ast
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from .errors import UserError
from .io.read import utf8

# A parameter of one name means the same in every notebook, so its bounds stand here once.
BOUNDS = {"seed": range(1_000_000), "layers": range(-99, 1), "batch": range(2, 100_000)}


WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class Parameter(NamedTuple):
    """One line of a parameters cell: its literal and the comment behind it."""

    default: object
    help: str


def check(namespace: dict, **allowed) -> dict:
    """Refuse bad values of a notebook's parameters at once: `check(globals(), method=METHODS)`.

    Parameters
    ----------
    namespace : dict
        The notebook's names. Its annotations declare the parameters: `seed: int = 0`.
    **allowed : range or collection
        What a parameter may be, where its type and `BOUNDS` do not say enough.

    Returns
    -------
    dict
        {name: value} of all parameters, to be shown and to be saved with the results.

    Raises
    ------
    UserError
        On a value that is not of its type or not allowed.
    """
    kinds = namespace.get("__annotations__", {})
    require(bool(kinds), "no parameters: declare each as in `seed: int = 0`, with its type")
    unknown = sorted(set(allowed) - set(kinds))
    require(not unknown, f"no parameter {', '.join(unknown)}; there are {', '.join(kinds)}")
    values = {name: namespace[name] for name in kinds}
    for name, kind in kinds.items():
        check_one(name, values[name], kind, allowed.get(name))
    return {name: kinds[name](value) for name, value in values.items()}


def check_one(name: str, value, kind: type, allowed=None) -> None:
    """Raise UserError unless the value is of its type, within its bounds and among `allowed`."""
    shown = repr(value) if len(repr(value)) <= 120 else f"{value!r:.117}..."
    fits = type(value) is kind or (kind is float and type(value) is int)
    require(fits, f"parameter {name} must be {kind.__name__}, not {shown}")
    require(kind is not str or utf8(value), f"parameter {name} must be UTF-8 text, not {shown}")
    require(kind is not float or math.isfinite(value), f"parameter {name} must be finite")
    within = allowed if allowed is not None else bounds(name, kind)
    if within is None or value in within:
        return
    choice = ", ".join(map(repr, within)) if not isinstance(within, range) else None
    wanted = f"one of {choice}" if choice else f"a whole number from {within[0]} to {within[-1]}"
    require(False, f"parameter {name} must be {wanted}, not {shown}")


def bounds(name: str, kind: type) -> range | None:
    """What a whole number of this name may be: its `BOUNDS`, else a count from 1."""
    if kind is not int:
        return None
    return BOUNDS.get(name, range(2, 1_000_000) if name.startswith("n") else range(1, 1_000_000))


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
        try:
            check_one(name, value, type(known[name].default))
        except UserError as error:
            raise UserError(f"{notebook.stem}: {error}") from None
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


def from_text(text, like):
    """A value given as text, of the type of the literal `like`; as it is where it is none of it.

    A text stays as it is, a whole number is digits, a number is finite and without underscores, a
    truth value is true or false. What is no text, from a JSON file, stays as it is too.
    """
    if isinstance(like, str) or not isinstance(text, str):
        return text
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(like, int):
        return int(text) if WHOLE.fullmatch(text) else text
    if isinstance(like, float):
        return float(text) if NUMBER.fullmatch(text) else text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
