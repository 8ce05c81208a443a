"""No command writes over a file that is not its own, or removes one: a sweep over all of them."""

import json
import shutil
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from finetune_examples import save, tiny_clip
from score_tables import make_rows, save_model, save_pictures, save_rows

from clip_attribution import notebooks
from clip_attribution.cli import main
from clip_attribution.errors import UserError
from clip_attribution.studies import shared_table
from clip_attribution.training import finetune, model_card, pretrain

TEXT = b"a file that somebody needs"
SCORED = ("words.parquet", "pairs.parquet", "score.json")
FILES = {
    "score": SCORED,
    "shard": ("words-1-of-2.parquet", "pairs-1-of-2.parquet", "score-1-of-2.json"),
    "foil": ("results.csv", "evaluation.json", *SCORED),
    "sugarcrepe": ("results.csv", "rows.parquet", "evaluation.json"),
    "refcoco": ("results.csv", "rows.parquet", "evaluation.json"),
    "export": ("export.json", "foilv1.0_test_2017.json", "val2014/mine.jpg", "notes.txt"),
    "finetune": ("model.safetensors", "log.jsonl", "run.json", "checkpoint.safetensors"),
    "pretrain": ("last.pt", "log.jsonl", "clip.safetensors"),
    "shared_table": ("receipt.json",),
    "model_card": ("MODEL_CARD.md", "model_card.json"),
}
EVERY = [(command, name) for command, names in FILES.items() for name in names]


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Each command as a function from its output folder to its exit status."""
    folder = tmp_path_factory.mktemp("commands")
    model, names = save_model(folder), save_pictures(folder)
    table = str(save_rows(make_rows(names, 8), folder / "pairs.jsonl"))
    for name in ("foil", "sugarcrepe", "refcoco"):
        assert main(["scenes", "export", name, str(folder / name), "--n", "4", "--quiet"]) == 0

    def score(out, *more):
        return main(["score", table, "--out", str(out), "--quiet", *model, *more])

    def evaluate(name, *more):
        place = ["--data", str(folder / name), "--quiet", *model, *more]
        return lambda out: main(["evaluate", name, "--out", str(out), *place])

    def tune(out, *more):
        options = ["--steps", "1", "--batch", "4", "--quiet", *(more or model)]
        return finetune.main([table, "--out", str(out), *options, "--objective", "contrastive"])

    def train(out):
        options = ["--steps", "1", "--batch", "4", "--device", "cpu", "--facts-from", "0"]
        return pretrain.main(
            ["--folder", str(out), "--out", str(out / "clip.safetensors"), *options]
        )

    def share(out):
        options = ["--n_pairs", "2", "--cache", str(out / "cache")]
        return shared_table.main([*options, "--receipt", str(out / "receipt.json")])

    return {
        "score": score,
        "shard": lambda out: score(out, "--shard", "1/2"),
        "foil": evaluate("foil"),
        "sugarcrepe": evaluate("sugarcrepe"),
        "refcoco": evaluate("refcoco", "--heatmaps", "gradcam"),
        "export": lambda out: main(["scenes", "export", "foil", str(out), "--n", "2", "--quiet"]),
        "finetune": tune,
        "pretrain": train,
        "shared_table": share,
        "model_card": lambda out: model_card.main(["--folder", str(out), "--n", "2"]),
    }


@pytest.mark.parametrize("command, name", EVERY)
def test_a_foreign_file_is_not_written_over(commands, command, name, tmp_path, capsys):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT)
    capsys.readouterr()
    assert commands[command](tmp_path / "out") == 2
    assert path.read_bytes() == TEXT
    said = capsys.readouterr().err.splitlines()
    assert "error:" in said[-1] and str(tmp_path) in said[-1] and "Traceback" not in said
    left = [one for one in (tmp_path / "out").rglob("*") if one.is_file() and one != path]
    assert all("unfinished" in json.loads(one.read_text()) for one in left), left


@pytest.mark.parametrize("command", ["score", "shard", "foil", "sugarcrepe", "refcoco"])
def test_a_foreign_folder_of_parts_stays(commands, command, tmp_path):
    parts = tmp_path / ("parts-1-of-2" if command == "shard" else "parts")
    names = ("mine.parquet", "0123456789abcdef.parquet", "0123456789abcdef.words.parquet", "a.txt")
    parts.mkdir()
    for name in names:
        (parts / name).write_bytes(TEXT)
    assert commands[command](tmp_path) == 0
    assert sorted(path.name for path in parts.iterdir()) == sorted(names)
    assert all((parts / name).read_bytes() == TEXT for name in names)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_the_scored_table_is_not_written_over(tmp_path, ending, capsys):
    import pandas as pd

    rows = pd.DataFrame(make_rows(save_pictures(tmp_path), 4))
    path = tmp_path / f"pairs.{ending}"
    if ending == "parquet":
        rows.to_parquet(path)
    elif ending == "csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_json(path, orient="records", lines=True)
    before = path.read_bytes()
    status = main(["score", str(path), "--out", str(tmp_path), "--quiet", *save_model(tmp_path)])
    assert path.read_bytes() == before
    assert status == (2 if ending == "parquet" else 0)
    assert status == 0 or "pairs.parquet is not of this run" in capsys.readouterr().err


def test_the_tuned_weights_are_not_written_over(commands, tmp_path):
    source = save(tiny_clip(), tmp_path / "model.safetensors")
    before = source.read_bytes()
    assert commands["finetune"](tmp_path, "--pretrained", str(source), "--device", "cpu") == 2
    assert source.read_bytes() == before
    out = tmp_path / "tuned"
    assert commands["finetune"](out, "--pretrained", str(source), "--device", "cpu") == 0
    tuned = (out / "model.safetensors").read_bytes()
    again = ["--pretrained", str(out / "model.safetensors"), "--device", "cpu"]
    assert commands["finetune"](out, *again) == 2
    assert (out / "model.safetensors").read_bytes() == tuned
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["01.png", "01.json", "01_own.png"])
def test_a_figure_is_not_written_over_a_foreign_file(tmp_path, name):
    clip, figure = SimpleNamespace(facts=dict), plt.figure()

    def draw(out):
        notebooks.save("01", str(out), {"": figure, "own": figure}, {}, {}, clip)

    for _ in range(2):  # the second time over its own
        draw(tmp_path / "fine")
    (tmp_path / name).write_bytes(TEXT)
    with pytest.raises(UserError, match="was not written by this command"):
        draw(tmp_path)
    assert (tmp_path / name).read_bytes() == TEXT


@pytest.mark.parametrize("text", ["[]", "null", "7", '"key"', "{", "\ufffd", '{"key": 3}'])
def test_a_receipt_that_is_none_is_one_line(commands, tmp_path, text, capsys):
    (tmp_path / "score.json").write_text(text)
    assert commands["score"](tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "score.json").read_text() == text


def test_an_export_that_lacks_files_is_not_taken_for_whole(commands, tmp_path, capsys):
    out = tmp_path / "out"
    assert commands["export"](out) == 0 and commands["export"](out) == 0
    (out / "mine.txt").write_bytes(TEXT)  # of no concern
    assert commands["export"](out) == 0
    image = next(out.rglob("*.jpg"))
    whole = image.read_bytes()
    for damage in (whole[:-1], b""):
        image.write_bytes(damage)
        assert commands["export"](out) == 2 and "lacks" in capsys.readouterr().err
    image.unlink()
    assert commands["export"](out) == 2
    image.write_bytes(whole)
    assert commands["export"](out) == 0


@pytest.mark.parametrize("command", ["foil", "sugarcrepe", "refcoco", "score", "finetune"])
def test_damaged_results_are_made_again(commands, command, tmp_path):
    assert commands[command](tmp_path) == 0
    names = [n for n in FILES[command] if (tmp_path / n).exists() and not n.endswith("json")]
    whole = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).write_bytes(whole[name][: len(whole[name]) // 2])
        assert commands[command](tmp_path) == 0
        assert {n: (tmp_path / n).read_bytes() for n in names} == whole, name
        assert (tmp_path / f"{name}.changed").exists()
    facts = json.loads((tmp_path / FILES[command][-1]).read_text()) if command != "finetune" else {}
    assert "unfinished" not in facts
    shutil.rmtree(tmp_path)
