"""The files of a run: whole or not there, held by one process, and never written over another's.

A receipt, the run's own JSON file, names the key of the run from its start and, once it has ended,
size and checksum of each of its files. What no receipt of the same key names is not touched.
"""

import os
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError, one_line
from .keys import file_key
from .tables import clear, read_json, write_json

WAIT = 1.0  # seconds: a process that ends may still hold its lock


def make_folder(path):
    """Make a folder for results; UserError when it cannot be made."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or one_line(error)}") from None


def lock_file(path: Path) -> Path:
    """The file whose lock is the right to write `path`."""
    return path.with_name(f".{path.name[:200]}.lock")


@contextmanager
def held(path: Path):
    """Hold the right to write `path`, and try that its folder can be written.

    Raises UserError when another process or thread, on this host or another, holds it.
    """
    path = Path(path)
    make_folder(path.parent)
    lock = FileLock(lock_file(path), timeout=WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"another process is writing {path}: wait until it has ended, or choose another folder"
        ) from None
    except OSError as error:
        why = error.strerror or one_line(error)
        raise UserError(f"cannot write to {path.parent}: {why}") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is ours: no other can hold this one
        lock.release()


@contextmanager
def claim(receipt: Path, files: list[Path], key: str, passing=()):
    """Hold the files of a run; yields the receipt of a finished run with this key, or None.

    receipt: the JSON file that `seal` ends the run with. passing: files that are there only while
    it runs. What a killed run of this receipt left is
    continued; a file of it that was changed since is kept as NAME.changed. A finished run needs no
    writable folder. Raises UserError: the folder cannot be written, is held by another process, or
    holds a file that is not of this run.
    """
    done = finished(receipt, files, key)
    if done and not lock_file(receipt).exists():  # one of a process that was killed goes below
        yield done
        return
    with held(receipt):
        for path in (receipt, *files, *passing):
            clear(path)
        done = finished(receipt, files, key)  # by the process that held it before
        if not done:
            take(receipt, [*files, *passing], key)
        yield done


def take(receipt: Path, files: list[Path], key: str) -> None:
    """Enter the key of a run that begins in its receipt. Raises UserError for others' files."""
    known = read_receipt(receipt)
    if known and known["key"] != key and not known.get("unfinished"):
        raise UserError(
            f"{receipt.parent} holds a finished run with other options, weights, images, code or "
            f"pairs: choose another folder, or remove {receipt.name} with its files"
        )
    for path in files:
        if os.path.lexists(path) and not known:
            raise UserError(f"{path} is not of this run: choose another folder")
        if "files" in known and path.exists() and state(path) != known["files"].get(path.name):
            os.replace(path, path.with_name(f"{path.name}.changed"))
    write_json({"key": key, "unfinished": True}, receipt)


def seal(receipt: Path, files: list[Path], report: dict) -> dict:
    """End a run: write its report, which holds its key, with size and checksum of its files."""
    report = report | {"files": {path.name: state(path) for path in files}}
    write_json(report, receipt)
    return report


def finished(receipt: Path, files: list[Path], key: str) -> dict | None:
    """The receipt of a finished run with this key whose files are all as it left them, or None."""
    try:
        known = read_receipt(receipt)
    except UserError:
        return None
    own = known.get("files", {})
    whole = known.get("key") == key and all(
        path.is_file() and state(path) == own.get(path.name) for path in files
    )
    return known if whole else None


def read_receipt(receipt: Path) -> dict:
    """What a receipt says, {} without one. Raises UserError for a file that is none."""
    if not os.path.lexists(receipt):
        return {}
    known = read_json(receipt)
    if not isinstance(known, dict) or not isinstance(known.get("key"), str):
        raise UserError(f"{receipt} is not of this run: choose another folder")
    return known


def state(path: Path) -> dict:
    """Size and SHA-256 of a file."""
    return {"size": path.stat().st_size, "sha256": file_key(path.resolve())}


def only_own(path: Path, ours) -> Path:
    """`path`, unless a file lies there that is not `ours(path)`: then UserError."""
    try:
        if not os.path.lexists(path) or ours(path):
            return path
    except (OSError, ValueError, KeyError, TypeError, UserError):
        pass
    raise UserError(f"{path} was not written by this command: choose another place for it")
