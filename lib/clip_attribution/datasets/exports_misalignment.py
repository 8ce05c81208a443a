"""The embedded world as the official files of the misalignment benchmarks.

Every exporter is `write(folder, n, seed, size, foils=None)`: n records with pictures of size x size
pixels; foils names the foil types to go through in turn (default: all that the format can hold).
The files have the fields of the official ones and no others. A foil's type is not among them; it
follows from the replaced word, since no word of this world states two kinds of facts.
"""

import json
from pathlib import Path

from ..scenes.foils import SWAPS, TYPES, Foil
from ..scenes.vocabulary import KINDS
from .exports_feedback import write_rich_hf, write_seetrue
from .scene_images import save_picture
from .scene_samples import (
    Sample,
    check_foils,
    coco_name,
    false_places,
    foil_samples,
    in_shares,
    opaque,
    references,
    token_flags,
    trailing,
    unique_id,
)

ONE_WORD = KINDS + SWAPS[2:]  # a turned relation changes one word, the other swaps change two
DOMAINS = {"in-domain": 245, "near-domain": 1494, "out-domain": 761}  # as often as in the original
COMBINATIONS = {"in-domain": "seen", "near-domain": "any", "out-domain": "novel"}
HALLUCINATED = {True: 135, False: 265}
ASIDE = {"above": "to the left of", "below": "to the right of"}  # the foils of several words
HEADER = {
    "info": {"description": "The embedded world of clip-attribution", "version": "1.0"},
    "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/"}],
    "type": "captions",
}


def write_foil(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """FOIL-COCO: n originals, each followed by its foil; and COCO's captions of the pictures, of
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
    _write_json(test, folder / "foilv1.0_test_2017.json")
    coco = HEADER | {"images": images, "annotations": captions}
    _write_json(coco, folder / "captions_val2014.json")


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


def replaced_words(foil: Foil) -> tuple[str, str]:
    """(true word, false word) as written in the captions."""
    (place,) = false_places(foil)
    return foil.caption.words[place].text, foil.foil.words[place].text


def write_nocaps(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """nocaps-FOIL: n records of a true caption ("baseline") and its foil, with 9 references.

    In-domain pictures hold only (noun, colour) pairs that the embedded model has seen, out-domain
    ones only pairs that it has not, near-domain ones any. A foil of "above" or "below" has several
    words ("to the left of"), so that no single word can name it, as in a tenth of the original.
    Files: nocaps-val-foil.json, images/*.jpg. Raises UserError as `write_foil`.
    """
    kinds, domains = check_foils(foils, ONE_WORD), in_shares(DOMAINS, n)
    records = []
    samples = foil_samples(n, seed, kinds, [COMBINATIONS[name] for name in domains])
    for number, (sample, domain) in enumerate(zip(samples, domains, strict=True)):
        name = f"{opaque('nocaps', seed, sample.index)[:16]}.jpg"
        true, false, words = _phrase_foil(sample.foil)
        records.append(
            {
                "image_path": name,
                "references": references(sample, seed, 9),
                "baseline": true + trailing(number),
                "foil": false + trailing(number),
                "replacement": words,
                "domain": domain,
            }
        )
        save_picture(sample.scene, folder / "images" / name, size)
    _write_json(records, folder / "nocaps-val-foil.json")


def _phrase_foil(foil: Foil) -> tuple[str, str, list[str]]:
    """(true caption, false caption, [true words, false words])."""
    target, wrong = replaced_words(foil)
    if foil.kind != "position" or target not in ASIDE:
        return foil.caption.text, foil.foil.text, [target, wrong]
    (place,) = false_places(foil)
    word, text = foil.caption.words[place], foil.caption.text
    return text, text[: word.start] + ASIDE[target] + text[word.end :], [target, ASIDE[target]]


def write_hat(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """HAT: n captions, 135 of 400 with the hallucinated words marked; 5 references each.

    True captions are written in the same way as those that a foil was made of.
    Files: hat-trainval.json, val2014/COCO_val2014_*.jpg. Raises UserError on unknown foil types.
    """
    labels = in_shares(HALLUCINATED, n)
    records = []
    samples = foil_samples(n, seed, check_foils(foils, TYPES))
    for number, (sample, false) in enumerate(zip(samples, labels, strict=True)):
        records.append(_hat_record(sample, seed, false, trailing(number)))
        save_picture(sample.scene, folder / "val2014" / coco_name(sample.index), size)
    _write_json(records, folder / "hat-trainval.json")


def _hat_record(sample: Sample, seed: int, false: bool, end: str) -> dict:
    caption = sample.foil.foil if false else sample.foil.caption
    grounding = token_flags(caption, false_places(sample.foil) if false else [])
    return {
        "sample_id": unique_id("hat", seed, sample.index),
        "caption": caption.text + end,
        "grounding": grounding,
        "contains_hallucination": false,
        "image_path": coco_name(sample.index),
        "session_id": opaque("session", seed, sample.index)[:24],
        "references": references(sample, seed, 5),
        "is_gold": False,
        "is_positive": True,
        "is_machine_generated": True,
    }


def _write_json(value, path: Path) -> None:
    path.write_text(json.dumps(value), "utf-8")


EXPORTS = {
    "foil": write_foil,
    "nocaps-foil": write_nocaps,
    "hat": write_hat,
    "seetrue": write_seetrue,
    "rich-hf": write_rich_hf,
}
