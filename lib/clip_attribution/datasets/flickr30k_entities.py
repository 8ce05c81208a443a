"""Flickr30k Entities: the phrases of five captions a photo, and the boxes of what they mention.

Plummer et al. 2015 (ICCV); `Sentences/<id>.txt`, `Annotations/<id>.xml`, `<split>.txt` and
`UNRELATED_CAPTIONS` of github BryanPlummer/flickr30k_entities. Mentions of one thing share a
*chain* id across the captions of a photo; boxes belong to chains.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path, PurePath

import pandas as pd

from ..errors import UserError, one_line
from ..io.read import read_text, text_lines
from ..scenes.clauses import scenes
from ..scenes.grammar import Caption, describe
from ..scenes.vocabulary import NOUNS, plural
from ..scenes.world import SIDE, Scene, generator
from .boxes import corner_box, enclosing, grounding_frame
from .files import find_file, find_image
from .registry import GROUNDING, Benchmark
from .scene_images import save_picture
from .scene_samples import picture_id, pixel_boxes

PHRASE = re.compile(r"\[/EN#(\d+)/([^\s\[\]]+)\s([^\[\]]*)\]")
SENTENCE, EXPRESSION = 6, 7  # third key of the random streams, after those of `samples`
ANIMALS = ("horse", "mouse", "cow", "cat", "monkey")


def load(
    path,
    images=None,
    split: str | None = "test",
    protocol: str = "merged",
    include_unboxed: bool = False,
    drop_unrelated: bool = False,
) -> pd.DataFrame:
    """A grounding frame (see `boxes`), one row a phrase; `type` holds its types, joined by "/".

    Args:
        path: the folder with `Sentences/`, `Annotations/` and the split lists, or one sentence
            file in such a folder.
        images: the folder with the photos, or the one that has `flickr30k-images/`.
        split: train, val or test, whose list names the photos; None for all sentence files.
        protocol: "merged": one box a phrase that encloses all boxes of its chain, the "merged"
            ground truth of MDETR and SiRi (14,481 test phrases); "separate": all of them.
        include_unboxed: keep phrases whose chain has no box, with an empty `boxes`.
        drop_unrelated: leave out the captions in UNRELATED_CAPTIONS; published counts keep them.

    Captions are pre-tokenised as stored ("man 's"). Phrases of chain 0 ("notvisual"), of chains
    marked as the whole scene or as having no box, and of chains that the XML does not list are
    left out, each reason counted in attrs["left_out"]. Where the XML is missing or broken, every
    phrase of the photo is a row with that `error`. XML corners count from 1 with the last
    pixel included, so x0 = xmin - 1 and x1 = xmax. `chain` is the chain's id.
    Raises UserError: no such folder or list, unknown protocol.
    """
    if protocol not in ("merged", "separate"):
        raise UserError(f"protocol is 'merged' or 'separate', not {protocol!r}")
    root, ids = _photos(Path(path), split)
    unrelated = _unrelated(root) if drop_unrelated else set()
    left_out: Counter = Counter(notvisual=0, scene=0, nobndbox=0, unlisted=0, unrelated=0)

    def rows(number, photo):
        if PurePath(photo).name != photo:
            raise ValueError(f"{photo!r} is no image id")
        sentences = _read(root / "Sentences" / f"{photo}.txt").split("\n")
        facts = _facts(root, photo) | {
            "group": split or "",
            "image": find_image(
                images, [f"{photo}.jpg", f"flickr30k-images/{photo}.jpg", f"images/{photo}.jpg"]
            ),
        }
        for place, line in enumerate(sentences):  # a blank one has no phrases
            drop = (photo, place + 1) in unrelated
            for row in _sentence(f"{photo}#{place}", line.rstrip("\r"), facts, protocol):
                reason = "unrelated" if drop else row.pop("reason")
                if drop or (reason and not include_unboxed):
                    left_out[reason] += 1
                else:
                    yield row

    return grounding_frame(ids, rows, left_out)


def _photos(path: Path, split: str | None) -> tuple[Path, list[str]]:
    """The dataset's folder, and the ids of the photos wanted."""
    if path.is_file():
        return path.parent.parent, [path.stem]
    if split is None:
        find_file(path, "Sentences/*.txt")
        return path, sorted(file.stem for file in path.glob("Sentences/*.txt"))
    lines = text_lines(read_text(find_file(path, f"{split}.txt")))
    return path, [line.strip() for line in lines if line.strip()]


def _unrelated(root: Path) -> set[tuple[str, int]]:
    """(photo, sentence number from 1) of the captions that do not describe their photo."""
    file = find_file(root, "UNRELATED_CAPTIONS")
    lines = text_lines(read_text(file))
    try:
        pairs = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        return {(photo, int(number)) for photo, number in pairs}
    except ValueError:
        raise UserError(f"{file}: a line is not 'image id, sentence number'") from None


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError:
        raise ValueError(f"no {file.parent.name}/{file.name}") from None


def _sentence(name: str, line: str, facts: dict, protocol: str):
    """The rows of one line; `reason` says why a phrase is to be left out, or is None."""
    caption, phrases = parse_sentence(line)
    known = {key: facts.get(key) for key in ("image", "width", "height", "group", "error")}
    row = known | {"caption": caption, "reason": None}
    if "/EN#" in caption:
        yield row | {"pair_id": name, "error": f"{name}: brackets that do not match"}
        return
    for number, (chain, kind, start, end) in enumerate(phrases):
        own = row | {
            "pair_id": f"{name}:{number}",
            "phrase": caption[start:end],
            "start": start,
            "end": end,
            "type": kind,
            "chain": chain,
        }
        if start == end:
            yield own | {"error": f"{own['pair_id']}: an empty phrase"}
        elif chain == "0":
            yield own | {"reason": "notvisual", "error": None}
        elif own["error"]:
            yield own
        else:
            yield own | _target(facts["chains"].get(chain, "unlisted"), protocol)


def _target(found, protocol: str) -> dict:
    """Boxes, reason or error of a chain."""
    if isinstance(found, str):
        return {"reason": found}
    try:
        boxes = [corner_box(*one) for one in found]
    except ValueError as error:
        return {"error": one_line(error)}
    return {"boxes": [enclosing(boxes)] if protocol == "merged" else boxes}


def parse_sentence(line: str) -> tuple[str, list[tuple[str, str, int, int]]]:
    """The caption without its brackets, and (chain, types, start, end) of every phrase in it.

    >>> parse_sentence("[/EN#5/people A man 's] [/EN#5/bodyparts/people arm] .")
    ("A man 's arm .", [('5', 'people', 0, 8), ('5', 'bodyparts/people', 9, 12)])
    """
    caption, phrases, at = "", [], 0
    for match in PHRASE.finditer(line):
        caption += line[at : match.start()]
        if at and at == match.start():  # "...][/EN#...": two phrases, so two words
            caption += " "
        start = len(caption)
        caption += match[3].strip()
        phrases.append((match[1], match[2], start, len(caption)))
        at = match.end()
    return caption + line[at:], phrases


def _facts(root: Path, photo: str) -> dict:
    """width, height and `chains` of one photo, or why they cannot be had."""
    try:
        return parse_annotation(_read(root / "Annotations" / f"{photo}.xml"))
    except (ET.ParseError, ValueError) as error:
        return {"error": f"{photo}: {one_line(error)}"}


def parse_annotation(text: str) -> dict:
    """width, height, and chains: {id: its boxes with the picture's size, or "scene"/"nobndbox"}.

    Boxes are left unchecked (`corner_box` takes each), so that a bad one harms its chain alone.
    Raises ValueError or ParseError: no XML, one with a document type (entities may expand without
    end), or without the image's size.
    """
    if "<!DOCTYPE" in text:
        raise ValueError("the XML declares a document type, which no official file does")
    root = ET.fromstring(text)
    width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
    chains: dict = {}
    for thing in root.iter("object"):
        corners = thing.find("bndbox")
        for name in (one.text.strip() for one in thing.iterfind("name") if one.text):
            if corners is None:
                scene = (thing.findtext("scene") or "").strip() == "1"
                chains.setdefault(name, "scene" if scene else "nobndbox")
            elif isinstance(chains.get(name), list):
                chains[name].append((_corners(corners), width, height))
            else:
                chains[name] = [(_corners(corners), width, height)]
    return {"width": width, "height": height, "chains": chains}


def _corners(box: ET.Element) -> list | None:
    """[x0, y0, x1, y1] from corners that count from 1 and are included; None where unreadable."""
    try:
        x0, y0, x1, y1 = (int(box.findtext(n, "")) for n in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return [x0 - 1, y0 - 1, x1, y1]


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """Sentences/, Annotations/, flickr30k-images/ and the split lists; all photos in test.txt."""
    names = []
    for index, scene in scenes(n, seed):
        name = str(picture_id(seed, index))
        streams = [generator(seed, index, SENTENCE, k) for k in range(5)]
        lines = [_bracketed(describe(scene, stream), 4 * index + 1) for stream in streams]
        _write_text(folder / "Sentences" / f"{name}.txt", lines)
        (folder / "Annotations").mkdir(exist_ok=True)
        tree = _annotation(scene, f"{name}.jpg", 4 * index + 1, size)
        tree.write(folder / "Annotations" / f"{name}.xml")
        save_picture(scene, folder / "flickr30k-images" / f"{name}.jpg", size)
        names.append(name)
    for split, some in (("train", []), ("val", []), ("test", names)):
        _write_text(folder / f"{split}.txt", some)
    _write_text(folder / "UNRELATED_CAPTIONS", ["# format: <imageID> <sentence number>"])


def _write_text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _bracketed(caption: Caption, chain: int) -> str:
    """The caption with its phrases in brackets; chains: two things, the ground, the sign."""
    words, marked = [w.text for w in caption.words], {w.phrase for w in caption.words}
    for number in marked - {-1}:
        own = [i for i, w in enumerate(caption.words) if w.phrase == number]
        slot, kind = _slot([caption.words[i] for i in own])
        if slot is not None:
            first = own[1] if slot == 2 else own[0]  # "on [the grass]"
            words[first] = f"[/EN#{chain + slot}/{kind} {words[first]}"
            words[own[-1]] += "]"
    if caption.words[0].text.lower() == "there":
        words[0] = f"[/EN#0/notvisual {words[0]}]"
    return " ".join(words)


def _slot(words) -> tuple[int | None, str]:
    """Which chain of the scene a phrase belongs to (None: no chain), and its type."""
    facts = {word.kind: word for word in words}
    if "noun" in facts:
        noun = facts["noun"]
        return noun.entity, "animals" if _singular(noun.text) in ANIMALS else "other"
    return (2, "scene") if "ground" in facts else (3, "other") if "name" in facts else (None, "")


def _singular(text: str) -> str:
    return next((n for n in NOUNS if text.lower() in (n, plural(n))), text.lower())


def _annotation(scene: Scene, name: str, chain: int, size: int) -> ET.ElementTree:
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = name
    _children(ET.SubElement(root, "size"), width=size, height=size, depth=3)
    sign = [[[c * size // SIDE for c in scene.sign_box]]] if scene.sign_box else []
    slots = dict(enumerate(pixel_boxes(scene, size))) | dict(zip([3], sign, strict=False))
    for slot, boxes in slots.items():
        for x0, y0, x1, y1 in boxes:
            thing = _children(ET.SubElement(root, "object"), name=chain + slot)
            corners = ET.SubElement(thing, "bndbox")
            _children(corners, xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    _children(ET.SubElement(root, "object"), name=chain + 2, scene=1, nobndbox=0)
    ET.indent(root)
    return ET.ElementTree(root)


def _children(element: ET.Element, **values) -> ET.Element:
    for tag, value in values.items():
        ET.SubElement(element, tag).text = str(value)
    return element


BENCHMARKS = [
    Benchmark(
        "flickr30k-entities",
        GROUNDING,
        "Flickr30k Entities",
        "where is what a phrase of a caption names?",
        load,
        write,
        published=("qgroundcam", "Flickr30K Entities test"),
        place=1,
    ),
]
