"""Import a module when its first name is asked for, so that importing a package is cheap."""

from importlib import import_module


def attach(package: str, homes: dict[str, str]):
    """What lets a package offer names of modules that it has not imported yet.

    `__getattr__, __dir__ = attach(__name__, {".figures": "curves dots"})`

    homes: {module, relative to the package: its names with blanks between}; a module without names
    is offered itself. `dependencies` reads these from the source.
    """
    places = {name: (module, name) for module, names in homes.items() for name in names.split()}
    places |= {module.lstrip("."): (module, None) for module in homes if not homes[module]}

    def __getattr__(name):
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, name = places[name]
        found = import_module(module, package)
        return getattr(found, name) if name else found

    return __getattr__, lambda: sorted(places)
