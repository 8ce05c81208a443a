"""Turn pip's resolution report (standard input) into the lines of requirements.lock.

Only names and exact versions are kept: no address, no hash. Packages that exist on some
platforms only get a marker, so that the same lock installs on the others too.
"""

import json
import re
import sys

PROJECT = "clip-attribution"
MARKERS = {
    r"nvidia-|cuda-|triton$": 'platform_system == "Linux" and platform_machine == "x86_64"',
    r"(pexpect|ptyprocess)$": 'sys_platform != "win32"',
}


def lock_line(name: str, version: str) -> str:
    """One requirement line, e.g. ``triton==3.9.0 ; platform_system == "Linux" and ...``."""
    marker = next((m for pattern, m in MARKERS.items() if re.match(pattern, name)), None)
    return f"{name}=={version}" + (f" ; {marker}" if marker else "")


def main() -> None:
    """Read the report of ``pip install --dry-run --report -`` and print the lock."""
    packages = [item["metadata"] for item in json.load(sys.stdin)["install"]]
    names = {re.sub(r"[-_.]+", "-", p["name"]).lower(): p["version"] for p in packages}
    print("# Exact versions of everything this project installs. Written by `make lock`.")
    for name in sorted(names.keys() - {PROJECT}):
        print(lock_line(name, names[name]))


if __name__ == "__main__":
    main()
