"""Tensors in safetensors files: nothing is pickled, and the same tensors give the same bytes."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError, one_line
from .tables import atomic_path


def write_tensors(path: Path, tensors: dict, metadata: dict) -> None:
    """Write a safetensors file, atomically; the same tensors and metadata give the same bytes.

    The library shuffles the metadata: it is written anew, sorted, in the place that it takes.
    """
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata)
        except SafetensorError as reason:  # how it says that the disk is full
            raise UserError(f"cannot write {path}: {one_line(reason)}") from None
        with open(temporary, "rb+") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
            header["__metadata__"] = dict(sorted(metadata.items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            file.seek(8)
            file.write(text.ljust(size))


def read_tensors(path: Path, cure: str = "remove it to begin anew") -> tuple[dict, dict]:
    """Tensors and metadata of a safetensors file. Raises UserError, which names the cure."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as reason:
        raise UserError(f"cannot read {path}: {cure} ({one_line(reason)})") from None
