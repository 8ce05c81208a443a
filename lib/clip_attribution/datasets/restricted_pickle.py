"""Read a pickle that holds plain data only; unpickling anything else could run code."""

import pickle
from math import prod
from pathlib import Path

import numpy as np

from ..errors import UserError, one_line
from ..io.pickles import check_pickle, check_size


class _PlainUnpickler(pickle.Unpickler):
    """Builds what pickle has opcodes for; every look-up of a class or function is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may run code")


class _BytesUnpickler(_PlainUnpickler):
    """Lets arrays of bytes through as well, built here and not by numpy's own hooks."""

    def find_class(self, module, name):
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return {"ndarray": _Array, "dtype": _Kind}[name]
        if name == "_reconstruct" and module in _RECONSTRUCT:
            return _Array
        return super().find_class(module, name)


_RECONSTRUCT = ("numpy.core.multiarray", "numpy._core.multiarray")


class _Kind:
    """What a pickle says of the type of an array."""

    def __init__(self, name="", *ignored):
        self.name = name if isinstance(name, str) else name.decode("latin1")

    def __setstate__(self, state):
        pass  # byte order and such, which a byte has not


class _Array:
    """What a pickle says of an array; `values` builds it if it is one of bytes."""

    def __init__(self, *ignored):
        pass

    def __setstate__(self, state):
        _, self.shape, self.kind, self.by_column, self.raw = state

    def values(self) -> np.ndarray:
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        if self.kind.name != "u1" or len(raw) != prod(self.shape):
            raise pickle.UnpicklingError(f"an array of {self.kind.name!r}: only bytes are read")
        order = "F" if self.by_column else "C"
        return np.frombuffer(raw, np.uint8).reshape(self.shape, order=order)


def load(path, arrays: bool = False):
    """The content of a pickle of any protocol, Python 2 strings read as latin1.

    Allowed are list, tuple, dict, str, bytes, int, float, bool and None: all that RefCOCO's files
    need. Sets, too, where the protocol (4 or later) has opcodes for them. Everything else is
    refused before it is built, numpy scalars and arrays included. Nothing in the file is run, and
    nothing grows beyond what the file holds.
    arrays: let numpy's arrays of bytes through, as values of a dict: all that CIFAR's files need.
    Raises UserError that names the class asked for, or says why the file cannot be read.
    """
    reader = _BytesUnpickler if arrays else _PlainUnpickler
    try:
        size = Path(path).stat().st_size
        check_pickle(path)
        with open(Path(path), "rb") as file:
            content = reader(file, encoding="latin1").load()
        check_size(content, most=100 * size + 1000)
        if arrays and isinstance(content, dict):
            return {k: v.values() if isinstance(v, _Array) else v for k, v in content.items()}
        return content
    except UserError:
        raise
    except Exception as error:  # damaged bytes can make the unpickler raise nearly anything
        raise UserError(f"cannot read {path} as plain data: {one_line(error)}") from None
