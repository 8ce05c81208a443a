"""Training on descriptions: the objectives, what they move, resuming, selection, refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import interchange_oracles as slow
import numpy as np
import pandas as pd
import pytest
import small_towers
import tiny
import torch
from torch.nn.functional import softplus

from clip_attribution import load_clip
from clip_attribution.datasets import concadia
from clip_attribution.errors import UserError
from clip_attribution.interchange import Alignment
from clip_attribution.models.fingerprint import hash_of_weights
from clip_attribution.training.adapters import load_adapters, merge_adapters
from clip_attribution.training.checkpoint import read_rows
from clip_attribution.training.descriptions import (
    even_base,
    read_texts,
    scene_tasks,
    scene_texts,
    text_scores,
    tune,
)
from clip_attribution.training.descriptions import run as running
from clip_attribution.training.descriptions.__main__ import main
from clip_attribution.training.descriptions.evaluation import evaluating, preference
from clip_attribution.training.descriptions.losses import (
    both_ways,
    contrastive_losses,
    example_losses,
    triplet_losses,
)
from clip_attribution.training.descriptions.options import check_options, with_preset
from clip_attribution.training.descriptions.run import Run, drawn

CAPTIONS = ["the museum of sailing", "a story about music in Oslo", "a guide to chess and pets"]
DESCRIPTIONS = ["a red anchor on sand", "two small blue notes", "a cat left of a large pawn"]
FAST = {"steps": 4, "batch": 4, "eval_every": 2, "rank": 2, "lr": 1e-2}


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=tiny.config(1, 4), device="cpu", seed=3)


@pytest.fixture(scope="module")
def frame():
    return scene_texts(12, 6, 6)


@pytest.fixture(scope="module")
def texts(clip, frame):
    return read_texts(clip, frame)[0]


def double_batch(clip):
    """A float64 copy of the model, and its image features and ids of three triplets."""
    model = load_clip("tiny", model_config=tiny.config(1, 4), device="cpu", seed=3).model.double()
    images = torch.randn(3, 32, dtype=torch.float64)
    ids = [clip.tokenizer(own, clip.context_length) for own in (CAPTIONS, DESCRIPTIONS)]
    return model, images, *ids


def slow_scores(model, images, captions, descriptions, rotation, size, site):
    """C(cap), C(des), C(cap <- des), C(des <- cap), each [3], by the slow oracle."""
    weights = {name: own.detach() for name, own in model.state_dict().items()}
    place = site, size, rotation, 2, False
    found = []
    for base, source in (
        (captions, captions),
        (descriptions, descriptions),
        (captions, descriptions),
        (descriptions, captions),
    ):
        rows = zip(images, base, source, strict=True)
        found.append(torch.stack([slow.interchange_score(weights, *row, *place) for row in rows]))
    return found


def rotation_of(width, seed=0):
    return torch.linalg.qr(
        torch.randn(width, width, generator=torch.Generator().manual_seed(seed)).double()
    )[0]


@pytest.mark.parametrize("site", [0, 2, "features"])
def test_objectives_are_softplus_of_differences_of_slow_scores(clip, site):
    model, images, captions, descriptions = double_batch(clip)
    rotation = rotation_of(32)
    cap, des, up, down = slow_scores(model, images, captions, descriptions, rotation, 10, site)
    behavioural = softplus(cap - des)
    iit = (softplus(cap - up) + softplus(down - des)) / 2
    expected = {"behavioural": behavioural, "iit": iit, "joint": 0.3 * iit + 0.7 * behavioural}
    parts = images, captions, descriptions
    for objective, value in expected.items():
        cfg = {"objective": objective, "alpha": 0.3}
        found = triplet_losses(model, *parts, cfg, site, rotation[:, :10])
        torch.testing.assert_close(found, value, rtol=0, atol=1e-9)
        if objective == "behavioural":
            continue
        ways = ((captions, descriptions, False), (descriptions, captions, True))
        singly = [
            example_losses(
                model, images, base, source, torch.full((3,), side), cfg, site, rotation[:, :10]
            )
            for base, source, side in ways
        ]
        torch.testing.assert_close(sum(singly) / 2, value, rtol=0, atol=1e-9)


def test_identical_texts_give_log_2_and_no_gradient(clip):
    model, images, captions, _ = double_batch(clip)
    model.requires_grad_(True)
    cfg, basis = {"objective": "joint", "alpha": 0.5}, rotation_of(32)[:, :10]
    loss = triplet_losses(model, images, captions, captions, cfg, 2, basis)
    torch.testing.assert_close(loss, torch.full_like(loss, np.log(2)))
    loss.sum().backward()
    own = [p.grad.abs().max() for p in model.transformer.parameters() if p.grad is not None]
    assert own and max(own) < 1e-9


@pytest.mark.parametrize("objective", ["iit", "joint"])
def test_gradients_of_the_objective_are_finite_differences(clip, objective):
    model, images, captions, descriptions = double_batch(clip)
    model.requires_grad_(True)
    rotation = running.Rotation(rotation_of(32))
    cfg = {"objective": objective, "alpha": 0.4}

    def loss():
        basis = rotation.weight[:, :10]
        return triplet_losses(model, images, captions, descriptions, cfg, 2, basis).mean()

    free = rotation.parametrizations.weight.original
    loss().backward()
    places = [
        (free, (9, 4)),
        (free, (25, 3)),
        (model.transformer.resblocks[1].mlp.c_fc.weight, (3, 5)),
        (model.transformer.resblocks[3].attn.in_proj_weight, (70, 8)),
        (model.text_projection, (4, 4)),
        (model.logit_scale, ()),
    ]
    for parameter, place in places:
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[place] += step
            ends.append(loss().item())
            with torch.no_grad():
                parameter[place] -= step
        slope = (ends[0] - ends[1]) / 2e-5
        assert parameter.grad[place].item() == pytest.approx(slope, abs=1e-6)
    assert not free.grad.triu().any()


def test_both_ways_are_two_interchanges_and_run_what_lies_below_once(clip, monkeypatch):
    model, images, captions, descriptions = double_batch(clip)
    basis, rows = rotation_of(32)[:, :10], []
    for layer, block in enumerate(model.transformer.resblocks):
        block.register_forward_hook(lambda m, a, out, k=layer: rows.append((k, len(out))))
    both_ways(model, captions, descriptions, 2, basis)
    assert rows == [(0, 6), (1, 6), (2, 6), (3, 12)]


def test_the_contrastive_loss_has_two_right_texts_an_image(clip):
    model = double_batch(clip)[0]
    images, captions, descriptions = torch.randn(3, 4, 32, dtype=torch.float64).unbind()
    found = contrastive_losses(model, images, captions, descriptions)
    scale = model.logit_scale.exp().item()
    texts = torch.cat([captions, descriptions])
    logits = scale * torch.cosine_similarity(images[:, None], texts[None], dim=-1)
    for i in range(4):
        to_text = -(logits[i].log_softmax(0)[[i, i + 4]]).mean()
        to_image = -sum(logits[:, j].log_softmax(0)[i] for j in (i, i + 4)) / 2
        assert found[i].item() == pytest.approx(((to_text + to_image) / 2).item(), abs=1e-12)


@pytest.mark.parametrize("adapters", ["full", "lora", "none"])
def test_what_is_trained(clip, texts, adapters):
    cfg = check_options(
        with_preset("scenes", {"objective": "iit", "adapters": adapters, **FAST}), clip, texts
    )
    own = load_clip("tiny", model_config=tiny.config(1, 4), device="cpu", seed=3)
    run = Run(own, texts, {}, cfg)
    names = set(run.trained)
    rotation = "rotation.parametrizations.weight.original"
    assert rotation in names and not any(name.startswith("visual.") for name in names)
    if adapters == "full":
        plain = {n for n, _ in clip.model.named_parameters() if not n.startswith("visual.")}
        assert names == plain | {rotation} and "logit_scale" in names
    if adapters == "lora":
        assert sum(p.numel() for n, p in run.trained.items() if n != rotation) == 4 * 8 * 2 * 32
    if adapters == "none":
        assert names == {rotation}
    before = {name: p.detach().clone() for name, p in run.trained.items()}
    for step in range(2):
        run.step(step)
    moved = {name for name, p in run.trained.items() if not torch.equal(p, before[name])}
    assert moved == names


@pytest.mark.parametrize(
    ("objective", "adapters"), [("behavioural", "lora"), ("iit", "lora"), ("joint", "full")]
)
def test_a_run_leaves_plain_weights_adapters_alignment_and_log(
    clip, texts, tmp_path, objective, adapters
):
    before = hash_of_weights(clip.model)
    own = {**FAST, "objective": objective, "adapters": adapters, "select_on": "last"}
    tuned = tune(clip, texts, tmp_path, preset="scenes", **own)
    assert hash_of_weights(clip.model) == before != hash_of_weights(tuned.clip.model)
    again = load_clip(pretrained=tmp_path / "model.safetensors", device="cpu")
    assert hash_of_weights(again.model) == hash_of_weights(tuned.clip.model)
    assert list(tuned.log["step"]) == [0, 2, 4] and np.isnan(tuned.log["loss"][0])
    alignment = tmp_path / "alignment.safetensors"
    assert alignment.exists() == (objective != "behavioural") == (tuned.alignment is not None)
    if tuned.alignment:
        loaded = Alignment.load(alignment)
        assert (loaded.site, loaded.size) == (2, 16)
        assert torch.equal(loaded.rotation, tuned.alignment.rotation)
    if adapters == "lora":
        plain = load_clip("tiny", model_config=tiny.config(1, 4), device="cpu", seed=3)
        load_adapters(plain.model, tmp_path / "adapters.safetensors")
        merge_adapters(plain.model)
        for name, value in plain.model.state_dict().items():
            torch.testing.assert_close(value, tuned.clip.model.state_dict()[name])
    read = tune(clip, texts, tmp_path, preset="scenes", **own)
    assert hash_of_weights(read.clip.model) == hash_of_weights(tuned.clip.model)
    pd.testing.assert_frame_equal(read.log, tuned.log)
    with pytest.raises(UserError, match="holds a finished run with other options"):
        tune(clip, texts, tmp_path, preset="scenes", **own | {"seed": 5})


def test_step_0_measured_before_is_not_measured_again(clip, texts, tmp_path, monkeypatch):
    first = tune(clip, texts, tmp_path / "a", preset="scenes", **FAST)
    known = {k: v for k, v in first.log.to_dict("records")[0].items() if k not in ("step", "loss")}
    known = {k: None if v != v else v for k, v in known.items()}
    calls, evaluate = [], running.evaluate
    monkeypatch.setattr(running, "evaluate", lambda *a: calls.append(a) or evaluate(*a))
    tune(clip, texts, tmp_path / "b", preset="scenes", first=known, **FAST)
    assert len(calls) == len(first.log) - 1
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_the_best_evaluated_step_is_kept_as_a_copy(clip, texts, tmp_path, monkeypatch):
    shares = iter([0.2, 0.9, 0.4])
    kept = []

    def look(model, *rest):
        kept.append(model.token_embedding.weight.detach().clone())
        return {"val_trade_off": (share := next(shares)), "val_preference": share}

    monkeypatch.setattr(running, "evaluate", look)
    own = {**FAST, "objective": "behavioural", "adapters": "full"}
    texts = {name: texts[name] for name in ("train", "val")}
    tuned = tune(clip, texts, tmp_path, preset="scenes", **own)
    assert torch.equal(tuned.clip.model.token_embedding.weight, kept[1])
    assert not torch.equal(kept[1], kept[2])
    assert json.loads((tmp_path / "run.json").read_text())["chosen"]["step"] == 2


def test_selection_on_val_test_or_the_last_step(clip, texts, tmp_path):
    chosen = {}
    for where in ("val", "test", "last"):
        own = {**FAST, "objective": "behavioural", "adapters": "full", "select_on": where}
        log = tune(clip, texts, tmp_path / where, preset="scenes", **own).log
        facts = json.loads((tmp_path / where / "run.json").read_text())
        chosen[where] = facts["chosen"]["step"]
        if where != "last":
            column = log[f"{where}_trade_off"]
            assert chosen[where] == log["step"][column.idxmax()]  # the first of equal ones
    assert chosen["last"] == 4


def test_every_module_gets_its_own_mode_back():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2, 2))
    model[1].eval()
    with pytest.raises(KeyError), evaluating(model):
        assert not model[0].training
        raise KeyError
    assert model.training and model[0].training and not model[1].training


def test_a_tie_counts_against_the_description_and_equal_tokens_tie(clip):
    frame = scene_texts(1, 5, 1)
    frame.loc[frame["split"] == "val", "caption"] = frame["description"].str.upper()
    texts = read_texts(clip, frame)[0]["val"]
    found = preference(*text_scores(clip.model, texts, clip.device))
    assert found == {"preference": 0.0, "ties": 5}


def test_rows_that_cannot_be_used_keep_their_reason(clip, frame):
    frame = frame.copy()
    frame["error"] = None
    frame.loc[0, "caption"] = ""
    frame.loc[1, "image"] = "missing.png"
    frame.loc[2, "description"] = frame.loc[2, "caption"].upper()
    frame.loc[3, "error"] = "no such record"
    frame.loc[4, "caption"] = "many words " * 60
    texts, left_out = read_texts(clip, frame)
    reasons = left_out["error"].to_dict()
    assert reasons[0] == "the caption is empty" and "missing.png" in reasons[1]
    assert "same tokens" in reasons[2] and reasons[3] == "no such record" and len(reasons) == 4
    assert len(texts["train"].rows) == 8
    longest = texts["train"].captions[0]
    assert longest[-1] == longest.max()  # cut, its last token EOT
    kept, left_out = read_texts(clip, frame, keep_identical=True)
    assert len(kept["train"].rows) == 9 and 2 not in left_out.index


def test_orders_and_draws():
    assert np.array_equal(drawn(3, None, True), [0, 1, 2])
    rows = pd.Series(range(50))
    assert drawn(50, 80, True).tolist() == rows.sample(80, replace=True, random_state=42).tolist()
    assert drawn(50, 20, False).tolist() == rows.sample(20, random_state=42).tolist()
    others = running.other_rows(7, 1)
    assert sorted(others) == list(range(7)) and (others != np.arange(7)).all()


def test_an_order_is_new_in_every_epoch_unless_asked_otherwise(clip, texts):
    for same in (False, True):
        options = {**FAST, "objective": "iit", "singly": True, "same_order": same}
        cfg = check_options(with_preset("scenes", options), clip, texts)
        run = Run(replace(clip, model=double_batch(clip)[0].float()), texts, {}, cfg)
        epochs = [
            np.concatenate([run.numbers(step + at) for step in range(run.per_epoch)])
            for at in (0, run.per_epoch)
        ]
        assert all(sorted(own) == list(range(24)) for own in epochs)
        assert np.array_equal(*epochs) == same


def test_presets_are_those_of_the_specification():
    cells = {
        ("scripts", "behavioural", "full"): {"lr": 5e-6},
        ("paper", "behavioural", "full"): {"lr": 0.5e-6},
        ("scripts", "behavioural", "lora"): {"lr": 1e-5, "rank": 128},
        ("paper", "behavioural", "lora"): {"lr": 1e-5, "rank": 64},
        ("scripts", "iit", "lora"): {"lr": 1e-5, "rank": 64, "sample": 100_000, "singly": True},
        ("paper", "iit", "lora"): {"lr": 1e-5, "rank": 128, "sample": 100_000, "singly": True},
        ("scripts", "iit", "full"): {"lr": 1e-5, "sample": 100_000},
    }
    for (preset, objective, adapters), expected in cells.items():
        cfg = with_preset(preset, {"objective": objective, "adapters": adapters})
        assert cfg.items() >= expected.items()
        assert (cfg["batch"], cfg["epochs"], cfg["weight_decay"]) == (12, 10, 0.0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"objective": "iit", "site": 3}, "no site 3"),
        ({"objective": "iit", "size": 99}, "size must be"),
        ({"objective": "behavioural", "adapters": "none"}, "rotation alone"),
        ({"objective": "none"}, "unknown objective"),
        ({"rank": 0}, "rank must be"),
        ({"lr": float("nan")}, "lr must be"),
        ({"batch": 3}, "cannot be cut"),
        ({"colour": "red"}, "unknown option"),
    ],
)
def test_impossible_options_are_refused_in_one_line(clip, texts, tmp_path, options, line):
    with pytest.raises(UserError, match=line) as error:
        tune(clip, texts, tmp_path, preset="scenes", **options)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_tower_that_cannot_carry_adapters_is_refused(tmp_path):
    config = small_towers.FAMILIES["XLM-R cls"](tmp_path)
    other = load_clip("small", model_config=config, device="cpu")
    texts = read_texts(other, scene_texts(4, 2, 2))[0]
    own = {**FAST, "objective": "behavioural", "adapters": "lora"}
    with pytest.raises(UserError, match="cannot carry adapters"):
        tune(other, texts, tmp_path / "run", preset="scenes", **own)
    assert tune(other, texts, tmp_path / "full", preset="scenes", **own | {"adapters": "full"})


def test_the_even_base_draws_both_texts_together(clip, texts, tmp_path):
    base = even_base(clip, texts, tmp_path, steps=30, batch=12, eval_every=30, lr=1e-3)
    gaps = []
    for own in (clip, base.clip):
        caption, description = text_scores(own.model, texts["train"], own.device)
        gaps.append((caption - description).abs().mean())
    assert gaps[1] < gaps[0] / 2 and base.alignment is None


def test_scene_tasks_are_scored_and_the_trade_off_weighs_them(clip, texts, tmp_path):
    tasks = {"val": scene_tasks(clip, 20, "val")}
    assert [task.name for task in tasks["val"]] == ["noun", "ground", "theme", "thing"]
    own = {**FAST, "objective": "behavioural", "adapters": "full"}
    log = tune(clip, texts, tmp_path, tasks=tasks, preset="scenes", **own).log
    row = log.iloc[-1]
    if row["val_transfer"] is not None:
        expected = 0.9 * row["val_preference"] + 0.1 * row["val_transfer"]
        assert row["val_trade_off"] == pytest.approx(expected)
    assert (log["test_trade_off"] == log["test_preference"]).all()


# --- the command ---


def write_job(folder, frame=None):
    """Arguments of a small run of the command on files: a table, or Concadia's own without one."""
    data = folder / "texts.csv"
    if frame is None:
        data = folder / "concadia"
        data.mkdir()
        concadia.write(data, 40, 5, 64)
    else:
        frame.to_csv(data, index=False)
    (folder / "config.json").write_text(json.dumps(tiny.config(1, 4)))
    fast = ["--steps", "12", "--batch", "4", "--eval-every", "5", "--rank", "2", "--lr", "0.01"]
    place = ["--data", str(data), "--model", "tiny", "--device", "cpu", "--quiet"]
    return [*place, "--model-config", str(folder / "config.json"), "--preset", "scenes", *fast]


def bytes_of(folder):
    """Every file of a run but the receipt, whose checksums follow from the others."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix != ".json"}


def test_the_command_says_what_it_left_out_and_refuses_in_one_line(tmp_path, frame, capsys):
    frame = frame.copy()
    frame.loc[0, "caption"] = " "
    job = write_job(tmp_path, frame)
    assert main([*job, "--objective", "iit", "--adapters", "lora", "--out", f"{tmp_path}/a"]) == 0
    shown = capsys.readouterr()
    assert "left out 1 rows: the caption is empty" in shown.err
    assert f"{tmp_path}/a/alignment.safetensors" in shown.out
    assert main([*job, "--site", "9", "--out", f"{tmp_path}/b"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].count("no site 9") == 1


def test_the_command_trains_on_concadias_layout_and_keeps_bad_rows_apart(tmp_path, capsys):
    job = write_job(tmp_path)
    file = tmp_path / "concadia/wiki_split.json"
    content = json.loads(file.read_text())
    rows = [row for row in content["images"] if row["split"] == "train"]
    rows[0]["caption"]["raw"] = " "
    rows[1]["description"]["raw"] = rows[1]["caption"]["raw"]
    rows[3]["description"]["raw"] = "a red anchor on sand " * 40  # cut, as CLIP cuts it
    file.write_text(json.dumps(content))
    (tmp_path / "concadia/resized" / rows[2]["filename"]).unlink()
    assert main([*job, "--out", str(tmp_path / "run")]) == 0
    left_out = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(left_out) == 3 and all(line.startswith("left out 1 rows: ") for line in left_out)
    for part in ("the caption is empty", rows[2]["filename"], "the same tokens"):
        assert sum(part in line for line in left_out) >= 1, part
    log = read_rows(tmp_path / "run/log.jsonl")
    assert log[-1]["step"] == 12 and {"val_preference", "test_preference"} <= set(log[-1])


@pytest.mark.skipif("CLIP_BENCHMARKS" not in os.environ, reason="needs the official files")
def test_the_command_trains_on_the_official_files(tmp_path, capsys):
    official = Path(os.environ["CLIP_BENCHMARKS"]) / "concadia"
    if not official.is_dir():
        pytest.skip("no Concadia")
    content = json.loads((official / "wiki_split.json").read_text())
    for number, row in enumerate(content["images"]):  # the part at hand is of the val split alone
        row["split"] = ("train", "val", "test")[number % 3]
    (tmp_path / "wiki_split.json").write_text(json.dumps(content))
    job = write_job(tmp_path, scene_texts(1, 1, 1))
    job[job.index("--data") + 1] = str(tmp_path)
    job += ["--images", str(official / "resized"), "--out", str(tmp_path / "run")]
    assert main(job) == 0
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["steps"] == 12 and facts["chosen"]["val_ties"] >= 0
    assert "left out" not in capsys.readouterr().err.replace("the same tokens", "")


@pytest.mark.slow
@pytest.mark.parametrize("official", [False, True])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, frame, official):
    job = [
        *write_job(tmp_path, None if official else frame),
        "--objective",
        "joint",
        "--adapters",
        "lora",
    ]
    job += ["--steps", "60", "--save-every", "2"]
    assert main([*job, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "cut"
    command = ["-m", "clip_attribution.training.descriptions", *job, "--out", str(out)]
    process = subprocess.Popen([sys.executable, *command])
    deadline = time.time() + 120
    while not (out / "checkpoint.safetensors").exists() and time.time() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / "checkpoint.safetensors").exists() and not (out / "model.safetensors").exists()
    assert main([*job, "--out", str(out)]) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path, frame):
    job = [*write_job(tmp_path, frame), "--objective", "iit", "--adapters", "lora"]
    job += ["--lr", "0.001"]
    assert main([*job, "--out", str(tmp_path / "one")]) == 0
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*launch, "clip_attribution.training.descriptions", *job]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    one, two = (read_rows(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(two), rtol=1e-3, atol=1e-5)
