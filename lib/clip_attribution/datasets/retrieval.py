"""COCO and Flickr30k captions for retrieval, from every form in which the splits go round."""

from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line
from ..io.read import read_text, text_lines
from ..scenes.clauses import descriptions, scenes
from .files import coco_names, find_file, find_image, frame_of, load_json, require_fields
from .registry import COMPOSITION, Benchmark
from .scene_cases import write_json
from .scene_images import save_picture
from .scene_samples import coco_name

KARPATHY = (
    "coco_karpathy_{split}.json",
    "flickr30k_{split}.json",
    "dataset_coco.json",
    "dataset_flickr30k.json",
    "annotations/captions_{split}2017.json",
)
TOKENS = "results_20130124.token"


def load(path, images=None, split: str = "test", ids=None) -> pd.DataFrame:
    """A pairs frame of an image retrieval split: one row a caption.

    path: a folder, or one of coco_karpathy_test.json, flickr30k_test.json (a list of image and
    captions), Karpathy's own dataset_coco.json and dataset_flickr30k.json, COCO's captions_*.json,
    or Flickr30k's results_20130124.token. images: the folder with the photos. split: train, val or
    test (or restval, for Karpathy's own files; the other files hold one split). ids: a file that
    lists the images of a split, one number a line, for the token file. Columns: pair_id
    (IMAGE#NUMBER), image, caption as stored, group (empty), error. Raises UserError.
    """
    names = [name.format(split=split) for name in KARPATHY]
    file = find_file(path, *names, TOKENS)
    records = _tokens(file, ids) if file.suffix != ".json" else _json(load_json(file), split, file)
    return frame_of(records, _rows(images))


def _rows(images):
    found = {}

    def rows(_, record):
        name, captions = record
        if not isinstance(name, str) or not isinstance(captions, list) or not captions:
            raise ValueError("expected the name of an image and a list of captions")
        if name not in found:
            found[name] = find_image(images, _image_names(name))
        for number, caption in enumerate(captions):
            if not isinstance(caption, str) or not caption.strip():
                reason = f"{name}: caption {number} is no text"
                yield {"pair_id": f"{name}#{number}", "image": found[name], "error": reason}
            else:
                yield {
                    "pair_id": f"{name}#{number}",
                    "image": found[name],
                    "caption": caption,
                    "group": "",
                }

    return rows


def _image_names(name: str) -> list[str]:
    last = Path(name).name
    if len(Path(name).stem) >= 12:  # COCO's twelve digits
        return coco_names(name)
    return list(dict.fromkeys([name, last, f"flickr30k-images/{last}", f"images/{last}"]))


def _json(content, split: str, file: Path) -> list[tuple]:
    """(image name, captions) in the order of the file."""
    if isinstance(content, list):
        return [_listed(record) for record in content]
    if isinstance(content, dict) and "annotations" in content:
        return _coco(content)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{file} holds no captions in a known form")
    chosen = [r for r in content["images"] if not isinstance(r, dict) or r.get("split") == split]
    if not chosen:
        raise UserError(f"{file} has no image of the split {split!r}")
    return [_karpathy(record) for record in chosen]


def _listed(record) -> tuple:
    record = record if isinstance(record, dict) else {}
    captions = record.get("caption")
    return record.get("image"), [captions] if isinstance(captions, str) else captions


def _karpathy(record) -> tuple:
    record = record if isinstance(record, dict) else {}
    folder, name = record.get("filepath"), record.get("filename")
    sentences = record.get("sentences") or []
    captions = [s.get("raw") if isinstance(s, dict) else None for s in sentences]
    return f"{folder}/{name}" if folder and name else name, captions


def _coco(content: dict) -> list[tuple]:
    """COCO's own file: captions lie apart from the images."""
    try:
        captions = {image["id"]: (image["file_name"], []) for image in content["images"]}
        for one in content["annotations"]:
            require_fields(one, "image_id")
            captions[one["image_id"]][1].append(one.get("caption"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"no COCO captions file: {one_line(error)}") from None
    return [entry for entry in captions.values() if entry[1]]


def _tokens(file: Path, ids) -> list[tuple]:
    """Lines of NAME.jpg#NUMBER, tab, caption; of the images that `ids` lists, or of all."""
    wanted = set(read_text(ids).split()) if ids else None
    found: dict[str, list] = {}
    for line in text_lines(read_text(file)):
        place, _, caption = line.partition("\t")
        name = place.rpartition("#")[0]
        if line.strip() and (wanted is None or Path(name).stem in wanted):
            found.setdefault(name, []).append(caption)
    if not found:
        raise UserError(f"{file} has no caption" + (" of the images in ids" if ids else ""))
    return list(found.items())


def write_coco(folder: Path, n: int, seed: int, size: int) -> None:
    """Karpathy's test split of COCO: coco_karpathy_test.json, val2014/; five captions each."""
    records = []
    for index, scene in scenes(n, seed):
        name = f"val2014/{coco_name(index)}"
        save_picture(scene, folder / name, size)
        records.append({"image": name, "caption": descriptions(scene, seed, index, 5)})
    write_json(records, folder / "coco_karpathy_test.json")


def write_flickr30k(folder: Path, n: int, seed: int, size: int) -> None:
    """The test split of Flickr30k: flickr30k_test.json, the same captions in
    results_20130124.token, the ids in test.txt, flickr30k-images/."""
    records, lines, numbers = [], [], []
    for index, scene in scenes(n, seed):
        number = (seed + 1) * 1_000_000 + index
        save_picture(scene, folder / "flickr30k-images" / f"{number}.jpg", size)
        texts = descriptions(scene, seed, index, 5)
        records.append({"image": f"flickr30k-images/{number}.jpg", "caption": texts})
        lines += [f"{number}.jpg#{k}\t{text}\n" for k, text in enumerate(texts)]
        numbers.append(f"{number}\n")
    write_json(records, folder / "flickr30k_test.json")
    (folder / "results_20130124.token").write_text("".join(lines), "utf-8")
    (folder / "test.txt").write_text("".join(numbers), "utf-8")


BENCHMARKS = [
    Benchmark(
        "coco-retrieval",
        COMPOSITION,
        "COCO",
        "which of all images, which of all captions",
        load,
        write_coco,
        published=("cae", "MSCOCO"),
        place=11,
    ),
    Benchmark(
        "flickr30k-retrieval",
        COMPOSITION,
        "Flickr30k",
        "which of all images, which of all captions",
        load,
        write_flickr30k,
        published=("cae", "Flickr30K"),
        place=12,
    ),
]
