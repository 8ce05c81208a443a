"""Versions of installed packages, for `--version` and for the record that goes with results."""

from importlib import metadata


def package_version(name="clip-attribution"):
    """The version of an installed package; "not installed" where it only lies on the path."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """The versions that stand in the record of a result."""
    names = ("clip-attribution", "torch", "open_clip_torch")
    return {name: package_version(name) for name in names}
