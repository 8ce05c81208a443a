"""Two processes in one folder, and threads on one model: the files and values of one alone."""

import threading

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from campaign_jobs import LONG, contents, finish, leftovers, make_jobs, start
from PIL import Image

from clip_attribution import attribute, load_clip
from clip_attribution.attribution import METHODS
from clip_attribution.display.explanation import explain
from clip_attribution.heatmaps import METHODS as MAPS
from clip_attribution.heatmaps import heatmaps

TIMES = 5 if LONG else 1
ROUNDS, CROWDS = (10, (2, 4)) if LONG else (2, (2,))
NAMES = ("score", "misalignment", "composition", "grounding", "finetune", "pretrain", "export")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_at_once_leave_what_one_does(jobs, name, tmp_path):
    job = jobs[name]
    assert finish(job, tmp_path / "whole", tmp_path / "said")[0] == 0
    whole, refused = contents(tmp_path / "whole"), 0
    for turn in range(TIMES):
        place = tmp_path / f"round{turn}"
        place.mkdir()
        said = [tmp_path / f"said{number}" for number in range(2)]
        both = [start(job, place / "out", one) for one in said]
        for process in both:
            process.join(300)
        texts = [one.read_text("utf-8") for one in said]
        assert sorted(p.exitcode for p in both) in ([0, 0], [0, 2]), texts
        for process, text in zip(both, texts, strict=True):
            assert "Traceback" not in text
            assert process.exitcode == 0 or "another process" in text and text.count("\n") == 1
            refused += process.exitcode == 2
        assert contents(place / "out") == whole and not leftovers(place), leftovers(place)
        status, text = finish(job, place / "out", said[0])
        assert status == 0 and contents(place / "out") == whole, text
    print(f"{name}: {refused} of {TIMES} second processes were told of the first")


@pytest.fixture(scope="module")
def clip():
    return load_clip(model_config=tiny.config(3, 3), device="cpu")


@pytest.fixture(scope="module")
def pairs():
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 40, 3), dtype=np.uint8)
    captions = ["a red cup", "two small dogs on a hill", "rain", "an old blue boat near a tree"]
    return pd.DataFrame({"image": list(map(Image.fromarray, noise)), "caption": captions})


def text_values(clip, pairs, method):
    options = {"n_steps": 8} if method == "integrated_gradients" else {}
    return attribute(clip, pairs, method, batch_size=2, **options)[0]["attribution"].to_numpy()


def map_values(clip, pairs, method):
    return heatmaps(clip, list(pairs["image"]), list(pairs["caption"]), method, batch_size=2)


TASKS = [(text_values, name) for name in METHODS] + [(map_values, name) for name in MAPS]


@pytest.mark.parametrize("task, method", TASKS, ids=lambda x: getattr(x, "__name__", x))
def test_threads_give_the_values_of_one(clip, pairs, task, method):
    frozen = [parameter.requires_grad for parameter in clip.model.parameters()]
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    alone = {name: one(clip, pairs, name) for one, name in {(task, method), TASKS[0], TASKS[-1]}}
    for crowd in CROWDS:
        for turn in range(ROUNDS):
            # beside the method itself another one, which hooks other places
            other = (task, method) if turn % 2 else TASKS[0 if task is map_values else -1]
            work = [(task, method), other] * (crowd // 2)
            found = at_once([(lambda one=one, n=n: one(clip, pairs, n)) for one, n in work])
            for (_, name), values in zip(work, found, strict=True):
                np.testing.assert_array_equal(values, alone[name])
    assert [parameter.requires_grad for parameter in clip.model.parameters()] == frozen
    after = clip.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in clip.model.modules())


def test_explanations_in_threads_keep_their_heat_maps(clip, pairs):
    rows = list(pairs.itertuples())
    alone = [explain(clip, row.image, row.caption) for row in rows]
    for _ in range(ROUNDS):
        found = at_once([(lambda row=row: explain(clip, row.image, row.caption)) for row in rows])
        for one, other in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one.heatmap, other.heatmap)
            pd.testing.assert_frame_equal(one.words, other.words)


def at_once(calls) -> list:
    """The values of functions that run in threads of their own; the first exception is raised."""
    found, gate = [None] * len(calls), threading.Barrier(len(calls))

    def work(number):
        gate.wait()
        try:
            found[number] = calls[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        if isinstance(one, Exception):
            raise one
    return found
