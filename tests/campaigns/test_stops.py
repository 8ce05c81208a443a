"""Killed, interrupted or terminated anywhere, a command ends with the files of a whole run."""

import os
import random
import shutil
import signal
import time

import pytest
from campaign_jobs import LONG, contents, finish, leftovers, make_jobs, start

ROUNDS = 10 if LONG else 1  # folders, each with two stops
NAMES = ("score", "misalignment", "composition", "grounding", "finetune", "pretrain", "export")
POLITE = signal.SIGTERM, signal.SIGINT


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_command_goes_on(jobs, name, tmp_path, record_property):
    job, said = jobs[name], tmp_path / "said"
    begun = time.monotonic()
    status, text = finish(job, tmp_path / "whole", said)
    assert (status, text.count("Traceback")) == (0, 0), text
    seconds, whole = time.monotonic() - begun, contents(tmp_path / "whole")
    rng, early = random.Random(name), 0
    for turn in range(ROUNDS):
        place = tmp_path / f"round{turn}"
        out = place / "out"
        place.mkdir()
        for number in (POLITE[turn % 2], signal.SIGKILL):
            early += stopped(job, out, said, number, seconds * rng.uniform(0.05, 1))
            if number != signal.SIGKILL:
                assert not [n for n in leftovers(place) if n != "parts"], leftovers(place)
        status, text = finish(job, out, said)
        assert status == 0, text
        assert contents(out) == whole and not leftovers(place), leftovers(place)
        shutil.rmtree(place)
    record_property("stopped before their end", early)
    print(f"{name}: {early} of {2 * ROUNDS} stopped before their end")


def stopped(job, out, said, number, seconds) -> bool:
    """Send a signal after so long; whether the command was still at work. It says one line."""
    process = start(job, out, said)
    time.sleep(seconds)
    sent = time.monotonic()
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(60)
    assert time.monotonic() - sent < 30
    if process.exitcode == 0:
        return False
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    text = said.read_text("utf-8")
    if number != signal.SIGKILL and process.exitcode not in (-number, 1):  # not yet in the command
        assert process.exitcode == expected, text
        assert "Traceback" not in text and text.count("stopped;") == 1, text
    return True
