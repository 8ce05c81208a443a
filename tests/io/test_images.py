"""Every kind of image file becomes upright RGB, every broken one an ImageError of one line."""

import math
import os

import numpy as np
import pytest
from PIL import Image

from clip_attribution.io.images import ImageError, open_image


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def photo(width=24, height=16) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def reason(ref, root=None) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(ref, root)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_plain_file_is_unchanged(root):
    photo().save(root / "a.png")
    for ref, base in (("a.png", root), (str(root / "a.png"), root), (root / "a.png", None)):
        image = open_image(ref, base)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(photo()))


def test_path_is_relative_to_root_or_working_folder(root, monkeypatch):
    (root / "sub").mkdir()
    photo().save(root / "sub" / "a.png")
    assert open_image("sub/../sub/a.png", root).size == (24, 16)
    monkeypatch.chdir(root)
    assert open_image("sub/a.png").size == (24, 16)


def test_rgba_is_laid_over_white(root):
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(pixels).save(root / "a.png")
    got = np.asarray(open_image("a.png", root))[0]
    assert got.tolist() == [[255, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_palette_with_transparent_entry_is_laid_over_white(root):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    image.save(root / "a.png", transparency=0)
    assert np.asarray(open_image("a.png", root))[0].tolist() == [[255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pil_image_of_any_mode_passes_through(mode):
    image = open_image(Image.new(mode, (5, 4)))
    assert image.mode == "RGB" and image.size == (5, 4)


def test_pil_rgb_image_keeps_its_pixels():
    assert np.array_equal(np.asarray(open_image(photo())), np.asarray(photo()))


def test_cmyk_jpeg(root):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(root / "a.jpg")
    red, green, blue = np.asarray(open_image("a.jpg", root))[4, 4]
    assert red > 200 and green < 50 and blue < 50


def test_animation_gives_its_first_frame(root):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "green")]
    frames[0].save(root / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(open_image("a.gif", root))[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bit_grey_is_scaled_not_clipped(root):
    values = np.array([[0, 257 * 100, 257 * 200, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(root / "a.png")
    got = np.asarray(open_image("a.png", root))[0]
    assert got.tolist() == [[v] * 3 for v in (0, 100, 200, 255)]


def test_sixteen_bit_big_endian_tiff(root):
    values = np.array([[0, 257 * 100, 65535]], dtype=">u2")
    Image.frombytes("I;16B", (3, 1), values.tobytes()).save(root / "a.tif")
    assert np.asarray(open_image("a.tif", root))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_float_tiff(root, scale):
    values = np.array([[0, 0.4, 1, np.nan]], dtype=np.float32) * np.float32(scale)
    Image.fromarray(values).save(root / "a.tif")
    assert np.asarray(open_image("a.tif", root))[0, :, 0].tolist() == [0, 102, 255, 0]


def test_one_pixel(root):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(root / "a.png")
    assert np.asarray(open_image("a.png", root)).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(root, orientation):
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that writes each orientation
    upright = photo()
    stored = upright if orientation == 1 else upright.transpose(back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(root / "a.png", exif=exif)
    assert np.array_equal(np.asarray(open_image("a.png", root)), np.asarray(upright))
    with Image.open(root / "a.png") as image:
        assert np.array_equal(np.asarray(open_image(image)), np.asarray(upright))


def test_scene_is_rendered():
    image = open_image("scene:7:12")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(open_image("scene:7:12", "anywhere")))
    assert not np.array_equal(np.asarray(image), np.asarray(open_image("scene:7:13")))
    assert open_image("scene:7:12:256:novel").size == (256, 256)


@pytest.mark.parametrize(
    "ref", ["scene:", "scene:7", "scene:a:b", "scene:7:-1", "scene:7:12:3", "scene:7:12:64000"]
)
def test_malformed_scene(ref):
    assert "not a scene" in reason(ref)


@pytest.mark.parametrize("ref", ["", "  ", None, math.nan, 3, b"a.png", ["a.png"]])
def test_no_image_given(ref, root):
    assert "no image given" in reason(ref, root)


def test_missing_file_and_folder(root):
    assert "no such file: 'b.png'" in reason("b.png", root)
    assert "not a file" in reason(".", root)


def test_device_file_is_not_read():
    assert "not a file" in reason("/dev/zero")


def test_strange_paths(root):
    assert "null byte" in reason("a\0.png", root)
    reason("x" * 5000, root)
    reason("a\nb.png", root)
    reason("\udcff.png", root)
    os.symlink(root / "loop", root / "loop")
    reason("loop", root)


def test_path_may_not_leave_the_root(root):
    photo().save(root.parent / "secret.png")
    os.symlink(root.parent / "secret.png", root / "link.png")
    os.symlink(root.parent, root / "up")
    for ref in (
        "../secret.png",
        str(root.parent / "secret.png"),
        "link.png",
        "up/secret.png",
        "../absent.png",
        "/etc/hostname",
    ):
        assert "path leaves the image root" in reason(ref, root)
    assert open_image(str(root / "link.png")).size == (24, 16)  # no root, nothing to leave


def test_link_inside_the_root_and_linked_root(root):
    photo().save(root / "a.png")
    os.symlink("a.png", root / "link.png")
    os.symlink(root, root.parent / "linked")
    assert open_image("link.png", root).size == (24, 16)
    assert open_image("a.png", root.parent / "linked").size == (24, 16)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_truncated_file(root, suffix, part):
    photo(200, 150).save(root / f"a.{suffix}")
    whole = (root / f"a.{suffix}").read_bytes()
    (root / f"b.{suffix}").write_bytes(whole[: int(len(whole) * part)])
    assert "cannot" in reason(f"b.{suffix}", root)


def test_damaged_bytes_raise_nothing_else(root):
    rng = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "webp", "tif"):
        photo(60, 40).save(root / f"a.{suffix}")
        whole = np.frombuffer((root / f"a.{suffix}").read_bytes(), dtype=np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 8)] = rng.integers(0, 256, 8, dtype=np.uint8)
            (root / "b").write_bytes(damaged.tobytes())
            try:
                assert open_image("b", root).mode == "RGB"
            except ImageError as error:
                assert "\n" not in str(error)


def test_not_an_image(root):
    (root / "a.jpg").write_text("these are no pixels")
    (root / "empty.jpg").write_bytes(b"")
    assert "cannot read" in reason("a.jpg", root)
    assert "cannot read" in reason("empty.jpg", root)


def test_formats_that_run_a_program_are_refused(root):
    (root / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    assert "cannot read" in reason("a.eps", root)


@pytest.mark.parametrize("side", [11, 30])  # Pillow warns above its limit, refuses above twice
def test_decompression_bomb(root, monkeypatch, side):
    photo(side, side).save(root / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.warns(Image.DecompressionBombWarning) if side == 11 else pytest.raises(ImageError):
        open_or_raise = reason if side == 11 else open_image
        open_or_raise("a.png", root)
