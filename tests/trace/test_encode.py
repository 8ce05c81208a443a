"""Features kept while a long evaluation runs: a stopped one goes on, and equals a whole one."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from clip_attribution import load_clip
from clip_attribution.cli import main
from clip_attribution.io.images import open_image
from clip_attribution.scenes import scene_pairs
from clip_attribution.trace import encode as features

TEXTS = [f"an image of {n} horses" for n in range(10)]


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(features, "CHUNK", 4)


def same(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def test_captions_are_taken_up_where_a_stopped_run_left_them(
    clip, tmp_path, monkeypatch, small_chunks
):
    whole, seen, encode = features.encode_texts(clip, TEXTS, batch_size=2), [], clip.encode_texts

    def stopping(texts):
        seen.extend(texts)
        if len(seen) > 6:
            raise KeyboardInterrupt
        return encode(texts)

    with monkeypatch.context() as patch:
        patch.setattr(clip, "encode_texts", stopping)
        with pytest.raises(KeyboardInterrupt):
            features.encode_texts(clip, TEXTS, batch_size=2, keep=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # the first four; nothing of the unfinished chunk
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(clip, "encode_texts", lambda texts: seen.extend(texts) or encode(texts))
        again = features.encode_texts(clip, TEXTS, batch_size=2, keep=tmp_path)
    assert seen == TEXTS[4:] and same(again, whole)
    other = features.encode_texts(clip, TEXTS, "a photo. ", batch_size=2, keep=tmp_path)
    assert not torch.equal(other[TEXTS[0]], whole[TEXTS[0]])


def test_pictures_and_their_faults_are_read_back_and_a_changed_file_is_read_anew(
    clip, tmp_path, monkeypatch, small_chunks
):
    folder, keep = tmp_path / "pictures", tmp_path / "kept"
    folder.mkdir()
    refs = scene_pairs(6, 1, None)["image"]
    for number, ref in enumerate(refs):
        open_image(ref).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no image")
    views = [(f"{n}.png", (0, 0, 32, 32) if n % 2 else None) for n in range(7)]
    found, reasons = features.encode_views(clip, views, folder, 2, keep=keep)
    assert set(reasons) == {views[3], views[6]} and len(found) == 5
    with monkeypatch.context() as patch:
        patch.setattr(features, "open_image", None)
        again, told = features.encode_views(clip, views, folder, 2, keep=keep)
    assert same(again, found) and told == reasons
    open_image(refs[3]).save(folder / "3.png")
    after, reasons = features.encode_views(clip, views, folder, 2, keep=keep)
    assert set(reasons) == {views[6]} and views[3] in after


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_gives_the_same_bytes(tmp_path, capsys):
    data, whole, killed = (str(tmp_path / name) for name in ("data", "whole", "killed"))
    assert main(["scenes", "export", "sugarcrepe", data, "--n", "60"]) == 0
    command = ["evaluate", "sugarcrepe", "--data", data, "--quiet", "--out"]
    assert main([*command, whole]) == 0
    code = (
        "import clip_attribution.trace.encode as f, sys; f.CHUNK = 32\n"
        "from clip_attribution.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *command, killed])
    parts = tmp_path / "killed" / "parts"
    while not list(parts.glob("*.parquet")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(parts.glob("*.parquet"))
    again = subprocess.run([sys.executable, "-c", code, *command, killed], capture_output=True)
    assert again.returncode == 0 and not parts.exists()
    for name in ("results.csv", "evaluation.json"):
        one, other = ((tmp_path / run / name).read_bytes() for run in ("whole", "killed"))
        assert one == other, name
    assert json.loads((tmp_path / "whole" / "evaluation.json").read_text("utf-8"))["errors"] == 0
    pd.testing.assert_frame_equal(
        *(pd.read_parquet(tmp_path / run / "rows.parquet") for run in ("whole", "killed"))
    )
