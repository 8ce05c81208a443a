"""Captions on which methods disagree, drawn word by word."""

import numpy as np
import pandas as pd
import seaborn as sns

from ...evaluation.ranking import word_values
from ...plots.colours import PALETTE
from ...plots.style import SMALL, new_figure
from ...scenes import scene_pairs
from .tables import known_kinds


def disagreements(located: pd.DataFrame, methods, n: int = 3) -> pd.DataFrame:
    """The foils that half of these methods find and half do not, at most one of a kind.

    located: rows of `locate`. Returns kind, image and share (of the methods that find the word).
    """
    own = known_kinds(located[located["method"].isin(methods)])
    share = own.groupby(["kind", "image"], sort=False)["hit"].mean().reset_index(name="share")
    share = share.assign(distance=(share["share"] - 0.5).abs())
    first = share.sort_values("distance", kind="stable").drop_duplicates("kind")
    return first.head(n).drop(columns="distance").reset_index(drop=True)


def case_panels(clip, cases: pd.DataFrame, methods, n: int, seed: int):
    """Each case as a table of words x methods; each row on its own scale, 0 in the middle.

    The false word is in bold. n, seed: of the `locate` that the cases come from.
    """
    from ...scenes import KINDS

    pairs = scene_pairs(n * len(KINDS), seed, KINDS)
    foils = pairs[pairs["is_foil"]].set_index(["foil_type", "image"])
    rows = foils.loc[list(zip(cases["kind"], cases["image"], strict=True))].reset_index()
    figure = new_figure(len(rows) * (0.75 + 0.13 * len(methods)))
    panels = np.atleast_1d(figure.subplots(len(rows), 1))
    found = {name: word_values(clip, rows, name, seed)[0] for name in methods}
    for ax, row in zip(panels, rows.itertuples(), strict=True):
        table = pd.DataFrame(
            {
                name: words[words["pair_id"] == row.pair_id].set_index("word_index")["attribution"]
                for name, words in found.items()
            }
        ).T
        scaled = table.div(table.abs().max(axis=1), axis=0)
        sns.heatmap(
            scaled, cmap=PALETTE, center=0, vmin=-1, vmax=1, ax=ax, cbar=False,
            linewidths=0.3, linecolor="white",
        )  # fmt: skip
        words = found[methods[0]]
        words = words.loc[words["pair_id"] == row.pair_id, "word"].tolist()
        labels = ax.set_xticklabels(words, rotation=45, ha="right", size=SMALL)
        labels[int(row.foil_index)].set_fontweight("bold")
        ax.tick_params(length=0, labelsize=SMALL)
        ax.tick_params(axis="y", rotation=0)
        ax.set(xlabel="", ylabel="")
        ax.set_title(f"false {row.foil_type}: {row.target_word} → {row.foil_word}", size=SMALL + 1)
    return figure
