"""The files of a run: not over others', held by one process, checked, without temporaries."""

import os
import subprocess
import sys
import threading

import pytest

from clip_attribution.errors import UserError
from clip_attribution.io.output import claim, held, only_own, seal
from clip_attribution.io.tables import atomic_path, temporary_name, write_json


def write(folder, key="k", text="result"):
    """A run of one file; whether it had to be computed."""
    receipt, file = folder / "run.json", folder / "result.txt"
    with claim(receipt, [file], key) as done:
        if not done:
            with atomic_path(file) as temporary:
                temporary.write_text(text)
            seal(receipt, [file], {"key": key})
        return not done


def test_a_finished_run_is_left_alone(tmp_path):
    assert write(tmp_path / "new" / "deep") and not write(tmp_path / "new" / "deep")
    assert sorted(os.listdir(tmp_path / "new" / "deep")) == ["result.txt", "run.json"]


@pytest.mark.parametrize("damage", [b"", b"res", b"result and more", b"RESULT", None])
def test_a_changed_result_is_computed_again_and_the_changed_one_kept(tmp_path, damage):
    write(tmp_path)
    if damage is None:
        (tmp_path / "result.txt").unlink()
    else:
        (tmp_path / "result.txt").write_bytes(damage)
    assert write(tmp_path) and not write(tmp_path)
    assert (tmp_path / "result.txt").read_text() == "result"
    changed = tmp_path / "result.txt.changed"
    assert changed.exists() == (damage is not None)
    assert damage is None or changed.read_bytes() == damage


@pytest.mark.parametrize("name", ["run.json", "result.txt"])
@pytest.mark.parametrize("text", ["mine", "", "[]", "null", '{"key": 1}', "\0\xff"])
def test_a_foreign_file_stays(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="is not of this run|cannot read|not valid JSON"):
        write(tmp_path)
    assert (tmp_path / name).read_text() == text and os.listdir(tmp_path) == [name]


def test_a_finished_run_of_another_key_stays(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="another folder"):
        write(tmp_path, "other", "other")
    assert (tmp_path / "result.txt").read_text() == "result"


def test_an_unfinished_run_is_continued_or_taken_over(tmp_path):
    for key in ("k", "other"):
        with pytest.raises(KeyboardInterrupt), claim(tmp_path / "run.json", [], "k"):
            (tmp_path / "result.txt").write_text("half")
            raise KeyboardInterrupt
        assert write(tmp_path, key)
        assert sorted(os.listdir(tmp_path)) == ["result.txt", "run.json"]
        for name in os.listdir(tmp_path):
            (tmp_path / name).unlink()


HOLD = """
import sys, time
from pathlib import Path
from clip_attribution.io.output import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is writing"):
            write(tmp_path)
        other.kill()
    assert write(tmp_path)  # the lock went with its owner
    assert sorted(os.listdir(tmp_path)) == ["result.txt", "run.json"]


def test_one_thread_at_a_time(tmp_path):
    found = []

    def other():
        try:
            write(tmp_path)
        except UserError as error:
            found.append(str(error))

    with held(tmp_path / "run.json"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another process" in found[0] and write(tmp_path)


def test_leftovers_of_dead_owners_go_and_those_of_the_living_stay(tmp_path):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    path, own = tmp_path / "result.txt", f"-{os.getpid()}-"
    dead = temporary_name(path).replace(own, f"-{int(gone.stdout)}-") + "x.tmp"
    earlier = temporary_name(path)[:-3] + "1.x.tmp"  # of this number, begun at another time
    alive = temporary_name(path).replace(own, f"-{os.getppid()}-") + "x.tmp"
    mine = temporary_name(path) + "x.tmp"
    foreign = [".result.txt.another_host-1-1.x.tmp", ".result.txt.mine.tmp", ".other.txt.tmp"]
    for name in (dead, earlier, alive, mine, *foreign):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    write(tmp_path)
    assert set(os.listdir(tmp_path)) == {alive, mine, *foreign, "result.txt", "run.json"}


def test_only_own_files_are_written_over(tmp_path):
    path = tmp_path / "a.json"
    assert only_own(path, lambda _: False) == path
    for text, ours in (("{}", True), ("{}", False), ("[", KeyError)):
        path.write_text(text)

        def judge(_, ours=ours):
            if ours is KeyError:
                raise KeyError("key")
            return ours

        if ours is True:
            assert only_own(path, judge) == path
        else:
            with pytest.raises(UserError, match="another place"):
                only_own(path, judge)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot write to") as caught:
            write(folder)
        assert "\n" not in str(caught.value)


def test_a_receipt_names_size_and_checksum(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("abc")
    report = seal(tmp_path / "r.json", [file], {"key": "k"})
    assert report["files"]["a.txt"]["size"] == 3
    assert report["files"]["a.txt"]["sha256"].startswith("ba7816bf8f01cfea")
    write_json({"key": "k"}, tmp_path / "r.json")  # of an earlier version, without them
    with claim(tmp_path / "r.json", [file], "k") as done:
        assert done is None
