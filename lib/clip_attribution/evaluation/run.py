"""What `clip-attribution evaluate` runs: a benchmark's official files into its table of results."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..datasets import (
    COMPOSITION,
    DESCRIPTIONS,
    MISALIGNMENT,
    benchmarks,
    get_benchmark,
    load_benchmark,
)
from ..datasets.accuracies import rule_notes
from ..datasets.aro import excluded_relations
from ..datasets.published import beside
from ..errors import UserError
from ..io.keys import rows_key, run_key
from ..io.output import make_folder
from ..metrics.misalignment import EPSILON
from ..models.blip import load_blip
from ..models.clip import load_clip
from ..models.nli import load_nli
from .composition import is_retrieval, measure
from .descriptions import evaluate_descriptions
from .grounding import BLIP_METHOD, DEFAULT_METHODS, check_methods, estimates, ground
from .report import FILES, count, of_first, reported, say_done, stored
from .rows import folder_of, sample
from .score import say, score_table

SCORED = ["pair_id", "cosine", "clip_score", "f_clip_score", "ref_cosines", "ref_clip_score"]


def evaluate(
    clip,
    benchmark,
    data,
    out,
    *,
    images=None,
    limit=None,
    nli=None,
    public=False,
    seed=0,
    quiet=False,
    epsilon=None,
    **options,
):
    """Evaluate a model on a misalignment benchmark; write what was found to the folder `out`.

    data, images: as for `load_benchmark`; images defaults to the folder of data. limit: only that
    many pairs, whole groups drawn by `seed`. nli: the NLI model of SeeTRUE-Feedback (`load_nli`).
    public: add the numbers as the public code computes them. epsilon None is the published one of
    the benchmark. options: those of `score_table`. out may be
    a function from the run's key to a folder. Its files (words.parquet, pairs.parquet,
    score.json) are kept, so that a stopped run goes on; results.csv and evaluation.json are added.

    Returns (results, words, pairs): the tidy frame of the protocol (`datasets.protocols`), every
    word, every pair with what the dataset knows of it and its scores. Raises UserError.
    """
    record = get_benchmark(benchmark)
    if record.kind != MISALIGNMENT:
        raise UserError(f"{benchmark} is no misalignment benchmark")
    images = Path(images) if images else folder_of(data)
    pairs = sample(load_benchmark(benchmark, data, images), limit, seed)
    usual = {"epsilon": EPSILON, "alignment": "offsets"} | dict(record.defaults)
    epsilon = usual.pop("epsilon") if epsilon is None else epsilon
    options = {name: value for name, value in usual.items() if name != "epsilon"} | options
    decided = {"epsilon": epsilon, "seed": seed, "public": public}
    key = rows_key(
        run_key(__file__, [clip, nli], benchmark=benchmark, **decided, **options),
        pairs.to_dict("list"),
        pairs["image"].tolist(),
        images,
    )
    out = out(key) if callable(out) else Path(out)
    with reported(out, ["results.csv"], key) as (write, _):
        report = score_table(
            clip, table_of(pairs), out, image_root=images, epsilon=epsilon, quiet=quiet, **options
        )
        words, pairs = read_scored(out, pairs)
        results = record.summarise(words, pairs, epsilon=epsilon, public=public, nli=nli, seed=seed)
        facts = {"benchmark": benchmark, **decided, "limit": limit, "pairs": len(pairs)}
        facts |= {"errors": count(pairs)["errors"], "score": report["key"]}
        write(results, facts | {"model": report["model"]})
    line = "{}: {pairs} pairs, {errors} with an error"
    say(quiet, line.format(out / "results.csv", **facts))
    return results, words, pairs


def evaluate_files(
    benchmark,
    data,
    *,
    images=None,
    out=None,
    model=None,
    pretrained=None,
    model_config=None,
    activation=None,
    device="auto",
    precision="fp32",
    nli=None,
    blip=None,
    heatmaps=None,
    at_least=None,
    exclude=None,
    split=None,
    prompts=None,
    **options,
):
    """Load the model, evaluate it, and set the published numbers beside the measured ones.

    nli: name or folder of the NLI model of SeeTRUE-Feedback. heatmaps: methods of a grounding
    benchmark; blip: name or folder of a BLIP that is measured beside. at_least, exclude: what
    counts in ARO (`counting_options`). split: of Concadia; prompts: of the zero-shot sets. Returns
    (results, number of rows with an error). Raises UserError.
    """
    kind = get_benchmark(benchmark).kind
    counting = counting_options(
        benchmark, at_least=at_least, exclude=exclude, split=split, prompts=prompts
    )
    if images and not Path(images).is_dir():
        raise UserError(f"the folder of images {images} is not a folder")
    out = Path(out or Path("runs", "evaluate", benchmark))
    make_folder(out)
    clip = load_clip(
        model,
        pretrained,
        model_config=model_config,
        activation=activation,
        device=device,
        precision=precision,
    )
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"images": Path(images) if images else folder_of(data)}
    if kind == MISALIGNMENT:
        judge = load_nli(nli, device) if nli else None
        results, _, rows = evaluate(clip, benchmark, data, out, nli=judge, **options)
    elif kind == COMPOSITION:
        results, rows = evaluate_composition(
            clip, benchmark, data, out, counting=counting, **options
        )
    elif kind == DESCRIPTIONS:
        results, rows = evaluate_descriptions(clip, benchmark, data, out, counting, **options)
    else:
        more = {"methods": heatmaps or DEFAULT_METHODS, "blip": blip and load_blip(blip, device)}
        results, rows = evaluate_grounding(clip, benchmark, data, out, **more, **options)
    return beside(results, benchmark), int(rows["error"].notna().sum())


def counting_options(benchmark: str, **given) -> dict:
    """The options of a benchmark that were given, and that no other takes.

    at_least: the smallest number of cases of a group. exclude: a file for
    `aro.excluded_relations`. split: of Concadia. prompts: of the zero-shot sets. Raises UserError,
    also on another benchmark.
    """
    given = {name: value for name, value in given.items() if value}
    for name in given:
        takers = [one.name for one in benchmarks().values() if name in one.options]
        if benchmark not in takers:
            raise UserError(f"{name} is for {' and '.join(takers)} alone")
    if "exclude" in given:
        given["exclude"] = excluded_relations(given["exclude"])
    return given


def evaluate_composition(
    clip,
    benchmark,
    data,
    out,
    *,
    images=None,
    limit=None,
    seed=0,
    quiet=False,
    template="",
    batch_size=64,
    counting=None,
    **ignored,
):
    """Accuracies, recalls or correlations of a composition benchmark (`composition.measure`).

    Arguments as for `evaluate`; counting: options of the benchmark's `rule`, which decides on the
    whole file, whatever the limit, which groups count, and stands in the note. No template is put
    before a caption, as in the published evaluations. Features are kept in `out` until all is
    there, so that a stopped run goes on. Returns (results, the frame with its scores); both are
    written to `out`.
    """
    whole, counting, rule = load_benchmark(benchmark, data, images), counting or {}, ""
    facts = {"benchmark": benchmark, "seed": seed, "limit": limit, "template": template} | counting
    if decide := get_benchmark(benchmark).rule:
        counting, rule = decide(whole, data, **counting)
        facts |= {"rule": rule, "exclude": counting.get("exclude")}
    frame = sample(whole, limit, seed, "image" if is_retrieval(whole) else "pair")
    pictures = frame["images"].dropna().explode() if "images" in frame else frame.get("image", ())
    run = run_key(__file__, [clip], batch_size=batch_size, **facts)
    key = rows_key(run, frame.to_dict("list"), list(pictures), images)
    if known := stored(out, FILES, key, quiet):
        return known
    with reported(out, FILES, key) as (write, parts):
        results, scored = measure(
            clip,
            benchmark,
            frame,
            images,
            template=template,
            seed=seed,
            batch_size=batch_size,
            options=counting,
            progress=not quiet,
            keep=parts,
        )
        note = rule_notes(results, rule) if rule else results.get("missing", "")
        results = results.assign(scorer=clip.name, ceiling=np.nan, note=note)
        write(results, facts | {"model": clip.weights_hash, **count(scored)}, scored)
    say_done(out, scored, quiet)
    return results, scored


def evaluate_grounding(
    clip,
    benchmark,
    data,
    out,
    *,
    images=None,
    limit=None,
    seed=0,
    quiet=False,
    methods=DEFAULT_METHODS,
    blip=None,
    batch_size=32,
    chunk_rows=256,
    **ignored,
):
    """Q-GroundCAM's measures of several heat maps on a grounding benchmark, with baselines.

    Arguments as for `evaluate`; methods: of `heatmaps.METHODS`; blip: a Blip measured beside.
    Returns (results by group, every phrase of every method); both are written to `out`.
    """
    methods = check_methods(methods)
    frame = sample(load_benchmark(benchmark, data, images), limit, seed)
    names = {method: (clip, method) for method in methods}
    names |= {f"BLIP {blip.name}": (blip, BLIP_METHOD)} if blip is not None else {}
    facts = {"benchmark": benchmark, "seed": seed, "limit": limit}
    run = run_key(__file__, [clip, blip], methods=list(names), batch_size=batch_size, **facts)
    key = rows_key(run, frame.to_dict("list"), frame["image"].tolist(), images)
    if known := stored(out, FILES, key, quiet):
        return known[0], of_first(known[1])
    with reported(out, FILES, key) as (write, parts):
        settings = {"images": images, "keep": parts, "quiet": quiet}
        settings |= {"batch_size": batch_size, "chunk_rows": chunk_rows}
        measured = {n: ground(model, frame, m, **settings) for n, (model, m) in names.items()}
        by_group = estimates(measured, "group", seed)
        found = pd.concat([estimates(measured, seed=seed).assign(group="all"), by_group])
        found = found.drop_duplicates(["scorer", "metric", "value", "n"])  # one group is "all"
        results = found.rename(columns={"metric": "measure"}).assign(chance=np.nan, ceiling=np.nan)
        results["note"] = [f"{n} undefined" if n else "" for n in results["undefined"]]
        every = pd.concat([rows.assign(scorer=name) for name, rows in measured.items()])
        write(results, facts | {"model": clip.weights_hash, **count(every)}, every)
    say_done(out, every, quiet)
    return results, next(iter(measured.values()))


def table_of(pairs: pd.DataFrame) -> pa.Table:
    """What `score_table` reads of a pairs frame: the rows that the loader could read."""
    good = pairs[pairs["error"].isna()]
    columns = {
        name: pa.array(good[name].astype(str), pa.string())
        for name in ("pair_id", "image", "caption")
    }
    if "references" in good:
        columns["references"] = pa.array(good["references"], pa.list_(pa.string()))
    return pa.table(columns)


def read_scored(out, pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The words, and the pairs with their scores; a loader's error stands where there is one."""
    words = pd.read_parquet(Path(out) / "words.parquet")
    names = set(pq.read_schema(Path(out) / "pairs.parquet").names)
    found = pd.read_parquet(
        Path(out) / "pairs.parquet", columns=[n for n in SCORED if n in names] + ["error"]
    )
    pairs = pairs.assign(pair_id=pairs["pair_id"].astype(str))
    merged = pairs.merge(found, on="pair_id", how="left", suffixes=("_read", ""), validate="1:1")
    merged["error"] = merged["error_read"].where(merged["error_read"].notna(), merged["error"])
    return words, merged.drop(columns="error_read")
