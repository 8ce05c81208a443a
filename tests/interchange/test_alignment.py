"""Alignments: what they may be, and their files."""

import pickle

import cae_models
import pytest
import torch
from safetensors.torch import save_file

from clip_attribution.errors import UserError
from clip_attribution.interchange import Alignment


@pytest.fixture(scope="module")
def clip():
    return cae_models.tiny()


def test_a_random_rotation_is_orthogonal_and_its_seeds_own(clip):
    one, again, other = (Alignment.random(clip, 0, 8, seed) for seed in (1, 1, 2))
    assert torch.equal(one.rotation, again.rotation)
    assert not torch.equal(one.rotation, other.rotation)
    torch.testing.assert_close(one.rotation @ one.rotation.T, torch.eye(32), atol=1e-6, rtol=0)
    usual = Alignment.random(clip)
    assert (usual.site, usual.size) == (1, 16)  # of three blocks, 32 wide
    assert Alignment.random(clip, "features").rotation.shape == (24, 24)


def test_random_rotations_are_uniform(clip):
    """Haar: each entry has mean 0 and variance 1/d; a QR without signs has a fixed sign."""
    drawn = torch.stack([Alignment.random(clip, 0, 8, seed).rotation for seed in range(200)])
    assert drawn.mean(0).abs().max() < 5 / (32 * 200) ** 0.5
    assert ((drawn**2).mean() - 1 / 32).abs() < 1e-6
    assert 60 < (drawn[:, 0, 0] > 0).sum() < 140


@pytest.mark.parametrize("site", [4, "features"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_file_gives_the_alignment_back(clip, tmp_path, site, turned):
    rotation = Alignment.random(clip, 0, 8).rotation if turned else None
    one = Alignment(site, 5, rotation)
    for name in ("a", "b"):
        one.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    back = Alignment.load(tmp_path / "a")
    assert (back.site, back.size) == (site, 5)
    assert torch.equal(back.rotation, rotation) if turned else back.rotation is None


def test_files_that_are_no_alignment_are_refused(tmp_path):
    path = tmp_path / "file"
    faults = [
        lambda: path.write_bytes(pickle.dumps({"rotation": 1})),
        lambda: torch.save({"rotation": torch.eye(3)}, path),
        lambda: path.write_text("{}"),
        lambda: save_file({"rotation": torch.eye(3)}, path),
        lambda: save_file({}, path, {"kind": "alignment", "site": "-1", "size": "2"}),
        lambda: save_file({}, path, {"kind": "alignment", "site": "1", "size": "two"}),
        lambda: save_file(
            {"w": torch.eye(3)}, path, {"kind": "alignment", "site": "1", "size": "2"}
        ),
        path.unlink,
        path.mkdir,
    ]
    for plant in faults:
        plant()
        with pytest.raises(UserError, match="file.*give a file that Alignment.save wrote") as error:
            Alignment.load(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot write"):
        Alignment(0, 1).save(tmp_path / "no folder" / "file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 2), "unknown site -1"),
        ((True, 2), "unknown site True"),
        (("last", 2), "unknown site 'last'"),
        ((0, -2), "size must be"),
        ((0, 2.0), "size must be"),
        ((0, 2, torch.ones(4)), "square matrix"),
        ((0, 2, torch.eye(4)[:3]), "square matrix"),
        ((0, 2, torch.eye(4, dtype=torch.long)), "square matrix"),
        ((0, 5, torch.eye(4)), "more than the 4 columns"),
        ((0, 2, 2 * torch.eye(4)), "not orthogonal"),
        ((0, 2, torch.full((4, 4), torch.nan)), "not orthogonal"),
    ],
)
def test_alignments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        Alignment(*arguments)
