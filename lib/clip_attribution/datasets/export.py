"""Write the embedded world as a benchmark's official files, whole or not at all."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from ..errors import UserError, one_line
from ..io.keys import run_key
from ..io.output import held, lock_file
from ..io.tables import clear, read_json, temporary_name, write_json
from ..scenes.foils import TYPES
from ..scenes.world import SIDE
from .registry import MISALIGNMENT, get_benchmark, names_of
from .scene_images import picture_bar

RECEIPT = "export.json"
LARGEST = 4096


def export(
    benchmark: str,
    folder,
    n: int = 1000,
    seed: int = 0,
    size: int = SIDE,
    foils: Sequence[str] | None = None,
    progress: bool = True,
) -> bool:
    """Write n records of the embedded world to `folder` in a benchmark's official files.

    The files are written to a temporary folder beside it, which gets its name at the end; the
    receipt export.json says how they were made. The same arguments give the same bytes.

    Args:
        n: how many records of the benchmark's own unit (images, pairs or captions).
        seed: names the world; training uses another stream.
        size: side of the images in pixels, a multiple of 64.
        foils: for misalignment benchmarks, the foil types to go through in turn (`TYPES`).
        progress: show a bar that counts images.

    Returns False when `folder` holds this very export already, else True.
    Raises UserError: unknown benchmark or foil type, bad number, a folder that holds anything else
    or cannot be written.
    """
    write = get_benchmark(benchmark).write
    check_numbers(n, seed, size)
    options = {} if foils is None else {"foils": check_types(benchmark, foils)}
    if write is None:
        raise UserError(f"the embedded world has nothing like {benchmark}: use its official files")
    receipt = {"benchmark": benchmark, "n": n, "seed": seed, "size": size, **options}
    receipt["key"] = run_key(__file__, **receipt)
    folder = Path(folder).resolve()
    try:
        if is_done(folder, receipt) and not lock_file(folder).exists():
            return False
        with held(folder), picture_bar(n, not progress):
            if is_done(folder, receipt):  # by the process that held it before
                return False
            _write_folder(folder, receipt, lambda path: write(path, n, seed, size, **options))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or one_line(error)}") from None
    return True


def check_numbers(n: int, seed: int, size: int) -> None:
    """Raise UserError on numbers that make no world."""
    if n < 1:
        raise UserError(f"n must be at least 1, not {n}")
    if seed < 0:
        raise UserError(f"the seed must be at least 0, not {seed}")
    if size % SIDE or not SIDE <= size <= LARGEST:
        raise UserError(f"size must be a multiple of {SIDE} up to {LARGEST}, not {size}")


def check_types(benchmark: str, foils: Sequence[str]) -> list[str]:
    """The foil types as a list. Raises UserError on unknown ones, or where there are none."""
    known = names_of(MISALIGNMENT)
    if benchmark not in known:
        raise UserError(f"{benchmark} has fixed foils: choose types for {', '.join(known)}")
    unknown = [kind for kind in foils if kind not in TYPES]
    if unknown or not foils:
        what = f"unknown foil type {unknown[0]!r}" if unknown else "no foil type given"
        raise UserError(f"{what}: choose from {', '.join(TYPES)}")
    return list(foils)


def is_done(folder: Path, receipt: dict) -> bool:
    """Whether `folder` holds the export of this receipt; UserError when it holds anything else."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: give a new folder")
    if not any(folder.iterdir()):
        return False
    found = read_json(folder / RECEIPT) if (folder / RECEIPT).is_file() else None
    found = found if isinstance(found, dict) else {}
    files = found.pop("files", None)
    if found == receipt:
        if missing := [
            name for name, size in (files or {}).items() if size_of(folder / name) != size
        ]:
            raise UserError(f"{folder} lacks {missing[0]} as it was written: remove the folder")
        return True
    what = "another export" if "benchmark" in found else "other files"
    raise UserError(f"{folder} holds {what}: give a new or empty folder")


def size_of(path: Path) -> int | None:
    """The size of a file; None where there is none."""
    return path.stat().st_size if path.is_file() else None


def _write_folder(folder: Path, receipt: dict, write) -> None:
    """Let `write` fill a temporary folder, put the receipt in and give it its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear(folder, ".export")
    temporary = Path(mkdtemp(".export", temporary_name(folder), folder.parent))
    temporary.chmod(0o755)
    try:
        write(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sizes = {path.relative_to(temporary).as_posix(): size_of(path) for path in files}
        write_json(receipt | {"files": sizes}, temporary / RECEIPT)
        if folder.exists():
            folder.rmdir()  # it is empty, see `is_done`
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
