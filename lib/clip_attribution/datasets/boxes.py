"""What the grounding loaders share: their frame, and boxes that are checked one by one.

A grounding frame has one row a phrase: pair_id, image (as in a pairs frame), caption (the sentence
that the phrase stands in, or the prompt), phrase (the text for the model; caption[start:end]),
start, end, boxes (a list of [x0, y0, x1, y1], floats, pixels of the original image, x1 and y1
excluded), width and height of that image where the dataset states them, role (object, attribute
or relation where the dataset tells, else missing), type (the dataset's own classes), group, error.
"""

import ast
import math
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Real

import pandas as pd

from .files import frame_of, require_fields

COLUMNS = (
    "pair_id",
    "image",
    "caption",
    "phrase",
    "start",
    "end",
    "boxes",
    "width",
    "height",
    "role",
    "type",
    "group",
    "error",
)
NUMBERS = r"(\d+) (\d+) (\d+) (\d+) "
PALI_BOX = re.compile(NUMBERS + r"(.+)", re.DOTALL)


def grounding_frame(records: Iterable, make_rows: Callable, left_out: dict) -> pd.DataFrame:
    """`frame_of` the records with the columns of a grounding frame, in order.

    left_out: counts of what the loader passed over by design; they become attrs["left_out"], read
    after the last row was made, so `make_rows` may count.
    """
    frame = frame_of(records, make_rows)
    frame = frame.reindex(columns=list(dict.fromkeys((*COLUMNS, *frame.columns))))
    frame["boxes"] = [b if isinstance(b, list) else [] for b in frame["boxes"]]
    for name in ("start", "end", "width", "height"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    frame.attrs["left_out"] = dict(left_out)
    return frame


def four_numbers(box) -> list[float]:
    """The box as four floats. Raises ValueError when it is anything else, or not finite."""
    if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != 4:
        raise ValueError(f"a box has four numbers, not {str(box)[:60]}")
    if not all(isinstance(v, Real) and not isinstance(v, bool) for v in box):
        raise ValueError(f"a box has four numbers, not {str(box)[:60]}")
    if not all(math.isfinite(v) for v in box):
        raise ValueError(f"box {list(box)} is not finite")
    return [float(v) for v in box]


def corner_box(box, width: float | None = None, height: float | None = None) -> list[float]:
    """[x0, y0, x1, y1], checked. A box that is partly outside stays as stored: metrics clip it.

    Raises:
        ValueError: not four finite numbers; x1 <= x0 or y1 <= y0; wholly outside the image of
            this width and height (pixels; None where unknown).
    """
    x0, y0, x1, y1 = found = four_numbers(box)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"box {found} is empty")
    beyond = (width is not None and x0 >= width) or (height is not None and y0 >= height)
    if x1 <= 0 or y1 <= 0 or beyond:
        raise ValueError(f"box {found} lies outside the image ({width} x {height})")
    return found


def sized_box(box, width: float | None = None, height: float | None = None) -> list[float]:
    """The same from COCO's x, y, width, height."""
    x, y, w, h = four_numbers(box)
    if w <= 0 or h <= 0:
        raise ValueError(f"box {[x, y, w, h]} (x, y, width, height) is empty")
    return corner_box([x, y, x + w, y + h], width, height)


def enclosing(boxes: list[list[float]]) -> list[float]:
    """The smallest box that holds all of `boxes`."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return [min(x0), min(y0), max(x1), max(y1)]


def dino_boxes(cell: str) -> tuple[list[list[float]], list[str]]:
    """Boxes in pixels and their labels, from a Python dict of boxes by centre, width and height."""
    if not cell.strip():
        return [], []
    try:
        found = ast.literal_eval(cell)
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("'bbox_GroundingDino' is not a Python dict") from None
    require_fields(found, "boxes_in_pixels", "labels")
    boxes = [
        corner_box([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        for x, y, width, height in found["boxes_in_pixels"]
    ]
    return boxes, [str(label) for label in found["labels"]]


def pali_boxes(cell: str) -> tuple[list[list[float]], list[str]]:
    """Boxes on PaLI's grid of 0..1000, and their labels.

    The cell says `ymin xmin ymax xmax label`, more of them after " and "; since a label may hold
    " and " itself, another box begins only where four numbers follow.
    """
    boxes, labels = [], []
    for part in re.split(f" and (?={NUMBERS.replace('(', '(?:')})", cell) if cell.strip() else []:
        found = PALI_BOX.fullmatch(part.strip())
        if not found:
            raise ValueError(f"'bbox_PaLI' is not four numbers and a label: {part[:60]!r}")
        y0, x0, y1, x1 = (float(value) for value in found.groups()[:4])
        boxes.append(corner_box([x0, y0, x1, y1]))
        labels.append(found[5])
    return boxes, labels
