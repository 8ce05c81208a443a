"""nocaps-FOIL (Petryk et al., ALOHa, NAACL 2024): captions of nocaps with one object swapped.

Official file `nocaps-val-foil.json` (github DavidMChan/aloha), a list of records; photos of Open
Images under the names in `image_path`.
"""

import pandas as pd

from ..errors import UserError
from .files import find_file, find_image, frame_of, load_json, require_fields

FILES = ("nocaps-val-foil.json", "*nocaps*foil*.json")


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
