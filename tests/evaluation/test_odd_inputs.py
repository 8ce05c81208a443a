"""Missing and non-finite values, odd identifiers, names and images: each has its own row's fate."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny import config as tiny_config

from clip_attribution import attribute, explain, image_attribution, load_clip
from clip_attribution.cli import main
from clip_attribution.errors import UserError
from clip_attribution.evaluation.score import score_table
from clip_attribution.heatmaps import heatmaps
from clip_attribution.io.images import open_image
from clip_attribution.io.read import is_missing
from clip_attribution.io.tables import read_pairs
from clip_attribution.metrics.misalignment import decide
from clip_attribution.studies.sample import load_pairs
from clip_attribution.text.words import caption_fault
from clip_attribution.trace.references import reference_cosines
from clip_attribution.training.examples import truth

pytestmark = pytest.mark.filterwarnings("ignore")
PAIR = [{"image": "scene:1:0", "caption": "a red star"}]


@pytest.fixture(scope="module")
def clip():
    return load_clip(model_config=tiny_config())


def score(clip, path, folder):
    score_table(clip, read_pairs(path), folder, image_root=path.parent, quiet=True)
    words = pq.read_table(folder / "words.parquet").to_pandas()
    return words, pq.read_table(folder / "pairs.parquet").to_pandas()


# --- what is missing ---

MISSING = [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
THERE = ["NaN", "", "None", 0, False, [], {}, (), [None], np.array([np.nan]), "\ud800"]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_one_place_decides_what_is_missing(value):
    assert is_missing(value) and caption_fault(value) == "the caption is missing"
    assert truth(value) is False


@pytest.mark.parametrize("value", THERE, ids=ascii)
def test_what_is_there_is_not_missing(value):
    assert not is_missing(value)


def test_not_a_number_in_json_lines_is_missing(tmp_path, clip):
    rows = [
        {"image": "scene:1:0", "caption": "a red star", "foil_word": float("nan")},
        {"image": "scene:1:0", "caption": "a red moon", "foil_word": "moon"},
        {"image": "scene:1:1", "caption": float("nan"), "foil_word": float("nan")},
        {"image": float("nan"), "caption": "a red star", "foil_word": None},
        {"image": "scene:1:2", "caption": "NaN", "foil_word": ""},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    table = read_pairs(path)
    assert table["caption"].to_pylist() == ["a red star", "a red moon", None, "a red star", "NaN"]
    assert load_pairs("pairs", path, 9).is_foil.tolist() == [False, True, False, False, False]
    _, pairs = score(clip, path, tmp_path / "out")
    assert pairs["error"].notna().tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("place", ["text_projection", "positional_embedding", "logit_scale"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_an_error_of_their_row(clip, place, bad):
    model = copy.deepcopy(clip.model)
    getattr(model, place).data.fill_(bad)
    broken = dataclasses.replace(clip, model=model)
    method = "gae" if place == "logit_scale" else "clip4dm"
    words, pairs = attribute(broken, PAIR, method)
    finite = np.isfinite(words["attribution"]).all() and np.isfinite(pairs["cosine"]).all()
    assert (not len(words) and "not finite" in pairs["error"][0]) or finite
    if place != "logit_scale":
        assert not len(words) and np.isnan(pairs["cosine"][0])
        with pytest.raises(UserError, match="not finite"):
            explain(broken, "scene:1:0", "a red star")


@pytest.mark.parametrize("epsilon", ["nan", "inf", "-inf", "x", "1e999"])
def test_epsilon_is_a_finite_number(tmp_path, capsys, epsilon):
    (tmp_path / "a.csv").write_text("image,caption\nscene:1:0,a star\n")
    with pytest.raises(SystemExit) as left:
        main(
            ["score", str(tmp_path / "a.csv"), "--out", str(tmp_path / "o"), f"--epsilon={epsilon}"]
        )
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1 and "not a finite number" in said
    if epsilon != "x":
        with pytest.raises(UserError, match="epsilon must be a finite number"):
            decide({"word": ["a"], "attribution": [0.0]}, epsilon=float(epsilon))


# --- identifiers, columns, references ---


@pytest.mark.parametrize("ids", [[10, 20, 30], [10, 20, 31], [0, 1, 2], [7, 5, 3], ["a", "b", "c"]])
def test_an_index_of_pandas_is_an_id(tmp_path, ids, clip):
    frame = pd.DataFrame({"pair_id": ids, "image": ["scene:1:0"] * 3, "caption": ["x"] * 3})
    frame.set_index("pair_id").to_parquet(tmp_path / "a.parquet")
    assert read_pairs(tmp_path / "a.parquet")["pair_id"].to_pylist() == ids
    assert attribute(clip, frame.set_index("pair_id"))[1]["pair_id"].tolist() == ids


@pytest.mark.parametrize("value", [float("nan"), None])
@pytest.mark.parametrize("first", [1.0, 5.0, 0.5])
def test_an_id_that_is_missing_is_refused(tmp_path, value, first):
    table = pa.table({"pair_id": [first, value], "image": ["a"] * 2, "caption": ["x"] * 2})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="pair_id of row 1 is empty"):
        read_pairs(tmp_path / "a.parquet")


def test_tables_of_pyarrow_are_taken_and_doubled_columns_refused(clip):
    frame = pd.DataFrame(PAIR)
    assert attribute(clip, pa.Table.from_pandas(frame))[1]["error"][0] is None
    for name in ("caption", "image"):
        with pytest.raises(UserError, match=f"two columns '{name}'"):
            attribute(clip, pd.concat([frame, frame[[name]]], axis=1))


REFERENCES = [
    pa.array([["a star", "a moon"]] * 2, pa.list_(pa.string(), 2)),
    pa.array([["a star"], []], pa.list_(pa.string())),
    pa.array([["a star"], None], pa.large_list(pa.large_string())),
    pa.array(["a star", None], pa.string()),
    pa.array(["a star", " "], pa.large_string()),
]


@pytest.mark.parametrize("column", REFERENCES, ids=lambda column: str(column.type))
def test_references_may_be_lists_of_any_kind_or_one_text(tmp_path, clip, column):
    table = pa.table({"image": ["scene:1:0"] * 2, "caption": ["a star"] * 2, "references": column})
    pq.write_table(table, tmp_path / "a.parquet")
    _, pairs = score(clip, tmp_path / "a.parquet", tmp_path / "o")
    assert pairs["ref_clip_score"][0] > 0 and pairs["ref_cosines"][0][0] == pytest.approx(1)


def test_references_of_another_kind_are_refused(tmp_path, clip):
    table = pa.table({"image": ["scene:1:0"], "caption": ["a star"], "references": [[1, 2]]})
    with pytest.raises(UserError, match="must hold texts"):
        score_table(clip, table, tmp_path, quiet=True)
    found = reference_cosines(clip, ["a"] * 4, ["b", ["b", np.nan], np.nan, np.array(["b"])])
    assert [len(own) for own in found] == [1, 1, 0, 1]


# --- half characters, images ---


@pytest.mark.parametrize("place", ["caption", "image", "pair_id", "note", "references"])
def test_half_a_character_is_an_error_of_its_row(tmp_path, clip, place):
    rows = [{"pair_id": f"r{i}", "image": "scene:1:0", "caption": "a star"} for i in range(3)]
    rows = [row | {"note": "x", "references": ["a"]} for row in rows]
    rows[1][place] = ["a\ud83d"] if place == "references" else "a\ud83d"
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    words, pairs = score(clip, path, tmp_path / "o")
    assert pairs["error"].notna().tolist() == [False, True, False]
    assert "half a character" in pairs["error"][1] and place in pairs["error"][1]
    assert set(words["pair_id"]) == {"r0", "r2"}


@pytest.mark.parametrize("name", ["caption", "pair_id", "note"])
def test_half_a_character_in_a_frame_harms_its_own_row_alone(clip, name):
    rows = [{"pair_id": i, "image": "scene:1:0", "caption": "a star", "note": "x"} for i in "abc"]
    rows[1][name] = "a\ud83d"
    words, pairs = attribute(clip, rows)
    assert pairs["error"].notna().tolist() == [False, name == "caption", False]
    assert words["pair_id"].nunique() == (2 if name == "caption" else 3)
    with pytest.raises(UserError, match="half a character"):
        explain(clip, "scene:1:0", "a\ud83d")


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (0, 0)), Image.new("L", (0, 5)), "a\ud83d", "\0", b"x", 5, np.nan]
)
def test_an_odd_image_harms_its_own_row_alone(clip, image):
    _, pairs = attribute(clip, [*PAIR, {"image": image, "caption": "a star"}, *PAIR])
    assert pairs["error"].notna().tolist() == [False, True, False]
    with pytest.raises(UserError):
        explain(clip, image, "a star")


RGB = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
RGB[0, 0] = 255


@pytest.mark.parametrize(
    "array",
    [
        RGB,
        RGB.astype(np.int64),
        RGB / 255,
        torch.from_numpy(RGB.copy()),
        torch.from_numpy(RGB.copy()).permute(2, 0, 1),
        torch.from_numpy(RGB.copy()).permute(2, 0, 1).float() / 255,
    ],
    ids=lambda array: f"{type(array).__name__} {array.dtype} {tuple(array.shape)}",
)
def test_arrays_and_tensors_are_images(array):
    assert np.array_equal(np.asarray(open_image(array)), RGB)


@pytest.mark.parametrize(
    "array",
    [RGB - 300.0, RGB * np.nan, RGB[None], RGB[:, 0, 0], np.zeros((0, 3, 3)), RGB.astype(str)],
)
def test_an_array_that_is_no_image_is_named_so(array):
    with pytest.raises(UserError, match=r"an array .* is no image"):
        open_image(array)


RAMP = np.tile(np.arange(256, dtype=np.int32), (8, 1))


@pytest.mark.parametrize(
    "values",
    [
        RAMP,
        (RAMP * 16).astype(np.uint16),
        (RAMP * 257).astype(np.uint16),
        (RAMP * 4).astype(np.uint16),
        (RAMP * 64).astype(np.uint16),
        RAMP * 2**23,
        (RAMP / 255).astype(np.float32),
        RAMP.astype(np.float32),
    ],
    ids=lambda values: f"{values.dtype} to {values.max()}",
)
def test_grey_of_any_depth_has_the_range_of_its_file(values):
    assert np.array_equal(np.asarray(open_image(Image.fromarray(values)))[..., 0], RAMP)


@pytest.mark.parametrize("odd", [1.0001, 1.5, np.inf, -np.inf, np.nan, -3.0])
def test_one_odd_number_turns_no_float_image_black(odd):
    values = (RAMP / 255).astype(np.float32)
    values[0, 0] = odd
    grey = np.asarray(open_image(Image.fromarray(values)))[..., 0]
    assert np.array_equal(grey[1:], RAMP[1:]) and grey[0, 0] == (255 if odd > 1 else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("odd", [(282, 2, 4, b"72\0\0"), (271, 11, 1, b"\0\0\x90B"), None])
def test_the_orientation_counts_whatever_other_tags_hold(orientation, odd):
    import io
    import struct

    from PIL import ImageOps

    tags = [(274, 3, 1, struct.pack("<HH", orientation, 0)), *([odd] if odd else [])]
    body = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in sorted(tags))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + body + b"\0" * 4
    plain = [(274, 3, 1, struct.pack("<HH", orientation, 0))]
    sound = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1)
    sound += b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in plain) + b"\0" * 4
    photo = Image.fromarray(RGB).resize((60, 40))
    files = []
    for data in (exif, sound):
        stream = io.BytesIO()
        photo.save(stream, "JPEG", exif=data)
        files.append(Image.open(io.BytesIO(stream.getvalue())))
    upright = ImageOps.exif_transpose(files[1])
    assert np.array_equal(np.asarray(open_image(files[0])), np.asarray(upright))


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_the_other_normal_form_is_found(tmp_path, forms):
    import unicodedata

    on_disk, asked = (unicodedata.normalize(form, "café.png") for form in forms)
    Image.fromarray(RGB).save(tmp_path / on_disk)
    assert open_image(asked, tmp_path).size == (12, 9)


@pytest.mark.parametrize("size", [(10, 3000), (1, 5000), (1, 20000), (20000, 1), (3, 3)])
def test_a_thin_image_is_shown_small(clip, size):
    from clip_attribution.display.html import data_uri

    found = explain(clip, Image.new("RGB", size, "red"), "a line")
    assert len(found._repr_html_()) < 400_000 and len(data_uri(found.picture)) < 50_000


# --- what surrounds a call ---

AROUND = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "both": lambda: torch.autocast("cpu", dtype=torch.float16),
}


def values(clip):
    words = attribute(clip, PAIR)[0]["attribution"].to_numpy()
    patches = image_attribution(clip, ["scene:1:0"], ["a star"])
    cam = heatmaps(clip, ["scene:1:0"], ["a star"], "gradcam")
    return [words, patches, cam, np.array(explain(clip, "scene:1:0", "a star").cosine)]


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", AROUND)
def test_values_do_not_depend_on_what_surrounds_the_call(clip, name):
    expected = values(clip)
    with AROUND[name]():
        found = values(clip)
    assert same(found, expected)


def test_values_do_not_depend_on_the_default_type_or_a_parallel_wrapper(clip):
    expected = values(clip)
    torch.set_default_dtype(torch.float64)
    try:
        assert same(values(clip), expected)
        assert load_clip(model_config=tiny_config()).weights_hash == clip.weights_hash
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    wrapped = dataclasses.replace(clip, model=torch.nn.DataParallel(clip.model))
    assert wrapped.model is clip.model and same(values(wrapped), expected)
    other = dataclasses.replace(clip)
    other.model = torch.compile(clip.model)
    assert other.model is clip.model


# --- perturbation ---


@pytest.mark.parametrize("bad", ["absent.png", "scene:x", "", None, Image.new("RGB", (0, 0))])
def test_a_row_without_an_image_lends_no_candidates(clip, bad):
    rows = [("scene:1:0", "a red star"), ("scene:1:1", "a blue moon")]
    good = pd.DataFrame(rows, columns=["image", "caption"])
    odd = pd.DataFrame([(bad, "a submarine in kitchens")], columns=["image", "caption"])
    expected = attribute(clip, good, "perturbation")[0]["attribution"]
    words, pairs = attribute(clip, pd.concat([good, odd], ignore_index=True), "perturbation")
    assert pairs["error"].notna().tolist() == [False, False, True]
    np.testing.assert_allclose(words["attribution"], expected, rtol=0, atol=1e-6)
