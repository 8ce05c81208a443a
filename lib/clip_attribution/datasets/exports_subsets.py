"""The embedded world as SugarCrepe and VL-CheckList; n records go through the subsets in turn."""

from dataclasses import replace
from pathlib import Path

from ..scenes.clauses import bare, be, other_colour, other_noun, thing
from ..scenes.vocabulary import OPPOSITE, SIZES, STATES
from ..scenes.world import Scene
from .scene_cases import Maker, always, cases, foil_texts, other_of, single, write_json
from .scene_images import save_picture

# SugarCrepe: (caption, negative caption)


def _add_attribute(scene: Scene, rng) -> tuple[str, str]:
    first, end = scene.entities[0], f"on {scene.ground}"
    wrong = replace(first, size=other_of(SIZES, first.size, rng))
    return f"{thing(first)} {end}", f"{thing(wrong, size=True)} {end}"


def _add_object(scene: Scene, rng) -> tuple[str, str]:
    first, end = scene.entities[0], f"on {scene.ground}"
    absent = replace(first, noun=other_noun(scene, first, rng), count=1)
    absent = replace(absent, colour=other_colour(scene, absent, rng))
    return f"{thing(first)} {end}", f"{thing(first)} and {thing(absent)} {end}"


SUGARCREPE: dict[str, Maker] = {
    "add_att": (single, _add_attribute),
    "add_obj": (always, _add_object),
    "replace_att": foil_texts("colour"),
    "replace_obj": foil_texts("noun"),
    "replace_rel": foil_texts("position"),
    "swap_att": foil_texts("swap_colour"),
    "swap_obj": foil_texts("swap_noun"),
}


def write_sugarcrepe(folder: Path, n: int, seed: int, size: int) -> None:
    """data/{add_att, ...}.json and val2017/; the keys have gaps, as those of swap_obj have."""
    files = {name: {} for name in SUGARCREPE}
    for number, name, index, scene, texts in cases(n, seed, SUGARCREPE):
        image = f"{index + 1:012d}.jpg"
        save_picture(scene, folder / "val2017" / image, size)
        files[name][str(number)] = {
            "filename": image,
            "caption": texts[0],
            "negative_caption": texts[1],
        }
    for name, records in files.items():
        write_json(records, folder / "data" / f"{name}.json")


# VL-CheckList: ([positive phrases], [negative phrases])


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
VL_CHECKLIST = {
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


def write_vl_checklist(folder: Path, n: int, seed: int, size: int) -> None:
    """data/, corpus/v1/, and the pictures in vg/VG_100K/ and swig/; the positive relation of
    spatial is in capitals, SWiG has three phrases of each sort, as in the release."""
    files = {name: [] for name in VL_CHECKLIST}
    makers = {name: maker for name, (_, _, maker) in VL_CHECKLIST.items()}
    for _, name, index, scene, (true, false) in cases(n, seed, makers):
        root = VL_CHECKLIST[name][1]
        image = f"VG_100K/{index + 1}.jpg" if root == "vg" else f"placing_{index + 1}.jpg"
        save_picture(scene, folder / root / image, size)
        files[name].append([image, {"POS": true, "NEG": false}])
    for name, records in files.items():
        path, root, _ = VL_CHECKLIST[name]
        write_json(records, folder / "data" / f"{path}.json")
        corpus = folder / "corpus" / "v1" / f"{name}.yaml"
        corpus.parent.mkdir(parents=True, exist_ok=True)
        corpus.write_text(
            f'ANNO_PATH: "data/{path}.json"\nIMG_ROOT: "{root}/"\nTYPE: "TUPLE_JSON"\n', "utf-8"
        )
