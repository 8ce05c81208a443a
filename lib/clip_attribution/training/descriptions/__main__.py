"""The command line of training on descriptions, see the package's docstring."""

from ...errors import stop_while_importing

if __name__ == "__main__":
    stop_while_importing("python -m clip_attribution.training.descriptions")

import sys
from pathlib import Path

from ...errors import UserError, exit_status
from ...models.clip import load_clip
from .. import distributed
from .examples import TEST, VAL, read_frame, read_texts
from .options import build_parser
from .scenes import scene_tasks, scene_texts
from .tune import even_base, tune


def main(argv: list[str] | None = None) -> int:
    """0: done, 2: unusable, 130 or 143: stopped."""
    parser = build_parser("Teach a CLIP to prefer descriptions over captions.")
    args = vars(parser.parse_args(argv))
    try:
        hint = "the same command goes on from the last checkpoint"
        return exit_status(parser.prog, lambda: run_command(**args), hint)
    finally:
        distributed.stop()


def run_command(
    data,
    images,
    out,
    model,
    pretrained,
    model_config,
    activation,
    device,
    preset,
    even,
    keep_identical,
    save_every,
    quiet,
    **options,
) -> None:
    """Load model and texts, train, say what was left out and where the files are."""
    device = distributed.local_device(device)
    clip = load_clip(
        model, pretrained, model_config=model_config, activation=activation, device=device
    )
    rank, _ = distributed.start(clip.device)
    shown = not quiet and rank == 0
    if data:
        frame = read_frame(data, images)
        root, tasks = images or (data if Path(data).is_dir() else Path(data).parent), {}
    else:
        frame, root = scene_texts(), None
        tasks = {split: scene_tasks(clip, 300, split) for split in (VAL, TEST)}
    texts, left_out = read_texts(clip, frame, root, keep_identical, progress=shown)
    for error, n in left_out["error"].value_counts().items() if rank == 0 else ():
        print(f"left out {n} rows: {error}", file=sys.stderr)
    preset = preset or ("scripts" if data else "scenes")
    run = {"tasks": tasks, "save_every": save_every, "progress": shown}
    if even:
        if options["objective"] == "even":
            raise UserError("--even makes the even base by itself: choose another objective")
        clip = even_base(clip, texts, even, progress=shown).clip
    tuned = tune(clip, texts, out, preset=preset, **run, **options)
    if rank == 0:
        print(*sorted(tuned.folder.glob("*.*")), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
