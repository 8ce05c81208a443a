"""Options and exit statuses that the commands share."""

import argparse
import math
import re

EXIT_OK, EXIT_UNUSABLE, EXIT_ROW_ERRORS = 0, 2, 3
RAW = argparse.RawDescriptionHelpFormatter
EXIT_STATUS = """\
exit status: 0 all rows computed, 3 some rows carry an error, 2 unusable arguments or a folder that
cannot be written, 130 or 143 stopped: give the same command to go on."""


def positive(text):
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def finite(text):
    """A finite number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def shard(text):
    """I/N as the pair (I, N) with 1 <= I <= N, for argparse."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, such as 2/8")
    return int(match[1]), int(match[2])


def add_model_options(parser):
    """Add the options of `load_clip`."""
    group = parser.add_argument_group("model (default: the embedded one)")
    group.add_argument("--model", metavar="NAME", help="open_clip name, such as ViT-B-32")
    group.add_argument(
        "--pretrained",
        metavar="TAG|FILE",
        help="open_clip tag, or a .safetensors/.pt/.bin file; without it a named model has random "
        "weights",
    )
    group.add_argument("--model-config", metavar="FILE", help="model configuration (JSON)")
    group.add_argument(
        "--activation",
        choices=("gelu", "quickgelu"),
        help="of weights that do not say it themselves",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    group.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")


def add_attribution_options(parser):
    """Add the options of `attribute` and of the decision."""
    group = parser.add_argument_group("attribution (defaults: the public CLIP4DM settings)")
    group.add_argument("--method", metavar="NAME", default="clip4dm", help="default: %(default)s")
    group.add_argument(
        "--start-layer",
        metavar="K",
        type=int,
        help="-3: the last three text layers; 0 or more: all of them (default: the method's own, "
        "-3 for clip4dm)",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        default="A photo depicts ",
        help="text put before each caption (default: %(default)r)",
    )
    group.add_argument(
        "--alignment",
        choices=("offsets", "public_words", "rich_hf_tokens"),
        default="offsets",
        help="how tokens are given to words: by character offset, by the public code's drifting "
        "rule, or by offset to the tokens of Rich-HF-18K (default: %(default)s)",
    )
    group.add_argument(
        "--decision",
        choices=("threshold", "most_negative"),
        default="threshold",
        help="misaligned: the words below epsilon, or the lowest word (default: %(default)s)",
    )
    group.add_argument(
        "--epsilon", metavar="X", type=finite, default=-5e-5, help="default: %(default)s"
    )
    group.add_argument(
        "--variant",
        choices=("paper", "threshold", "min", "segment"),
        default="paper",
        help="form of the F-CLIPScore (default: %(default)s)",
    )
    group.add_argument("--pos", action="store_true", help="add each word's part of speech")
    group.add_argument(
        "--batch-size", metavar="N", type=positive, default=32, help="default: %(default)s"
    )
