"""What every figure has to be."""

import itertools
from unittest.mock import patch

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def texts(figure):
    """The texts that are really drawn, with their boxes in pixels."""
    renderer, drawn, draw = FigureCanvasAgg(figure).get_renderer(), [], Text.draw

    def note(text, renderer, *args, **kwargs):
        drawn.append(text)
        return draw(text, renderer, *args, **kwargs)

    with patch.object(Text, "draw", note):
        figure.draw(renderer)
    return [(t, t.get_window_extent(renderer)) for t in drawn if t.get_text() and t.get_visible()]


def assert_tidy(figure):
    """Every text is at least 6 points high and inside the figure, and none overlaps another."""
    found = texts(figure)
    assert min(t.get_fontsize() for t, _ in found) >= 6
    for text, box in found:
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, text
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(found, 2):
        over = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(over) < 2, (one, other)
