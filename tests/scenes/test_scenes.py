"""The embedded world: deterministic, grammatical, and true to the facts that it claims."""

import hashlib

import numpy as np
import pytest

from clip_attribution.scenes import (
    KINDS,
    SIDE,
    SWAPS,
    TYPES,
    generator,
    render_array,
    render_ref,
    sample_scene,
    scene_caption,
    scene_foil,
    scene_of,
    scene_pairs,
    scene_phrases,
)
from clip_attribution.scenes.foils import possible
from clip_attribution.scenes.vocabulary import (
    COLOURS,
    COUNTS,
    DIRECTIONS,
    GROUNDS,
    NAMES,
    NOUNS,
    POSITIONS,
    SIZES,
    STATES,
    THEME_OF,
    is_held_out,
)

SCENES = [sample_scene(generator(5, i)) for i in range(600)]


def test_the_world_is_as_rich_as_promised():
    assert len(NOUNS) >= 30 and len(COLOURS) == 8 and len(SIZES) == 2 and len(COUNTS) == 3
    assert len(POSITIONS) >= 4 and len(STATES) == 3 and len(GROUNDS) == 8 and len(NAMES) == 12
    assert set(THEME_OF) == set(NOUNS)


def test_pictures_and_captions_are_the_same_on_every_platform():
    """The digest was taken once; a change of the world has to be meant, and a new model trained."""
    digest = hashlib.sha256()
    for index in range(40):
        digest.update(render_array(sample_scene(generator(1, index)), 128).tobytes())
    words = "\n".join(scene_pairs(40, seed=1, foils=TYPES)["caption"])
    assert digest.hexdigest()[:16] == "30ff48ee7cb1f50a"
    assert hashlib.sha256(words.encode()).hexdigest()[:16] == "b3115510d2542f6d"


def centre(entity):
    boxes = np.array(entity.boxes)
    return (boxes[:, :2].min(0) + boxes[:, 2:].max(0)) / 2


def gap(first, second, axis):
    a, b = np.array(first.boxes), np.array(second.boxes)
    return max(b[:, axis].min() - a[:, axis + 2].max(), a[:, axis].min() - b[:, axis + 2].max())


def test_every_stated_fact_holds_in_the_picture():
    seen = set()
    for scene in SCENES:
        for entity in scene.entities:
            assert len(entity.boxes) == entity.count
            assert (entity.size is None) == (entity.count > 1)
        if len(scene.entities) < 2:
            continue
        first, second = scene.entities
        axis = 0 if scene.position in ("left", "right") else 1
        difference = centre(second)[axis] - centre(first)[axis]
        assert (difference > 0) == (scene.position in ("left", "above"))
        distance = gap(first, second, axis)
        seen.add(scene.state)
        if scene.state == "overlapping":
            assert distance <= -3
        elif scene.state == "touching":
            assert distance == -1
        else:
            assert distance >= 2
        if scene.state == "facing":
            looks = DIRECTIONS[first.noun] * (-1 if first.flipped else 1)
            assert looks == (1 if scene.position == "left" else -1)
    assert seen == {None, *STATES}


def test_boxes_lie_inside_the_picture_and_signs_are_free():
    for scene in SCENES:
        boxes = [b for e in scene.entities for b in e.boxes]
        for x0, y0, x1, y1 in boxes + ([scene.sign_box] if scene.sign_box else []):
            assert 0 <= x0 < x1 <= SIDE and 0 <= y0 < y1 <= SIDE
        if scene.sign_box:
            sx0, sy0, sx1, sy1 = scene.sign_box
            assert all(y1 <= sy0 or y0 >= sy1 for _, y0, _, y1 in boxes)


def test_training_never_shows_the_held_out_pairs_and_novel_scenes_show_only_them():
    assert not any(is_held_out(e.noun, e.colour) for s in SCENES for e in s.entities)
    novel = [sample_scene(generator(6, i), "novel") for i in range(2000)]
    pairs = [(e.noun, e.colour) for s in novel for e in s.entities]
    assert all(is_held_out(*p) for p in pairs)


def test_a_larger_drawing_is_the_same_picture():
    scene = SCENES[3]
    small = render_array(scene).astype(float)
    large = render_array(scene, 256).astype(float)
    averaged = large.reshape(SIDE, 4, SIDE, 4, 3).mean((1, 3))
    assert np.abs(small - averaged).mean() < 2


@pytest.mark.parametrize("kind", TYPES)
def test_foils_differ_in_the_named_words_only(kind):
    made = [f for i in range(120) if (f := scene_foil(2, i, kind))]
    assert len(made) >= 10
    for foil in made:
        true, false = foil.caption.words, foil.foil.words
        assert len(true) == len(false) and foil.caption.text != foil.foil.text
        different = tuple(i for i in range(len(true)) if true[i].text != false[i].text)
        assert different == foil.indices
        if kind in KINDS:
            assert len(different) == 1 and true[different[0]].kind == kind
        for caption in (foil.caption, foil.foil):
            for word in caption.words:
                assert caption.text[word.start : word.end] == word.text


def test_articles_agree_with_the_word_that_follows():
    for kind in TYPES:
        for caption in scene_pairs(60, seed=3, foils=kind)["caption"]:
            words = caption.lower().rstrip(".").split()
            for article, word in zip(words, words[1:], strict=False):
                if article in ("a", "an"):
                    assert (article == "an") == word.startswith(tuple("aeiou")), caption


def test_a_foil_is_false_and_its_twin_true():
    """Count, colour and noun words of the caption are read back against the scene's facts."""
    for index in range(150):
        scene, caption = scene_caption(4, index)
        for word in caption.words:
            if word.kind == "colour":
                assert scene.entities[word.entity].colour == word.text.lower()
            if word.kind == "count":
                assert COUNTS[word.text.lower()] == scene.entities[word.entity].count
            if word.kind == "ground":
                assert word.text.lower() == scene.ground
        foil = scene_foil(4, index, "colour")
        place = foil.indices[0]
        wrong = foil.foil.words[place].text.lower()
        assert wrong not in {e.colour for e in scene.entities}


def test_every_phrase_has_boxes_and_text():
    phrases = scene_phrases(100, seed=8, size=128)
    assert set(phrases["role"]) == {"object", "relation"}
    for row in phrases.itertuples():
        assert row.caption[row.start : row.end] == row.phrase and row.boxes
        assert all(0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128 for x0, y0, x1, y1 in row.boxes)


def test_the_about_register_names_nothing_that_is_seen():
    for index in range(200):
        scene, caption = scene_caption(9, index, register="about")
        words = caption.text.lower().rstrip(".").split()
        assert not set(words) & {e.noun for e in scene.entities}
        assert not set(words) & set(COLOURS)
        assert (words[-1] in {n.lower() for n in NAMES}) == (scene.name is not None)


def test_pairs_frame():
    pairs = scene_pairs(24, seed=0, foils=("noun", "swap_colour"))
    assert len(pairs) == 48 and pairs["pair_id"].is_unique
    assert pairs["foil_type"].value_counts().to_dict() == {"noun": 24, "swap_colour": 24}
    foils = pairs[pairs["is_foil"]]
    for row in foils[foils["foil_type"] == "noun"].itertuples():
        assert row.words[int(row.foil_index)]["text"] == row.foil_word != row.target_word
    assert set(SWAPS) < set(TYPES)
    assert scene_pairs(5, foils=None)["foil_word"].isna().all()


@pytest.mark.parametrize(
    "ref",
    [
        "scene:1",
        "scene:a:b",
        "scene:1:2:65",
        "scene:-1:2",
        "scen:1:2",
        "scene:1:2:64:other",
        "scene:1:2:64:novel:x",
    ],
)
def test_a_wrong_reference_is_named(ref):
    with pytest.raises(ValueError, match="names no scene"):
        scene_of(ref)


def test_references_draw_what_they_name():
    assert render_ref("scene:1:2").size == (64, 64)
    assert render_ref("scene:1:2:192:novel").size == (192, 192)
    assert not possible(next(s for s in SCENES if len(s.entities) == 1), "swap_noun")
    with pytest.raises(ValueError, match="unknown foil type"):
        scene_pairs(3, foils="verb")
