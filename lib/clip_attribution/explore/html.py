"""The parts of the explorer that are not controls: style, scores, images, bars, one-line notes.

Whatever comes from a user is escaped here. Colours, legend and images are those of
`display_html`, so that a word looks the same in the explorer and in a saved explanation.
"""

import base64
import io
from html import escape

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from ..display.html import NOTE, SHOWN, legend, word_span
from ..display.text import printable
from ..plots.colours import colours, number, overlay, symmetric_limit, text_colour

BICUBIC = Image.Resampling.BICUBIC
# A card that is light in every theme, because the colour scale is made for white.
STYLE = """<style>
.clip-explorer { background: #ffffff; color: #1a1a1a; color-scheme: light; padding: 12px 14px;
  border: 1px solid #d0d0d0; border-radius: 6px; font-family: sans-serif;
  --jp-widgets-color: #1a1a1a; --jp-widgets-label-color: #1a1a1a;
  --jp-widgets-readout-color: #1a1a1a; --jp-widgets-input-color: #1a1a1a;
  --jp-widgets-input-background-color: #ffffff; --jp-widgets-input-border-color: #b0b0b0; }
.clip-explorer .widget-html-content { line-height: 1.4; }
.clip-explorer .clip-explorer-word { white-space: pre; line-height: 1.25; padding: 3px 8px;
  border-radius: 4px; box-shadow: none; overflow: visible; font-variant-numeric: tabular-nums; }
.clip-explorer .clip-explorer-chosen { outline: 2px solid #1a1a1a !important;
  outline-offset: 1px !important; }
.clip-explorer .clip-explorer-caption input { font-size: 16px; }
.clip-explorer .clip-explorer-stack { position: relative; }
.clip-explorer .clip-explorer-cells { position: absolute; inset: 0; margin: 0; width: 100%; }
.clip-explorer .clip-explorer-cells > div { display: grid; width: 100%; height: 100%;
  grid-template-columns: repeat(COLUMNS, 1fr); }
.clip-explorer .clip-explorer-cells button { all: unset; cursor: pointer; font-size: 0; }
.clip-explorer .clip-explorer-cells button:is(:hover, :focus-visible) {
  box-shadow: inset 0 0 0 1px #1a1a1a; }
.clip-explorer .clip-explorer-cells button.mod-active { box-shadow: inset 0 0 0 2px #1a1a1a; }
</style>"""
HEIGHT, ZERO, REACH = SHOWN, 100, 78  # of the bars in CSS pixels: their height, where 0 is, length


def heading(text: str) -> str:
    """A line above a part."""
    return f'<div style="font-size:13px;font-weight:600">{escape(text)}</div>'


def note(text: str) -> str:
    """Small plain text."""
    return f'<div style="{NOTE};overflow-wrap:anywhere">{escape(text)}</div>'


def shortened(text: str, most: int = 40) -> str:
    """The text on one line of at most so many characters."""
    line = printable(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def error_line(text: str) -> str:
    """One line that says what is wrong; nothing for an empty text."""
    style = "color:#7a1010;background:#fdecea;padding:2px 8px;border-radius:4px;font-size:13px"
    line = escape(printable(text)[:300])
    return f'<div role="alert" style="{style}">{line}</div>' if text else ""


def scores_line(explanation) -> str:
    """The legend of the colours, the decision and the scores."""
    return (
        f"{legend(explanation)}<div style='font-size:14px;margin-top:2px'><strong>"
        f"{escape(explanation.decision())}</strong> · {escape(explanation.scores())}</div>"
    )


def picture_part(picture, title: str) -> str:
    """The image under its heading."""
    return heading("Picture") + figure(picture.image, f"the image {title}", title)


def map_part(explanation) -> str:
    """The heat map under a heading that says what it was read with."""
    head = heading(f"Heat map of “{shortened(explanation.facts['heatmap_of'], 60)}”")
    data, unit = explanation.heatmap, explanation.facts["unit"]
    if data is None:
        return head + note(f"no heat map: {explanation.no_heatmap}")
    limit = symmetric_limit(data)
    line = f"±{limit:.2g} {unit}, {data.shape[0]} × {data.shape[1]} patches"
    alt = f"heat map from {data.min():+.2g} to {data.max():+.2g} {unit}"
    return head + figure(overlay(explanation.seen, data, limit), alt, line)


def regions_head(explanation, place: int | None) -> str:
    """What stands above the regions: the word that they are of, the ends of the scale."""
    maps = explanation.interactions
    word = "all words" if place is None else f"“{shortened(explanation.words['word'][place])}”"
    head = heading(f"Regions of {word}")
    if maps is None:
        return head + note(f"no regions of words: {explanation.no_interactions}")
    data, limit = shown_regions(maps, place), symmetric_limit(maps)
    ends = f"{number(data.min(), limit)} to {number(data.max(), limit)}"
    return head + note(f"{ends} cosine; colours to ±{limit:.2g}. Click a region.")


def shown_regions(maps: np.ndarray, place: int | None) -> np.ndarray:
    """The map of a word, or for None the mean of all words that were seen; 0 for an unseen word."""
    seen = maps[~np.isnan(maps).any((1, 2))]
    data = maps[place] if place is not None else seen.mean(0) if len(seen) else maps.sum(0)
    return np.nan_to_num(data)


def regions_part(explanation, place: int | None) -> str:
    """The regions over the image, without a line of their own: the cells lie on top of it."""
    maps = explanation.interactions
    if maps is None:
        return ""
    shown = overlay(explanation.seen, shown_regions(maps, place), symmetric_limit(maps))
    return figure(shown, "the regions named above, over the image as the model saw it")


def region_words(explanation, region: int | None) -> str:
    """The words of a region in the order of the caption, coloured on the scale of the regions."""
    maps = explanation.interactions
    if maps is None:
        return ""
    if region is None:
        return heading("Words of a region") + note("Click a region of the image to see its words.")
    row, column = divmod(region, maps.shape[2])
    values, limit = maps[:, row, column], symmetric_limit(maps)
    words = explanation.words.assign(attribution=values, misaligned=False)
    chips = " ".join(word_span(r, limit, "cosine") for r in words[words["seen"]].itertuples())
    ends = f"{number(np.nanmin(values), limit)} to {number(np.nanmax(values), limit)} cosine"
    return (
        heading(f"Words of row {row + 1}, column {column + 1}")
        + f'<div dir="auto" style="font-size:15px;margin:4px 0">{chips}</div>'
        + note(f"{ends}; colours to ±{limit:.2g}, as in the image")
    )


def figure(picture: Image.Image, alt: str, line: str = "") -> str:
    """An image with alternative text and a line below it, embedded as JPEG: quicker than PNG."""
    drawn, stream = picture.copy(), io.BytesIO()
    drawn.thumbnail((2 * SHOWN, 2 * SHOWN))
    scale = max(1, min(-(-SHOWN // min(drawn.size)), 4 * SHOWN // max(drawn.size)))
    drawn = drawn.resize((drawn.width * scale, drawn.height * scale), BICUBIC)
    drawn.thumbnail((2 * SHOWN, 2 * SHOWN))
    drawn.save(stream, "JPEG", quality=92, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
    return (
        f'<img src="{uri}" alt="{escape(alt)}" '
        f'style="display:block;width:{SHOWN}px;height:auto">'
        + (f'<div style="max-width:{SHOWN}px">{note(line)}</div>' if line else "")
    )


def face(text: str, value: float, limit: float) -> dict:
    """What the button of a word shows: description, button_color, text_color."""
    text = shortened(text)
    if np.isnan(value):
        return {
            "description": f"{text}\nnot seen",
            "button_color": "#f3f3f3",
            "text_color": "#6b6b6b",
        }
    back = colours(value, limit)
    return {
        "description": f"{text}\n{number(value, limit)}",
        "button_color": to_hex(back),
        "text_color": text_colour(back),
    }


def spoken(row, limit: float, unit: str) -> str:
    """What hovering over a word says."""
    rejected = ", rejected" if row.misaligned else ""
    return f"{row.word}: {number(row.attribution, limit)} {unit}{rejected}; click for more"


def hint() -> str:
    """What stands in place of the bars while no word is chosen."""
    return heading("Layer by layer") + note("Click a word to see what each layer says of it.")


def foil_head(word: str, known: int, shown: int) -> str:
    """The line above the suggestions, of which `shown` of `known` are shown."""
    head = heading(f"In place of “{shortened(word)}”")
    if not known:
        return head + note(
            "Type a word: it appears with the change of the cosine. "
            "Click it to put it into the caption."
        )
    cut = f"the {shown} highest of {known}" if shown < known else "highest first"
    return head + note(
        f"change of the cosine, {cut}. Click a word to put it into the caption, or type another."
    )


def foot(session, seconds: float) -> str:
    """Model, template, and how long the last answer took."""
    return note(
        f"{session.clip.name}; captions are read as “{session.template}…”; "
        f"updated in {1000 * seconds:.0f} ms"
    )


def bars_part(word: str, values: np.ndarray, settings, limit: float, unit: str) -> str:
    """The word's own value in every layer [L]; the layers that do not count are faded.


    limit: the end of the scale, the largest |value| of any word and layer of the caption.
    """
    head = heading(f"“{shortened(word)}” layer by layer")
    if np.isnan(values).any():
        return head + note("CLIP has not seen this word: it is beyond the context.")
    first, step = len(values) - settings.layers, HEIGHT / len(values)
    bars = [bar(k, v, step, limit, k >= first) for k, v in enumerate(values)]
    numbers = ", ".join(f"layer {k}: {number(v, limit)}" for k, v in enumerate(values))
    counted = "last counts" if settings.layers == 1 else f"last {settings.layers} count"
    return (
        f'{head}<svg role="img" aria-label="{escape(f"{word}: {numbers} {unit}")}" '
        f'width="{SHOWN}" height="{HEIGHT}" style="display:block;background:#ffffff;'
        f'font-family:sans-serif;font-variant-numeric:tabular-nums">{"".join(bars)}'
        f'<path d="M{ZERO} 0V{HEIGHT}" stroke="#1a1a1a"/></svg>'
        + note(f"{unit}, bars to ±{limit:.2g}; layer 0 is the first; the {counted}")
    )


def bar(k: int, value: float, step: float, limit: float, counted: bool) -> str:
    """One line: the layer, a bar from 0 to the left or right, the value."""
    size, y, strong = REACH * min(1.0, abs(value) / limit), (k + 0.5) * step, 1 if counted else 0.4
    text = f'y="{y + 4:.1f}" font-size="{min(11, step):.1f}" fill="#1a1a1a"'
    return (
        f'<g opacity="{strong}"><text x="16" text-anchor="end" {text}>{k}</text>'
        f'<rect x="{ZERO - size if value < 0 else ZERO:.1f}" y="{y - 0.36 * step:.1f}" '
        f'width="{max(size, 0.5):.1f}" height="{0.72 * step:.1f}" stroke="#1a1a1a" '
        f'stroke-width="0.6" fill="{to_hex(colours(value, limit))}"/>'
        f'<text x="{SHOWN}" text-anchor="end" {text}>{number(value, limit)}</text></g>'
    )
