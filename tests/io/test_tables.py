"""Reading tables of pairs, and writing files whole or not at all."""

import pyarrow as pa
import pytest

from clip_attribution.errors import UserError
from clip_attribution.io.tables import atomic_path, digest, read_pairs, write_parquet


def save(path, text):
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def test_csv_captions_stay_as_written(tmp_path):
    captions = ["null", "NA", "007", "1.50", "", " a  b ", "nan", 'x "y", z', "two\nlines", "n\0n"]
    cells = ['"' + caption.replace('"', '""') + '"' for caption in captions]
    lines = "".join(f"p.png,{cell}\n" for cell in cells)
    table = read_pairs(save(tmp_path / "a.csv", "\ufeffimage,caption\n" + lines))
    assert table["caption"].to_pylist() == captions
    assert table["pair_id"].to_pylist() == list(range(len(captions)))
    assert table.column_names == ["pair_id", "image", "caption"]


def test_csv_numbers(tmp_path):
    text = "caption,n,x,code,mixed,part,pair_id,image\na,1,0.5,007,1,,a1,1\nb,-2,1e-3,8,z,3,a2,2\n"
    table = read_pairs(save(tmp_path / "a.csv", text))
    assert table.column_names == ["pair_id", "image", "caption", "n", "x", "code", "mixed", "part"]
    assert table["n"].to_pylist() == [1, -2] and table["x"].to_pylist() == [0.5, 1e-3]
    assert table["code"].to_pylist() == ["007", "8"] and table["mixed"].to_pylist() == ["1", "z"]
    assert table["part"].to_pylist() == [None, 3] and table["image"].to_pylist() == ["1", "2"]


@pytest.mark.parametrize("ids, kind", [(["3", "1"], pa.int64()), (["03", "1"], pa.string())])
def test_csv_ids_are_kept(tmp_path, ids, kind):
    lines = "".join(f"{one},i,c\n" for one in ids)
    column = read_pairs(save(tmp_path / "a.csv", "pair_id,image,caption\n" + lines))["pair_id"]
    assert column.type == kind and [str(one) for one in column.to_pylist()] == ids


def test_jsonl(tmp_path):
    text = """{"image": "a", "caption": "007", "n": 1, "classes": 3}
{"image": "b", "caption": null, "extra": [1, 2], "classes": ["x"]}

{"image": "c", "caption": 7, "classes": "text"}
"""
    table = read_pairs(save(tmp_path / "a.jsonl", text))
    assert table["caption"].to_pylist() == ["007", None, "7"]
    assert table["extra"].to_pylist() == [None, [1, 2], None]
    assert table["classes"].to_pylist() == ["3", '["x"]', "text"]


BAD = {
    "no caption.csv": ("image,text\na,b\n", "no column 'caption' (columns found: image, text)"),
    "empty.csv": ("", "no column 'image'"),
    "short.csv": ("image,caption\na,b\na\n", "line 3 has 1 cells"),
    "twice.csv": ("image,caption,caption\na,b,c\n", "same name"),
    "ids.csv": ("pair_id,image,caption\n1,a,b\n1,a,c\n", "pair_id 1 occurs twice"),
    "no id.csv": ("pair_id,image,caption\n,a,b\n", "pair_id of row 0 is empty"),
    "latin.csv": ("image,caption\na,\xe9\n".encode("latin-1"), "not UTF-8"),
    "quote.csv": ('image,caption\na,"b\n', "cannot read"),
    "broken.jsonl": ('{"image": "a", "caption": "b"}\n{"image": \n', "line 2 is not valid JSON"),
    "list.jsonl": ("[1, 2]\n", "line 1 is not a JSON object"),
    "nested.jsonl": ('{"image": ["a"], "caption": "b"}\n', "line 1: 'image' must be text"),
    "no.parquet": ("this is no parquet file", "cannot read"),
    "table.xlsx": ("", "ends in .csv, .jsonl or .parquet"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_tables(tmp_path, name):
    text, reason = BAD[name]
    with pytest.raises(UserError) as caught:
        read_pairs(save(tmp_path / name, text))
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_absent_table_and_nested_column(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_pairs(tmp_path / "absent.csv")
    write_parquet(pa.table({"image": [{"b": 1}], "caption": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="'image' must hold text"):
        read_pairs(tmp_path / "a.parquet")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = save(tmp_path / "file", "old")
    with pytest.raises(KeyboardInterrupt):
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_digest_tells_types_and_borders_apart():
    assert len({digest("a", "b"), digest("ab"), digest("b", "a"), digest(1), digest("1")}) == 5
