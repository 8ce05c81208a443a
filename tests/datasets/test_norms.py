"""Word norms: "null" is a word, both header forms, and the footnote's correlation."""

import os
from pathlib import Path

import pytest

from clip_attribution.datasets.norms import load_concreteness, load_imageability
from clip_attribution.errors import UserError

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset")
HEADER = "Word\tBigram\tConc.M\tConc.SD\tUnknown\tTotal\tPercent_known\tSUBTLEX\tDom_Pos\r\n"


def test_null_true_and_none_are_words(tmp_path):
    file = tmp_path / "Concreteness_ratings_Brysbaert_et_al_BRM.txt"
    rows = [("null", 2.1), ("true", 1.9), ("none", 2.0), ("NA", 3), ('a "quoted', 4), ("dog", 4.85)]
    body = "".join(f"{w}\t0\t{v}\t1\t0\t30\t1\t5\t#N/A\r\n" for w, v in rows)
    file.write_bytes((HEADER + body).encode())
    found = load_concreteness(tmp_path)
    assert found.to_dict() == {word: float(value) for word, value in rows}


def test_both_header_forms_of_glasgow(tmp_path):
    one = "Word,Length,Imageability,ImageabilitySD\nnull,4,2.5,1\nbow (tie),3,6.0,1\n"
    two = (
        "Words,Length,CNC,,,IMAG,,,FAM,,\n,,M,SD,N,M,SD,N,M,SD,N\n"
        "null,4,3,1,30,2.5,1,30,5,1,30\nbow (tie),3,5,1,30,6.0,1,30,5,1,30\n"
    )
    for text in (one, two):
        (tmp_path / "glasgow_norms.csv").write_text(text, "utf-8")
        assert load_imageability(tmp_path).to_dict() == {"null": 2.5, "bow (tie)": 6.0}


def test_a_file_of_another_form_is_refused(tmp_path):
    (tmp_path / "glasgow_norms.csv").write_text("word,score\na,1\n", "utf-8")
    with pytest.raises(UserError, match="has no column 'Word'"):
        load_imageability(tmp_path)
    with pytest.raises(UserError, match="data/README.md"):
        load_concreteness(tmp_path)


@pytest.mark.skipif(not (ROOT / "norms").is_dir(), reason="needs norms/")
def test_the_two_norms_agree_as_the_footnote_says():
    concrete, imageable = load_concreteness(ROOT / "norms"), load_imageability(ROOT / "norms")
    assert (len(concrete), len(imageable)) == (39954, 5553)
    assert {"null", "true", "none", "false"} <= set(concrete.index)
    both = concrete.index.intersection(imageable.index)
    assert len(both) == 4444
    assert round(concrete[both].corr(imageable[both]), 4) == 0.8786
