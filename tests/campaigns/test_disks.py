"""A full disk and a read-only folder: one line, status 2, nothing half written; then it goes on."""

import os
import re
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from campaign_jobs import LONG, contents, finish, leftovers, make_jobs

LIMITS = (1000, 3000, 20_000, 400_000) if LONG else (3000,)  # bytes of the largest file
SIZES = ("8k", "32k", "128k", "1m") if LONG else ("32k",)  # of a disk
NAMES = ("score", "misalignment", "composition", "grounding", "finetune", "pretrain", "export")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def wholes(jobs, tmp_path_factory):
    """What each command writes where there is room; computed when it is asked for."""
    folder, known = tmp_path_factory.mktemp("wholes"), {}

    def whole(name):
        if name not in known:
            assert finish(jobs[name], folder / name, folder / "said")[0] == 0
            known[name] = contents(folder / name)
        return known[name]

    return whole


BAR = re.compile(r"\d%\|")  # a progress bar


def check(status, text, place):
    """One line that says what is wrong, and nothing that is half written."""
    assert status == 2 and "Traceback" not in text, text
    lines = [line for line in text.splitlines() if line.strip() and not BAR.search(line)]
    assert len(lines) == 1 and "error:" in lines[0], text
    assert not [name for name in leftovers(place) if name != "parts"], leftovers(place)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "pretrain"])
def test_files_that_may_not_grow(jobs, wholes, name, tmp_path):
    """RLIMIT_FSIZE: a write beyond it fails as on a full disk, also where no disk can be made.

    Not for pre-training, whose loader shares memory by files: the limit is on these too.
    """
    whole = wholes(name)
    for limit in LIMITS:
        place = tmp_path / str(limit)
        place.mkdir()
        status, text = finish(jobs[name], place / "out", tmp_path / "said", limit)
        if status != 0:  # no file of the command is larger
            check(status, text, place)
        status, text = finish(jobs[name], place / "out", tmp_path / "said")
        assert status == 0 and contents(place / "out") == whole, text
        assert not leftovers(place)


@contextmanager
def disk(folder, size):
    """A small file system; skips where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(jobs, wholes, name, tmp_path):
    whole = wholes(name)
    for size in SIZES:
        place = tmp_path / size
        with disk(place, size):
            status, text = finish(jobs[name], place / "out", tmp_path / "said")
            if status != 0:
                check(status, text, place)
            subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
            status, text = finish(jobs[name], place / "out", tmp_path / "said")
            assert status == 0 and contents(place / "out") == whole, text
            assert not leftovers(place)


@contextmanager
def read_only(place):
    """A folder that cannot be written, by its file system for root, else by its mode."""
    if os.geteuid():
        folders = [path for path in (place, *place.rglob("*")) if path.is_dir()]
        for path in folders:
            path.chmod(0o500)
        yield
        for path in folders:
            path.chmod(0o700)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_read_only_folder(jobs, wholes, name, tmp_path):
    whole, place = wholes(name), tmp_path / "disk"
    with disk(place, "200m"):
        with read_only(place):
            check(*finish(jobs[name], place / "out", tmp_path / "said"), place)
        assert finish(jobs[name], place / "out", tmp_path / "said")[0] == 0
        with read_only(place):
            status, text = finish(jobs[name], place / "out", tmp_path / "said")
            if name == "pretrain":  # the only one that writes its weights anew
                check(status, text, place)
            else:  # a finished run has nothing to write
                assert status == 0 and "error" not in text, text
        assert contents(place / "out") == whole
