"""The composition benchmarks side by side: tables, random weights, figures and sentences."""

import pandas as pd
import pytest
import tiny
import torch

from clip_attribution import load_clip
from clip_attribution.datasets import load_benchmark
from clip_attribution.datasets.accuracies import COLUMNS
from clip_attribution.datasets.export import export
from clip_attribution.errors import UserError
from clip_attribution.models.untrained import random_weights
from clip_attribution.studies.composition.figures import accuracy_dots, retrieval_dots
from clip_attribution.studies.composition.findings import (
    finding_accuracy,
    finding_gap,
    finding_random,
    finding_retrieval,
)
from clip_attribution.studies.composition.tables import (
    CLEAN,
    NAMES,
    all_groups,
    all_rows,
    chosen,
    compared,
    composition_results,
    counting_rules,
    drawn,
    facts_of,
    main_rows,
    overview,
)

CONFIG = tiny.config(1, 1)
SOME = ["aro-relation", "sugarcrepe", "winoground", "coco-retrieval", "sts-b"]


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", model_config=CONFIG, device="cpu")


@pytest.fixture(scope="module")
def found(clip, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return composition_results(clip, SOME, n=14, seed=2, cache=cache)


def row(name, measure, value, low, high, chance=50.0, random=(50, 40, 60)):
    titles = {"aro-relation": "ARO relation", "aro-attribute": "ARO attribute"}
    return {
        "name": name,
        "benchmark": titles.get(name, name),
        "measure": measure,
        "value": value,
        "low": low,
        "high": high,
        "n": 100,
        "chance": chance,
        "random": random[0],
        "random_low": random[1],
        "random_high": random[2],
    }


# ---------------------------------------------------------------- measuring


def test_names_are_chosen_in_order_and_mistakes_are_one_line():
    assert chosen("all") == list(NAMES) and len(NAMES) == 14
    assert chosen("sts-b aro-relation") == ["aro-relation", "sts-b"]
    for wrong in ("", "foil", "aro"):
        with pytest.raises(UserError, match="aro-relation") as caught:
            chosen(wrong)
        assert "\n" not in str(caught.value)


def test_random_weights_share_all_but_the_weights(clip):
    one, other = random_weights(clip, 5), random_weights(clip, 6)
    assert one.preprocess is clip.preprocess and one.tokenizer is clip.tokenizer
    assert len({clip.weights_hash, one.weights_hash, other.weights_hash}) == 3
    shapes = [{k: v.shape for k, v in c.model.state_dict().items()} for c in (clip, one)]
    assert shapes[0] == shapes[1]
    assert random_weights(clip, 5).weights_hash == one.weights_hash


def test_every_benchmark_is_measured_beside_random_weights(found):
    data = main_rows(found)
    assert list(found) == SOME and set(data["name"]) == set(SOME)
    assert (data["low"] <= data["value"]).all() and (data["value"] <= data["high"]).all()
    assert data["random"].notna().all() and data["chance"].notna().all()
    known = data.set_index(["name", "measure"])["published"]
    assert known["aro-relation", "relation accuracy"] == 58.7
    assert known["coco-retrieval", "T2I R@1"] == 30.2 and known["winoground", "group"] == 9.4
    assert pd.isna(known["sugarcrepe", "object accuracy"])


def test_means_of_groups_agree_with_the_decisions_in_the_frame(found):
    one = found["sugarcrepe"]
    rows = one.rows.set_index(["measure", "group"])["value"]
    shares = 100 * one.frame.groupby("group")["correct"].mean()
    assert rows["accuracy"].to_dict() == pytest.approx(shares.to_dict())
    attributes = shares[["add_att", "replace_att", "swap_att"]].mean()
    assert rows["attribute accuracy", "all"] == pytest.approx(attributes)


def test_the_table_labels_published_values_and_counts_missing_parts(found):
    table = compared(found)
    column = "published, CLIP ViT-B/32"
    assert table.loc[("ARO relation", "relation accuracy"), column] == (
        "58.7 (other data and model)"
    )
    assert table.loc[("SugarCrepe", "object accuracy"), column] == ""
    assert table["measured"].str.fullmatch(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]").all()
    assert overview(found).loc["COCO", "rows"] == 14 * 5
    groups = all_groups(found)
    assert set(groups.loc[groups["benchmark"] == "SugarCrepe", "group"]) >= {"swap_obj", "add_att"}


def test_facts_change_with_what_was_scored(found):
    facts = facts_of(found)
    assert facts["n"] == sum(len(one.frame) for one in found.values())
    less = {name: found[name] for name in SOME[:2]}
    assert facts_of(less)["hash"] != facts["hash"] and facts_of(found) == facts
    assert facts_of(found, "folder/mine")["name"] == "mine"


def test_a_sample_of_retrieval_keeps_all_captions_of_a_picture():
    frame = pd.DataFrame({"image": [f"{i // 5}.jpg" for i in range(50)], "caption": range(50)})
    part = drawn(frame, 4, 0)
    assert part["image"].nunique() == 4 and (part.groupby("image").size() == 5).all()
    pairs = frame.rename(columns={"caption": "sentence1"})
    assert len(drawn(pairs, 7, 0)) == 7 and len(drawn(pairs, 70, 0)) == 50
    assert drawn(pairs, 7, 0)["sentence1"].is_monotonic_increasing


def test_ones_own_files_are_sampled_and_a_missing_folder_is_one_line(clip, tmp_path):
    export("aro-relation", tmp_path / "aro-relation", 12, 3, progress=False)
    (tmp_path / "aro-relation" / "export.json").unlink()
    found = composition_results(clip, ["aro-relation"], files=tmp_path, n=6, cache="")
    assert len(found["aro-relation"].frame) == 6 and not found["aro-relation"].embedded
    assert "few their cases: none has 25; ARO's own list was not given" in counting_rules(found)
    assert "other model" in compared(found).iloc[0]["published, CLIP ViT-B/32"]
    for names, files in ((["sts-b", "comvg"], tmp_path), (["comvg"], tmp_path / "none")):
        with pytest.raises(UserError, match="there is no") as caught:
            composition_results(clip, names, files=files)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="photos without files"):
        composition_results(clip, ["comvg"], photos=tmp_path)
    with pytest.raises(UserError, match="need a cache"):
        composition_results(clip, ["comvg"], cache="")


def test_unreadable_pictures_are_an_error_with_the_first_reason(clip, tmp_path):
    folder = tmp_path / "svo-probes"
    export("svo-probes", folder, 3, 3, progress=False)
    for picture in folder.glob("images/*"):
        picture.write_bytes(b"no image")
    with pytest.raises(UserError, match="svo-probes: not one of 3 rows could be scored: "):
        composition_results(clip, ["svo-probes"], files=tmp_path)


def test_the_table_says_which_relations_of_aro_count(clip, found, tmp_path):
    said = "ARO relation: all relations, however few their cases: the embedded world has few."
    assert counting_rules(found) == said
    assert "not among these" in counting_rules({"sts-b": found["sts-b"]})
    export("aro-relation", tmp_path, 90, 3, progress=False)
    (tmp_path / "export.json").unlink()
    counts = load_benchmark("aro-relation", tmp_path)["group"].value_counts()
    assert counts.max() < 25 * 2 and counts.min() < 25 <= counts.max()
    run = {"files": tmp_path, "n": 40, "cache": ""}
    rows = composition_results(clip, ["aro-relation"], **run)["aro-relation"].rows
    beside = rows[rows["published"].notna()]
    assert (
        beside["note"]
        .str.startswith("relations with >= 25 cases; ARO's own list was not given")
        .all()
    )
    assert set(rows["group"]) - {"all"} <= set(counts.index[counts >= 25])
    (tmp_path / "excluded_relations.txt").write_text(counts.index[0])
    listed = composition_results(clip, ["aro-relation"], **run)
    assert counting_rules(listed) == "ARO relation: relations, less the 1 of the given list."
    assert set(listed["aro-relation"].rows["group"]) == set(counts.index[1:]) | {"all"}


def test_winoground_is_compared_on_its_clean_cases_only_where_they_are_the_real_ones():
    table = pd.DataFrame(
        [("text", group, 30.0, 20.0, 40.0, 9, 25.0, "") for group in ("all", CLEAN)],
        columns=COLUMNS,
    )
    real = all_rows("winoground", table, table).set_index("group")
    assert real["main"].to_dict() == {"all": False, CLEAN: True}
    assert real.loc[CLEAN, "published"] == 31.6 and pd.isna(real.loc["all", "published"])
    world = all_rows("winoground", table, table, embedded=True).set_index("group")
    assert world["main"].to_dict() == {"all": True, CLEAN: False}


# ---------------------------------------------------------------- figures and sentences


def test_figures_have_a_panel_a_measure_and_a_line_a_row(found):
    data = main_rows(found)
    titles = [ax.get_title("left") for ax in accuracy_dots(data).axes]
    assert titles == ["relation accuracy", "attribute accuracy", "object accuracy", "Winoground"]
    guards = retrieval_dots(data).axes
    assert [len(ax.get_yticks()) for ax in guards] == [4, 2]
    nothing = retrieval_dots(data[data["name"] == "sugarcrepe"])
    assert "none of the benchmarks" in nothing.texts[0].get_text()


def test_above_and_below_are_said_only_where_the_interval_allows_it():
    data = pd.DataFrame(
        [
            row("aro-relation", "relation accuracy", 48, 40, 56),
            row("sugarcrepe", "relation accuracy", 70, 60, 80),
            row("valse", "relation accuracy", 30, 20, 40, random=(60, 51, 70)),
            row("aro-attribute", "attribute accuracy", 90, 80, 99),
        ]
    )
    assert finding_accuracy(data).split("\n")[0] == (
        "Relation accuracy: above chance on sugarcrepe; below chance on valse; "
        "not distinguishable from chance on ARO relation."
    )
    assert finding_gap(data) == (
        "ARO: relations 48.0 [40.0, 56.0], attributes 90.0 [80.0, 99.0]: "
        "relations lie clear below attributes."
    )
    assert (
        "above chance on valse; not distinguishable from chance on ARO relation"
        in finding_random(data)
    )
    assert "None of these" in finding_retrieval(data)
    for finding in (finding_accuracy, finding_gap, finding_random):
        assert "None of these benchmarks" in finding(data.head(0))


def test_sentences_on_retrieval_and_similarity_name_their_baselines(found):
    said = finding_retrieval(main_rows(found))
    assert "the right one of 14 images" in said and "random weights" in said
    data = pd.DataFrame([row("sts-b", "Spearman", 76, 70, 82, 0.0, (30, 20, 40))])
    assert ", more than random weights, 30.0 [20.0, 40.0]." in finding_retrieval(data)
    assert "not clearly more" in finding_retrieval(data.assign(low=35.0))


def test_torch_keeps_its_own_random_state(clip):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    random_weights(clip, 9)
    assert torch.equal(before, torch.get_rng_state())
