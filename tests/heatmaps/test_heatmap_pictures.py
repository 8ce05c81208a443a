"""Heat maps on the image's own pixel grid: squashed, cropped, padded, ragged, not square."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from small_towers import reduced

from clip_attribution import load_clip
from clip_attribution.errors import UserError
from clip_attribution.heatmaps import normalised, to_picture, transform_of

MEAN, STD = 0.48145466, 0.26862954  # of CLIP's first channel
VIT = {"width": 16, "head_width": 8, "layers": 1}
FRAMES = {
    "B-32": {"image_size": 224, "patch_size": 16},
    "L-14-336": {"image_size": 336, "patch_size": 14},
    "not square": {"image_size": [192, 256], "patch_size": 16},
    "ragged": {"image_size": 180, "patch_size": 14},
    "padded": {"image_size": 224, "patch_size": 8},
}
LOADED = {}


@pytest.fixture
def frame():
    """A model by its name in FRAMES; only its preprocessing and its grid matter here."""

    def load(name):
        if name not in LOADED:
            clip = load_clip("small", model_config=reduced("ViT-B-32", VIT | FRAMES[name]))
            if name == "padded":
                given = PreprocessCfg(size=clip.image_size, resize_mode="longest")
                clip.preprocess = image_transform_v2(given, is_train=False)
            LOADED[name] = clip
        return LOADED[name]

    return load


def picture(width, height):
    coarse = np.random.RandomState(0).randint(0, 255, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def test_normalised_spans_zero_to_one():
    maps = np.random.RandomState(0).randn(5, 4, 6)
    found = normalised(maps)
    assert (found.min((1, 2)) == 0).all() and (found.max((1, 2)) == 1).all()
    np.testing.assert_allclose(normalised(3 * maps + 2), found, atol=1e-12)
    assert (normalised(np.full((2, 3, 3), 7.0)) == 0).all()
    maps[2, 0, 0] = np.nan
    assert np.isnan(normalised(maps)[2]).all() and np.isfinite(normalised(maps)[[0, 1, 3, 4]]).all()


@pytest.mark.parametrize("size", [(90, 60), (33, 120), (5, 3)])
def test_upsampling_is_that_of_torch(frame, size):
    clip = frame("B-32")
    maps = np.random.RandomState(1).randn(3, *clip.grid).astype(np.float32)
    scaled = torch.tensor(normalised(maps))[:, None]
    cubic = F.interpolate(scaled, size[::-1], mode="bicubic", align_corners=False)[:, 0].numpy()
    found = to_picture(maps, size, clip, clamp=False)
    assert found.dtype == np.float32 and found.shape == (3, size[1], size[0])
    np.testing.assert_allclose(found, cubic, atol=1e-5)
    np.testing.assert_allclose(to_picture(maps, size, clip), cubic.clip(0, 1), atol=1e-5)
    linear = F.interpolate(scaled, size[::-1], mode="bilinear", align_corners=False)[:, 0].numpy()
    found = to_picture(maps, size, clip, "gscorecam")
    np.testing.assert_allclose(found, normalised(linear), atol=1e-5)
    positive = to_picture(np.maximum(maps, 0), size, clip)
    np.testing.assert_array_equal(to_picture(maps, size, clip, "gradcam"), positive)


def ramp(size, axis):
    """An image whose brightness is the position along one axis, 0 to 1, and that position."""
    width, height = size
    places = (np.arange(width if axis else height) + 0.5) / (width if axis else height)
    values = np.broadcast_to(places if axis else places[:, None], (height, width))
    grey = Image.fromarray((values * 255).astype(np.uint8)).convert("RGB")
    return grey, values


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (321, 197)])
@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("preprocess", ["squash", "clip"])
def test_a_map_lies_where_its_pixels_were(frame, name, preprocess, size):
    clip = frame(name)
    for axis in (0, 1):
        grey, places = ramp(size, axis)
        cells = as_the_patches_see(clip, transform_of(clip, preprocess)(grey)[0])
        found = to_picture(cells, size, clip, preprocess=preprocess, clamp=False)
        found = found * (cells.max() - cells.min()) + cells.min()  # undo the min-max
        inner = inside(clip, found)
        cell = 1.5 / min(clip.grid)  # a cell is at most that share of the image
        assert inner.sum() > 1000
        assert np.abs(found * STD + MEAN - places)[inner].max() < 0.06 * cell + 0.005


def as_the_patches_see(clip, seen):
    """Mean of one channel of the model's input in each patch: a map of the image itself."""
    patch, (rows, cols) = clip.model.visual.patch_size[0], clip.grid
    seen = seen[: rows * patch, : cols * patch]
    return seen.unfold(0, patch, patch).unfold(1, patch, patch).mean((2, 3)).numpy()


def inside(clip, found):
    """Pixels two cells away from the borders of what the model saw of the image."""
    known = np.isfinite(found)
    rows, cols = np.nonzero(known)
    reach = int(2.5 * max(np.ptp(rows), np.ptp(cols)) / min(clip.grid))
    inner = np.zeros_like(known)
    inner[rows.min() + reach : rows.max() - reach, cols.min() + reach : cols.max() - reach] = True
    return inner & known


def test_outside_the_crop_nothing_is_known(frame):
    clip = frame("B-32")
    maps = np.random.RandomState(0).rand(*clip.grid)
    wide = to_picture(maps, (200, 100), clip, preprocess="clip")
    assert np.isnan(wide[:, :50]).all() and np.isnan(wide[:, 150:]).all()
    assert np.isfinite(wide[:, 50:150]).all()
    assert (to_picture(maps, (200, 100), clip, preprocess="clip", outside=0.0)[:, :50] == 0).all()
    assert np.isfinite(to_picture(maps, (200, 100), clip)).all()


def test_squashing_keeps_the_models_own_numbers(frame):
    for name in FRAMES:
        clip = frame(name)
        height, width = clip.image_size
        exact = picture(width, height)
        squashed, own = (transform_of(clip, mode)(exact) for mode in ("squash", "clip"))
        torch.testing.assert_close(squashed, own)
        assert transform_of(clip, "squash")(picture(300, 20)).shape == (3, height, width)


def test_a_foreign_preprocessing_is_refused_with_a_way_out(frame):
    clip = frame("B-32")
    own, clip.preprocess = clip.preprocess, lambda image: torch.zeros(3, 224, 224)
    try:
        with pytest.raises(UserError, match="preprocess='clip'"):
            transform_of(clip, "squash")
        with pytest.raises(UserError, match="preprocess='squash'"):
            to_picture(np.zeros((14, 14)), (20, 10), clip, preprocess="clip")
    finally:
        clip.preprocess = own
