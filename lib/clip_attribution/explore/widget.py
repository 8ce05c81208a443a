"""`explorer`: one image and one caption by hand, in JupyterLab, with stock ipywidgets.

    explorer(clip)

Type, and the words are coloured anew; click a word for its layers, its heat map, its regions and
other words in its place; click a region for its words. Every display has a static form:
`.explanation` is what `explain` returns for the same caption, less that its heat map is the clicked
word's.
"""

import os
import time

from IPython import get_ipython
from ipywidgets import Layout, VBox

from ..attribution import get_method, resolve_layers
from ..display.explanation import label
from ..errors import UserError, one_line
from ..plots.colours import symmetric_limit
from ..text.words import split_words
from . import html
from .controls import arranged, fill, make_controls, paint, word_button
from .images import SCENES, decoded, own_caption, scene_title, unique
from .session import Session, Settings, own_layers, swaps
from .words import follow

HEADLESS = "CLIP_ATTRIBUTION_HEADLESS"
MOST_WORDS, MOST_FOILS = 60, 12  # buttons


def explorer(clip, image="scene:1:2", caption: str | None = None):
    """Explore by hand what CLIP makes of every word; the widget, or None where nobody can see it.

    image: a path, a PIL image or "scene:SEED:INDEX". caption: by default the scene's own. Without
    a Jupyter kernel, and where the variable CLIP_ATTRIBUTION_HEADLESS is set to anything but 0, as
    in headless runs, nothing is computed. Raises ImageError for an unusable image; what goes wrong
    later is shown in one line inside the widget.
    """
    return None if is_headless() else Explorer(clip, image, caption)


def is_headless() -> bool:
    """Whether a widget would have no front end: the variable says so, or there is no kernel."""
    return os.environ.get(HEADLESS, "") not in ("", "0") or not hasattr(get_ipython(), "kernel")


class Explorer(VBox):
    """The widget of `explorer`.

    controls: the inputs and displays by name. explanation: what is shown, or None after an error.
    place: number of the chosen word, or None. seconds: how long the last answer took to compute.
    """

    def __init__(self, clip, image="scene:1:2", caption: str | None = None):
        self.session = Session(clip)
        self.controls = make_controls(self.session.n_layers, self.session.grid)
        super().__init__(arranged(self.controls), layout=Layout(max_width="980px"))
        self.add_class("clip-explorer")
        self.sources = {scene_title(name): name for name in SCENES}
        self.explanation, self.place, self.seconds, self.busy = None, None, 0.0, False
        self.offered, self.drawn, self.drawn_regions = "", None, None
        self.change_picture(image)
        self.controls.caption.value = caption or self.controls.caption.value
        self.guarded(self.show)()
        self.guarded(self.choose)(self.lowest())
        self.listen()

    def listen(self) -> None:
        """From here on every change of a control is answered."""
        answers = {
            "scene": self.change_scene,
            "path": self.change_path,
            "upload": self.change_upload,
            "caption": self.change_caption,
            "method": self.change_method,
            "layers": self.show,
            "relu": self.show,
            "epsilon": self.show,
            "other": self.show,
            "cells": self.show_region,
        }
        for name, answer in answers.items():
            observer = self.guarded(answer)
            getattr(self.controls, name).observe(lambda _, act=observer: act(), "value")

    def guarded(self, answer):
        """`answer` with its UserError in the error line, and timed.

        While it runs, the controls that it sets itself are not answered.
        """

        def act(*args):
            if self.busy:
                return
            self.busy, start, message = True, time.perf_counter(), ""
            try:
                answer(*args)
            except UserError as error:
                message = one_line(error)
            finally:
                self.busy = False
            self.controls.error.value = html.error_line(message)
            self.seconds = time.perf_counter() - start
            self.controls.foot.value = html.foot(self.session, self.seconds)

        return act

    def change_scene(self) -> None:
        """Another image from the list; back to the old one where it cannot be read."""
        try:
            self.change_picture(self.sources[self.controls.scene.value])
        except UserError:
            self.controls.scene.value = self.title
            raise
        self.show()

    def change_path(self) -> None:
        """A path or a scene's name was typed."""
        path = self.controls.path.value.strip()
        if path:
            self.change_picture(path)
            self.controls.path.value = ""
            self.show()

    def change_upload(self) -> None:
        """A file was uploaded. It is read, and the control is emptied for the next one."""
        files, self.controls.upload.value = self.controls.upload.value, ()
        for file in files:
            self.change_picture(decoded(file["content"], file["name"]), file["name"])
            self.show()

    def change_picture(self, ref, name: str | None = None) -> None:
        """Read an image and add it to the list. A caption that nobody has typed goes with it."""
        picture = self.session.open(ref, name)
        known = {source: title for title, source in self.sources.items() if isinstance(source, str)}
        self.picture, self.title = picture, known.get(ref) if isinstance(ref, str) else None
        if self.title is None:
            self.title = unique(scene_title(name or label(ref)), self.sources)
            self.sources[self.title] = ref
        scene, caption = self.controls.scene, self.controls.caption
        if scene.options != tuple(self.sources):
            scene.options = tuple(self.sources)
        scene.value = self.title
        self.controls.shown.value = html.picture_part(picture, self.title)
        if caption.value == self.offered:
            self.offered = caption.value = own_caption(ref)

    def change_caption(self) -> None:
        """The caption was edited; the chosen word stays chosen as long as it can be told."""
        before = self.explanation.caption if self.explanation else ""
        after = split_words(self.controls.caption.value)
        self.place = follow(split_words(before), self.place, after)
        self.show()

    def change_method(self) -> None:
        """Another method: with its default layers, and the controls that apply to it."""
        method, n_layers = get_method(self.controls.method.value), self.session.n_layers
        self.controls.layers.value = len(resolve_layers(method.layers, n_layers))
        self.controls.relu.value = "signed"
        self.controls.relu.layout.visibility = None if method.relu else "hidden"
        self.controls.epsilon.layout.visibility = None if method.signed else "hidden"
        self.show()

    def choose(self, place: int | None) -> None:
        """Choose a word; the chosen one again, or None: the caption as a whole."""
        self.place = None if place == self.place else place
        self.show()

    def swap(self, number: int) -> None:
        """Put suggestion `number` into the caption."""
        self.controls.caption.value = self.swaps[number].caption
        self.controls.other.value = ""
        self.show()

    def lowest(self) -> int | None:
        """The word that the explorer opens with: the one most against the image."""
        values = self.explanation.words["attribution"] if self.explanation else []
        return None if len(values) == 0 or values.isna().all() else int(values.argmin())

    def settings(self) -> Settings:
        """What the controls say."""
        c = self.controls
        return Settings(c.method.value, c.layers.value, c.relu.value, c.epsilon.value)

    def show(self) -> None:
        """Show everything anew. What has not changed is neither computed nor sent again."""
        caption = self.controls.caption.value
        try:
            self.explanation = self.session.explain(
                self.picture, caption, self.settings(), self.place
            )
        except UserError:
            self.clear()
            raise
        self.controls.scores.value = html.scores_line(self.explanation)
        self.show_words()
        self.show_map()
        self.show_regions()
        self.show_region()
        self.show_bars()
        self.show_foils()

    def clear(self) -> None:
        """Show no caption: what was shown belongs to another one."""
        c, self.explanation, self.place = self.controls, None, None
        self.drawn = self.drawn_regions = None
        c.words.children = c.foils.children = ()
        c.scores.value = c.map.value = c.bars.value = c.foil_head.value = ""
        c.regions_head.value = c.regions.value = c.region_words.value = ""

    def show_words(self) -> None:
        """A button a word, in the colour of its attribution."""
        rows, limit = self.explanation.words, self.explanation.limit
        buttons = fill(self.controls.words, min(len(rows), MOST_WORDS), self.new_word)
        unit = self.explanation.facts["unit"]
        for row, button in zip(rows.itertuples(), buttons, strict=False):
            face = html.face(row.word, row.attribution, limit)
            line = "underline" if row.misaligned else "" if row.seen else "line-through"
            paint(button, face, line, html.spoken(row, limit, unit), row.Index == self.place)

    def show_map(self) -> None:
        """The heat map of the chosen word, or of the caption."""
        key = self.picture, self.explanation.facts["heatmap_of"], self.controls.method.value
        if key != self.drawn:
            self.controls.map.value, self.drawn = html.map_part(self.explanation), key

    def show_regions(self) -> None:
        """The regions of the chosen word, or the mean of all words."""
        key = self.picture, self.explanation.caption, self.place
        if key != self.drawn_regions:
            c, self.drawn_regions = self.controls, key
            c.regions_head.value = html.regions_head(self.explanation, self.place)
            c.regions.value = html.regions_part(self.explanation, self.place)

    def show_region(self) -> None:
        """The words of the chosen region."""
        if self.explanation is not None:
            region = self.controls.cells.value
            self.controls.region_words.value = html.region_words(self.explanation, region)

    def show_bars(self) -> None:
        """What each layer says of the chosen word."""
        settings = self.settings()
        reading = self.session.read(self.picture, self.explanation.caption, settings.method)
        values, facts = own_layers(reading, settings), self.explanation.facts
        self.controls.bars.value = (
            html.hint()
            if self.place is None
            else html.bars_part(
                self.explanation.words["word"][self.place],
                values[:, self.place],
                settings,
                symmetric_limit(values),
                facts["unit"],
            )
        )

    def show_foils(self) -> None:
        """Other words in place of the chosen one, with the change of the score."""
        c, self.swaps = self.controls, []
        if self.place is None:
            c.foils.children, c.foil_head.value = (), ""
            return
        other = c.other.value.strip()
        found = swaps(self.session, self.picture, self.explanation, self.place, other)
        self.swaps = found[:MOST_FOILS]
        limit = symmetric_limit([swap.change for swap in found])
        buttons = fill(c.foils, len(self.swaps), self.new_foil, c.other)
        for swap, button in zip(self.swaps, buttons, strict=True):
            paint(button, html.face(swap.word, swap.change, limit), "", swap.caption)
        word, known = self.explanation.words["word"][self.place], len(found) - bool(other)
        c.foil_head.value = html.foil_head(word, known, len(self.swaps) - bool(other))

    def new_word(self, number: int):
        """The button of word `number`."""
        return word_button(lambda: self.guarded(self.choose)(number))

    def new_foil(self, number: int):
        """The button of suggestion `number`."""
        return word_button(lambda: self.guarded(self.swap)(number))
