"""ImageNet's validation images (ILSVRC 2012) in the layouts in which they are kept."""

from pathlib import Path

import pandas as pd

from ..errors import UserError, one_line
from .classes import classed, lines_of, with_classes
from .files import find_file, find_image, frame_of
from .tabular import read_records

FOLDERS = ("val", "ILSVRC/Data/CLS-LOC/val", ".")
NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")
DEVKIT = ("", "data/", "ILSVRC2012_devkit_t12/data/")
SOLUTION, TRUTH = "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt"


def load(path, images=None) -> pd.DataFrame:
    """A frame of ImageNet's validation split (50,000 images): image, label, class_name, error.

    Labels count the classes in the order of their sorted WordNet ids; a class's name is the first
    synonym of its line ("tench, Tinca tinca"). `attrs["classes"]` lists all names.

    path: a folder with one of
    - a folder a class (`val/n01440764/*.JPEG`) and `LOC_synset_mapping.txt` or `synset_words.txt`,
    - these names, `LOC_val_solution.csv` and flat images (Kaggle),
    - the devkit's `ILSVRC2012_validation_ground_truth.txt` and `meta.mat`, and flat images.
    images: the folder of the images, if it is another one. Raises UserError.
    """
    path, root = Path(path), Path(images or path)
    devkit = [path / part for part in DEVKIT if (path / part / TRUTH).is_file()]
    if devkit:
        names, ids = read_devkit(devkit[0])
    else:
        names = read_names(find_file(path, *NAMES))
    order = {wnid: label for label, wnid in enumerate(sorted(names))}
    if devkit:
        truth = enumerate(lines_of(devkit[0] / TRUTH), start=1)
        records = [(flat(number), ids.get(text)) for number, text in truth]
    elif (path / SOLUTION).is_file():
        records = [
            (f"{row.get('ImageId')}.JPEG", (row.get("PredictionString") or "").split(" ")[0])
            for row in read_records(path / SOLUTION)
        ]
    else:
        records = in_folders(root)

    def rows(number: int, record):
        name, wnid = record
        if wnid not in order:
            raise ValueError(f"{name}: no class {wnid!r}")
        image = find_image(root, [str(Path(folder, name)) for folder in FOLDERS])
        return [classed(Path(name).stem, image, order[wnid], names[wnid])]

    return with_classes(frame_of(records, rows), [names[wnid] for wnid in order])


def flat(number: int) -> str:
    """The official name of a validation image, counted from 1."""
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def read_names(file: Path) -> dict[str, str]:
    """{wnid: first synonym} of a file of lines such as "n01440764 tench, Tinca tinca"."""
    lines = [line.split(maxsplit=1) for line in lines_of(file)]
    return {one[0]: first_synonym(one[1]) for one in lines if len(one) == 2}


def first_synonym(words: str) -> str:
    """The first of the names of a class."""
    return words.split(",")[0].strip()


def read_devkit(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """({wnid: first synonym}, {number as text: wnid}) of the 1000 classes in `meta.mat`."""
    from scipy.io import loadmat  # rarely needed

    try:
        synsets = loadmat(find_file(folder, "meta.mat"), squeeze_me=True)["synsets"]
        kept = [one for one in synsets if int(one["num_children"]) == 0]
        names = {str(one["WNID"]): first_synonym(str(one["words"])) for one in kept}
        return names, {str(int(one["ILSVRC2012_ID"])): str(one["WNID"]) for one in kept}
    except (KeyError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise UserError(f"cannot read meta.mat in {folder}: {one_line(error)}") from None


def in_folders(root: Path) -> list[tuple[str, str]]:
    """(name, wnid) of every image in a folder a class. Raises UserError when there is none."""
    for folder in FOLDERS:
        found = sorted((root / folder).glob("n*/*.JPEG"))
        if found:
            return [(f"{file.parent.name}/{file.name}", file.parent.name) for file in found]
    raise UserError(
        f"neither {SOLUTION} nor a folder a class (n01440764/*.JPEG) in {root}: "
        "data/README.md says how ImageNet has to lie"
    )
