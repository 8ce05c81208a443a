"""VL-CheckList: a phrase and its negative, by task, aspect and source (Zhao et al. 2022)."""

import re
from pathlib import Path

import pandas as pd

from ..errors import UserError
from .choices import choice, choice_frame, join
from .files import find_file, find_image, load_json

SOURCES = {"vg": "vg", "vaw": "vg", "hake": "hake", "swig": "swig"}  # source -> image folder
SETTING = re.compile(r"^\s*(\w+)\s*:\s*[\"']?(.*?)[\"']?\s*$")


def load(path, images=None, every: bool = False) -> pd.DataFrame:
    """A choice frame of VL-CheckList: the captions are [POS, NEG] in lower case, truth is 0.

    Lower case because the positive phrases of the release write some relations in capitals, which
    would give the answer away to a model that reads case. path: the folder that holds `data` and,
    if there, `corpus` (the yaml files name each set and its image folder), or one of the json
    files. images: the folder with `vg`, `hake` and `swig`. SWiG gives three phrases a picture:
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
    matches = [SETTING.match(line) for line in file.read_text("utf-8").splitlines()]
    settings = {match[1]: match[2] for match in matches if match}
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
