"""Frames of images and their classes: pair_id, image, label, class_name, error."""

from pathlib import Path

import pandas as pd

from ..errors import UserError


def classed(pair_id: str, image, label: int, name: str) -> dict:
    """One row of a frame of classes."""
    return {"pair_id": pair_id, "image": image, "label": label, "class_name": name}


def with_classes(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The frame with label as whole numbers, and the names of all its classes."""
    frame = frame.drop(columns=["caption", "group"])
    frame["label"] = frame["label"].astype("Int64") if "label" in frame else pd.NA
    frame.attrs["classes"] = names
    return frame


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that are not empty. Raises UserError."""
    try:
        return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeError):
        raise UserError(f"cannot read {file} as text") from None
