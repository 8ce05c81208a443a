"""What every process of a campaign imports and hashes: done once, by the server of forks."""

from clip_attribution.attribution import batch  # noqa: F401
from clip_attribution.cli import evaluate, scenes  # noqa: F401
from clip_attribution.datasets import benchmarks, export
from clip_attribution.evaluation import composition, grounding, run, score
from clip_attribution.io.keys import code_key
from clip_attribution.text import pos
from clip_attribution.trace import encode
from clip_attribution.training import finetune, pretrain

for module in (export, composition, grounding, run, score, encode, finetune, pretrain):
    code_key(module.__file__)
benchmarks()
pos.load_tagger()
