"""Compare the numbers beside two sets of figures: `python .ci/compare_figures.py BEFORE AFTER`.

A JSON keeps six digits, so numbers are equal when they differ by less than two units of the sixth
(2e-5 of their size); ends of intervals are counted apart, times and versions not at all. Exit
status 1 where a number differs, a key is gone or a figure is missing.
"""

import json
import math
import sys
from pathlib import Path

ENDS = ("low", "high")  # names that end so: intervals
LOOSE = ("seconds", "pairs a second", "speed", "throughput", "versions", "parameters", "figure")


def leaves(value, path: str = ""):
    """(path, leaf) of everything in nested lists and dicts."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, f"{path}/{key}")
    else:
        yield path, value


def equal(a, b) -> bool:
    """Whether two leaves are the same number at six digits, or the same text."""
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=2e-5, abs_tol=1e-9)
    return a == b


def compared(before: dict, after: dict) -> dict[str, list[str]]:
    """The paths that differ, by what kind of leaf they are."""
    one, other = dict(leaves(before)), dict(leaves(after))
    found: dict[str, list[str]] = {"number": [], "interval": [], "text": [], "gone": [], "new": []}
    found["gone"], found["new"] = (
        sorted(one.keys() - other.keys()),
        sorted(other.keys() - one.keys()),
    )
    for path in one.keys() & other.keys():
        if equal(one[path], other[path]) or any(f"/{name}" in path for name in LOOSE):
            continue
        kind = "text" if isinstance(one[path], str) else "number"
        found["interval" if path.endswith(ENDS) else kind].append(path)
    return found


def main(before: str, after: str) -> int:
    """Print what differs, a line a figure; 1 where a number does."""
    bad = False
    for path in sorted(Path(before).glob("*.json")):
        other = Path(after, path.name)
        if not other.exists():
            print(f"{path.name}: missing")
            bad = True
            continue
        found = compared(*(json.loads(p.read_text("utf-8")) for p in (path, other)))
        bad |= bool(found["number"] or found["gone"])
        print(f"{path.name}: " + ", ".join(f"{len(own)} {kind}" for kind, own in found.items()))
        for kind in ("number", "gone", "text"):
            for place in found[kind][:5]:
                print(f"    {kind} {place}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
