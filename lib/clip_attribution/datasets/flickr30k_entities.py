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
from .boxes import corner_box, enclosing, grounding_frame
from .files import find_file, find_image

PHRASE = re.compile(r"\[/EN#(\d+)/(\S+)\s+([^\[\]]*?)\s*\]")


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
    lines = find_file(path, f"{split}.txt").read_text("utf-8").splitlines()
    return path, [line.strip() for line in lines if line.strip()]


def _unrelated(root: Path) -> set[tuple[str, int]]:
    """(photo, sentence number from 1) of the captions that do not describe their photo."""
    file = find_file(root, "UNRELATED_CAPTIONS")
    lines = file.read_text("utf-8").splitlines()
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
        caption += match[3]
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
    end), or without the picture's size.
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
