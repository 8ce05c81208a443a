"""Food101, CIFAR-100 and ImageNet: which of its classes does an image show, by its name alone?

Bossard et al. 2014; Krizhevsky 2009; Russakovsky et al. 2015. What arXiv 2406.09458 measures of
transfer: macro-F1 of zero-shot classification with one prompt a class. Three sets of prompts: those
of its public code, that of its text, and the ensembles of Radford et al., arXiv 2103.00020, which
are read from the files that their authors and CLIP_benchmark publish.
"""

import ast
import re
from functools import partial

import pandas as pd
from PIL import Image

from ..errors import UserError
from ..metrics.transfer import chance_f1, macro_f1
from .classes import classed, lines_of, with_classes
from .files import find_file, find_image, frame_of, load_json
from .imagenet import load as load_imagenet
from .protocol_rows import tidy
from .registry import DESCRIPTIONS, Benchmark
from .restricted_pickle import load as load_pickle

PAPER = "An image of {}"
CODE = {
    "food101": "A picture of {}",
    "imagenet": "A picture of {}",
    "cifar100": "a photo of a {}",
}
SETS = ("code", "paper", "openai")
MEASURE = "macro F1"
SIDE = 32  # of CIFAR's images, in pixels


def load_food101(path, images=None) -> pd.DataFrame:
    """A frame of Food101's official test split (25,250 images): image, label, class_name, error.

    path: the folder of `images/` and `meta/` (`food-101/`), or the one above it. Classes are those
    of `meta/classes.txt` in alphabetical order, their names with underscores ("apple_pie").
    `attrs["classes"]` lists all of them. Raises UserError.
    """
    file = find_file(path, "meta/test.txt", "food-101/meta/test.txt")
    root = file.parent.parent
    names = sorted(lines_of(find_file(root, "meta/classes.txt")))

    def rows(number: int, key: str):
        name = key.split("/")[0]
        image = find_image(images or path, [f"images/{key}.jpg", f"{root.name}/images/{key}.jpg"])
        return [classed(key, image, names.index(name), name)]

    return with_classes(frame_of(lines_of(file), rows), names)


def load_cifar100(path, images=None) -> pd.DataFrame:
    """A frame of CIFAR-100's test split (10,000 images): image (in memory), label, class_name.

    path: the folder `cifar-100-python` of the official Python version, or the one above it. Its
    pickles are read without running anything in them. Names have underscores ("aquarium_fish").
    `attrs["classes"]` lists all of them. Raises UserError.
    """
    file = find_file(path, "test", "cifar-100-python/test")
    test, meta = (load_pickle(find_file(file.parent, name), True) for name in ("test", "meta"))
    try:
        pixels = test["data"].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        labels, names = list(test["fine_labels"]), list(meta["fine_label_names"])
        records = list(zip(pixels, labels, strict=True))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{file} is not the test file of CIFAR-100's Python version") from None

    def rows(number: int, record):
        pixels, label = record
        if label not in range(len(names)):
            raise ValueError(f"no class {label}")
        return [classed(str(number), Image.fromarray(pixels), label, names[label])]

    return with_classes(frame_of(records, rows), names)


def class_texts(frame: pd.DataFrame, data, prompts: str = "code", name: str = "") -> dict:
    """{label: its prompts} of a frame's classes.

    prompts: "code", one prompt as in the public code; "paper", "An image of ..."; "openai", the
    ensembles and class names of Radford et al., from a file beside the data: `prompts.md` of
    openai/CLIP, for imagenet `en_classnames.json` and `en_zeroshot_classification_templates.json`
    of LAION-AI/CLIP_benchmark. name: of the benchmark. Raises UserError.
    """
    if prompts not in SETS:
        raise UserError(f"unknown prompts {prompts!r}: choose from {', '.join(SETS)}")
    names = frame.attrs["classes"]
    templates = [PAPER if prompts == "paper" else CODE[name]]
    if prompts == "openai":
        titles, templates = openai_prompts(data, name)
        if len(titles) != len(names):
            raise UserError(f"the prompts have {len(titles)} classes and {name} has {len(names)}")
        names = titles
    return {label: [t.replace("{}", title) for t in templates] for label, title in enumerate(names)}


def openai_prompts(data, name: str) -> tuple[list[str], list[str]]:
    """(class names in the order of the labels, templates with {}) as published by OpenAI."""
    if name == "imagenet":
        titles = load_json(find_file(data, "en_classnames.json"))["imagenet1k"]
        file = find_file(data, "en_zeroshot_classification_templates.json")
        return titles, [text.replace("{c}", "{}") for text in load_json(file)["imagenet1k"]]
    file = find_file(data, "prompts.md")
    part = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", file.read_text("utf-8"), re.I | re.M | re.S)
    lists = dict(
        re.findall(r"^(classes|templates) = (\[.*?^\])", part[1] if part else "", re.M | re.S)
    )
    if set(lists) != {"classes", "templates"}:
        raise UserError(f"{file} has no classes and templates of {name}: take openai/CLIP's own")
    return ast.literal_eval(lists["classes"]), ast.literal_eval(lists["templates"])


def summarise(scored: pd.DataFrame, scorer: str = "model", seed: int = 0) -> pd.DataFrame:
    """The tidy table of the predictions: macro-F1, beside the same predictions in random order."""
    good = scored[scored["error"].isna()].dropna(subset=["prediction"])
    sides = [good[name].to_numpy(int) for name in ("label", "prediction")]
    row = {"measure": MEASURE, "scorer": scorer, "group": "all"} | macro_f1(*sides, seed)._asdict()
    row |= {"chance": chance_f1(*sides, seed) if len(good) else None}
    row |= {"n_errors": int(scored["error"].notna().sum())}
    return tidy(
        [row | {"note": f"{good['label'].nunique()} classes; chance: predictions shuffled"}]
    )


BENCHMARKS = [
    Benchmark(
        name,
        DESCRIPTIONS,
        title,
        "which class, by its name?",
        load,
        None,
        summarise,
        published=("iit_das", dataset, MEASURE),
        measures="macro-F1 of zero-shot classification",
        options=("prompts",),
        texts=partial(class_texts, name=name),
        place=place,
    )
    for place, (name, title, dataset, load) in enumerate(
        [
            ("food101", "Food101", "Food101", load_food101),
            ("cifar100", "CIFAR-100", "CIFAR100", load_cifar100),
            ("imagenet", "ImageNet", "ImageNet", load_imagenet),
        ],
        start=3,
    )
]
