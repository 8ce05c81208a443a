"""Rich-HF-18K (Liang et al., CVPR 2024): prompts of Pick-a-Pic, their tokens marked by people.

Official files `train|dev|test.tfrecord` (github google-research-datasets/richhf-18k, Git LFS), with
neither prompts nor images: both come from Pick-a-Pic (Hugging Face yuvalkirstain/pickapic_v1).
"""

import io
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..errors import ImageError, one_line
from ..scenes.foils import TYPES, alternatives
from ..scenes.grammar import VOWELS
from ..scenes.world import SIDE, Box, generator, pick, sample_scene
from . import protocols
from .files import find_file, find_image, frame_of
from .pickapic import PICK_A_PIC, ROWS_AT_ONCE, prompt_files, read_prompts
from .registry import MISALIGNMENT, Benchmark
from .scene_images import count_picture, encode_picture, expect_pictures
from .scene_samples import (
    Sample,
    check_foils,
    false_places,
    foil_samples,
    in_shares,
    misaligned_boxes,
    unique_id,
)
from .tfrecord import encode_example, parse_example, read_records, write_records

TOKEN = re.compile(r'[^,.?!":; ]+')
SCORES = ("aesthetics_score", "artifact_score", "overall_score")
MAP_SIDE = 512
SECOND, RATING, OTHER = 5, 6, 7  # third keys of a scene's random streams, as in `samples`
FALSE_WORDS = {0: 2, 1: 2, 2: 1}  # how often a prompt has so many false words
WEIGHTS = {
    "noun": 0.4,
    "colour": 0.3,
    "ground": 0.3,
    "count": 0.25,
    "position": 0.25,
    "state": 0.2,
    "size": 0.15,
    "name": 0.15,
}


def load(path, images=None, prompts=None, split="test") -> pd.DataFrame:
    """A pairs frame with one row a record; caption is the prompt.

    prompts: Pick-a-Pic's table (.parquet, .jsonl or .csv) or a folder of them; else looked for
    beside the TFRecord file, also in `pickapic*`. images: where `<split>/<uid>.png`, `<uid>.png`
    or `<uid>.jpg` lie (`pickapic.extract_pictures` writes them).

    uid; score: the misalignment score (higher = better aligned), and aesthetics_score,
    artifact_score, overall_score; tokens and labels (True = aligned), of one length, and
    token_spans: (start, end) of each misaligned token in the caption; truncated_labels: whether
    either list was longer and was cut; misalignment_map: encoded, for `decode_map`.
    A damaged record or a prompt that is missing is an error of that row. Raises UserError.
    """
    file = find_file(path, f"{split}.tfrecord")
    texts = read_prompts(prompt_files(file, prompts))
    locate = cache(lambda name: find_image(images, picture_names(name)))

    def rows(number, record):
        if isinstance(record, str):
            return [{"pair_id": f"record {number}", "error": record}]
        row = rich_hf_row(parse_example(record), texts)
        return [{"pair_id": str(number), "image": locate(row.pop("filename"))} | row]

    return frame_of((record for _, record in read_records(file)), rows)


def rich_hf_row(features: dict, texts: dict[str, str]) -> dict:
    """The row of a record's features, with its filename. Raises ValueError."""
    filename = one(features, "filename", bytes).decode()
    uid = Path(filename).stem
    if not texts.get(uid):
        raise ValueError(f"no prompt for {uid!r} in the tables of Pick-a-Pic")
    labels = one(features, "prompt_misalignment_label", bytes).decode().split()
    return {
        "filename": filename,
        "uid": uid,
        "caption": texts[uid],
        "group": "",
        "score": one(features, "misalignment_score", float),
        **{name: features[name][0] if features.get(name) else None for name in SCORES},
        **token_labels(texts[uid], labels),
        "misalignment_map": (features.get("misalignment_map") or [None])[0],
    }


def one(features: dict, name: str, kind: type):
    """The single value of a feature. Raises ValueError."""
    values = features.get(name) or []
    if len(values) != 1 or not isinstance(values[0], kind):
        raise ValueError(f"feature {name!r} must be one value of type {kind.__name__}")
    return values[0]


def split_tokens(caption: str) -> list[tuple[int, int]]:
    """(start, end) of the dataset's tokens: what is left between the characters ,.?!":; and space.

    As google-research/richhf_18k splits prompts: a line break alone is a token.
    """
    return [match.span() for match in TOKEN.finditer(caption)]


def token_labels(caption: str, labels: list[str]) -> dict:
    """The columns tokens, labels, token_spans and truncated_labels. Raises ValueError."""
    if set(labels) - {"0", "1"}:
        raise ValueError("'prompt_misalignment_label' holds something else than 0 and 1")
    spans = split_tokens(caption)
    n = min(len(spans), len(labels))
    aligned = [label == "1" for label in labels[:n]]
    return {
        "tokens": [caption[start:end] for start, end in spans[:n]],
        "labels": aligned,
        "token_spans": [span for span, good in zip(spans, aligned, strict=False) if not good],
        "truncated_labels": len(spans) != len(labels),
    }


def picture_names(filename: str) -> list[str]:
    """Where the image of a record may lie, under its official name or its uid's."""
    path = Path(filename)
    names = [filename, path.name]
    return names + [
        str(folder / f"{path.stem}.{end}")
        for folder in (Path(), path.parent)
        for end in ("png", "jpg")
    ]


def decode_map(encoded: bytes) -> np.ndarray:
    """An artifact or misalignment map as uint8 [H, W], 0..255. Raises ImageError."""
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            return np.array(image.convert("L"))
    except Exception as error:  # Pillow's readers raise anything on hostile bytes
        raise ImageError(f"cannot read a map: {one_line(error)}") from error


class Rated(NamedTuple):
    """A prompt and the image it was given for; `places`: which of its words are false."""

    sample: Sample
    uid: str
    prompt: str
    places: list[int]


def write(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """Rich-HF-18K: n rated images in test.tfrecord, a tenth of it in train and dev each.

    Prompts and images lie in Pick-a-Pic's form, pickapic_v1/data/SPLIT-*.parquet, joined by uid;
    the rated images also extracted, {test,train,dev}/UID.jpg. Two in five prompts are true, two
    have one false word, one has two (a swap has two anyway). Raises UserError on unknown foil
    types.
    """
    kinds, few = check_foils(foils, TYPES), max(n // 10, 1)
    total = n + 2 * few
    expect_pictures(total)
    rated = _rate(foil_samples(total, seed, kinds), total, seed, kinds)
    for name, count in (("test", n), ("train", few), ("dev", few)):
        own = list(islice(rated, count))
        examples = (encode_example(_features(one, name, seed)) for one in own)
        write_records(folder / f"{name}.tfrecord", examples)
        _write_pictures(folder, name, own, seed, size)


def _write_pictures(folder: Path, name: str, rated: list, seed: int, size: int) -> None:
    """The Pick-a-Pic table of a split, and its rated images."""
    tables = folder / "pickapic_v1" / "data"
    tables.mkdir(parents=True, exist_ok=True)
    (folder / name).mkdir()
    split = {"dev": "validation"}.get(name, name)
    with pq.ParquetWriter(tables / f"{split}-00000-of-00001.parquet", PICK_A_PIC) as writer:
        for start in range(0, len(rated), ROWS_AT_ONCE):
            chunk, rows = rated[start : start + ROWS_AT_ONCE], []
            for number, one in enumerate(chunk):
                jpg = encode_picture(one.sample.scene, size)
                (folder / name / f"{one.uid}.jpg").write_bytes(jpg)
                count_picture()
                rows.append(_pick_a_pic(one, jpg, number % 2, seed, size))
            writer.write_table(pa.Table.from_pylist(rows, PICK_A_PIC))


def _rate(samples, n: int, seed: int, kinds) -> Iterator[Rated]:
    for sample, wanted in zip(samples, in_shares(FALSE_WORDS, n), strict=True):
        uid = unique_id("rich-hf", seed, sample.index)
        if wanted == 0:
            yield Rated(sample, uid, sample.foil.caption.text, [])
            continue
        prompt, places = sample.foil.foil.text, false_places(sample.foil)
        if wanted == 2 and len(places) == 1:
            prompt, places = _second_false_word(sample, places, seed, kinds)
        yield Rated(sample, uid, prompt, sorted(places))


def _second_false_word(sample: Sample, places, seed: int, kinds) -> tuple[str, list[int]]:
    """The foil with one more word of these kinds replaced, where it has one; and the places."""
    rng, words = generator(seed, sample.index, SECOND), sample.foil.foil.words
    free = [i for i, word in enumerate(words) if word.kind in kinds and i not in places]
    if not free:
        return sample.foil.foil.text, places
    place = pick(rng, free)
    word = sample.foil.caption.words[place]
    options = alternatives(sample.scene, word)
    if place and words[place - 1].text.lower() in ("a", "an"):  # the article must agree
        options = [o for o in options if o.startswith(VOWELS) == word.text.startswith(VOWELS)]
    new = pick(rng, options)
    new = new[0].upper() + new[1:] if word.text[0].isupper() else new
    text, word = sample.foil.foil.text, words[place]
    return text[: word.start] + new + text[word.end :], [*places, place]


def _features(one: Rated, name: str, seed: int) -> dict:
    """The eight features of a record; scores in [0, 1], higher is better."""
    dice = generator(seed, one.sample.index, RATING).random(3).tolist()
    words = one.sample.foil.caption.words
    false = sum(WEIGHTS[words[place].kind] for place in one.places)
    alignment = min(max(1 - false + 0.1 * (dice[0] - 0.5), 0.0), 1.0)
    artifact, aesthetics = 0.5 + dice[1] / 2, 0.5 + dice[2] / 2
    labels = ["0" if i in one.places else "1" for i, w in enumerate(words) if w.pos != "PUNCT"]
    boxes = misaligned_boxes(one.sample.foil.caption, one.places)
    return {
        "filename": f"{name}/{one.uid}.png".encode(),
        "aesthetics_score": aesthetics,
        "artifact_score": artifact,
        "misalignment_score": alignment,
        "overall_score": (alignment + artifact + aesthetics) / 3,
        "artifact_map": _heat_map([]),
        "misalignment_map": _heat_map(boxes),
        "prompt_misalignment_label": " ".join(labels).encode(),
    }


def _heat_map(boxes: list[Box]) -> bytes:
    """A PNG of 512 x 512 pixels of 8 bits, 255 inside the boxes."""
    heat, unit = np.zeros((MAP_SIDE, MAP_SIDE), np.uint8), MAP_SIDE // SIDE
    for x0, y0, x1, y1 in boxes:
        heat[y0 * unit : y1 * unit, x0 * unit : x1 * unit] = 255
    buffer = io.BytesIO()
    Image.fromarray(heat).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pick_a_pic(one: Rated, jpg: bytes, place: int, seed: int, size: int) -> dict:
    """A row of Pick-a-Pic with the rated image in this place and an unrated one in the other."""
    other = sample_scene(generator(seed, one.sample.index, OTHER))
    return {
        f"jpg_{place}": jpg,
        f"image_{place}_uid": one.uid,
        f"jpg_{1 - place}": encode_picture(other, size),
        f"image_{1 - place}_uid": unique_id("other", seed, one.sample.index),
        "caption": one.prompt,
    }


BENCHMARKS = [
    Benchmark(
        "rich-hf",
        MISALIGNMENT,
        "Rich-HF-18K",
        "which tokens are wrong; how well does it fit?",
        load,
        write,
        summarise=protocols.rich_hf,
        published=("clip4dm", "Rich-HF-18K test"),
        defaults={"epsilon": protocols.RICH_HF_EPSILON, "alignment": "rich_hf_tokens"},
        measures="token F1, correlation",
        place=5,
    ),
]
