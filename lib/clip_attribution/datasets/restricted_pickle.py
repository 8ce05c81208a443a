"""Read a pickle that holds plain data only; unpickling anything else could run code."""

import pickle
from pathlib import Path

from ..errors import UserError, one_line


class _PlainUnpickler(pickle.Unpickler):
    """Builds what pickle has opcodes for; every look-up of a class or function is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may run code")


def load(path):
    """The content of a pickle of any protocol, Python 2 strings read as latin1.

    Allowed are list, tuple, dict, str, bytes, int, float, bool and None: all that RefCOCO's files
    need. Sets, too, where the protocol (4 or later) has opcodes for them. Everything else is
    refused before it is built, numpy scalars and arrays included. Nothing in the file is run, but
    a hostile one may still ask for much memory.
    Raises UserError that names the class asked for, or says why the file cannot be read.
    """
    try:
        with open(Path(path), "rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except Exception as error:  # damaged bytes can make the unpickler raise nearly anything
        raise UserError(f"cannot read {path} as plain data: {one_line(error)}") from None
