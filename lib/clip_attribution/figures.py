"""Start the figure graph (notebooks/Snakefile); and what it calls.

    python -m clip_attribution.figures model=ViT-B-32 'caption=a bus: number #7' out='my figures'

Names and values may be any text. They travel in JSON files, which are read as they stand: no shell
and no reader of a command line or of YAML sees them. `--parameters TEXT` takes what `make` gets,
one text of NAME=VALUE with blanks between; quote as in a shell what holds blanks itself.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UserError
from .io.read import utf8
from .io.tables import digest, read_table, write_json
from .notebooks import FOLDER
from .parameters import require

HANDED = Path("runs", "parameters")
FILES = ("pretrained", "image", "data", "images", "files", "photos", "nli", "blip")
PLAIN = re.compile(r"[\w ./+=,@~-]+")


def named_values(words: list[str]) -> dict[str, str]:
    """NAME=VALUE words as a dict; the first `=` ends the name. Raises UserError."""
    for word in words:
        name, sign, _ = word.partition("=")
        require(
            bool(name and sign),
            f"{word!r} is not NAME=VALUE: quote a value that holds blanks, 'caption=a red star'",
        )
        require(utf8(word), f"{word!r} is not UTF-8 text")
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def split_words(text: str) -> list[str]:
    """The words of one text, quoted as in a shell, but nothing is expanded. Raises UserError."""
    try:
        return shlex.split(text)
    except ValueError as reason:
        raise UserError(f"PARAMETERS: {str(reason).lower()}: {text!r}") from None


def hand_over(values: dict) -> str:
    """Write values as a JSON file that a job reads; its path, which holds no text of a user."""
    HANDED.mkdir(parents=True, exist_ok=True)
    path = HANDED / f"{digest(sorted(values.items()))}.json"
    write_json(values, path)
    return str(path)


def plain_folder(folder: str) -> str:
    """A path to the folder that snakemake takes for nothing else: itself, or a link to it.

    Braces would be wildcards of a rule, a line feed breaks its lists, `s3://` asks for a plugin.
    """
    folder = os.path.normpath(folder or "figures")
    if PLAIN.fullmatch(folder) and not folder.startswith("-"):
        return folder
    HANDED.mkdir(parents=True, exist_ok=True)
    link = HANDED / f"out-{digest(os.path.abspath(folder))}"
    Path(folder).mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.abspath(folder), target_is_directory=True)
    return str(link)


def named_content(values: dict) -> dict[str, str]:
    """The content of all files that parameters name: {parameter: key}.

    A folder counts with all that is in it; a table of pairs with the images that it names, so that
    the folder of these, `images`, needs none of its own.
    """
    given = {name: str(values.get(name) or "") for name in FILES}
    pairs, root = given["data"], given.pop("images")
    found = {name: content(Path(path)) for name, path in given.items() if os.path.exists(path)}
    if os.path.isfile(pairs):
        root = root or os.path.dirname(pairs)
        found["images"] = digest([content(Path(root, name)) for name in images_of(pairs)])
    return found


def images_of(table: str) -> list[str]:
    """The paths in the column `image` of a table; none where the table cannot be read."""
    try:
        names = read_table(table)["image"].to_pylist()
    except (UserError, KeyError):  # the notebook will say so
        return []
    return sorted({name for name in names if isinstance(name, str) and "\0" not in name})


def content(path: Path) -> str:
    """A key of what a file, or every file below a folder, holds; "" where there is none."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return digest([(str(file.relative_to(path)), content(file)) for file in files])
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def unlock(dry_run: bool) -> FileLock | None:
    """Hold this folder's graph, and remove the lock that a killed run left behind.

    The system ends a process's hold with the process, however that ends; snakemake's lock stays.
    Raises UserError when another process makes figures here.
    """
    Path(".snakemake").mkdir(exist_ok=True)
    lock = FileLock(Path(".snakemake", "graph.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        require(dry_run, "another process makes figures in this folder: wait until it has ended")
        return None
    shutil.rmtree(Path(".snakemake", "locks"), ignore_errors=True)
    return lock


def command(values: dict, cores: str) -> list[str]:
    """The call of snakemake that makes what is out of date."""
    given = ["--configfile", hand_over(values)] if values else []
    options = "--keep-going --rerun-incomplete --max-checksum-file-size 0 --quiet host reason rules"
    start = [sys.executable, "-m", "snakemake", "--snakefile", str(FOLDER / "Snakefile")]
    return [*start, "--cores", cores, *options.split(), *given]


def main(argv: list[str] | None = None) -> int:
    """Command line, see the module's docstring. 2: unusable arguments; else snakemake's status."""
    parser = argparse.ArgumentParser(
        "python -m clip_attribution.figures", description=__doc__.split("\n")[0]
    )
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="a notebook's parameter")
    parser.add_argument(
        "--parameters", default="", metavar="TEXT", help="more of them, in one text"
    )
    parser.add_argument("--cores", default="", help="processor cores to use (all)")
    args = parser.parse_args(argv)
    cores = args.cores or str(os.cpu_count() or 2)
    try:
        require(cores.isdigit() or cores == "all", f"CORES must be a number, not {cores!r}")
        values = named_values([*filter(None, args.values), *split_words(args.parameters)])
        call = command(values, cores)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stderr.flush()
    os.execv(call[0], call)


if __name__ == "__main__":
    sys.exit(main())
