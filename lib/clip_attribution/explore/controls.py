"""The controls of the explorer and how they are arranged; nothing here computes or listens."""

from types import SimpleNamespace

import numpy as np
from ipywidgets import (
    HTML,
    Box,
    Button,
    Dropdown,
    FileUpload,
    HBox,
    IntSlider,
    Layout,
    SelectionSlider,
    Text,
    ToggleButtons,
    VBox,
)

from ..attribution import RELU_VARIANTS, layered_methods
from ..metrics.misalignment import EPSILON
from .html import STYLE

LABEL = {"description_width": "86px"}
DISPLAYS = ("error", "scores", "shown", "map", "bars", "foil_head", "foot")
DISPLAYS += ("regions_head", "regions", "region_words")


def make_controls(n_layers: int, grid: tuple[int, int]) -> SimpleNamespace:
    """All controls and displays by name, with nothing to show yet."""
    found = SimpleNamespace(**inputs(), **settings(n_layers), cells=make_cells(grid))
    found.style = HTML(STYLE.replace("COLUMNS", str(grid[1])), layout=Layout(display="none"))
    for name in DISPLAYS:
        setattr(found, name, HTML(layout=Layout(margin="0", flex="0 0 auto")))
    found.words, found.foils = (Box(layout=wrapped("6px")) for _ in range(2))
    found.words.add_class("clip-explorer-words")
    found.foils.add_class("clip-explorer-foils")
    return found


def inputs() -> dict:
    """Image, caption and the word to put in."""
    caption = Text(description="Caption", style=LABEL, layout=Layout(width="auto"))
    caption.add_class("clip-explorer-caption")
    return {
        "scene": Dropdown(description="Picture", style=LABEL, layout=Layout(flex="3 1 300px")),
        "path": Text(
            placeholder="a file's path or scene:SEED:INDEX, then Enter",
            continuous_update=False,
            layout=Layout(flex="2 1 220px"),
        ),
        "upload": FileUpload(accept="image/*", description="Upload", layout=Layout(width="110px")),
        "caption": caption,
        "other": Text(placeholder="another word", layout=Layout(width="150px", margin="6px 2px")),
    }


def make_cells(grid: tuple[int, int]) -> ToggleButtons:
    """A button a region, named by its place; its number is the value. One widget for all."""
    rows, columns = grid
    places = [
        (f"row {r + 1}, column {c + 1}", r * columns + c) for r, c in np.ndindex(rows, columns)
    ]
    cells = ToggleButtons(options=places, value=None, tooltips=[name for name, _ in places])
    cells.add_class("clip-explorer-cells")
    return cells


def settings(n_layers: int) -> dict:
    """Method, layers, ReLU variant and epsilon."""
    size = Layout(flex="1 1 380px")
    return {
        "method": Dropdown(
            options=layered_methods(),
            value="clip4dm",
            description="Method",
            style=LABEL,
            layout=size,
        ),
        "layers": IntSlider(
            min(3, n_layers), 1, n_layers, description="Last layers", style=LABEL, layout=size
        ),
        "relu": Dropdown(options=RELU_VARIANTS, description="ReLU", style=LABEL, layout=size),
        "epsilon": SelectionSlider(
            options=epsilons(), value=EPSILON, description="Reject below", style=LABEL, layout=size
        ),
    }


def epsilons() -> list[tuple[str, float]]:
    """Thresholds from -0.1 to 0 in steps of 1, 2, 5, as (text, value)."""
    sizes = [float(f"{digit}e{power}") for power in range(-6, -1) for digit in (1, 2, 5)] + [0.1]
    return [(f"{-size:g}", -size) for size in reversed(sizes)] + [("0", 0.0)]


def arranged(c: SimpleNamespace) -> tuple:
    """The controls and displays from top to bottom."""
    stack = Box([c.regions, c.cells], layout=Layout(overflow="visible", flex="0 0 auto"))
    stack.add_class("clip-explorer-stack")
    regions = VBox([c.regions_head, stack], layout=Layout(width="240px", flex="0 0 auto"))
    c.region_words.layout.flex = "1 1 300px"
    return (
        c.style,
        HBox([c.scene, c.path, c.upload], layout=wrapped("0 6px")),
        c.caption,
        c.error,
        c.words,
        c.scores,
        Box([c.shown, c.map, c.bars], layout=wrapped("8px 24px", padding="10px 0 4px 0")),
        Box([regions, c.region_words], layout=wrapped("8px 24px")),
        c.foil_head,
        c.foils,
        Box([c.method, c.layers, c.relu, c.epsilon], layout=wrapped("0 16px", padding="8px 0 0 0")),
        c.foot,
    )


def wrapped(gap: str, padding: str = "4px 0") -> Layout:
    """A row that continues on the next line where it is too long."""
    return Layout(flex_flow="row wrap", grid_gap=gap, overflow="visible", padding=padding)


def word_button(click) -> Button:
    """A button that shows a word above a number and calls `click()`."""
    button = Button(layout=Layout(width="auto", height="auto", margin="0"))
    button.on_click(lambda _: click())
    button.add_class("clip-explorer-word")
    return button


def fill(box: Box, count: int, make, *lead) -> list[Button]:
    """Show `count` buttons of the box's own stock after the widgets `lead`, and return them.

    The stock grows by `make(number)` where it is too small, so that typing creates no widgets.
    """
    stock = getattr(box, "stock", [])
    stock += [make(number) for number in range(len(stock), count)]
    box.stock = stock
    if len(box.children) != count + len(lead) or list(box.children[: len(lead)]) != list(lead):
        box.children = (*lead, *stock[:count])
    return stock[:count]


def paint(button: Button, face: dict, line: str, tooltip: str, chosen: bool = False) -> None:
    """Give a button its word, colours and line (of CSS); only what changed is sent."""
    with button.hold_sync(), button.style.hold_sync():
        button.description, button.tooltip = face["description"], tooltip
        button.style.button_color = face["button_color"]
        button.style.text_color = face["text_color"]
        button.style.text_decoration = line or None
    (button.add_class if chosen else button.remove_class)("clip-explorer-chosen")
