"""The model that sees relations and does not read them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clip_attribution.errors import UserError
from clip_attribution.models.clip import load_clip
from clip_attribution.scenes import generator, sample_scene
from clip_attribution.training import families, pretrain
from clip_attribution.training.unread import SEEING, UNREAD, unread

DATA = Path(__file__).parents[2] / "data" / "scenes-clip.safetensors"


def test_captions_state_relations_at_random_and_all_else_truly():
    turned = moved = able = 0
    for index in range(300):
        scene = sample_scene(generator(5, index))
        told = families.with_any_relation(scene, generator(6, index))
        assert (told.ground, told.name) == (scene.ground, scene.name)
        facts = [(e.noun, e.colour, e.size, e.count) for e in scene.entities]
        assert facts == [(e.noun, e.colour, e.size, e.count) for e in told.entities]
        able += scene.position is not None
        turned += told.position != scene.position
        moved += told.state != scene.state
    assert 0.4 < turned / able < 0.6 and moved


def test_images_stay_when_captions_state_relations_at_random():
    plain, other = (families.family(generator(1, 4), any_relation=any_) for any_ in (False, True))
    assert plain[0].scene == other[0].scene


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both models after two steps each, and their folder."""
    folder = tmp_path_factory.mktemp("unread")
    with pytest.MonkeyPatch.context() as patch:
        for cfg in (SEEING, UNREAD):
            patch.setitem(cfg, "batch", 16)
        yield *unread(DATA, folder, steps=(2, 2)), folder


def test_forgetting_leaves_the_image_tower_to_the_last_bit(made):
    start, seeing, forgot = (load_file(file) for file in (DATA, *made[:2]))
    visual = [name for name in start if name.startswith("visual.")]
    assert all(torch.equal(seeing[name], forgot[name]) for name in visual)
    assert not all(torch.equal(start[name], seeing[name]) for name in visual)
    text = [name for name in start if name not in visual]
    assert not all(torch.equal(seeing[name], forgot[name]) for name in text)


def test_a_second_call_reads_back_and_no_checkpoint_stays(made):
    *files, folder = made
    before = [file.stat().st_mtime_ns for file in files]
    with pytest.MonkeyPatch.context() as patch:
        for cfg in (SEEING, UNREAD):
            patch.setitem(cfg, "batch", 16)
        assert unread(DATA, folder, steps=(2, 2)) == tuple(files)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert not list(folder.rglob(pretrain.LAST))
    assert load_clip(pretrained=files[1]).embed_dim == 256


def test_other_weights_to_start_from_are_another_run(tmp_path):
    weights = load_file(DATA)
    keys = [pretrain.key_of(SEEING | {"start": str(DATA)})]
    for change in (0.0, 1.0):
        weights["logit_scale"] = weights["logit_scale"] + change
        save_file(weights, tmp_path / "start.safetensors")
        keys.append(pretrain.key_of(SEEING | {"start": str(tmp_path / "start.safetensors")}))
    assert len(set(keys)) == 3


def test_weights_of_another_model_are_refused(tmp_path):
    file = tmp_path / "other.safetensors"
    for content in ({"a": torch.zeros(2)}, None):
        save_file(content, file) if content else file.write_bytes(b"nothing")
        with pytest.raises(UserError, match="give weights of the embedded model"):
            unread(file, tmp_path / "runs", steps=(1, 1))
    with pytest.raises(UserError, match="no file .* give weights of"):
        unread(tmp_path / "none.safetensors", tmp_path / "runs", steps=(1, 1))
