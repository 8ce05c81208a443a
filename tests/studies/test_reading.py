"""The model that fine-tuning begins with: as given, or one that sees relations and reads none."""

import finetune_examples as tiny
import pytest
import torch

from clip_attribution.models.clip import load_clip
from clip_attribution.studies.finetuning.outcomes import evaluate_runs
from clip_attribution.studies.finetuning.reading import (
    KNOWN,
    READING,
    finding_reading,
    start_models,
)
from clip_attribution.studies.finetuning.tables import wide
from clip_attribution.training.unread import SEEING, UNREAD

FOILS = {"relation": ("position", "swap_relation", "state"), "attribute": ("colour",)}


@pytest.fixture(scope="module")
def embedded():
    return load_clip()


def test_another_model_is_taken_as_it_is(tmp_path, embedded):
    for clip, wanted in ((tiny.tiny_clip(), True), (embedded, False)):
        start, runs = start_models(clip, tmp_path, wanted)
        assert start is clip and [run.variant for run in runs] == ["CLIP"]
    assert not any(tmp_path.iterdir())


def test_the_embedded_model_gets_two_successors_and_a_sentence_each(
    tmp_path, embedded, monkeypatch
):
    for cfg in (SEEING, UNREAD):
        monkeypatch.setitem(cfg, "batch", 16)
    start, runs = start_models(embedded, tmp_path, steps=(1, 1))
    assert [run.variant for run in runs] == list(KNOWN)
    assert len({embedded.weights_hash, start.weights_hash}) == 2
    image = [embedded.preprocess(picture) for picture in [tiny.picture(1), tiny.picture(2)]]
    seeing = load_clip(pretrained=runs[1].weights)
    same = [clip.model.encode_image(torch.stack(image)) for clip in (seeing, start)]
    assert torch.equal(*same)
    known = evaluate_runs(embedded, runs, n=6, n_scenes=12, methods=(), foils=FOILS)
    table = wide(known, False, KNOWN, READING)
    assert list(table.index) == list(KNOWN.values()) and list(table) == list(READING)
    lines = finding_reading(known).splitlines()
    assert len(lines) == 3 and all("(6 pairs each)" in line for line in lines)
    place = known.set_index(["variant", "measure"]).loc[("CLIP", "position accuracy")]
    assert f"As given: place {place['value']:.1f} [{place['value_low']:.1f}" in lines[0]
