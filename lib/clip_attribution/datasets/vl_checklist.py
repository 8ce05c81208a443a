"""VL-CheckList: a phrase and its negative, by task, aspect and source (Zhao et al. 2022)."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..io.read import read_text, text_lines
from ..scenes.clauses import bare, be, other_colour, other_noun, thing
from ..scenes.vocabulary import OPPOSITE, SIZES, STATES
from ..scenes.world import Scene
from .accuracies import accuracies
from .choices import choice, choice_frame, join
from .files import find_file, find_image, load_json
from .registry import COMPOSITION, Benchmark
from .scene_cases import Maker, always, cases, other_of, single, write_json
from .scene_images import save_picture

SOURCES = {"vg": "vg", "vaw": "vg", "hake": "hake", "swig": "swig"}  # source -> image folder


ATTRIBUTES = ("action", "color", "material", "size", "state")
MEANS = {
    "relation accuracy": [
        [f"Relation/action/{s}" for s in ("hake", "swig", "vg")],
        "Relation/spatial/vg",
    ],
    "attribute accuracy": [[f"Attribute/{a}/{s}" for s in ("vaw", "vg")] for a in ATTRIBUTES],
}


def load(path, images=None, every: bool = False) -> pd.DataFrame:
    """A choice frame of VL-CheckList: the captions are [POS, NEG] in lower case, truth is 0.

    Lower case because the positive phrases of the release write some relations in capitals, which
    would give the answer away to a model that reads case. path: the folder that holds `data` and,
    if there, `corpus` (the yaml files name each set and its image folder), or one of the json
    files. images: the folder with `vg`, `hake` and `swig`. SWiG gives three phrases an image:
    the first of each list makes the decision, as in the official evaluation; `every` makes one of
    POS[i] and NEG[i] for every i. group is the set, as the corpus names it (Relation/spatial/vg);
    task, aspect and source are its parts. Raises UserError when there is no such file.
    """
    return join([_load_set(name, file, root, images, every) for name, file, root in _sets(path)])


def _load_set(name: str, file: Path, root: str, images, every: bool) -> pd.DataFrame:
    facts = dict(zip(("task", "aspect", "source"), _parts(name), strict=True))

    def rows(number, record):
        image, texts = record
        found = find_image(images, [f"{root}/{image}", image])
        couples = list(zip(texts["POS"], texts["NEG"], strict=True))
        if not couples:
            raise ValueError("no phrases")
        made = [
            choice(
                f"{name}:{number}" + (f":{i}" if i else ""),
                [found],
                [text.lower() for text in couple],
                group=name,
                **facts,
            )
            for i, couple in enumerate(couples)
        ]
        return made if every else made[:1]

    return choice_frame(load_json(file), rows, prefix=f"{name}: ")


def _sets(path) -> list[tuple[str, Path, str]]:
    """(name, json file, image folder) of every set at hand."""
    path = Path(path)
    if path.is_file():
        return [(_name_of(path), find_file(path), _image_folder(_name_of(path)))]
    found = {}
    for corpus in sorted(path.glob("corpus/**/*.yaml")):
        settings = _settings(corpus)
        file = (path / settings.get("ANNO_PATH", "")).resolve()
        if file.is_file() and file not in found:
            parts = corpus.relative_to(path / "corpus").with_suffix("").parts
            name = "/".join(p for p in parts if not re.fullmatch(r"v\d+", p))
            found[file] = (name, find_file(file), settings.get("IMG_ROOT", "").rstrip("/"))
    for file in sorted((path / "data").glob("**/*.json")):
        name = _name_of(file.relative_to(path))
        found.setdefault(file.resolve(), (name, find_file(file), _image_folder(name)))
    if not found:
        raise UserError(f"no data/**/*.json in {path}: data/README.md says where to get it")
    return sorted(found.values())


def _settings(file: Path) -> dict[str, str]:
    """The `KEY: "value"` lines of a corpus file. Raises UserError for another type of corpus."""
    parts = [line.partition(":") for line in text_lines(read_text(file))]
    settings = {key.strip(): value.strip().strip("\"'") for key, colon, value in parts if colon}
    if settings.get("TYPE", "TUPLE_JSON") != "TUPLE_JSON":
        raise UserError(f"{file}: only corpora of the type TUPLE_JSON are known")
    return settings


def _name_of(file: Path) -> str:
    """The corpus name of a json file that no corpus file names.

    data/Relation/vg/spatial.json and data/Relation/swig_action.json are task/source/aspect;
    data/Object/Size/vg_size/vg_obj_large.json is Object/Size/value/source.
    """
    tasks = [i for i, p in enumerate(file.parts) if p in ("Attribute", "Object", "Relation")]
    folders = file.parts[tasks[-1] :] if tasks else file.parts[-1:]
    source, _, value = file.stem.rpartition("_")
    if folders[0] == "Object":
        source = "hake" if source.startswith("hake") else source
        return "/".join([*folders[:2], value, source])
    source = source or (folders[1] if len(folders) > 2 else "")
    return "/".join(p for p in (folders[0] if tasks else "", value, source) if p)


def _parts(name: str) -> tuple[str, str, str]:
    """Task, aspect and source of a set's name."""
    parts = name.split("/")
    aspect = "/".join(parts[1:-1])
    return parts[0], aspect, parts[-1].split("_")[0]


def _image_folder(name: str) -> str:
    return SOURCES.get(_parts(name)[2], "")


def _colour_phrases(scene: Scene, rng):
    first = scene.entities[0]
    wrong = replace(first, colour=other_colour(scene, first, rng))
    return [bare(first)], [bare(wrong)]


def _size_phrases(scene: Scene, rng):
    first = scene.entities[0]
    wrong = replace(first, size=other_of(SIZES, first.size, rng))
    return [bare(first, False, True)], [bare(wrong, False, True)]


def _spatial_phrases(scene: Scene, rng):
    a, b = (bare(e, False) for e in scene.entities)
    position = "{} of" if scene.position in ("left", "right") else "{}"
    true, false = (position.format(p) for p in (scene.position, OPPOSITE[scene.position]))
    return [f"{a} {true.upper()} {b}"], [f"{a} {false} {b}"]


def _action_phrases(scene: Scene, rng):
    a, b = (bare(e, False) for e in scene.entities)
    return [f"{a} {scene.state} {b}"], [f"{a} {other_of(STATES, scene.state, rng)} {b}"]


def _object_phrases(scene: Scene, rng):
    first = scene.entities[0]
    wrong = replace(first, noun=other_noun(scene, first, rng))
    return tuple(
        [
            f"{thing(e, False)} {be(e)} on {scene.ground}",
            f"{thing(e)} on {scene.ground}",
            f"there {be(e)} {thing(e)}",
        ]
        for e in (first, wrong)
    )


def _of_size(size: str) -> Maker:
    return lambda scene: scene.entities[0].size == size, _object_phrases


# corpus name: (json file, image folder, maker)
MAKERS = {
    "Attribute/color/vg": ("Attribute/vg/color", "vg", (always, _colour_phrases)),
    "Attribute/color/vaw": ("Attribute/vaw/color", "vg", (always, _colour_phrases)),
    "Attribute/size/vg": ("Attribute/vg/size", "vg", (single, _size_phrases)),
    "Attribute/size/vaw": ("Attribute/vaw/size", "vg", (single, _size_phrases)),
    "Relation/action/vg": ("Relation/vg/action", "vg", (lambda s: s.state, _action_phrases)),
    "Relation/spatial/vg": (
        "Relation/vg/spatial",
        "vg",
        (lambda s: len(s.entities) == 2, _spatial_phrases),
    ),
    "Object/Size/large/swig_item": (
        "Object/Size/swig_size/swig_item/swig_item_large",
        "swig",
        _of_size("large"),
    ),
    "Object/Size/small/swig_item": (
        "Object/Size/swig_size/swig_item/swig_item_small",
        "swig",
        _of_size("small"),
    ),
}


def write(folder: Path, n: int, seed: int, size: int) -> None:
    """data/, corpus/v1/, and the images in vg/VG_100K/ and swig/; the positive relation of
    spatial is in capitals, SWiG has three phrases of each sort, as in the release."""
    files = {name: [] for name in MAKERS}
    makers = {name: maker for name, (_, _, maker) in MAKERS.items()}
    for _, name, index, scene, (true, false) in cases(n, seed, makers):
        root = MAKERS[name][1]
        image = f"VG_100K/{index + 1}.jpg" if root == "vg" else f"placing_{index + 1}.jpg"
        save_picture(scene, folder / root / image, size)
        files[name].append([image, {"POS": true, "NEG": false}])
    for name, records in files.items():
        path, root, _ = MAKERS[name]
        write_json(records, folder / "data" / f"{path}.json")
        corpus = folder / "corpus" / "v1" / f"{name}.yaml"
        corpus.parent.mkdir(parents=True, exist_ok=True)
        corpus.write_text(
            f'ANNO_PATH: "data/{path}.json"\nIMG_ROOT: "{root}/"\nTYPE: "TUPLE_JSON"\n', "utf-8"
        )


def summarise(scored, seed=0) -> pd.DataFrame:
    """Relation: mean of spatial and of the mean of three action sets. Attribute: mean over five
    aspects of the mean of VAW and VG."""
    return accuracies(scored, MEANS, seed)


BENCHMARKS = [
    Benchmark(
        "vl-checklist",
        COMPOSITION,
        "VL-CheckList",
        "which caption: one word replaced",
        load,
        write,
        summarise=summarise,
        published=("cae", "VL-CheckList"),
        place=6,
    ),
]
