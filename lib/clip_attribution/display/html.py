"""The HTML form of an explanation. Whatever comes from a user is escaped here: it is text.

Styles stand on the elements, because notebook front ends strip style sheets; the one sheet there is
shows the regions of the word that is pointed at, and where it is stripped they stay hidden.
Background and text colours are always set together, so that light and dark themes show the same.
Nothing is told by colour alone: values have signs, misaligned words are underlined, unseen ones
struck through.
"""

import base64
import io
from html import escape

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from ..plots.colours import (
    DRAWN,
    cells,
    colours,
    layers_in_words,
    number,
    overlay,
    pale,
    symmetric_limit,
    text_colour,
)

BOX = (
    "background:#ffffff;color:#1a1a1a;color-scheme:light;padding:12px 14px;border:1px solid "
    "#d0d0d0;border-radius:6px;max-width:780px;font-family:sans-serif;font-size:14px;"
    "line-height:1.4;text-align:start"
)
WORD = (
    "display:inline-flex;flex-direction:column;align-items:center;vertical-align:top;"
    "padding:1px 4px;margin-bottom:4px;border-radius:4px;"
)
VALUE = "font-size:11px;line-height:1.2;direction:ltr;font-variant-numeric:tabular-nums"
UNSEEN = "color:#6b6b6b;background:#f3f3f3;text-decoration:line-through"
NOTE = "color:#555555;background:#ffffff;font-size:12px"
SHOWN = 240  # CSS pixels: width of the images


def html_form(explanation) -> str:
    """One self-contained element: caption, legend, images, regions, scores, decision."""
    finding = escape(f"Word attribution: {explanation.finding()}")
    parts = [caption_line(explanation), legend(explanation), pictures(explanation)]
    parts += [outcome(explanation), pointing(explanation)]
    return (
        f'<div role="group" aria-label="{finding}" class="clip-attribution" style="{BOX}">'
        f"{''.join(parts)}</div>"
    )


def caption_line(explanation) -> str:
    """The caption in its own spacing and punctuation, each word on its colour.

    What shares a token with the word before stands without colour and value.
    """
    text, limit, at, pieces = explanation.caption, explanation.limit, 0, []
    seen = explanation.words[explanation.words["seen"]]
    for row in seen.itertuples():
        pieces += [escape(text[at : row.start]), word_span(row, limit, explanation.facts["unit"])]
        at = row.end
    pieces.append(unseen_span(text[at:]) if explanation.truncated else escape(text[at:]))
    style = "font-size:17px;white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 8px"
    return f'<div dir="auto" lang="" style="{style}">{"".join(pieces)}</div>'


def word_span(row, limit: float, unit: str) -> str:
    """One seen word: colour, value with its sign below, underline where it is misaligned."""
    back, value = colours(row.attribution, limit), number(row.attribution, limit)
    line = "text-decoration:underline;text-decoration-thickness:2px" if row.misaligned else ""
    spoken = escape(f"{row.word}: {value} {unit}{', rejected' if row.misaligned else ''}")
    style = f"{WORD}background:{to_hex(back)};color:{text_colour(back)}"
    return (
        f'<span role="img" aria-label="{spoken}" title="{spoken}" tabindex="0" '
        f'class="clip-word clip-word-{row.Index}" style="{style}">'
        f'<bdi style="{line}">{escape(row.word)}</bdi><small style="{VALUE}">{value}</small></span>'
    )


def unseen_span(text: str) -> str:
    """The end of the caption that the model has not read."""
    return f'<s style="{UNSEEN}">{escape(text)}</s> <small style="{NOTE}">not seen</small>'


def legend(explanation) -> str:
    """The colour scale with its ends and unit."""
    ends = "attribution: lowers the score", "raises it"
    return f"{scale_bar(explanation, *ends)} Underlined: misaligned.</div>"


def scale_bar(shown, low: str, high: str) -> str:
    """The colours from -limit to limit, its ends and unit; the element stays open."""
    limit, unit = shown.limit, shown.facts["unit"]
    stops = ",".join(to_hex(colour) for colour in colours(np.linspace(-limit, limit, 9), limit))
    bar = "display:inline-block;width:120px;height:10px;vertical-align:middle;margin:0 6px;"
    return (
        f'<div style="{NOTE}">{low} {number(-limit, limit)}'
        f'<span role="img" aria-label="colour scale from blue over white to red" style="{bar}'
        f'background:linear-gradient(to right,{stops})"></span>{number(limit, limit)} {high} '
        f"(unit: {unit})."
    )


def pictures(explanation) -> str:
    """The image and the heat map side by side, or why there is no map."""
    name = explanation.facts["image"]
    figures = [picture_figure(explanation.picture, f"the image {name}", name)]
    if explanation.heatmap is None:
        reason = escape(str(explanation.no_heatmap))
        figures.append(f'<p style="{NOTE};max-width:{SHOWN}px">no heat map: {reason}</p>')
    else:
        figures.append(map_figure(explanation))
    if explanation.interactions is not None:
        figures.append(regions_figure(explanation))
    elif explanation.no_interactions != explanation.no_heatmap:
        reason = escape(str(explanation.no_interactions))
        figures.append(f'<p style="{NOTE};max-width:{SHOWN}px">no regions of words: {reason}</p>')
    style = "display:flex;flex-wrap:wrap;gap:12px;margin:10px 0"
    return f'<div style="{style}">{"".join(figures)}</div>'


def map_figure(explanation) -> str:
    """The heat map over what the model saw, described in words too."""
    data, unit = explanation.heatmap, explanation.facts["unit"]
    limit = symmetric_limit(data)
    row, column = np.unravel_index(np.argmax(data), data.shape)
    alt = (
        f"heat map of {data.shape[0]} by {data.shape[1]} patches over the image as the model "
        f"saw it, from {data.min():+.2g} to {data.max():+.2g} {unit}; highest in row {row + 1}, "
        f"column {column + 1}"
    )
    note = f"heat map, ±{limit:.2g} {unit}, {data.shape[0]} × {data.shape[1]} patches"
    return picture_figure(overlay(explanation.seen, data, limit), alt, note)


def regions_figure(explanation) -> str:
    """What the model saw, and over it the hidden map of each word, all on one scale.

    A map is an image of one pixel a patch, enlarged by the browser, so that a caption stays light.
    """
    maps, words = explanation.interactions, explanation.words
    limit, (rows, cols) = symmetric_limit(maps), maps.shape[1:]
    note = f"point at a word: its regions, ±{limit:.2g} cosine, {rows} × {cols} patches"
    grey = pale(explanation.seen).convert("L")
    base = picture_figure(grey, "the image as the model saw it", note)
    shape = f"width:{SHOWN}px;height:{SHOWN * grey.height / grey.width:.0f}px"
    shown = [
        region_map(row.Index, row.word, maps[row.Index], limit, shape)
        for row in words[words["seen"]].itertuples()
    ]
    style = f"display:none;position:relative;width:{SHOWN}px"
    return f'<div class="clip-regions" style="{style}">{base}{"".join(shown)}</div>'


def region_map(place: int, word: str, data, limit: float, shape: str) -> str:
    """The map of word number `place` and its ends, laid over the image and the line below it."""
    row, column = np.unravel_index(np.argmax(data), data.shape)
    ends = f"“{word}”: {number(data.min(), limit)} to {number(data.max(), limit)} cosine"
    alt = f"regions of {ends}, highest in row {row + 1}, column {column + 1}"
    return (
        f'<div class="clip-map-{place}" style="position:absolute;top:0;left:0;opacity:0;'
        f'pointer-events:none"><img src="{png(cells(data, limit))}" alt="{escape(alt)}" '
        f'style="{shape};image-rendering:pixelated"><div style="{NOTE};width:{SHOWN}px;'
        f'min-height:2.8em;overflow-wrap:anywhere">{escape(ends)}</div></div>'
    )


def pointing(explanation) -> str:
    """The style sheet that shows the map of the word under the pointer, else of the one in focus.

    Its rules hold inside one explanation, so that several in a notebook do not disturb each other.
    """
    if explanation.interactions is None:
        return ""
    rules = [".clip-attribution .clip-regions{display:block!important}"]
    for k in explanation.words.index[explanation.words["seen"]]:
        focus = f":not(:has(.clip-word:hover)):has(.clip-word-{k}:focus)"
        shown = f".clip-attribution:is(:has(.clip-word-{k}:hover),{focus}) .clip-map-{k}"
        rules.append(f"{shown}{{opacity:1!important}}")
    return f"<style>{''.join(rules)}</style>"


def picture_figure(picture: Image.Image, alt: str, note: str) -> str:
    """One embedded image with alternative text and a line below it."""
    return (
        f'<figure style="margin:0"><img src="{data_uri(picture)}" alt="{escape(alt)}" '
        f'width="{SHOWN}" style="width:{SHOWN}px;height:auto;background:#ffffff">'
        f'<figcaption style="{NOTE};max-width:{SHOWN}px;overflow-wrap:anywhere">{escape(note)}'
        "</figcaption></figure>"
    )


def data_uri(picture: Image.Image) -> str:
    """The image as an embedded PNG, at most twice as large as it is shown."""
    small = picture.copy()
    small.thumbnail((2 * SHOWN, 2 * SHOWN))  # first: a line of pixels would become gigabytes
    small = small if small.mode == "L" else small.convert("RGB")
    scale = min(-(-DRAWN // min(small.size)), 4 * SHOWN // max(small.size))
    if min(small.size) < DRAWN and scale > 1:
        small = small.resize((small.width * scale, small.height * scale), Image.Resampling.BICUBIC)
        small.thumbnail((2 * SHOWN, 2 * SHOWN))
    return png(small)


def png(picture: Image.Image) -> str:
    """The image as it is, as an embedded PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def outcome(explanation) -> str:
    """Decision, scores, and what they were computed with."""
    facts = explanation.facts
    made = (
        f"{facts['model']}; {facts['method']}, {layers_in_words(facts['layers'])}; read as "
        f"“{facts['template']}…”; {facts['decision']}, ε = {facts['epsilon']:g}"
    )
    return (
        f"<div><strong>{escape(explanation.decision())}</strong> · {escape(explanation.scores())}"
        f'</div><div style="{NOTE}">{escape(made)}</div>'
    )
