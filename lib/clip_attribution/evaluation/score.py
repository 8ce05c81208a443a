"""What `clip-attribution score` runs: a table of image-caption pairs into words and scores."""

import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch

from ..attribution import attribute
from ..attribution.registry import get_method
from ..errors import UserError
from ..io import parts
from ..io.keys import rows_key, run_key
from ..io.output import claim, make_folder
from ..io.tables import FAULT, digest, read_pairs
from ..metrics.misalignment import check_epsilon, ref_clip_score, score_pairs
from ..models.clip import load_clip
from ..trace.references import reference_cosines
from ..versions import versions

WORDS = (
    ("word_index", pa.int64()),
    ("word", pa.string()),
    ("start", pa.int64()),
    ("end", pa.int64()),
    ("attribution", pa.float64()),
    ("seen", pa.bool_()),
)
SCORES = (
    ("cosine", pa.float64()),
    ("clip_score", pa.float64()),
    ("f_clip_score", pa.float64()),
    ("misaligned", pa.list_(pa.string())),
    ("error", pa.string()),
)
REFERENCES = (("ref_cosines", pa.list_(pa.float64())), ("ref_clip_score", pa.float64()))


def score_file(
    pairs,
    out,
    *,
    model=None,
    pretrained=None,
    model_config=None,
    activation=None,
    device="auto",
    precision="fp32",
    image_root=None,
    quiet=False,
    **options,
):
    """Read the table `pairs`, load the model, and `score_table` into the folder `out`.

    `image_root` defaults to the folder of `pairs`. Returns the report that score_table writes.
    Raises UserError on unusable arguments.
    """
    table = read_pairs(pairs)
    check_columns(table)
    root = Path(image_root) if image_root else Path(pairs).parent
    if not root.is_dir():
        raise UserError(f"the image root {root} is not a folder")
    get_method(options.get("method", "clip4dm"))
    make_folder(out)
    clip = load_clip(
        model,
        pretrained,
        model_config=model_config,
        activation=activation,
        device=device,
        precision=precision,
    )
    say(quiet, f"{clip.name}, weights: {clip.pretrained}, {clip.activation}, {clip.device}")
    return score_table(clip, table, out, image_root=root, quiet=quiet, **options)


def score_table(
    clip,
    table,
    out,
    *,
    image_root=None,
    shard=None,
    chunk_rows=512,
    quiet=False,
    method="clip4dm",
    start_layer=None,
    template="A photo depicts ",
    alignment="offsets",
    decision="threshold",
    epsilon=-5e-5,
    variant="paper",
    batch_size=32,
    pos=False,
):
    """Score a table from `read_pairs` into words.parquet, pairs.parquet and score.json under `out`.

    A column `references`, lists of texts, adds RefCLIPScore and the cosines it comes from.

    `shard=(i, n)` takes the i-th of n contiguous blocks of rows and writes words-i-of-n.parquet and
    so on, so that all shards may share one folder. `start_layer` None is the method's own default.
    Returns the report: options, model, versions, number of rows and of rows with an error.
    Raises UserError on unusable arguments.
    """
    check_columns(table)
    if get_method(method).prepare:
        raise UserError(
            f"{method} compares the captions of a whole table, and this scores a table "
            "piece by piece: call attribute() instead"
        )
    check_epsilon(epsilon)
    options = dict(method=method, start_layer=start_layer, template=template, alignment=alignment)
    options |= dict(decision=decision, epsilon=epsilon, variant=variant)
    options |= dict(batch_size=batch_size, pos=pos)
    tagger, facts = find_tagger(pos)
    chunks, run = parts.cut(table, shard, chunk_rows), run_key(__file__, [clip], **options, **facts)
    keys = [
        rows_key(
            run, (str(chunk.schema), chunk.to_pydict()), chunk["image"].to_pylist(), image_root
        )
        for chunk in chunks
    ]
    report = {"options": options, "model": clip.facts(), "versions": versions(), **facts}
    report |= {"shard": shard and list(shard), "key": digest(run, shard, keys)}
    files = parts.output_files(out, shard)

    def compute(chunk):
        try:
            return score_chunk(clip, chunk, image_root, options, tagger)
        except torch.OutOfMemoryError:
            raise UserError(f"out of memory: take a batch size below {batch_size}") from None

    with claim(files.report, [files.words, files.pairs], report["key"]) as done:
        if done:
            parts.remove_parts(files.parts, parts.ENDINGS)  # a kill may have left them
            say(quiet, f"{files.report} is of a complete run with these inputs: nothing to do")
            return done
        paths = parts.compute_parts(files.parts, chunks, keys, compute, quiet)
        report = parts.finish(files, paths, schemas(table, pos), report)
    say(quiet, "{}: {rows} rows, {errors} with an error".format(files.pairs, **report))
    return report


def check_columns(table):
    """Refuse a table with further columns that are named like a result."""
    for name, _ in SCORES + REFERENCES:
        if name in table.column_names:
            raise UserError(f"the column '{name}' is one of the results: rename it in the table")
    has_references(table)


def find_tagger(pos):
    """The spaCy pipeline and its record, or nothing where no parts of speech are asked for."""
    if not pos:
        return None, {}
    from ..text.pos import load_tagger, tagger_name  # spaCy takes seconds to import

    tagger = load_tagger()
    return tagger, {"tagger": tagger_name(tagger)}


def score_chunk(clip, chunk, image_root, options, tagger):
    """Score one chunk of rows; return its words and pairs, in the schemas that are written."""
    rows, faults = readable(chunk)
    words, pairs = attribute(
        clip,
        rows,
        method=options["method"],
        layers=options["start_layer"],
        template=options["template"],
        alignment=options["alignment"],
        batch_size=options["batch_size"],
        image_root=image_root,
        tagger=tagger,
    )
    pairs["error"] = faults.where(faults.notna(), pairs["error"])
    decide = {name: options[name] for name in ("decision", "epsilon", "variant")}
    scored = score_pairs(words, pairs, **decide)
    words_schema, pairs_schema = schemas(chunk, options["pos"])
    columns = {name: chunk[name] for name in chunk.column_names if name != FAULT}
    if has_references(chunk):
        scored = with_references(clip, scored, chunk, options)
    for name, kind in SCORES + REFERENCES * has_references(chunk):
        columns[name] = pa.array(scored[name], kind, from_pandas=True)
    pairs = pa.table([columns[name] for name in pairs_schema.names], schema=pairs_schema)
    return pa.Table.from_pandas(words, words_schema, preserve_index=False), pairs


def readable(chunk):
    """(rows for `attribute`, the faults that the reader found): a faulty row has no caption."""
    rows = chunk.select(["pair_id", "image", "caption"]).to_pandas()
    given = chunk[FAULT].to_pylist() if FAULT in chunk.column_names else [None] * len(rows)
    faults = pd.Series(given, rows.index, dtype=object)
    return rows.assign(caption=rows["caption"].where(faults.isna(), None)), faults


def has_references(table):
    """Whether the table brings reference captions: a column `references` of texts or lists of them.

    Raises UserError for a column of that name that holds anything else.
    """
    kinds = {field.name: field.type for field in table.schema}
    kind = kinds.get("references", pa.null())
    inner = kind.value_type if hasattr(kind, "value_type") else kind
    if not (is_text(inner) or pa.types.is_null(inner)):
        raise UserError(f"the column 'references' must hold texts or lists of texts, not {kind}")
    return is_text(inner)


def is_text(kind):
    """Whether an arrow type is one of text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def with_references(clip, scored, chunk, options):
    """The scored pairs with `ref_cosines` and `ref_clip_score`; missing where there is no score."""
    usable = scored["cosine"].notna().tolist()
    given = zip(usable, chunk["references"].to_pylist(), strict=True)
    captions = [text if use else "" for use, text in zip(usable, scored["caption"], strict=True)]
    cosines = reference_cosines(
        clip,
        captions,
        [own if use else None for use, own in given],
        options["template"],
    )
    score = ref_clip_score(scored["cosine"].to_numpy(), cosines)
    kept = [own if use else None for use, own in zip(usable, cosines, strict=True)]
    return scored.assign(
        ref_cosines=pd.Series(kept, scored.index, dtype=object), ref_clip_score=score
    )


def schemas(table, pos):
    """The schemas of the words and of the pairs that are written for a table."""
    first = [table.schema.field(name) for name in ("pair_id", "image", "caption")]
    known = ("pair_id", "image", "caption", FAULT)
    others = [field for field in table.schema if field.name not in known]
    words = first[:1] + [pa.field(*column) for column in WORDS]
    words += [pa.field("pos", pa.string())] if pos else []
    scores = [pa.field(*column) for column in SCORES + REFERENCES * has_references(table)]
    return pa.schema(words), pa.schema(first + scores + others)


def say(quiet, line):
    """Print one line for a person, on stderr."""
    if not quiet:
        print(line, file=sys.stderr)
