"""A finished `clip-attribution evaluate` is read back: no model runs, no file is touched."""

import contextlib
import os

import pytest
from score_tables import save_model
from torch.nn.modules.module import register_module_forward_pre_hook

from clip_attribution.cli import main

DONE = "complete run with these inputs: nothing to do"
BENCHMARKS = {
    "sugarcrepe": [],
    "refcoco": ["--heatmaps", "gae_image,gradcam"],
    "concadia": [],
}


@contextlib.contextmanager
def forwards():
    """The calls of every module with weights; preprocessing is of modules without."""
    calls = []

    def note(module, inputs):
        calls.extend([1] * any(True for _ in module.parameters()))

    handle = register_module_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


@pytest.fixture(scope="module", params=BENCHMARKS)
def run(request, tmp_path_factory):
    """A finished evaluation: its arguments, its folder, what it printed."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save_model(folder)
    data = folder / "data"
    assert main(["scenes", "export", request.param, str(data), "--n", "8", "--quiet"]) == 0
    arguments = ["evaluate", request.param, "--data", str(data), *model, *BENCHMARKS[request.param]]
    return arguments, folder


def printed(capsys, arguments, out):
    """Status, standard output and standard error of a run, and how often a module was called."""
    capsys.readouterr()
    with forwards() as calls:
        status = main([*arguments, "--out", str(out)])
    said = capsys.readouterr()
    return status, said.out, said.err, len(calls)


def seen(out):
    """Bytes and times of all files of a folder."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_finished_run_is_read_back(run, tmp_path, capsys):
    arguments, _ = run
    out = tmp_path / "out"
    status, table, _, calls = printed(capsys, arguments, out)
    before = seen(out)
    assert calls > 0 and DONE not in table
    again, same, said, none = printed(capsys, arguments, out)
    assert (again, same, none) == (status, table, 0) and DONE in said
    assert seen(out) == before
    os.chmod(out, 0o555)
    try:
        assert printed(capsys, arguments, out)[:2] == (status, table) and seen(out) == before
    finally:
        os.chmod(out, 0o755)
    *_, quiet, none = printed(capsys, [*arguments, "--quiet"], out)
    assert (quiet, none) == ("", 0)
    other, _, said, _ = printed(capsys, [*arguments, "--limit", "4"], out)
    assert other == 2 and "other options" in said and seen(out) == before


@pytest.mark.parametrize("damage", ["emptied", "cut", "flipped", "gone"])
@pytest.mark.parametrize("name", ["results.csv", "rows.parquet"])
def test_a_damaged_file_is_made_again(tmp_path, capsys, damage, name):
    arguments = ["evaluate", "refcoco", "--data", str(tmp_path / "data"), *save_model(tmp_path)]
    assert main(["scenes", "export", "refcoco", arguments[3], "--n", "4", "--quiet"]) == 0
    out = tmp_path / "out"
    _, table, *_ = printed(capsys, arguments, out)
    whole = {n: data for n, (data, _) in seen(out).items()}
    file, data = out / name, whole[name]
    if damage == "gone":
        file.unlink()
    else:
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        file.write_bytes(
            {"emptied": b"", "cut": data[: len(data) // 2], "flipped": flipped}[damage]
        )
    status, same, said, calls = printed(capsys, arguments, out)
    assert (status, same) == (0, table) and DONE not in said and calls > 0
    assert whole.items() <= {n: data for n, (data, _) in seen(out).items()}.items()
