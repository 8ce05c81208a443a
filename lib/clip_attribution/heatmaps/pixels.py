"""Images as the model reads them: squashed to its input size, or as in its own preprocessing."""

from collections.abc import Callable

from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from ..errors import ImageError, UserError
from ..io.images import open_image


def transform_of(clip, preprocess: str = "squash") -> Callable:
    """From a PIL image to a tensor [3, h, w].

    "squash" resizes to the model's input size whatever the image's shape, with the model's own
    interpolation, mean and standard deviation: nothing is cropped, so that every box stays in
    view. "clip" is the model's own preprocessing, as a rule a central crop.
    """
    if preprocess == "clip":
        return clip.preprocess
    if preprocess != "squash":
        raise UserError(f"preprocess must be 'squash' or 'clip', not {preprocess!r}")
    steps = {type(step).__name__: step for step in getattr(clip.preprocess, "transforms", [])}
    if "Normalize" not in steps:
        raise UserError("this model's preprocessing is not open_clip's: use preprocess='clip'")
    resize = steps.get("Resize", steps.get("ResizeKeepRatio"))
    interpolation = getattr(getattr(resize, "interpolation", None), "value", "bicubic")
    normalize = steps["Normalize"]
    given = PreprocessCfg(
        size=clip.image_size,
        mean=tuple(normalize.mean),
        std=tuple(normalize.std),
        interpolation=interpolation,
        resize_mode="squash",
    )
    return image_transform_v2(given, is_train=False)


def read_pixels(ref, root, transform: Callable):
    """Preprocessed pixels [3, h, w] of one image, or the reason (str) why there are none."""
    try:
        return transform(open_image(ref, root))
    except ImageError as error:
        return str(error)


def frame_of(clip, picture_size: tuple[int, int], preprocess: str):
    """The part (x0, y0, x1, y1) of an image, in its own pixels, that the model's input shows.

    It reaches beyond the image where the preprocessing pads.
    """
    width, height = picture_size
    if preprocess == "squash":
        return 0.0, 0.0, float(width), float(height)
    shown, offset = Image.new("L", picture_size), (0.0, 0.0)
    for step in getattr(clip.preprocess, "transforms", []):
        if step.__class__.__name__ in ("Resize", "ResizeKeepRatio"):
            return _central(clip.image_size, shown.size, step(shown).size, offset)
        shown = step(shown)
        offset = ((width - shown.width) // 2, (height - shown.height) // 2)
    raise UserError("this model's preprocessing is not open_clip's: use preprocess='squash'")


def _central(target: tuple[int, int], before: tuple, after: tuple, offset: tuple):
    """The window of `target` (rows, columns) in the middle of `after`, in the pixels of the image
    that was cut by `offset` to the size `before` and then resized to `after`."""
    low, high = [], []
    for side, source, resized, start in zip(target[::-1], before, after, offset, strict=True):
        first = round((resized - side) / 2) if resized > side else -((side - resized) // 2)
        low.append(start + first * source / resized)
        high.append(start + (first + side) * source / resized)
    return *low, *high
