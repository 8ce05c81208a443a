"""The examples of the README and of the docstrings say what is true."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

import clip_attribution
from clip_attribution.dependencies import PACKAGE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.+?)^```", README, re.M | re.S)
# Needs the network or a file of the reader's own: a model other than the embedded one.
ANOTHER_MODEL = re.compile(r"load_clip\([^)]")
FRONT = {
    "attribution.engine.attribute",
    "display.explanation.explain",
    "heatmaps.engine.heatmaps",
    "heatmaps.patches.image_attribution",
    "metrics.intervals.average_precision",
    "metrics.intervals.bootstrap",
    "metrics.intervals.mean_estimate",
    "metrics.intervals.ratio_estimate",
    "models.clip.load_clip",
    "scenes.scene_pairs",
}


def examples() -> list[doctest.DocTest]:
    """Every docstring with an example; only modules that hold one are imported."""
    found = []
    for source in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in source.read_text("utf-8"):
            names = source.relative_to(PACKAGE.parent).with_suffix("").parts
            module = import_module(".".join(names).removesuffix(".__init__"))
            found += [test for test in doctest.DocTestFinder().find(module) if test.examples]
    return found


EXAMPLES = examples()


def test_the_front_functions_have_examples():
    assert {f"{clip_attribution.__name__}.{name}" for name in FRONT} <= {t.name for t in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_docstring(example):
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(example, out=said.append).failed == 0, "".join(said)


def test_readme(tmp_path, monkeypatch, capsys):
    """All blocks in order, in one namespace, beside a table like the one that the text names."""
    monkeypatch.chdir(tmp_path)
    Path("pairs.csv").write_text("image,caption\nscene:1:3,a yellow envelope on grass\n", "utf-8")
    names = {}
    for block in BLOCKS:
        if not ANOTHER_MODEL.search(block):
            exec(compile(block, "README.md", "exec"), names)
    assert names["words"].word[names["words"].attribution.idxmin()] == "envelope"


def test_one_block_of_the_readme_is_left_out():
    (left_out,) = [block for block in BLOCKS if ANOTHER_MODEL.search(block)]
    assert 'load_clip("ViT-B-32", "openai")' in left_out and len(BLOCKS) >= 4
