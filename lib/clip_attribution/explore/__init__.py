"""One image and one caption by hand, live, in JupyterLab."""

from .widget import Explorer, explorer

__all__ = ["Explorer", "explorer"]
