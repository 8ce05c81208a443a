"""The long forms: every loader with every hostile file, every image tower of timm.

Their short forms are tests/datasets/test_hostile_files.py and tests/heatmaps/test_timm_towers.py.
"""

import os

import pytest
from campaigns.hostile_files import faults
from campaigns.image_towers import TOWERS, outcomes

from clip_attribution.datasets import benchmarks

pytestmark = pytest.mark.skipif(os.environ.get("CAMPAIGN") != "long", reason="CAMPAIGN is not long")


@pytest.mark.parametrize("name", benchmarks())
def test_every_loader_with_hostile_files(name):
    assert [f"{label}: {fault}" for label, fault in faults(name) if fault] == []


@pytest.mark.parametrize("name", TOWERS)
def test_every_tower(name):
    assert [said for _, said in outcomes(name) if said.startswith("RAW")] == []
