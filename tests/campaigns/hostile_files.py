"""Every loader with hostile content in each of its files: one line each, and at once.

    python -m tests.campaigns.hostile_files            # all benchmarks: 868 files, two minutes

The short form, two benchmarks, is a part of the tests (tests/datasets/test_hostile_files.py).
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from clip_attribution.datasets import benchmarks, load_benchmark
from clip_attribution.errors import UserError

SECONDS, LONGEST, FILES = 5, 600, 6
PICTURES = (".png", ".jpg", ".jpeg")
MARKED = (".json", ".jsonl", ".csv", ".txt", ".tsv")  # read as text, so with a byte order mark too
HOSTILE = {
    "nothing": b"",
    "null": b"null",
    "number": b"3",
    "text": b'"x"',
    "mixed list": b"[1, null, [], {}]",
    "lists": b"[[[[]]]]",
    "object": b'{"a": 1, "b": [2], "c": null}',
    "wrong parts": b'{"images": null, "annotations": 3}',
    "not a number": b"[NaN]",
    "digits": b"[" + b"9" * 5000 + b"]",
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "bytes": bytes(range(256)) * 50,
    "columns": b",".join(b"c%d" % i for i in range(1_000_000)) + b"\n",
}


def faults(name: str) -> Iterator[tuple[str, str | None]]:
    """(what was tried, what is wrong with the outcome or None) for a benchmark's own files."""
    with TemporaryDirectory() as folder:
        root = Path(folder, name)
        root.mkdir()
        benchmarks()[name].write(root, 4, 0, 64)
        files = [f for f in root.rglob("*") if f.is_file() and f.suffix.lower() not in PICTURES]
        for file in sorted(files)[:FILES]:
            good = file.read_bytes()
            for label, content in HOSTILE.items():
                file.write_bytes(content)
                yield f"{name}: {file.name}: {label}", outcome(name, root)
            if file.suffix in MARKED:
                file.write_bytes(b"\xef\xbb\xbf" + good)
                rows = len(load_benchmark(name, root))
                yield f"{name}: {file.name}: byte order mark", None if rows else "no rows"
            file.write_bytes(good)


def outcome(name: str, root: Path) -> str | None:
    """What is wrong: a raw exception, a long message or a long time; None for nothing."""
    start, found = time.process_time(), None
    try:
        load_benchmark(name, root)
    except UserError as error:
        text = str(error)
        if len(text.splitlines()) != 1 or len(text) > LONGEST:
            found = f"{len(text)} characters: {text[:80]!r}"
    except Exception as error:
        found = f"{type(error).__name__}: {error}"[:200]
    seconds = time.process_time() - start
    return found or (f"{seconds:.1f} s" if seconds > SECONDS else None)


def main() -> int:
    """Try all; print what is wrong and how many were tried."""
    tried = [one for name in benchmarks() for one in faults(name)]
    wrong = [f"{label}: {fault}" for label, fault in tried if fault]
    print(*wrong, f"{len(tried)} files, {len(wrong)} of them wrong", sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
