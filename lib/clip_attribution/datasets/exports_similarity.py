"""The embedded world as STS-B and SICK: pairs of descriptions that share more or fewer facts."""

from dataclasses import replace
from pathlib import Path

from ..scenes.clauses import CHANGE, other_colour, other_noun, with_entity
from ..scenes.grammar import ROLE_OF_KIND, describe
from ..scenes.vocabulary import GROUNDS
from ..scenes.world import Scene, generator, pick, sample_scene
from .scene_images import expect_pictures

SPLITS = ("train", "dev", "test")
STEPS = 4  # a pair is about one scene, or about scenes that differ in one, two, ... facts
SICK = ("pair_ID", "sentence_A", "sentence_B", "relatedness_score", "entailment_judgment")


def write_stsb(folder: Path, n: int, seed: int, size: int) -> None:
    """STS-B in its official files, sts-{train,dev,test}.csv: tabs, no header, no quotes."""
    expect_pictures(0)
    for number, split in enumerate(SPLITS):
        rows = [
            ["main-captions", "scenes", f"2012{split}", f"{k:04d}", f"{5 * share:.3f}", a, b]
            for k, (share, a, b) in enumerate(_pairs(n, seed, number))
        ]
        _write_rows(rows, folder / f"sts-{split}.csv")


def write_sick(folder: Path, n: int, seed: int, size: int) -> None:
    """SICK with its header: SICK_train.txt, SICK_trial.txt, SICK_test_annotated.txt."""
    expect_pictures(0)
    names = ("SICK_train.txt", "SICK_trial.txt", "SICK_test_annotated.txt")
    for number, name in enumerate(names):
        rows = [
            [str(number * n + k + 1), a, b, f"{1 + 4 * share:.1f}", _judgment(share)]
            for k, (share, a, b) in enumerate(_pairs(n, seed, number))
        ]
        _write_rows([list(SICK), *rows], folder / name)


def _judgment(share: float) -> str:
    return "ENTAILMENT" if share == 1 else "NEUTRAL"


def _write_rows(rows: list[list[str]], path: Path) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")


def _pairs(n: int, seed: int, split: int):
    """(share of facts in common, sentence, sentence) of n pairs; each split has its own scenes."""
    for index in range(split * n, (split + 1) * n):
        scene = other = sample_scene(generator(seed, index))
        rng = generator(seed, index, CHANGE)
        for _ in range(index % STEPS):
            other = _changed(other, rng)
        a = describe(scene, rng)
        b = describe(other, rng)
        yield shared(a, b), a.text, b.text


def _changed(scene: Scene, rng) -> Scene:
    """The scene with one fact changed; only told of, so it is not laid out."""
    kind = pick(rng, ("noun", "colour", "ground"))
    if kind == "ground":
        return replace(scene, ground=pick(rng, [g for g in GROUNDS if g != scene.ground]))
    place = int(rng.random() * len(scene.entities))
    other = other_noun if kind == "noun" else other_colour
    return with_entity(scene, place, **{kind: other(scene, scene.entities[place], rng)})


def facts(caption) -> set[tuple]:
    """What a caption states: (kind, which thing, word)."""
    return {(w.kind, w.entity, w.text.lower()) for w in caption.words if w.kind in ROLE_OF_KIND}


def shared(a, b) -> float:
    """The facts that both captions state, as a share of those that either states (Jaccard)."""
    return len(facts(a) & facts(b)) / len(facts(a) | facts(b))
