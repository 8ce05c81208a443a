"""Read a pickle that holds plain data only; unpickling anything else could run code."""

import pickle
from pathlib import Path

from ..errors import UserError, one_line
from ..io.pickles import check_pickle, check_size


class _PlainUnpickler(pickle.Unpickler):
    """Builds what pickle has opcodes for; every look-up of a class or function is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may run code")


def load(path):
    """The content of a pickle of any protocol, Python 2 strings read as latin1.

    Allowed are list, tuple, dict, str, bytes, int, float, bool and None: all that RefCOCO's files
    need. Sets, too, where the protocol (4 or later) has opcodes for them. Everything else is
    refused before it is built, numpy scalars and arrays included. Nothing in the file is run, and
    nothing grows beyond what the file holds.
    Raises UserError that names the class asked for, or says why the file cannot be read.
    """
    try:
        size = Path(path).stat().st_size
        check_pickle(path)
        with open(Path(path), "rb") as file:
            value = _PlainUnpickler(file, encoding="latin1").load()
        check_size(value, most=100 * size + 1000)
        return value
    except UserError:
        raise
    except Exception as error:  # damaged bytes can make the unpickler raise nearly anything
        raise UserError(f"cannot read {path} as plain data: {one_line(error)}") from None
