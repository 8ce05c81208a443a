"""Old import paths still work, and warn with the name of the new place."""

import warnings
from importlib import import_module

import pytest

from clip_attribution.dependencies import PACKAGE as PACKAGE_FOLDER
from clip_attribution.moved import PACKAGE, PLACES, Moved


def load_anew(name: str):
    """The module of an old name, found as if nobody had asked for it before."""
    spec = Moved().find_spec(name)
    module = __import__("importlib.util").util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("old", PLACES)
def test_an_old_path_hands_out_what_lies_at_the_new_one(old):
    with pytest.warns(DeprecationWarning, match=f"is now {PACKAGE}.{PLACES[old]}"):
        module = load_anew(f"{PACKAGE}.{old}")
    there = import_module(f"{PACKAGE}.{PLACES[old]}")
    public = [name for name in vars(there) if not name.startswith("_")]
    assert public and all(getattr(module, name) is getattr(there, name) for name in public)


def test_statements_with_old_paths():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from clip_attribution.datasets.scenes import scene_pairs
        from clip_attribution.datasets.scenes.vocabulary import KINDS
        from clip_attribution.tables import read_pairs  # noqa: F401

        from clip_attribution import images, roles  # noqa: F401
    assert scene_pairs.__module__ == "clip_attribution.scenes" and KINDS


@pytest.mark.parametrize("name", ["nowhere", "tablesx", "io.nowhere", "datasets.scenes.nowhere"])
def test_other_names_are_not_there(name):
    with warnings.catch_warnings(), pytest.raises(ModuleNotFoundError):
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module(f"{PACKAGE}.{name}")


def test_no_room_hides_a_front_name():
    """A room of the name of a function would replace it once it is imported."""
    import clip_attribution

    for name in clip_attribution.__all__:
        assert not (PACKAGE_FOLDER / name).exists() and not (PACKAGE_FOLDER / f"{name}.py").exists()
