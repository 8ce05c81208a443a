"""Food101, CIFAR-100 and ImageNet from small folders in their official layouts."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.metrics import f1_score

from clip_attribution import load_clip
from clip_attribution.datasets import get_benchmark, load_benchmark
from clip_attribution.datasets.zeroshot import class_texts
from clip_attribution.errors import UserError
from clip_attribution.evaluation.descriptions import classify
from clip_attribution.evaluation.run import evaluate_files
from clip_attribution.scenes import render, scene_caption

ROOT = Path(os.environ.get("CLIP_BENCHMARKS") or "CLIP_BENCHMARKS is unset") / "zeroshot"
NOUNS = ("star", "umbrella", "apple_pie")


def things(n=12):
    """Scenes and the noun of their first thing."""
    return [(scene, scene.entities[0].noun) for scene, _ in map(scene_of, range(n))]


def scene_of(index):
    return scene_caption(5, index)


@pytest.fixture
def food(tmp_path):
    """food-101/ with the nouns of the embedded world as its classes, one image without a file."""
    root = tmp_path / "food-101"
    keys = []
    for number, (scene, noun) in enumerate(things()):
        keys.append(f"{noun}/{number}")
        (root / "images" / noun).mkdir(parents=True, exist_ok=True)
        render(scene).save(root / "images" / f"{keys[-1]}.jpg", quality=95)
    keys.append(f"{keys[0].split('/')[0]}/missing")
    (root / "meta").mkdir()
    (root / "meta" / "test.txt").write_text("\n".join(keys) + "\n", "utf-8")
    nouns = sorted({key.split("/")[0] for key in keys} | {"apple_pie"})
    (root / "meta" / "classes.txt").write_text("\n".join(reversed(nouns)), "utf-8")
    return tmp_path


class Python2(pickle._Pickler):
    """Pickles as Python 2 did: bytes as plain strings, numpy under its old name."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_global(self, obj, name=None):
        if getattr(obj, "__name__", "") == "_reconstruct":
            return self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        return super().save_global(obj, name)

    dispatch[bytes] = save_bytes


def cifar(folder, content, meta):
    (folder / "cifar-100-python").mkdir(parents=True, exist_ok=True)
    for name, value in (("test", content), ("meta", meta)):
        with open(folder / "cifar-100-python" / name, "wb") as file:
            Python2(file, protocol=2).dump(value)
    return folder


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 3072), dtype=np.uint8)


def test_food101(food):
    frame = load_benchmark("food101", food)
    assert len(frame) == 13 and frame["error"].isna().all()
    assert (
        frame.attrs["classes"] == sorted(frame.attrs["classes"])
        and "apple_pie" in (frame.attrs["classes"])
    )
    assert all(frame["class_name"] == [frame.attrs["classes"][k] for k in frame["label"]])
    assert frame["image"][0] == f"food-101/images/{frame['pair_id'][0]}.jpg"
    assert load_benchmark("food101", food / "food-101")["image"][0].startswith("images/")


def test_cifar100_is_read_without_running_its_pickles(tmp_path, pixels):
    content = {b"data": pixels, b"fine_labels": [3, 0, 1, 1, 7], b"filenames": [b"a.png"] * 5}
    names = [b"apple", b"aquarium_fish", b"baby", b"bear"]
    folder = cifar(tmp_path, content, {b"fine_label_names": names})
    frame = load_benchmark("cifar100", folder)
    assert frame["label"].dropna().tolist() == [3, 0, 1, 1]
    assert frame["class_name"][2] == "aquarium_fish" and "no class 7" in frame["error"][4]
    wanted = pixels[2].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(frame["image"][2]), wanted)
    assert frame.attrs["classes"][1] == "aquarium_fish"


@pytest.mark.parametrize(
    "content",
    [
        {b"data": np.zeros((1, 3072), np.float32), b"fine_labels": [0]},
        {b"data": np.array([os.system], dtype=object), b"fine_labels": [0]},
        {b"data": os.system, b"fine_labels": [0]},
        {b"fine_labels": [0]},
        [b"nothing"],
    ],
)
def test_other_pickles_are_refused(tmp_path, content):
    folder = cifar(tmp_path, content, {b"fine_label_names": [b"apple"]})
    with pytest.raises(UserError, match="as plain data|is not the test file"):
        load_benchmark("cifar100", folder)


LINES = "n02 drake\nn01 tench, Tinca tinca\nn03 crane\nn04 crane, bird\n"
WNIDS = ["n02", "n01", "n01", "n04"]


def flat(folder, number):
    path = folder / f"ILSVRC2012_val_{number:08d}.JPEG"
    path.parent.mkdir(parents=True, exist_ok=True)
    render(scene_of(number)[0]).save(path, "JPEG")


def in_folders(root):
    (root / "synset_words.txt").write_text(LINES)
    for number, wnid in enumerate(WNIDS, start=1):
        flat(root / "val" / wnid, number)


def kaggle(root):
    (root / "LOC_synset_mapping.txt").write_text(LINES)
    rows = [f"ILSVRC2012_val_{i:08d},{w} 1 2 3 4 \n" for i, w in enumerate(WNIDS, start=1)]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
    for number in range(1, 5):
        flat(root / "ILSVRC/Data/CLS-LOC/val", number)


def devkit(root):
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(1, "n02", "drake", 0), (2, "n01", "tench, Tinca tinca", 0), (3, "n03", "crane", 0)]
    rows += [(4, "n04", "crane, bird", 0), (1001, "n00", "entity", 5)]
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kind)})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n2\n4\n")
    for number in range(1, 5):
        flat(root, number)


@pytest.mark.parametrize("layout", [in_folders, kaggle, devkit])
def test_imagenet_in_its_layouts(tmp_path, layout):
    layout(tmp_path)
    frame = load_benchmark("imagenet", tmp_path).sort_values("pair_id", ignore_index=True)
    assert frame["label"].tolist() == [1, 0, 0, 3]  # in the order of sorted ids
    assert frame.attrs["classes"] == ["tench", "drake", "crane", "crane"]
    assert frame["class_name"].tolist() == ["drake", "tench", "tench", "crane"]
    assert all((tmp_path / image).is_file() for image in frame["image"])
    texts = class_texts(frame, tmp_path, name="imagenet")
    assert texts[2] == texts[3] == ["A picture of crane"]


def test_what_is_no_imagenet(tmp_path):
    (tmp_path / "synset_words.txt").write_text(LINES)
    with pytest.raises(UserError, match="neither LOC_val_solution.csv nor a folder a class"):
        load_benchmark("imagenet", tmp_path)
    kaggle(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n02 drake\n")
    frame = load_benchmark("imagenet", tmp_path)
    assert frame["error"].notna().tolist() == [False, True, True, True]


def test_three_sets_of_prompts(food):
    frame = load_benchmark("food101", food)
    at = frame.attrs["classes"].index("apple_pie")
    texts = get_benchmark("food101").texts
    assert texts(frame, food)[at] == ["A picture of apple_pie"]
    assert texts(frame, food, prompts="paper")[at] == ["An image of apple_pie"]
    assert get_benchmark("cifar100").texts(frame, food)[at] == ["a photo of a apple_pie"]
    with pytest.raises(UserError, match="choose from code, paper, openai"):
        texts(frame, food, prompts="best")
    with pytest.raises(UserError, match="none of prompts.md"):
        texts(frame, food, prompts="openai")
    classes = "".join(f"    '{name.replace('_', ' ')}',\n" for name in frame.attrs["classes"])
    own = f"## Food101\n\n```bash\nclasses = [\n{classes}]\n\ntemplates = [\n"
    own += "    'a photo of {}.',\n    'some {}.',\n]\n```\n## GTSRB\n\nclasses = [\n    'x',\n]\n"
    (food / "prompts.md").write_text(own, "utf-8")
    assert texts(frame, food, prompts="openai")[at] == ["a photo of apple pie.", "some apple pie."]
    (food / "prompts.md").write_text(own.replace("    'apple pie',\n", ""), "utf-8")
    with pytest.raises(UserError, match="the prompts have"):
        texts(frame, food, prompts="openai")


@pytest.mark.skipif(not ROOT.is_dir(), reason="needs zeroshot/")
@pytest.mark.parametrize(
    ("name", "classes", "templates"),
    [("food101", 101, 1), ("cifar100", 100, 18), ("imagenet", 1000, 80)],
)
def test_the_ensembles_of_the_real_files(name, classes, templates):
    from clip_attribution.datasets.zeroshot import openai_prompts

    titles, forms = openai_prompts(ROOT, name)
    assert (len(titles), len(forms)) == (classes, templates)
    assert all(form.count("{}") == 1 for form in forms) and "_" not in "".join(titles)


def test_one_command_from_folder_to_macro_f1(food, tmp_path):
    results, errors = evaluate_files("food101", food, out=tmp_path / "out", quiet=True)
    own, *printed = results.to_dict("records")
    assert errors == 1 and own["n"] == 12 and own["n_errors"] == 1
    assert own["low"] <= own["value"] <= own["high"] and own["value"] > own["chance"] + 0.3
    assert [row["value"] for row in printed] == [0.764]  # the tuned rows are not legible
    assert np.isclose(printed[0]["difference"], own["value"] - 0.764)
    with pytest.raises(UserError, match="prompts is for cifar100|prompts is for food101"):
        evaluate_files("concadia", food, prompts="paper", out=tmp_path)


def test_classes_are_chosen_by_the_mean_of_their_prompts(food):
    clip = load_clip()
    frame = load_benchmark("food101", food)
    texts = {k: [f"a {n}", f"there is a {n}"] for k, n in enumerate(frame.attrs["classes"])}
    scored = classify(clip, frame, texts, food)
    assert "no such file" in scored["error"][12] and scored["prediction"].isna().sum() == 1
    heads = np.stack([clip.encode_texts(texts[k]).numpy().mean(0) for k in sorted(texts)])
    heads /= np.linalg.norm(heads, axis=1, keepdims=True)
    images = clip.encode_images([render(scene) for scene, _ in things()]).numpy()
    close = (images @ heads.T).argmax(1)
    assert (scored["prediction"][:12] == close).mean() > 0.8  # JPEG moves a near tie
    good = scored.dropna(subset=["prediction"])
    table = get_benchmark("food101").summarise(scored)
    wanted = f1_score(good["label"].astype(int), good["prediction"].astype(int), average="macro")
    assert table["value"][0] == wanted


def test_images_in_memory_are_classified(tmp_path, pixels):
    content = {b"data": pixels, b"fine_labels": [0, 0, 1, 1, 1]}
    folder = cifar(tmp_path, content, {b"fine_label_names": [b"star", b"umbrella"]})
    results, errors = evaluate_files("cifar100", folder, out=tmp_path / "out", quiet=True)
    assert errors == 0 and results["n"][0] == 5
    values = results[results["published"]].set_index("scorer")["value"]
    assert values["CLIP ViT-B/32"] == 0.615 and len(values) == 5
