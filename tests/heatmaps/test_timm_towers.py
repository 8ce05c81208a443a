"""Image towers of timm that no method was written for: a map, or one line."""

import pytest
from campaigns.image_towers import config, outcomes

from clip_attribution import load_clip
from clip_attribution.heatmaps.tower import find_tower

GRIDS = {
    "swin_tiny_patch4_window7_224": (7, 7),
    "pvt_v2_b0": (7, 7),
    "efficientnet_b0": (7, 7),
    "levit_128s": (4, 4),
    "cait_xxs24_224": (14, 14),
    "vit_tiny_patch16_224": (14, 14),
}


@pytest.mark.parametrize("name", GRIDS)
def test_no_call_ends_in_a_raw_exception(name):
    found = dict(outcomes(name, methods=("gradcam", "gae_image", "value_path")))
    assert [call for call, said in found.items() if said.startswith("RAW")] == []
    assert found["load"] == found["attribute"] == found["explain"] == found["gradcam"] == "ok"


def test_a_tower_that_open_clip_builds_but_cannot_run_is_refused():
    (call,) = outcomes("ghostnet_100")
    assert call[0] == "load" and "ghostnet_100 does not run in open_clip" in call[1]


@pytest.mark.parametrize("name", ["pvt_v2_b0", "levit_128s"])
def test_the_grid_is_that_of_the_last_stage(name):
    assert find_tower(load_clip("x", model_config=config(name)).model).grid == GRIDS[name]
