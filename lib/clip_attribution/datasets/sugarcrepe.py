"""SugarCrepe: a caption and its hard negative, in seven subsets (Hsieh et al. 2023)."""

import pandas as pd

from .choices import choice, choice_frame, join, keyed_records, subset_files
from .files import coco_names, find_image, load_json, require_fields

SUBSETS = (
    "add_att",
    "add_obj",
    "replace_att",
    "replace_obj",
    "replace_rel",
    "swap_att",
    "swap_obj",
)


def load(path, images=None) -> pd.DataFrame:
    """A choice frame of SugarCrepe: the captions are [caption, negative_caption], truth is 0.

    path: the folder with the seven files (or its parent), or one of them. images: the folder with
    the COCO photos, under any year's name. group is the subset; case_id is subset:key, because the
    keys repeat between subsets. Raises UserError when there is no such file.
    """
    return join([_load_subset(name, file, images) for name, file in subset_files(path, SUBSETS)])


def _load_subset(name: str, file, images) -> pd.DataFrame:
    def rows(_, item):
        key, record = item
        require_fields(record, "filename", "caption", "negative_caption")
        image = find_image(images, coco_names(record["filename"]))
        captions = [record["caption"], record["negative_caption"]]
        return [choice(f"{name}:{key}", [image], captions, group=name)]

    return choice_frame(keyed_records(load_json(file)), rows, prefix=f"{name}: ")
