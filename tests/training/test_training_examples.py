"""Which rows of a table are trained on: false captions in every way that files write them."""

import finetune_examples as tiny
import pandas as pd
import pytest

from clip_attribution.errors import UserError
from clip_attribution.io.tables import read_pairs
from clip_attribution.training.examples import read_examples

CAPTIONS = [f"a red cup on {number} tables" for number in ("two", "three", "four")]


@pytest.fixture(scope="module")
def clip():
    return tiny.tiny_clip()


def kept_of(clip, folder, columns: dict, suffix: str):
    """(captions trained on, [error of a row left out]) of a table that went through a file."""
    tiny.picture(0).save(folder / "0.png")
    path = folder / f"pairs{suffix}"
    frame = pd.DataFrame({"image": "0.png", "caption": CAPTIONS} | columns)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    examples, left_out = read_examples(clip, read_pairs(path).to_pandas(), folder)
    return examples.captions, left_out["error"].tolist()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "marks",
    [
        [False, True, False],
        [0, 1, 0],
        [0.0, 1.0, None],
        [None, True, False],
        ["false", "true", ""],
        ["FALSE", " True ", "0"],
        ["0.0", "1", "False"],
    ],
)
def test_false_captions_are_left_out_however_a_file_marks_them(clip, tmp_path, marks, suffix):
    found = kept_of(clip, tmp_path, {"is_foil": marks}, suffix)
    assert found == ([CAPTIONS[0], CAPTIONS[2]], ["a false caption"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_mark_that_is_neither_is_the_error_of_its_row_alone(clip, tmp_path, suffix):
    kept, errors = kept_of(clip, tmp_path, {"is_foil": ["no", "true", "false"]}, suffix)
    assert kept == [CAPTIONS[2]]
    assert errors == ["is_foil must be true or false, not 'no'", "a false caption"]
    kept, errors = kept_of(clip, tmp_path, {"is_foil": [2, 1, 0]}, suffix)
    assert kept == [CAPTIONS[2]] and errors[0] == "is_foil must be true or false, not '2'"
    with pytest.raises(UserError, match="no pair to train on .the first row: is_foil must be"):
        kept_of(clip, tmp_path, {"is_foil": ["x\ny"] * 3}, suffix)


def test_marks_of_a_frame_may_be_missing_values_or_lists(clip):
    pairs = tiny.table(CAPTIONS)
    marks = pd.array([pd.NA, True, False], "boolean")
    examples, left_out = read_examples(clip, pairs.assign(is_foil=marks))
    assert examples.captions == [CAPTIONS[0], CAPTIONS[2]] and len(left_out) == 1
    _, left_out = read_examples(clip, pairs.assign(is_foil=[[True, False], False, False]))
    assert left_out["error"].tolist() == ["is_foil must be true or false, not '[True, False]'"]


def test_an_empty_cell_of_the_column_error_is_no_error_and_hides_none(clip, tmp_path):
    columns = {"caption": [CAPTIONS[0], None, CAPTIONS[2]], "error": [None, None, "no id"]}
    kept, errors = kept_of(clip, tmp_path, columns, ".csv")
    assert kept == [CAPTIONS[0]] and errors == ["the caption is empty", "no id"]
