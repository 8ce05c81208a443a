"""Look at a pickle before it is loaded, and at what it held: neither may grow beyond its file.

A few bytes can ask an unpickler for gigabytes (a place far out in its memo), for 2^n steps (a key
that is a tuple of the same tuple twice, n deep) or give a list that nobody can print.
"""

import io
import pickletools
import zipfile
from pathlib import Path

from ..errors import UserError, one_line

LARGEST_TUPLE = 1_000_000  # parts
CODES: dict = vars(pickletools)["code2op"]
PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
GETS = ("GET", "BINGET", "LONG_BINGET")
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
LEGACY = 5  # pickles in a row in torch's older form


def check_pickle(path) -> None:
    """Raise UserError for a pickle, or a torch file with one, that asks for more than it holds."""
    try:
        for stream in streams(Path(path)):
            check_stream(stream)
    except (ValueError, IndexError, KeyError, OSError, zipfile.BadZipFile, RuntimeError) as reason:
        raise UserError(f"cannot read {path} as plain data: {one_line(reason)}") from None


def streams(path: Path):
    """The pickles of a file, as streams."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            yield file
            yield from (file for _ in range(LEGACY - 1) if file.peek(2)[:1] == b"\x80")
        return
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.file_size > size:
                raise ValueError(f"{entry.filename} claims {entry.file_size} bytes")
            if entry.filename.endswith("data.pkl"):
                yield io.BytesIO(archive.read(entry))


def check_stream(stream) -> None:
    """Raise ValueError for a memo that is not filled in order, or a tuple that doubles itself.

    The stack is followed with the size that each tuple has when it is written out, since as a key
    it is hashed in full; of lists and dicts `check_size` sees the size afterwards.
    """
    stack: list = []  # sizes; None is a mark
    memo: dict[int, int] = {}
    for code, argument in opcodes(stream):
        name, taken = code.name, taken_by(code, stack)
        argument = argument if isinstance(argument, int) else 0
        if name in PUTS or name == "MEMOIZE":
            place = int(argument or 0) if name in PUTS else len(memo)
            if place > 10 * len(memo) + 1000:
                raise ValueError("its memo has gaps")
            memo[place] = taken[0] if taken else (stack[-1] if stack else 1) or 1
            stack += taken
        elif name == "MARK":
            stack.append(None)
        elif name == "DUP":
            stack += taken * 2
        elif name in GETS:
            stack.append(memo.get(int(argument or 0), 1))
        else:
            size = 1 + sum(taken) if name in TUPLES else 1
            if size > LARGEST_TUPLE:
                raise ValueError("it doubles tuples")
            stack += [size] * len(code.stack_after)


def opcodes(stream):
    """(opcode, argument) of one pickle; texts of Python 2, of any encoding, are passed over."""
    while True:
        letter = stream.read(1)
        code = CODES.get(letter.decode("latin-1"))
        if code is None:
            raise ValueError(f"no pickle, or cut off: unknown opcode {letter!r}")
        if code.name == "STRING":  # pickletools takes it for ASCII
            argument = None
            if not stream.readline().endswith(b"\n"):
                raise ValueError("a text is cut off")
        else:
            argument = code.arg.reader(stream) if code.arg else None
        yield code, argument
        if code.name == "STOP":
            return


def taken_by(code, stack: list) -> list[int]:
    """Take from the stack of sizes what an opcode takes; the sizes above a mark, or of each."""
    fixed, taken = len(code.stack_before), []
    if pickletools.markobject in code.stack_before:
        fixed = code.stack_before.index(pickletools.markobject)
        while stack and (top := stack.pop()) is not None:
            taken.append(top)
    for _ in range(min(fixed, len(stack))):
        taken.append(stack.pop() or 1)
    return taken


def check_size(value, most: int) -> None:
    """Raise ValueError unless a plain value, written out, has at most so many parts."""
    sizes: dict[int, int] = {}
    todo = [(value, False)]
    while todo:
        own, seen = todo.pop()
        if not isinstance(own, list | tuple | dict | set | frozenset):
            continue
        inner = [*own.keys(), *own.values()] if isinstance(own, dict) else list(own)
        if seen:
            total = 1 + sum(sizes.get(id(one), 1) for one in inner)
            sizes[id(own)] = total
            if total > most:
                raise ValueError("it doubles lists")
        elif id(own) not in sizes:
            sizes[id(own)] = most + 1  # until it is known; a list inside itself never is
            todo += [(own, True), *((one, False) for one in inner)]
