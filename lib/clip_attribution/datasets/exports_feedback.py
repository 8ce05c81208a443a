"""The embedded world as SeeTRUE-Feedback and as Rich-HF-18K with its part of Pick-a-Pic."""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..scenes.foils import TYPES, alternatives
from ..scenes.grammar import VOWELS, Caption
from ..scenes.world import SIDE, Box, generator, pick, sample_scene
from .scene_images import count_picture, encode_picture, expect_pictures, save_picture
from .scene_samples import (
    Sample,
    check_foils,
    coco_name,
    false_phrases,
    false_places,
    foil_samples,
    in_shares,
    unique_id,
)
from .tfrecord import encode_example, write_records

SOURCES = {"cococon": 713, "pickapicon": 635, "drawbench": 404, "coco_t2i": 256}
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
PICK_A_PIC = pa.schema(
    {
        "jpg_0": pa.binary(),
        "jpg_1": pa.binary(),
        "image_0_uid": pa.string(),
        "image_1_uid": pa.string(),
        "caption": pa.string(),
    }
)
ROWS_AT_ONCE = 128


def write_seetrue(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """SeeTRUE-Feedback: n false captions with what people say, the wrong phrase and its boxes.

    Files: SeeTRUE_Feedback.csv, images/. Raises UserError on unknown foil types.
    """
    sources, rows = in_shares(SOURCES, n), []
    for number, sample in enumerate(foil_samples(n, seed, check_foils(foils, TYPES))):
        row = _name_columns(sources[number], sample.index, number, seed)
        row["image_url"] = f"scene:{seed}:{sample.index}:{size}"
        row |= {"": number, "image_caption": sample.foil.foil.text} | _feedback(sample, size)
        save_picture(sample.scene, folder / "images" / row["image_name"], size)
        rows.append(row)
    with open(folder / "SeeTRUE_Feedback.csv", "w", encoding="utf-8", newline="") as file:
        names = [
            "",
            "image_caption",
            "image_name",
            "dataset_source",
            "id_in_source_dataset",
            "image_url",
            "human_feedback",
            "feedback",
            "feedback_clean",
            "caption_misalignment",
            "visual_misalignment",
            "bbox_GroundingDino",
            "bbox_PaLI",
        ]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _name_columns(source: str, index: int, number: int, seed: int) -> dict:
    """The columns that say where a row came from, in the style of each source."""
    name, key = {
        "cococon": (coco_name(index), f"{index + 1}.0"),
        "pickapicon": (f"{unique_id('seetrue', seed, index)}.png", f"{number}"),
        "drawbench": (f"id_{index}_Reddit_sd_1_4_1.png", f"text_{index}_image_{number}"),
        "coco_t2i": (f"id_{index}_sd_2_1_3.png", f"text_{index}_image_{number}"),
    }[source]
    return {"image_name": name, "dataset_source": source, "id_in_source_dataset": key}


def _feedback(sample: Sample, size: int) -> dict:
    """The columns that say what is wrong in the caption, and where the picture differs."""
    places = false_places(sample.foil)
    said, seen = _clause(sample.foil.foil, places), _clause(sample.foil.caption, places)
    bare_said, bare_seen = (re.sub("^(a|an|the) ", "", text) for text in (said, seen))
    said, seen = (re.sub(" (is|are) ", " ", text) for text in (said, seen))
    people = [
        f"This is {seen}, not {said}.",
        f"One sees {seen} instead of {said}.",
        f"The caption says {said} where it should say {seen}.",
    ]
    return {
        "human_feedback": json.dumps(people),
        "feedback": f"This is {seen} (CONTRADICTION: {bare_seen}), not {said} "
        f"(CAPTION: {bare_said})",
        "feedback_clean": f"This is {seen}, not {said}",
        "caption_misalignment": bare_said,
        "visual_misalignment": bare_seen,
    } | _boxes(sample, places, bare_seen, size)


def _clause(caption: Caption, places: list[int]) -> str:
    """The stretch from the first to the last phrase with a false word, as inside a sentence."""
    phrases = false_phrases(caption, places)
    text = caption.text[min(p.start for p in phrases) : max(p.end for p in phrases)]
    return text[0].lower() + text[1:]


def _boxes(sample: Sample, places: list[int], label: str, size: int) -> dict:
    """Both box columns: centre, width and height of shares and pixels; and a grid of 1000."""
    boxes = [[c / SIDE for c in box] for box in misaligned_boxes(sample.foil.caption, places)]
    centred = [[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes]
    dino = {
        "boxes": centred,
        "boxes_in_pixels": [[c * size for c in box] for box in centred],
        "size": [size, size],
        "labels": [f"{label}(1.00)"] * len(boxes),
    }
    grid = [[round(1000 * c) for c in (y0, x0, y1, x1)] for x0, y0, x1, y1 in boxes]
    pali = " and ".join(f"{' '.join(map(str, box))} {label}" for box in grid)
    return {"bbox_GroundingDino": repr(dino), "bbox_PaLI": pali}


def misaligned_boxes(caption: Caption, places: list[int]) -> list[Box]:
    """Where the picture differs from what the words `places` say, in sixty-fourths of its side."""
    phrases = false_phrases(caption, places)
    return list(dict.fromkeys(box for phrase in phrases for box in phrase.boxes))


class Rated(NamedTuple):
    """A prompt and the picture it was given for; `places`: which of its words are false."""

    sample: Sample
    uid: str
    prompt: str
    places: list[int]


def write_rich_hf(folder: Path, n: int, seed: int, size: int, foils=None) -> None:
    """Rich-HF-18K: n rated pictures in test.tfrecord, a tenth of it in train and dev each.

    Prompts and pictures lie in Pick-a-Pic's form, pickapic_v1/data/SPLIT-*.parquet, joined by uid;
    the rated pictures also extracted, {test,train,dev}/UID.jpg. Two in five prompts are true, two
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
    """The Pick-a-Pic table of a split, and its rated pictures."""
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
    """A row of Pick-a-Pic with the rated picture in this place and an unrated one in the other."""
    other = sample_scene(generator(seed, one.sample.index, OTHER))
    return {
        f"jpg_{place}": jpg,
        f"image_{place}_uid": one.uid,
        f"jpg_{1 - place}": encode_picture(other, size),
        f"image_{1 - place}_uid": unique_id("other", seed, one.sample.index),
        "caption": one.prompt,
    }
