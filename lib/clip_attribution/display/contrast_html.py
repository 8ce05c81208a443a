"""The HTML form of a contrast: both captions, word above word, in the style of `html`."""

from html import escape

import pandas as pd
from matplotlib.colors import to_hex

from ..plots.colours import colours, layers_in_words, text_colour
from .contrast import value_of
from .html import BOX, NOTE, UNSEEN, VALUE, WORD, pictures, scale_bar

ABSENT, SAME = "·", "="  # no word there; the word above


def html_form(contrast) -> str:
    """One self-contained element: both captions aligned, legend, image, scores."""
    facts, finding = contrast.facts, escape(contrast.finding())
    places = "".join(place(row, contrast) for row in contrast.words.itertuples())
    note = f"above: this caption; below: the other ({SAME} the same word, {ABSENT} none)"
    made = (
        f"{facts['model']}; {facts['method']}, {layers_in_words(facts['layers'])}; read as "
        f"“{facts['template']}…”"
    )
    return (
        f'<div role="group" aria-label="{finding}" class="clip-contrast" style="{BOX}">'
        f'<div dir="auto" style="font-size:17px;overflow-wrap:anywhere">{places}</div>'
        f'<div style="{NOTE}">{note}</div>'
        f"{scale_bar(contrast, 'for the other caption', 'for this one')}</div>"
        f"{pictures(contrast)}<div><strong>{finding}</strong></div>"
        f'<div>{escape(contrast.scores())}</div><div style="{NOTE}">{escape(made)}</div></div>'
    )


def place(row, contrast) -> str:
    """One place: the word of each caption, and between them the value on its colour."""
    limit, unit = contrast.limit, contrast.facts["unit"]
    back, value = colours(row.contrast, limit), value_of(row, limit)
    words = [w if isinstance(w, str) else "no word" for w in (row.word, row.other_word)]
    spoken = escape(f"{words[0]} against {words[1]}: {value} {unit}")
    below = SAME if row.word == row.other_word else row.other_word
    style = f"{WORD}background:{to_hex(back)};color:{text_colour(back)};margin-right:3px"
    return (
        f'<span role="img" aria-label="{spoken}" title="{spoken}" style="{style}">'
        f'{spelled(row.word, row.attribution)}<small style="{VALUE}">{value}</small>'
        f"{spelled(below, row.other_attribution)}</span>"
    )


def spelled(word, attribution: float) -> str:
    """A word, a dot where there is none, struck through where the model has not seen it."""
    if not isinstance(word, str):
        return f"<span>{ABSENT}</span>"
    style = UNSEEN if pd.isna(attribution) else ""
    return f'<bdi style="{style}">{escape(word)}</bdi>'
