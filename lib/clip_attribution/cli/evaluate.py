"""The command `evaluate`: a benchmark's official files into its table of results."""

from .options import (
    EXIT_OK,
    EXIT_ROW_ERRORS,
    EXIT_STATUS,
    RAW,
    add_attribution_options,
    add_model_options,
    positive,
)

ABOUT = """\
Evaluate a model on a benchmark's official files; print the table and write it to DIR/results.csv.

data/README.md says where each benchmark comes from and how its files lie. `clip-attribution scenes
export BENCHMARK DIR` writes the embedded world in the same form. Every word and pair is kept in
DIR/words.parquet and DIR/pairs.parquet, so a stopped run goes on where it was. A protocol decides
by its own rules: --decision and --variant only fill the columns of pairs.parquet. --epsilon,
--template and --alignment are by default (None) the benchmark's own: no template for composition
and descriptions, alignment to its tokens for rich-hf, elsewhere those of score."""


def add_evaluate(commands):
    """Add the command `evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a model on a benchmark",
        description=ABOUT,
        epilog=EXIT_STATUS,
        formatter_class=RAW,
        allow_abbrev=False,
    )
    parser.add_argument("benchmark", metavar="BENCHMARK", help="an unknown name lists all of them")
    parser.add_argument("--data", metavar="PATH", required=True, help="its file, or their folder")
    parser.add_argument("--images", metavar="DIR", help="default: the folder of PATH")
    parser.add_argument("--out", metavar="DIR", help="default: runs/evaluate/BENCHMARK")
    parser.add_argument("--limit", metavar="N", type=positive, help="only so many pairs")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="draws them (default: 0)")
    parser.add_argument(
        "--nli",
        metavar="NAME|DIR",
        help="judge of SeeTRUE-Feedback, a sequence classifier of Hugging Face; the paper's is "
        "facebook/bart-large-mnli",
    )
    parser.add_argument(
        "--heatmaps",
        metavar="NAME,...",
        type=lambda text: text.split(","),
        help="methods of a grounding benchmark, such as gae_image,gscorecam",
    )
    parser.add_argument(
        "--blip", metavar="NAME|DIR", help="measure this BLIP beside, on a grounding benchmark"
    )
    parser.add_argument(
        "--public", action="store_true", help="add the numbers as the public code computes them"
    )
    parser.add_argument(
        "--at-least",
        metavar="N",
        type=positive,
        help="ARO: leave out relations and attribute pairs with fewer cases (default: 25; "
        "with a list of relations 1)",
    )
    parser.add_argument(
        "--exclude",
        metavar="FILE",
        help="ARO relation: names to leave out, ARO's own notebook or a list (default: looked for "
        "beside the data, see data/README.md)",
    )
    parser.add_argument(
        "--split", metavar="NAME", help="Concadia: train, val or test (default: test)"
    )
    parser.add_argument(
        "--prompts",
        metavar="NAME",
        help="food101, cifar100, imagenet: code, paper or openai (default: code, those of the "
        "public code of arXiv 2406.09458)",
    )
    parser.add_argument(
        "--chunk-rows", metavar="N", type=positive, default=512, help="as for score (%(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    add_model_options(parser)
    add_attribution_options(parser)
    parser.set_defaults(run=run_evaluate, epsilon=None, template=None, alignment=None)


def run_evaluate(args):
    """Run `evaluate`; return the exit status."""
    from ..evaluation.report import print_results
    from ..evaluation.run import evaluate_files

    options = {name: value for name, value in vars(args).items() if name != "run"}
    results, errors = evaluate_files(**options)
    print_results(results)
    return EXIT_ROW_ERRORS if errors else EXIT_OK
