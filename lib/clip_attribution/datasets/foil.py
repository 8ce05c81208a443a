"""FOIL-COCO (Shekhar et al., ACL 2017): captions of COCO in which one noun was swapped.

Official file `foilv1.0_test_2017.json`, COCO-caption JSON; photos of COCO val2014 (or 2017).
"""

import re
from functools import cache
from pathlib import Path

import pandas as pd

from ..errors import UserError
from . import protocols
from .files import coco_names, find_file, find_image, frame_of, load_json, require_fields
from .registry import MISALIGNMENT, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .scene_samples import (
    ONE_WORD,
    Sample,
    check_foils,
    coco_name,
    foil_samples,
    references,
    replaced_words,
    trailing,
)

FILES = ("foilv1.0_test_2017.json", "foil*test*.json", "foil*.json")
REFERENCES = ("captions_val2014.json", "annotations/captions_val2014.json")
HEADER = {
    "info": {"description": "The embedded world of clip-attribution", "version": "1.0"},
    "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/"}],
    "type": "captions",
}


def load(path, images=None, references=None) -> pd.DataFrame:
    """A pairs frame with one row an annotation.

    is_foil; foil_word and target_word (None for originals); pair: the `foil_id` that an original
    and its foil share; group "". references: the file `captions_val2014.json`, looked for beside
    the FOIL file too. Where there is one, the column `references` lists COCO's captions of the
    image without the row's own text and the caption that it was made from.
    Raises UserError.
    """
    file = find_file(path, *FILES)
    annotations, names = read_coco(file)
    originals = {a["foil_id"]: a["caption"] for a in annotations if is_original(a)}
    captions = find_references(file, references)
    locate = cache(lambda name: find_image(images, coco_names(name)))

    def rows(number, record):
        row = foil_row(number, record)
        row["image"] = locate(name_of(names, record["image_id"]))
        if captions is not None:
            own = {one_space(t) for t in own_texts(record, originals)}
            found = captions.get(record["image_id"], [])
            row["references"] = [text for text in found if text not in own]
        return [row]

    return frame_of(annotations, rows)


def read_coco(file) -> tuple[list, dict]:
    """The annotations and {image id: file name} of a file in the shape of COCO's captions."""
    content = load_json(file)
    lists = [content.get(k) for k in ("annotations", "images")] if isinstance(content, dict) else []
    if not lists or not all(isinstance(found, list) for found in lists):
        raise UserError(f"{file} has no lists 'annotations' and 'images': not a FOIL or COCO file")
    annotations, listed = lists
    known = [i for i in listed if isinstance(i, dict) and isinstance(i.get("id"), int | str)]
    return annotations, {image["id"]: image.get("file_name") for image in known}


def name_of(names: dict, image_id) -> str:
    """The image's file name. Raises ValueError, for `frame_of` to report."""
    if names.get(image_id) is None:
        raise ValueError(f"'images' lists no name of image {image_id}")
    return names[image_id]


def foil_row(number: int, record: dict) -> dict:
    """The annotation's row, still without its image. Raises ValueError."""
    require_fields(record, "caption", "image_id", "foil", "foil_id", "target_word", "foil_word")
    caption, foil, word = record["caption"], record["foil"], record["foil_word"]
    if not isinstance(caption, str) or not isinstance(word, str) or not isinstance(foil, bool):
        raise ValueError("'caption' and 'foil_word' must be text and 'foil' true or false")
    if foil == (word.upper() == "ORIG"):
        raise ValueError(f"'foil' is {str(foil).lower()} but 'foil_word' is {word!r}")
    return {
        "pair_id": str(number),
        "caption": caption,
        "group": "",
        "is_foil": foil,
        "foil_word": word if foil else None,
        "target_word": record["target_word"] if foil else None,
        "pair": str(record["foil_id"]),
    }


def is_original(record) -> bool:
    """Whether a record is an original, with what it takes to be found by its foil."""
    if not isinstance(record, dict) or record.get("foil") is not False:
        return False
    return isinstance(record.get("caption"), str) and isinstance(record.get("foil_id"), int | str)


def find_references(file: Path, references) -> dict[int, list[str]] | None:
    """COCO's captions by image id, from the given file or from beside `file`; None without one."""
    if references is None:
        beside = [file.parent / name for name in REFERENCES]
        references = next((found for found in beside if found.is_file()), None)
        if references is None:
            return None
    captions = {}
    for number, record in enumerate(read_coco(find_file(references, *REFERENCES))[0]):
        try:
            captions.setdefault(record["image_id"], []).append(one_space(record["caption"]))
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{references}: annotation {number} is no caption") from None
    return captions


def own_texts(record: dict, originals: dict) -> list[str]:
    """The row's caption, and what it was made from: its original, or its words swapped back."""
    own = [record["caption"]]
    if record["foil"]:
        word, target = record["foil_word"], record["target_word"]
        swapped = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", lambda _: target, record["caption"])
        own.append(originals.get(record["foil_id"], swapped))
    return own


def one_space(text: str) -> str:
    """The text without the white space by which copies of a caption differ."""
    return " ".join(text.split())


def write(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """FOIL-COCO: n originals, each followed by its foil; and COCO's captions of the images, of
    which one is the original and 5 are others.

    Files: foilv1.0_test_2017.json, captions_val2014.json, val2014/COCO_val2014_*.jpg.
    Raises UserError on foil types that change more than one word.
    """
    images, annotations, captions = [], [], []
    for number, sample in enumerate(foil_samples(n, seed, check_foils(foils, ONE_WORD))):
        images.append(_coco_image(sample, seed, size))
        annotations += _foil_annotations(sample, number)
        texts = [sample.foil.caption.text, *references(sample, seed, 5)]
        captions += [
            {"image_id": sample.index + 1, "id": len(texts) * number + k, "caption": text}
            for k, text in enumerate(texts)
        ]
        save_picture(sample.scene, folder / "val2014" / coco_name(sample.index), size)
    test = HEADER | {"images": images, "annotations": annotations}
    write_json(test, folder / "foilv1.0_test_2017.json")
    coco = HEADER | {"images": images, "annotations": captions}
    write_json(coco, folder / "captions_val2014.json")


def _coco_image(sample: Sample, seed: int, size: int) -> dict:
    return {
        "id": sample.index + 1,
        "file_name": coco_name(sample.index),
        "width": size,
        "height": size,
        "license": 1,
        "coco_url": f"scene:{seed}:{sample.index}:{size}",
    }


def _foil_annotations(sample: Sample, number: int) -> list[dict]:
    target, foil = replaced_words(sample.foil)
    common = {"image_id": sample.index + 1, "foil_id": number}
    original, changed = (c.text + trailing(number) for c in (sample.foil.caption, sample.foil.foil))
    return [
        common
        | {
            "id": 2 * number,
            "caption": original,
            "foil": False,
            "target_word": "ORIG",
            "foil_word": "ORIG",
        },
        common
        | {
            "id": 2 * number + 1,
            "caption": changed,
            "foil": True,
            "target_word": target,
            "foil_word": foil,
        },
    ]


BENCHMARKS = [
    Benchmark(
        "foil",
        MISALIGNMENT,
        "FOIL",
        "which noun was swapped; is the original better?",
        load,
        write,
        summarise=protocols.foil,
        published=("clip4dm", "FOIL"),
        measures="LA, AP",
        rows=2,
        place=1,
    ),
]
