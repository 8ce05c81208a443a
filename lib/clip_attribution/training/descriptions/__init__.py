"""Teach a CLIP to prefer descriptions over captions: by behaviour, or by interchange.

    python -m clip_attribution.training.descriptions --objective iit --adapters lora \\
        --preset scripts --data concadia --model ViT-B-32 --pretrained openai --out runs/iit
    torchrun --nproc-per-node 4 -m clip_attribution.training.descriptions ...

The text tower alone is trained, on image features that are computed once. A folder of a run holds
the merged weights (a plain model for every other tool), the adapters, `alignment.safetensors` (site
and rotation), the log with one row an evaluation, and run.json. A stopped run goes on from its
checkpoint when the same command is given. Without --data it runs on the embedded world, whose model
prefers descriptions already: begin with --even DIR.

References
----------
Zur, Kreiss, D'Oosterlinck, Potts, Geiger, "Updating CLIP to prefer descriptions over captions",
EMNLP 2024, arXiv 2406.09458. Presets: what its scripts (default) and its text say.
"""

from .evaluation import evaluate, text_scores
from .examples import Task, Texts, read_frame, read_texts
from .scenes import scene_tasks, scene_texts
from .tune import Tuned, even_base, folder_for, tune

__all__ = [
    "Task",
    "Texts",
    "Tuned",
    "evaluate",
    "even_base",
    "folder_for",
    "read_frame",
    "read_texts",
    "scene_tasks",
    "scene_texts",
    "text_scores",
    "tune",
]
