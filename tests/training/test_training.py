"""The recipe of the embedded model: batches, resuming, export, and what the shipped model does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from clip_attribution.errors import UserError
from clip_attribution.models.clip import load_clip
from clip_attribution.scenes import generator, sample_scene, scene_pairs
from clip_attribution.scenes.vocabulary import NOUNS
from clip_attribution.training import contrastive, families, model_card, pretrain

CONFIG = {**pretrain.DEFAULTS, "steps": 6, "batch": 16, "warmup": 2, "facts_from": 2}
DATA = Path(__file__).parents[2] / "data"


def batches(seed, size):
    """The batches of a run of five steps."""
    return contrastive.Batches({**CONFIG, "seed": seed, "batch": size, "steps": 5})


def test_batches_are_the_same_for_the_same_step_and_fit_the_tokenizer():
    first, again = (batches(3, 32)[2] for _ in range(2))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    other = batches(3, 32)[3]
    assert not torch.equal(first[1], other[1])
    data = batches(3, 32)
    texts = [e.text for e in families.batch_examples(3, 2, 32, contrastive.TEMPLATE)]
    assert torch.equal(data.tokenizer(texts), first[1])
    assert first[0].shape == (32, 3, 64, 64) and first[2].shape == (32, 5, 8, 8)


def test_no_caption_of_training_outgrows_the_context():
    context = contrastive.MODEL["text_cfg"]["context_length"]
    for step in range(6):
        ids = batches(1, 128)[step][1]
        assert ids.argmax(-1).max() < context - 1


def test_siblings_differ_from_the_first_in_one_stated_fact():
    rng = generator(11, 0)
    for _ in range(60):
        first, *siblings = families.family(rng)
        for sibling in siblings:
            one, two = first.text.lower().split(), sibling.text.lower().split()
            assert len(one) == len(two)
            different = [i for i in range(len(one)) if one[i] != two[i]]
            kinds = [one[i] for i in different if one[i] not in ("a", "an")]
            assert len(kinds) == 1 or first.text == sibling.text  # the latter: no alternative
            assert first.scene.position == sibling.scene.position
            assert first.scene.state == sibling.scene.state


def test_siblings_that_differ_in_a_relation_say_so():
    rng, found = generator(12, 0), set()
    for _ in range(200):
        weights = {"noun": 0.1, "position": 1, "state": 1}
        first, *siblings = families.family(rng, weights)
        for sibling in siblings:
            turned = sibling.scene.position != first.scene.position
            moved = sibling.scene.state != first.scene.state
            if turned or moved:
                assert turned != moved and sibling.text.lower() != first.text.lower()
                found.add("position" if turned else "state")
    assert found == {"position", "state"}


def test_the_gpu_preset_varies_relations_seldom():
    weights = pretrain.PRESETS["gpu"]["weights"]
    assert weights["position"] == weights["state"] == 0.3 < min(families.KIND_WEIGHTS.values())
    found = [families.batch_examples(1, step, 512, "", weights) for step in range(2)]
    assert [len(batch) for batch in found] == [512, 512]


def test_minutes_set_the_number_of_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "TIMED", 2)
    cfg = {**CONFIG, "minutes": 1e-6}
    pretrain.train(cfg, tmp_path, "cpu")
    assert cfg["steps"] == 3 == torch.load(tmp_path / "last.pt", weights_only=True)["step"]


def test_a_run_goes_on_with_its_own_options_only(tmp_path):
    pretrain.train({**CONFIG, "steps": 2}, tmp_path, "cpu")
    for changed in ({"seed": 1}, {"batch": 8}, {"lr": 1e-4}):
        with pytest.raises(UserError, match=f"another {next(iter(changed))}: take"):
            pretrain.train({**CONFIG, **changed}, tmp_path, "cpu")
    with pytest.raises(UserError, match="number of steps, which can only grow"):
        pretrain.train({**CONFIG, "steps": 1}, tmp_path, "cpu")
    pretrain.train({**CONFIG, "steps": 4}, tmp_path, "cpu")  # more steps are no other run
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 40}\n')  # of a run that was killed after its last checkpoint
    pretrain.train({**CONFIG, "steps": 5}, tmp_path, "cpu")
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [0]


def test_weights_and_switches_of_the_command_line():
    assert pretrain.parse_weights("noun=5,position=0.3") == {"noun": 5.0, "position": 0.3}
    assert pretrain.parse_bool("yes") and not pretrain.parse_bool("no")


def test_patch_labels_name_what_lies_there():
    for index in range(40):
        scene = sample_scene(generator(12, index))
        noun, colour, size, count, name = families.patch_labels(scene)
        present = {list(NOUNS).index(e.noun) + 1 for e in scene.entities}
        assert set(np.unique(noun)) - {0, len(NOUNS) + 1} <= present and noun.any()
        assert ((colour > 0) <= (noun > 0)).all() and ((count > 0) == (colour > 0)).all()
        assert set(np.unique(count)) <= {0} | {e.count for e in scene.entities}
        assert ((size > 0) <= (count == 1)).all() and (name > 0).any() == (scene.name is not None)


def test_training_pixels_are_what_the_model_preprocesses(tmp_path):
    file = tmp_path / "scenes-clip.safetensors"
    pretrain.export(pretrain.CLIP(**contrastive.MODEL), CONFIG, file)
    clip = load_clip(pretrained=file)
    from clip_attribution.io.images import open_image

    pairs = scene_pairs(4, seed=2, foils=None)
    seen = torch.stack([clip.preprocess(open_image(ref)) for ref in pairs["image"]])
    scenes = [sample_scene(generator(2, i)) for i in range(4)]
    own = families.pixels(scenes, contrastive.PREPROCESS["mean"], contrastive.PREPROCESS["std"])
    assert torch.allclose(seen, own, atol=1e-5)


def test_text_in_chunks_equals_the_models_own():
    model = pretrain.CLIP(**contrastive.MODEL).eval()
    ids = batches(3, 48)[0][1]
    with torch.no_grad():
        torch.testing.assert_close(
            contrastive.encode_text(model, ids), model.encode_text(ids), atol=1e-5, rtol=1e-4
        )


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    one = pretrain.train(CONFIG, whole, "cpu").state_dict()
    with pytest.raises(KeyboardInterrupt):
        interrupted(parts)
    assert torch.load(parts / "last.pt", weights_only=True)["step"] == 3
    two = pretrain.train(CONFIG, parts, "cpu").state_dict()
    assert all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)
    steps = [json.loads(line)["step"] for line in (whole / "log.jsonl").read_text().splitlines()]
    assert steps == [0]


def interrupted(folder):
    """Stop the run after its third step, as Ctrl-C would, with a checkpoint at every step."""
    save, calls = pretrain.save_checkpoint, []

    def save_then_stop(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    pretrain.save_checkpoint = save_then_stop
    try:
        pretrain.train(CONFIG, folder, "cpu", save_every=0)
    finally:
        pretrain.save_checkpoint = save


def test_export_keeps_its_configuration(tmp_path):
    path = tmp_path / "m.safetensors"
    pretrain.export(pretrain.CLIP(**contrastive.MODEL), CONFIG, path)
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    assert json.loads(metadata["model_cfg"]) == contrastive.MODEL
    training = json.loads(metadata["training"])
    assert training["scenes"] == 96 and training["template"] == contrastive.TEMPLATE


def test_the_embedded_model_is_small_and_says_how_it_was_trained():
    path = DATA / "scenes-clip.safetensors"
    assert path.stat().st_size <= 25e6
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    assert json.loads(metadata["model_cfg"]) == contrastive.MODEL
    assert json.loads(metadata["training"])["steps"] > 1000


@pytest.mark.parametrize("kind", ["noun", "ground"])
def test_the_embedded_model_knows_its_world(kind):
    """Above chance by far on scenes of a seed that neither training nor the card uses."""
    found = model_card.measure(load_clip(), 120, 99, (kind,))[kind]
    assert found["foil-pair accuracy"].low > 0.95
    assert found["all layers"].low > 2 * found["chance"].high


def test_the_card_says_what_the_model_knows_and_what_it_barely_knows():
    card = json.loads((DATA / "model_card.json").read_text())
    found = {k: dict(v)["foil-pair accuracy"][0] for k, v in card["measured"]["trained"].items()}
    assert all(found[k] >= 0.99 for k in ("noun", "colour", "size", "count", "ground", "name"))
    assert 0.55 < found["position"] < 0.75 and 0.55 < found["state"] < 0.75
    novel = card["measured"]["novel"]
    assert all(novel[kind]["foil-pair accuracy"][0] >= 0.98 for kind in ("noun", "colour"))


def test_the_card_belongs_to_the_weights():
    card = json.loads((DATA / "model_card.json").read_text())
    assert card["weights_hash"] == load_clip().weights_hash
    assert card["weights_hash"] in (DATA / "MODEL_CARD.md").read_text()


def test_a_checkpoint_of_other_code_or_none_at_all_is_refused(tmp_path, monkeypatch):
    pretrain.train({**CONFIG, "steps": 1}, tmp_path, "cpu")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="another code: take"):
        patch.setattr(pretrain, "key_of", lambda cfg: "another")
        pretrain.train({**CONFIG, "steps": 2}, tmp_path, "cpu")
    for damage in (b"", b"no checkpoint", (tmp_path / "last.pt").read_bytes()[:1000]):
        (tmp_path / "last.pt").write_bytes(damage)
        with pytest.raises(UserError, match="cannot read .* take another --folder"):
            pretrain.train({**CONFIG, "steps": 2}, tmp_path, "cpu")
        assert (tmp_path / "last.pt").read_bytes() == damage


def test_a_longer_recipe_may_replace_its_weights_and_a_shorter_one_may_not(tmp_path):
    path = tmp_path / "m.safetensors"
    pretrain.export(pretrain.CLIP(**contrastive.MODEL), CONFIG, path)
    for steps, fits in ((5, False), (6, True), (7, True)):
        assert pretrain.is_shorter(path, {**CONFIG, "steps": steps}) == fits
    assert not pretrain.is_shorter(path, {**CONFIG, "seed": 7})
