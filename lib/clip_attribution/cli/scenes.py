"""The command `scenes export`: the embedded world in a benchmark's official files."""

import sys

from .options import EXIT_OK, RAW, positive

ABOUT = """\
Write the embedded world as the official files of BENCHMARK to the new folder DIR.

Every file has the name and the fields of the original, so whatever reads the benchmark reads this
world too, where every answer is known. The folder appears when it is complete; DIR/export.json says
how it was made. The same options give the same bytes."""
END = """\
exit status: 0 written, or DIR holds this export already; 2 unusable arguments."""


def add_scenes(commands):
    """Add the command `scenes` with its part `export`."""
    parser = commands.add_parser("scenes", help="write the embedded world in a benchmark's files")
    parts = parser.add_subparsers(metavar="PART", required=True)
    parser = parts.add_parser(
        "export",
        help="one benchmark's files",
        description=ABOUT,
        epilog=END,
        formatter_class=RAW,
        allow_abbrev=False,
    )
    parser.add_argument("benchmark", metavar="BENCHMARK", help="an unknown name lists all of them")
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--n",
        metavar="N",
        type=positive,
        default=1000,
        help="records, in the benchmark's own unit (default: %(default)s)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--size",
        metavar="PIXELS",
        type=positive,
        default=64,
        help="side of the images, a multiple of 64 (default: %(default)s)",
    )
    parser.add_argument(
        "--foils",
        metavar="KINDS",
        help="foil types to go through in turn, such as noun,colour (misalignment benchmarks; "
        "default: all that the format can hold)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    parser.set_defaults(run=run_scenes)


def run_scenes(args):
    """Run `scenes export`; return the exit status."""
    from ..datasets.export import export

    foils = None if args.foils is None else [kind.strip() for kind in args.foils.split(",")]
    written = export(
        args.benchmark, args.folder, args.n, args.seed, args.size, foils, not args.quiet
    )
    if not args.quiet:
        what = f"{args.benchmark}, {args.n} records" if written else "nothing to do, it is there"
        print(f"{args.folder}: {what}", file=sys.stderr)
    return EXIT_OK
