"""`Alignment`: a subspace of a state of the text tower, in memory and as a file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..io.tensors import read_tensors, write_tensors
from ..trace.sites import find_blocks
from .engine import FEATURES, is_count, site_width

TOLERANCE = 1e-4  # by which W^T W of a rotation in float32 may miss the identity


@dataclass(frozen=True, eq=False)
class Alignment:
    """Which subspace of which state of the text tower.

    Parameters
    ----------
    site
        A block of the text tower, counted from 0, or "features".
    size
        k, the number of the rotation's first columns that span the subspace; 0 is none of it.
    rotation
        W [d, d], orthogonal; None is the identity.

    Raises
    ------
    UserError
        A site or a size that cannot be, or a matrix that is no rotation.
    """

    site: int | str
    size: int
    rotation: Tensor | None = None

    def __post_init__(self):
        if self.site != FEATURES and not is_count(self.site):
            raise UserError(
                f"unknown site {self.site!r}: give a block counted from 0, or {FEATURES!r}"
            )
        if not is_count(self.size):
            raise UserError(f"size must be a whole number from 0, not {self.size!r}")
        if self.rotation is not None:
            _check_rotation(self.rotation, self.size)

    def basis(self, width: int) -> Tensor:
        """The subspace's orthonormal basis [width, k]. Raises UserError for another width."""
        known = width if self.rotation is None else len(self.rotation)
        if known != width or self.size > width:
            raise UserError(
                f"the alignment is for a state of {max(known, self.size)} numbers, but site "
                f"{self.site!r} of this model has {width}: choose another size or alignment"
            )
        whole = torch.eye(width) if self.rotation is None else self.rotation
        return whole[:, : self.size]

    @classmethod
    def half(cls, clip) -> "Alignment":
        """The first half of the coordinates after the last but one block, unrotated."""
        site = _usual_site(clip)
        return cls(site, site_width(clip, site) // 2)

    @classmethod
    def random(cls, clip, site=None, size: int | None = None, seed: int = 0) -> "Alignment":
        """An alignment with a uniformly (Haar) random rotation.

        site: the last but one block by default, as in the paper; size: half the width.
        """
        site = _usual_site(clip) if site is None else site
        width = site_width(clip, site)
        generator = torch.Generator().manual_seed(seed)
        rotation = nn.init.orthogonal_(torch.empty(width, width), generator=generator)
        return cls(site, width // 2 if size is None else size, rotation)

    def save(self, path) -> None:
        """Write a safetensors file, atomically; equal alignments give equal bytes."""
        tensors = {} if self.rotation is None else {"rotation": self.rotation}
        metadata = {"format": "pt", "kind": "alignment"}
        write_tensors(
            Path(path), tensors, metadata | {"site": f"{self.site}", "size": f"{self.size}"}
        )

    @classmethod
    def load(cls, path) -> "Alignment":
        """Read what `save` wrote. Raises UserError for any other file."""
        cure = "give a file that Alignment.save wrote"
        tensors, metadata = read_tensors(Path(path), cure)
        site, size = metadata.get("site", ""), metadata.get("size", "")
        known = (
            metadata.get("kind") == "alignment"
            and size.isdecimal()
            and set(tensors) <= {"rotation"}
        )
        if not known or not (site == FEATURES or site.isdecimal()):
            raise UserError(f"{path} holds no alignment: {cure}")
        return cls(site if site == FEATURES else int(site), int(size), tensors.get("rotation"))


def _usual_site(clip) -> int:
    return len(find_blocks(clip.model, "text")) - 2


def _check_rotation(rotation: Tensor, size: int) -> None:
    square = isinstance(rotation, Tensor) and rotation.dim() == 2 and rotation.is_floating_point()
    if not square or rotation.shape[0] != rotation.shape[1]:
        raise UserError("a rotation is a square matrix of floats [d, d], or None for the identity")
    if size > len(rotation):
        raise UserError(f"size {size} is more than the {len(rotation)} columns of the rotation")
    whole = rotation.detach().double()
    if not (whole.T @ whole - torch.eye(len(whole), device=whole.device)).abs().max() <= TOLERANCE:
        raise UserError("the rotation is not orthogonal: its columns must be orthonormal")
