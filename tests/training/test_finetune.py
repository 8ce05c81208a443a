"""Fine-tuning: what a run leaves behind, how a stopped one goes on, and what is refused."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import finetune_examples as tiny
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from clip_attribution import attribute, load_clip
from clip_attribution.errors import UserError
from clip_attribution.training.attributions import TRAINABLE
from clip_attribution.training.checkpoint import read_tensors, write_tensors
from clip_attribution.training.examples import read_examples
from clip_attribution.training.finetune import Run, finetune, key_of, learning_rate, main
from clip_attribution.training.finetune_options import DEFAULTS, build_parser, check_options

FAST = {"batch": 4, "steps": 6, "lr": 1e-3, "warmup": 2, "calibration": 3, "margin": 0.2}
CONTRASTIVE = FAST | {"objective": "contrastive"}
CAE = FAST | {"method": "cae_gradcam", "hard_negatives": True, "accumulate": 2}


@pytest.fixture(scope="module")
def clip():
    return tiny.tiny_clip()


@pytest.fixture(scope="module")
def examples(clip):
    return tiny.examples_of(clip)


def stop_at(monkeypatch, number):
    """Let a run be killed in the middle of this step."""
    step = Run.step

    def killed(self, at):
        if at == number:
            raise KeyboardInterrupt
        return step(self, at)

    monkeypatch.setattr(Run, "step", killed)


def same_run(one, other):
    """Logs and weights of two tuned models agree to 1e-5."""
    (clip, log), (twin, again) = one, other
    pd.testing.assert_frame_equal(log, again, rtol=1e-5, atol=1e-5)
    for (name, a), b in zip(
        clip.model.state_dict().items(), twin.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("options", [CONTRASTIVE, CAE], ids=["contrastive", "cae"])
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(
    clip, examples, tmp_path, monkeypatch, options
):
    whole = finetune(clip, examples, tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 3)
        finetune(clip, examples, tmp_path / "cut", save_every=2, **options)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "calibrate", lambda run, quiet: None)  # it is in the checkpoint
        resumed = finetune(clip, examples, tmp_path / "cut", save_every=2, **options)
    same_run(whole, resumed)
    assert not (tmp_path / "cut" / "checkpoint.safetensors").exists()
    assert resumed[1]["step"].tolist() == list(range(6))


def test_a_finished_run_is_read_back_without_training(clip, examples, tmp_path, monkeypatch):
    first = finetune(clip, examples, tmp_path, **CONTRASTIVE)
    stop_at(monkeypatch, 0)
    same_run(first, finetune(clip, examples, tmp_path, **CONTRASTIVE))


def test_a_run_changes_a_copy_that_load_clip_reads(clip, examples, tmp_path):
    before = clip.weights_hash
    tuned, log = finetune(clip, examples, tmp_path, **CONTRASTIVE)
    assert tiny.tiny_clip().weights_hash == before == clip.weights_hash != tuned.weights_hash
    assert not any(p.requires_grad for p in tuned.model.parameters())
    loaded = load_clip(pretrained=tmp_path / "model.safetensors", device="cpu")
    assert loaded.weights_hash == tuned.weights_hash
    texts, pictures = tiny.CAPTIONS, examples.images
    assert torch.equal(loaded.encode_texts(texts), tuned.encode_texts(texts))
    assert torch.equal(loaded.encode_images(pictures), tuned.encode_images(pictures))
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["steps"] == 6 and facts["objective"] == "contrastive"
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == len(log) == 6 and rows[-1]["loss"] == log["loss"].iloc[-1]


@pytest.mark.parametrize("method", TRAINABLE)
def test_fifty_steps_lower_the_lead_of_the_objects(clip, examples, tmp_path, method):
    options = {"method": method, "itc": 0.0, "margin": 0.5, "batch": 8, "steps": 50, "lr": 1e-3}
    _, log = finetune(clip, examples, tmp_path, **options, warmup=5, k=2)
    lead = log["a_obj"] - log["a_comp"]
    assert lead.iloc[-5:].mean() < lead.iloc[:5].mean() and log["lam"].eq(1.0).all()


@pytest.mark.parametrize("method", TRAINABLE)
def test_calibration_gives_a_tenth_of_the_contrastive_gradient(clip, examples, tmp_path, method):
    options = CAE | {"method": method, "itc": 0.5}
    _, log = finetune(clip, examples, tmp_path, **options | {"lr": 0.0})
    run = Run(clip, examples, check_options(options, clip, examples))
    run.model.requires_grad_(True)
    norms = {"itc": [], "attr": []}
    for step in range(3):
        for name, weights in (("itc", (0.5, 0.0)), ("attr", (0.0, log["lam"].iloc[0]))):
            run.gradients(step, *weights)
            own = {n: p.grad for n, p in run.model.named_parameters() if p.grad is not None}
            text = [g.flatten() for n, g in own.items() if n.split(".")[0] != "visual"]
            text = [g for g in text if g.numel() > 1]  # without the logit scale
            norms[name].append(torch.cat(text).norm().item())
    run.model.requires_grad_(False)
    assert np.mean(norms["attr"]) == pytest.approx(0.1 * np.mean(norms["itc"]), rel=1e-3)


def test_the_given_weight_is_used_and_no_weight_is_made_up(clip, examples, tmp_path):
    _, log = finetune(clip, examples, tmp_path / "given", **CAE | {"lam": 2.5, "itc": 1.0})
    assert log["lam"].eq(2.5).all()
    np.testing.assert_allclose(log["loss"], log["itc"] + 2.5 * log["attr"], rtol=1e-6)
    with pytest.raises(UserError, match="no gradient to speak of .* .lam would be inf.: give lam"):
        finetune(clip, examples, tmp_path / "none", **CAE | {"margin": -100.0})


@pytest.mark.parametrize("method", TRAINABLE)
def test_the_log_says_how_even_the_softmax_of_the_gradients_is(clip, examples, tmp_path, method):
    options = FAST | {"method": method, "lr": 0.0, "batch": 8, "steps": 1, "lam": 1.0}
    _, log = finetune(clip, examples, tmp_path, **options)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[0]["entropy"] == pytest.approx(log["entropy"].iloc[0], nan_ok=True)
    if method != "gradient":
        assert log["entropy"].isna().all()
        return
    pairs = pd.DataFrame({"image": examples.images, "caption": examples.captions})
    _, done = attribute(clip, pairs, "gradient", template="", level="token")
    used = (examples.objects.any(-1) & examples.composition.any(-1)).numpy()
    assert used.sum() == 6 < len(used)
    wanted = done["attribution_entropy"][used].mean()
    assert log["entropy"].iloc[0] == pytest.approx(wanted, rel=1e-4) and wanted > 0.01


def test_the_rate_warms_up_and_falls_to_zero_as_a_cosine():
    cfg = {"lr": 2.0, "warmup": 4}
    rates = [learning_rate(step, 12, cfg) for step in range(12)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == pytest.approx(1.0) and 0 < rates[11] < rates[10] < 0.5


def test_every_epoch_has_all_pairs_in_an_order_of_its_own(clip, examples):
    run = Run(clip, examples, check_options({"batch": 4, "epochs": 3}, clip, examples))
    assert run.steps == 6
    epochs = [np.concatenate([run.rows(step), run.rows(step + 1)]).tolist() for step in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs) and epochs[0] != epochs[1]


def test_mixed_precision_trains_to_finite_losses(clip, examples, tmp_path):
    for method in TRAINABLE:
        options = CAE | {"method": method, "precision": "amp", "steps": 2}
        tuned, log = finetune(clip, examples, tmp_path / method, **options)
        assert np.isfinite(log.drop(columns="entropy").to_numpy()).all()
        assert all(p.dtype == torch.float32 for p in tuned.model.parameters())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rate": 1.0}, "unknown option 'rate'"),
        ({"objective": "siglip"}, "unknown objective 'siglip'"),
        ({"method": "gae"}, "unknown method 'gae'"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"batch": 9}, "a batch of 9 of 8 usable pairs"),
        ({"batch": 8, "accumulate": 3}, "cannot be cut into 3 equal parts"),
        ({"batch": 4.0}, "batch must be a whole number of at least 1"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"lam": -0.5}, "lam must be a number of at least 0"),
        ({"lr": float("nan")}, "lr must be a number of at least 0"),
        ({"margin": None}, "margin must be a number"),
        ({"share": -0.1}, "share must be a number of at least 0"),
        ({"share": float("inf")}, "share must be a number of at least 0"),
        ({"share": float("nan")}, "share must be a number of at least 0"),
        ({"share": None}, "share must be a number of at least 0"),
        ({"share": 0.0, "itc": 0.0, "lam": 0.0}, "nothing to train"),
        ({"objective": "contrastive", "itc": 0}, "nothing to train"),
        ({"itc": 0, "lam": 0}, "nothing to train"),
        ({"save_every": 0}, "save_every must be at least 1"),
    ],
)
def test_unusable_options_are_refused_in_one_line(clip, examples, tmp_path, options, message):
    with pytest.raises(UserError, match=message) as error:
        finetune(clip, examples, tmp_path / "out", **FAST | options)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["contrastive", "cae"])
def test_a_model_of_the_sigmoid_loss_is_refused(examples, tmp_path, objective):
    config = tiny.CONFIG | {"init_logit_bias": -10.0}
    clip = load_clip("tiny", model_config=config, device="cpu")
    with pytest.raises(UserError, match="logit_bias.*sigmoid") as error:
        finetune(clip, examples, tmp_path / "out", **FAST | {"objective": objective})
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("start, limit", [(117.9, 117.9), (20.0, 100.0)])
def test_the_scale_stays_below_100_or_where_it_started(examples, tmp_path, start, limit):
    clip = tiny.tiny_clip()
    torch.nn.init.constant_(clip.model.logit_scale, math.log(start))
    still, log = finetune(clip, examples, tmp_path / "still", **CONTRASTIVE | {"lr": 0.0})
    assert still.weights_hash == clip.weights_hash and log["scale"].iloc[0] == pytest.approx(start)
    run = Run(clip, examples, check_options(CONTRASTIVE, clip, examples))
    clip.model.requires_grad_(True)
    torch.nn.init.constant_(clip.model.logit_scale, math.log(500))
    assert run.step(0)["scale"] == pytest.approx(limit)


def test_a_run_that_goes_on_keeps_the_limit_of_its_scale(examples, tmp_path, monkeypatch):
    clip, options, step = tiny.tiny_clip(), CONTRASTIVE | {"lr": 1e-1, "warmup": 0}, Run.step
    torch.nn.init.constant_(clip.model.logit_scale, math.log(150))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 3)
        finetune(clip, examples, tmp_path, save_every=2, **options)

    def raised(self, at):
        torch.nn.init.constant_(self.model.logit_scale, math.log(500))
        return step(self, at)

    monkeypatch.setattr(Run, "step", raised)
    _, log = finetune(clip, examples, tmp_path, save_every=2, **options)
    assert (log["scale"][:2] < 140).all() and log["scale"][2:].to_numpy() == pytest.approx(150)


def without_attribution(gradients):
    """Run.gradients that fails where it is asked for the attribution loss."""

    def checked(self, step, itc, lam):
        assert lam == 0
        return gradients(self, step, itc, lam)

    return checked


def test_a_share_of_zero_trains_by_the_contrastive_loss_alone(
    clip, examples, tmp_path, monkeypatch
):
    plain, _ = finetune(clip, examples, tmp_path / "plain", **CONTRASTIVE)
    monkeypatch.setattr(Run, "gradients", without_attribution(Run.gradients))
    tuned, log = finetune(clip, examples, tmp_path / "none", **FAST | {"share": 0.0})
    assert log["lam"].eq(0).all() and tuned.weights_hash == plain.weights_hash
    assert json.loads((tmp_path / "none" / "run.json").read_text())["lam"] == 0


def test_a_share_counts_only_where_the_weight_is_calibrated(clip, examples):
    for own, lam in (
        ({}, None),
        ({"share": 0}, 0.0),
        ({"share": 0, "lam": 2.0}, 2.0),
        ({"share": 0, "itc": 0.0}, None),
    ):
        assert check_options(FAST | own, clip, examples)["lam"] == lam


def test_captions_without_composition_are_refused_for_cae_alone(clip, tmp_path):
    examples = tiny.examples_of(clip, ["two cats", "rain"])
    with pytest.raises(UserError, match="no caption has both an object and a relation"):
        finetune(clip, examples, tmp_path, **FAST | {"batch": 2})
    finetune(clip, examples, tmp_path, **CONTRASTIVE | {"batch": 2, "steps": 1})


def test_a_folder_with_another_run_is_refused(clip, examples, tmp_path, monkeypatch):
    finetune(clip, examples, tmp_path / "done", **CONTRASTIVE)
    for options in (CONTRASTIVE | {"seed": 1}, CAE):
        with pytest.raises(UserError, match="holds a finished run with other options"):
            finetune(clip, examples, tmp_path / "done", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 3)
        finetune(clip, examples, tmp_path / "begun", save_every=1, **CONTRASTIVE)
    fewer = tiny.examples_of(clip, tiny.CAPTIONS[:-1])
    with pytest.raises(UserError, match="holds a run with other options, weights or pairs"):
        finetune(clip, fewer, tmp_path / "begun", **CONTRASTIVE)
    (tmp_path / "begun" / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="remove it to begin anew"):
        finetune(clip, examples, tmp_path / "begun", **CONTRASTIVE)


def write_pictures(folder, colours):
    """One image a colour; the names are the same in every folder."""
    folder.mkdir(exist_ok=True)
    for i, colour in enumerate(colours):
        Image.new("RGB", (32, 32), colour).save(folder / f"{i}.bmp")
    return folder


def test_other_pictures_under_the_same_names_are_another_run(clip, tmp_path):
    pairs = tiny.table(tiny.CAPTIONS[:2]).assign(image=["0.bmp", "1.bmp"])
    one = write_pictures(tmp_path / "one", ["red", "blue"])
    two = write_pictures(tmp_path / "two", ["green", "white"])
    os.utime(two / "0.bmp", ns=(1, 1))  # one of them would be enough
    options = CONTRASTIVE | {"batch": 2, "steps": 1}
    cfg, keys = check_options(options, clip, tiny.examples_of(clip)), []
    for root in (one, one, two):
        examples, _ = read_examples(clip, pairs, root)
        keys.append(key_of(clip, examples, cfg))
    assert keys[0] == keys[1] != keys[2]
    finetune(clip, read_examples(clip, pairs, one)[0], tmp_path / "out", **options)
    write_pictures(one, ["black", "blue"])
    os.utime(one / "0.bmp", ns=(2, 2))
    with pytest.raises(UserError, match="holds a finished run with other .* or pairs"):
        finetune(clip, read_examples(clip, pairs, one)[0], tmp_path / "out", **options)


def test_pictures_without_a_file_are_known_by_what_they_show(clip):
    cfg = check_options({"batch": 2}, clip, tiny.examples_of(clip))

    def key(images):
        pairs = tiny.table(tiny.CAPTIONS[:2]).assign(image=images)
        return key_of(clip, read_examples(clip, pairs)[0], cfg)

    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    scenes = ["scene:1:3", "scene:1:4"]
    assert key([red, blue]) == key([red.copy(), blue.copy()]) != key([blue, red])
    assert key(scenes) == key(list(scenes)) != key(scenes[::-1])


def broken_table(folder):
    """Two good rows among all that can be wrong with one."""
    for i in range(2):
        tiny.picture(i).save(folder / f"{i}.png")
    (folder / "torn.png").write_bytes((folder / "0.png").read_bytes()[:200])
    rows = [
        ("0.png", "a red cup on a table"),
        ("1.png", ""),
        ("torn.png", "a dog"),
        ("gone.png", "a dog"),
        ("1.png", None),
        ("1.png", "a blue dog below a car"),
        ("", "a cat"),
    ]
    return pd.DataFrame(rows, columns=["image", "caption"]).assign(pair_id=range(10, 17))


def test_rows_that_cannot_be_used_are_left_out_at_the_start_with_their_reason(clip, tmp_path):
    pairs = broken_table(tmp_path)
    pairs.loc[5, "error"] = None
    pairs.loc[len(pairs)] = {"image": "0.png", "caption": "a cup", "error": "no id", "pair_id": 20}
    pairs["is_foil"] = [False] * 5 + [True] + [False] * 2
    examples, left_out = read_examples(clip, pairs, tmp_path)
    assert examples.captions == ["a red cup on a table"] and len(examples.ids) == 1
    reasons = left_out.set_index("pair_id")["error"]
    assert reasons[11] == "the caption is empty" and reasons[14] == "the caption is missing"
    assert "torn.png" in reasons[12] and reasons[13] == "no such file: 'gone.png'"
    assert reasons[15] == "a false caption" and reasons[20] == "no id" and 16 in reasons
    with pytest.raises(UserError, match="no pair to train on .the first row: the caption is empty"):
        read_examples(clip, pairs.iloc[1:3], tmp_path)
    with pytest.raises(UserError, match="has no column 'caption'"):
        read_examples(clip, pairs[["image"]], tmp_path)


def test_pictures_are_read_again_where_they_do_not_fit_in_memory(clip, tmp_path, monkeypatch):
    pairs = tiny.table()
    for i, image in enumerate(pairs["image"]):
        image.save(tmp_path / f"{i}.png")
    named = pairs.assign(image=[f"{i}.png" for i in range(len(pairs))])
    kept, _ = read_examples(clip, named, tmp_path)
    monkeypatch.setattr("clip_attribution.training.examples.IN_MEMORY", 0)
    read, _ = read_examples(clip, named, tmp_path)
    assert len(kept.pictures.kept) == 8 and not read.pictures.kept
    some = ["3.png", "1.png", "3.png"]
    assert torch.equal(kept.pictures.batch(some), read.pictures.batch(some))
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match="no such file: '1.png': take the row out"):
        read.pictures.batch(some)


def write_job(folder) -> list[str]:
    """The command line of a small run on files."""
    pairs = tiny.table()
    for i, image in enumerate(pairs["image"]):
        image.save(folder / f"{i}.png")
    pairs["image"] = [f"{i}.png" for i in range(len(pairs))]
    pairs.loc[len(pairs)] = {"pair_id": 99, "image": "gone.png", "caption": "a dog"}
    pairs.to_csv(folder / "pairs.csv", index=False)
    weights = tiny.save(tiny.tiny_clip(), folder / "tiny.safetensors")
    return [
        str(folder / "pairs.csv"),
        "--pretrained",
        str(weights),
        "--device",
        "cpu",
        "--quiet",
        "--batch",
        "8",
        "--steps",
        "4",
        "--lr",
        "1e-3",
        "--warmup",
        "1",
        "--calibration",
        "2",
        "--margin",
        "0.2",
        "--hard-negatives",
    ]


def test_the_command_trains_says_what_it_left_out_and_can_be_given_again(tmp_path, capsys):
    job = [*write_job(tmp_path), "--out", str(tmp_path / "run"), "--method", "perturbation"]
    assert main(job) == 0
    first = capsys.readouterr()
    assert "left out 99: no such file: 'gone.png'" in first.err
    assert "weight of the attribution loss: " in first.err
    weights = tmp_path / "run" / "model.safetensors"
    assert first.out.split() == [str(weights), str(tmp_path / "run" / "log.jsonl")]
    written = weights.stat().st_mtime_ns
    assert main(job) == 0 and weights.stat().st_mtime_ns == written
    capsys.readouterr()
    assert main([*job, "--seed", "7"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error:" in last and "choose another folder" in last


def test_the_command_line_has_the_defaults_of_the_function():
    args = vars(build_parser("").parse_args(["pairs.csv", "--out", "run"]))
    assert {name: args[name] for name in DEFAULTS} == DEFAULTS


def without_key_bias(name, tensor):
    """Attention does not depend on its keys' bias: Adam makes steps of rounding errors there."""
    if "in_proj_bias" not in name:
        return tensor
    query, _, value = tensor.chunk(3)
    return torch.cat([query, value])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--method", "perturbation", "--lr", "1e-4"],  # Adam magnifies rounding
        [
            "--method",
            "attention",
            "--lr",
            "1e-3",
            "--itc",
            "0",
            "--steps",
            "10",
        ],  # no image gradient
    ],
    ids=["both", "alone"],
)
def test_two_processes_train_as_one_does_and_only_the_first_writes(tmp_path, options):
    """With a part of the batch each, hard negatives of different number, and calibration."""
    job = [*write_job(tmp_path), *options]
    out = {name: tmp_path / name for name in ("one", "two")}
    assert main([*job, "--out", str(out["one"])]) == 0
    launch = [
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "clip_attribution.training.finetune",
    ]
    command = [*launch, *job, "--accumulate", "2", "--out", str(out["two"])]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr.count("left out 99") == 1, done.stderr
    one, two = (read_tensors(out[name] / "model.safetensors") for name in out)
    for name, tensor in one[0].items():
        pair = (without_key_bias(name, weights) for weights in (two[0][name], tensor))
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5, msg=name)
    lams = [json.loads(meta["training"])["lam"] for _, meta in (one, two)]
    assert lams[0] == pytest.approx(lams[1], rel=1e-4)
    logs = [pd.read_json(out[name] / "log.jsonl", lines=True) for name in out]
    pd.testing.assert_frame_equal(*logs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_processes_that_find_different_checkpoints_all_refuse(tmp_path):
    script = """
import sys, torch
from clip_attribution.errors import UserError
from clip_attribution.training import distributed
rank, world = distributed.start(torch.device("cpu"))
distributed.agree("same", world)
try:
    distributed.agree(rank, world)
except UserError as error:
    print(rank, error, file=sys.stderr)
distributed.stop()
"""
    (tmp_path / "job.py").write_text(script)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *command, tmp_path / "job.py"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("do not read the same pairs or the same output folder") == 2


@pytest.mark.slow
def test_a_process_killed_after_its_first_checkpoint_goes_on(tmp_path):
    job = [*write_job(tmp_path), "--steps", "40", "--save-every", "2"]
    assert main([*job, "--out", str(tmp_path / "whole")]) == 0
    command = ["clip_attribution.training.finetune", *job, "--out", str(tmp_path / "cut")]
    checkpoint = tmp_path / "cut" / "checkpoint.safetensors"
    process = subprocess.Popen([sys.executable, "-m", *command])
    deadline = time.time() + 120
    while not checkpoint.exists() and time.time() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with safe_open(checkpoint, "pt") as file:
        assert 0 < int(file.metadata()["step"]) < 40
    assert main(job + ["--out", str(tmp_path / "cut")]) == 0
    whole, cut = (read_tensors(tmp_path / n / "model.safetensors")[0] for n in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("note", ["", "plain", 'ü "quoted"\n\ttab \\ / \x7f \u2028'])
def test_the_same_tensors_give_the_same_bytes(tmp_path, note):
    tensors = {"b": torch.arange(5.0), "a": torch.ones(2, 3, dtype=torch.float16)}
    metadata = {"format": "pt", "note": note, "x": "1", "y": "2", "key": "3"}
    paths = [tmp_path / f"{number}.safetensors" for number in range(6)]
    for path in paths:
        write_tensors(path, tensors, metadata)
        metadata = dict(reversed(metadata.items()))
    assert len({path.read_bytes() for path in paths}) == 1
    found, told = read_tensors(paths[0])
    assert told == metadata and all(torch.equal(found[n], t) for n, t in tensors.items())
