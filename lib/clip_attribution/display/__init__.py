"""What CLIP makes of one image and one caption, for a notebook and for a terminal."""

from .explanation import Explanation, as_seen, compare, explain

__all__ = ["Explanation", "as_seen", "compare", "explain"]
