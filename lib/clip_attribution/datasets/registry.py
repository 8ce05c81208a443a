"""The benchmarks by name: each is the record at the foot of its own file, found by itself."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, one_line

MISALIGNMENT, COMPOSITION, GROUNDING, DESCRIPTIONS = KINDS = (
    "misalignment",
    "composition",
    "grounding",
    "descriptions",
)


class Benchmark(NamedTuple):
    """What the project knows of a benchmark.

    kind: one of `KINDS`. title: as papers write it. asks: its question, in a few words.
    load: (data, images=None, ...) -> frame, from the official files.
    write: (folder, n, seed, size), the embedded world as these files, or None where it has nothing
    of the kind; misalignment benchmarks take `foils` too. summarise: of misalignment (words, pairs,
    ...), of composition (scored, seed, ...) and of descriptions (scored, scorer, seed) -> tidy
    table; None where the kind has one way for all. published: which rows of
    data/published.csv are its own, see `published.main_table`. defaults: epsilon, alignment or
    template where they are not the usual ones. measures: what is counted, in words.
    rows: rows of its frame for one unit of `n` in the notebooks. options: what the command line may
    choose of how its groups count, and rule: the function that decides it (see `aro.rule_of`); of
    descriptions, the options of its loader. texts: of descriptions with classes, the function from
    (frame, data, **options) to the prompts of each class.
    place: where it stands in lists of its kind.
    """

    name: str
    kind: str
    title: str
    asks: str
    load: Callable
    write: Callable | None
    summarise: Callable | None = None
    published: tuple = ()
    defaults: Mapping = {}
    measures: str = ""
    rows: int = 1
    options: tuple[str, ...] = ()
    rule: Callable | None = None
    texts: Callable | None = None
    place: int = 99


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name, by kind and place: the list `BENCHMARKS` of every file here."""
    names = sorted(file.stem for file in Path(__file__).parent.glob("*.py"))
    modules = [import_module(f".{name}", __package__) for name in names if name != "__init__"]
    found = [one for module in modules for one in vars(module).get("BENCHMARKS", ())]
    found.sort(key=lambda one: (KINDS.index(one.kind), one.place, one.name))
    return {one.name: one for one in found}


def names_of(kind: str) -> tuple[str, ...]:
    """The names of the benchmarks of a kind, in order."""
    return tuple(name for name, one in benchmarks().items() if one.kind == kind)


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up. Raises UserError on an unknown name."""
    if name not in benchmarks():
        raise UserError(f"unknown benchmark {name!r}: choose from {', '.join(benchmarks())}")
    return benchmarks()[name]


def load_benchmark(name: str, data, images=None, **options):
    """The frame of a benchmark's official files; see its module for columns and options.

    data: the file, or the folder that holds it under its official name. images: the folder of its
    images. A malformed record is a row with its reason in `error`. Raises UserError.
    """
    try:
        return get_benchmark(name).load(data, images, **options)
    except UserError:
        raise
    except Exception as error:  # files of others, in any form: at one place for all loaders
        why = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"{data} is not in the form of {name}: {why}") from error
