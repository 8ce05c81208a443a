"""nocaps-FOIL (Petryk et al., ALOHa, NAACL 2024): captions of nocaps with one object swapped.

Official file `nocaps-val-foil.json` (github DavidMChan/aloha), a list of records; photos of Open
Images under the names in `image_path`.
"""

from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..scenes.foils import Foil
from . import protocols
from .files import find_file, find_image, frame_of, load_json, require_fields
from .registry import MISALIGNMENT, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .scene_samples import (
    ONE_WORD,
    check_foils,
    false_places,
    foil_samples,
    in_shares,
    opaque,
    references,
    replaced_words,
    trailing,
)

FILES = ("nocaps-val-foil.json", "*nocaps*foil*.json")
DOMAINS = {"in-domain": 245, "near-domain": 1494, "out-domain": 761}  # as often as in the original
COMBINATIONS = {"in-domain": "seen", "near-domain": "any", "out-domain": "novel"}
ASIDE = {"above": "to the left of", "below": "to the right of"}  # the foils of several words


def load(path, images=None) -> pd.DataFrame:
    """A pairs frame with two rows a record: its baseline caption, then its foil.

    is_foil; foil_word and target_word (None for baselines); references: the record's own, which
    never hold its baseline; group: the domain; pair: the record's number, shared by its two rows.
    Raises UserError.
    """

    def rows(number, record):
        require_fields(record, "image_path", "baseline", "foil", "replacement", "domain")
        target, word = record["replacement"]
        references = record.get("references") or []
        name, domain = record["image_path"], record["domain"]
        texts = [name, domain, record["baseline"], record["foil"], target, word, *references]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("names, captions, references and replacement must be text")
        image = find_image(images, [name, f"images/{name}"])
        both = {"image": image, "group": domain, "pair": str(number)}
        both["references"] = references
        original = {"caption": record["baseline"], "is_foil": False}
        foil = {"caption": record["foil"], "is_foil": True, "foil_word": word}
        yield {"pair_id": f"{number}-baseline"} | original | both
        yield {"pair_id": f"{number}-foil"} | foil | {"target_word": target} | both

    file = find_file(path, *FILES)
    content = load_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file} is not a list of records: expected {FILES[0]}")
    return frame_of(content, rows)


def write(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """nocaps-FOIL: n records of a true caption ("baseline") and its foil, with 9 references.

    In-domain images hold only (noun, colour) pairs that the embedded model has seen, out-domain
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
    write_json(records, folder / "nocaps-val-foil.json")


def _phrase_foil(foil: Foil) -> tuple[str, str, list[str]]:
    """(true caption, false caption, [true words, false words])."""
    target, wrong = replaced_words(foil)
    if foil.kind != "position" or target not in ASIDE:
        return foil.caption.text, foil.foil.text, [target, wrong]
    (place,) = false_places(foil)
    word, text = foil.caption.words[place], foil.caption.text
    return text, text[: word.start] + ASIDE[target] + text[word.end :], [target, ASIDE[target]]


BENCHMARKS = [
    Benchmark(
        "nocaps-foil",
        MISALIGNMENT,
        "nocaps-FOIL",
        "which object was swapped; is the original better?",
        load,
        write,
        summarise=protocols.foil,
        published=("clip4dm", "nocaps-FOIL"),
        measures="LA, AP",
        rows=2,
        place=2,
    ),
]
