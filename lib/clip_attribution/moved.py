"""Old import paths: each still works, with a warning that names the new one."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

PACKAGE = __package__
PLACES = {
    "ablations": "studies.foils.table",
    "baselines": "metrics.baselines",
    "blip": "models.blip",
    "calibration": "metrics.conformal",
    "composition": "evaluation.composition",
    "datasets.scenes": "scenes",
    "finetuning_outcomes": "studies.finetuning.outcomes",
    "grounding": "metrics.grounding",
    "images": "io.images",
    "misalignment": "metrics.misalignment",
    "pairs": "studies.sample",
    "pos": "text.pos",
    "protocols": "datasets.protocols",
    "roles": "text.roles",
    "score": "evaluation.score",
    "tables": "io.tables",
    "tokens": "text.tokens",
    "words": "text.words",
}


class Moved(MetaPathFinder, Loader):
    """Finds the modules of `PLACES` by their old names."""

    def find_spec(self, fullname, path=None, target=None):
        """A spec for an old name of this package, None for every other name."""
        place = new_place(fullname)
        return place and ModuleSpec(fullname, self, loader_state=place)

    def exec_module(self, module) -> None:
        """Hand every name on to the module at its new place."""
        place = module.__spec__.loader_state
        warnings.warn(f"{module.__name__} is now {place}", DeprecationWarning, stacklevel=2)
        there = import_module(place)
        module.__getattr__ = lambda name: getattr(there, name)
        module.__path__ = getattr(there, "__path__", [])


def new_place(fullname: str) -> str | None:
    """Where the module of this name lies now; None where it is no old name."""
    for old, new in PLACES.items():
        if fullname == f"{PACKAGE}.{old}" or fullname.startswith(f"{PACKAGE}.{old}."):
            return f"{PACKAGE}.{new}" + fullname[len(f"{PACKAGE}.{old}") :]
    return None


def install() -> None:
    """Let Python find the old names, after every other way of finding them."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
