"""Pairs for the ablation notebooks: the embedded world, and tables of one's own."""

import pandas as pd
import pytest

from clip_attribution.errors import UserError
from clip_attribution.scenes import scene_pairs
from clip_attribution.studies.sample import data_facts, image_root, load_pairs, true_tags
from clip_attribution.text.words import split_words

ROWS = [
    {"image": "a.png", "caption": "a cup of coffee", "foil_word": "ORIG", "foil_type": None},
    {"image": "a.png", "caption": "a Cup of coke", "foil_word": "Coke", "foil_type": "noun"},
    {"image": "b.png", "caption": "two dogs", "foil_word": "", "foil_type": None},
    {"image": "b.png", "caption": "two hot dogs", "foil_word": "hot dogs", "foil_type": "noun"},
]


@pytest.fixture
def write(tmp_path):
    def table(rows):
        path = tmp_path / "mine.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        return str(path)

    return table


def test_scenes_are_the_embedded_world():
    pairs = load_pairs("scenes", n_pairs=8, seed=3)
    pd.testing.assert_frame_equal(pairs, scene_pairs(8, 3))
    assert image_root("scenes", "", "") is None


def test_a_table_gets_foils_places_types_and_groups(write):
    pairs = load_pairs("pairs", write(ROWS), n_pairs=10)
    assert pairs["is_foil"].tolist() == [False, True, False, True]
    assert pairs["foil_index"].tolist()[1] == 3  # found whatever its case
    assert pairs["foil_index"].isna().tolist() == [True, False, True, True]  # no single word
    assert set(pairs["foil_type"]) == {"noun"}  # a true caption goes with its foil
    assert pairs["pair_id"].tolist() == ["a.png:0", "a.png:1", "b.png:2", "b.png:3"]


def test_captions_of_one_image_are_drawn_together(write):
    path = write(ROWS)
    drawn = load_pairs("pairs", path, n_pairs=1, seed=1)
    assert len(drawn) == 2 and drawn["image"].nunique() == 1
    pd.testing.assert_frame_equal(drawn, load_pairs("pairs", path, n_pairs=1, seed=1))


def test_pictures_lie_beside_the_table_or_where_said():
    assert image_root("pairs", "folder/mine.csv", "") == "folder"
    assert image_root("pairs", "folder/mine.csv", "photos") == "photos"


@pytest.mark.parametrize(
    ("dataset", "rows", "message"),
    [
        ("foil", None, "unknown dataset 'foil'"),
        ("pairs", None, "data=FILE"),
        ("pairs", [{"image": "a", "caption": "b"}], "no column 'foil_word'"),
        ("pairs", ROWS[:1], "holds no foil"),
    ],
)
def test_unusable_data_are_refused_in_one_line(write, dataset, rows, message):
    with pytest.raises(UserError, match=message) as caught:
        load_pairs(dataset, write(rows) if rows else "")
    assert "\n" not in str(caught.value)


def test_facts_name_the_data_and_change_with_them():
    one, other = scene_pairs(8, 3), scene_pairs(8, 4)
    facts = data_facts(one, "scenes")
    assert facts["n"] == 16 and facts["foils"] == 8 and len(facts["hash"]) == 16
    assert facts == data_facts(one.copy(), "scenes") != data_facts(other, "scenes")


def test_true_tags_are_those_of_the_world():
    pairs = scene_pairs(6, 2)
    rows = [
        {"pair_id": row.pair_id, "word": word.text, "start": word.start}
        for row in pairs.itertuples()
        for word in split_words(row.caption)
    ]
    words = pd.DataFrame(rows)
    words["pos"] = true_tags(words, pairs)
    assert words.loc[words["word"] == ".", "pos"].eq("PUNCT").all()
    spoken = words[words["word"] != "."]
    tags = [word["pos"] for row in pairs.itertuples() for word in row.words]
    expected = [tag for tag in tags if tag != "PUNCT"]
    assert spoken["pos"].tolist() == expected
