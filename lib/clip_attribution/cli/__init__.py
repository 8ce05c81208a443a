"""The command line `clip-attribution`: options and exit statuses, no logic of its own.

Heavy imports happen inside the commands, so that `--help` answers at once. A new command is one
function that adds its options and names the function that runs it; list it in COMMANDS.
"""

import argparse
import re
import sys

from ..errors import exit_status
from ..versions import package_version
from .evaluate import add_evaluate
from .options import (
    EXIT_OK,
    EXIT_ROW_ERRORS,
    EXIT_STATUS,
    EXIT_UNUSABLE,
    RAW,
    add_attribution_options,
    add_model_options,
    positive,
    shard,
)
from .scenes import add_scenes

ABOUT = "Which words of a caption does CLIP believe, and which does it reject?"
EXAMPLES = """\
examples:
  clip-attribution score pairs.csv --out scored
      the embedded model, no network; pairs.csv has the columns image and caption
  clip-attribution score pairs.jsonl --out scored --model ViT-B-32 --pretrained openai
  clip-attribution score pairs.parquet --out scored --model ViT-B-32 \\
      --pretrained weights.safetensors --image-root photos --shard 2/8

  clip-attribution scenes export foil exported
      the embedded world in the official files of FOIL-COCO
  clip-attribution evaluate foil --data exported
      location accuracy and average precision, with intervals and baselines

`clip-attribution COMMAND --help` explains a command."""

SCORE_ABOUT = """\
Attribute every word of every caption; write DIR/words.parquet, DIR/pairs.parquet, DIR/score.json.

PAIRS needs the columns image (a path under the image root, or scene:SEED:INDEX) and caption;
pair_id is optional and further columns are carried through. A row that cannot be computed keeps
its reason in the column error and stops no other row. A run that was stopped goes on where it was
when the same command is given again; a finished one is not repeated. An image is encoded once in a
chunk of rows: keep the captions of an image together."""


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line."""

    def error(self, message):
        """Print one line and leave with status 2."""
        self.exit(EXIT_UNUSABLE, f"{self.prog}: error: {message}\n")


def main(argv=None):
    """Run the command line on `argv` (default: the process's own); return the exit status."""
    parser = build_parser()
    args = parser.parse_args(join_numbers(sys.argv[1:] if argv is None else argv))
    return exit_status(parser.prog, lambda: args.run(args))


def join_numbers(argv):
    """Write `--option -5e-5` as `--option=-5e-5`: argparse takes -5e-5 for an option."""
    joined = []
    for arg in argv:
        number = re.fullmatch(r"-[0-9.]+([eE][+-]?[0-9]+)?", arg)
        if number and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={arg}"
        else:
            joined.append(arg)
    return joined


def build_parser():
    """The whole parser; each command sets `run`, a function of the parsed arguments."""
    parser = Parser("clip-attribution", None, ABOUT, EXAMPLES, formatter_class=RAW)
    parser.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add_command in COMMANDS:
        add_command(commands)
    return parser


def add_score(commands):
    """Add the command `score`."""
    parser = commands.add_parser(
        "score",
        help="attribute the words of a table of image-caption pairs",
        description=SCORE_ABOUT,
        epilog=EXIT_STATUS,
        formatter_class=RAW,
        allow_abbrev=False,
    )
    parser.add_argument("pairs", metavar="PAIRS", help="a .csv, .jsonl or .parquet file")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the results")
    parser.add_argument("--image-root", metavar="DIR", help="default: the folder of PAIRS")
    parser.add_argument(
        "--shard", metavar="I/N", type=shard, help="score the I-th of N equal blocks of rows"
    )
    parser.add_argument(
        "--chunk-rows",
        metavar="N",
        type=positive,
        default=512,
        help="rows kept together when a run is stopped (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    add_model_options(parser)
    add_attribution_options(parser)
    parser.set_defaults(run=run_score)


def run_score(args):
    """Run `score`; return the exit status."""
    from ..evaluation.score import score_file

    report = score_file(**{name: value for name, value in vars(args).items() if name != "run"})
    return EXIT_ROW_ERRORS if report["errors"] else EXIT_OK


COMMANDS = (add_score, add_evaluate, add_scenes)
