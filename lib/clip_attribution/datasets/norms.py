"""What people say of single words: how concrete (Brysbaert 2014), how imageable (Glasgow 2019).

Brysbaert, Warriner and Kuperman, "Concreteness ratings for 40 thousand generally known English word
lemmas", doi 10.3758/s13428-013-0403-5; Scott et al., "The Glasgow Norms", doi 10.3758/s13428-018-
1099-3.
"""

import csv
from pathlib import Path

import pandas as pd

from ..errors import UserError
from .files import find_file
from .tabular import read_cells

CONCRETENESS = ("Concreteness_ratings_Brysbaert*.txt", "Concreteness_ratings_Brysbaert*.csv")
IMAGEABILITY = ("glasgow_norms.csv", "*lasgow*.csv", "13428_2018_1099_MOESM2_ESM.csv")


def load_concreteness(path) -> pd.Series:
    """Concreteness (1 to 5) by word of Brysbaert et al.: the mean rating, `Conc.M`.

    path: the tab-separated file, or its folder. "null", "true" and "none" are words like others.
    Raises UserError.
    """
    file = find_file(path, *CONCRETENESS)
    cells = read_cells(file, "\t", csv.QUOTE_NONE)
    return _norm(file, cells[1:], cells[0] if cells else [], "Word", "Conc.M", "concreteness")


def load_imageability(path) -> pd.Series:
    """Imageability (1 to 7) by word of the Glasgow norms: the mean rating of IMAG.

    path: the comma-separated file with the publisher's two header rows or with one, or its folder.
    Senses as in "address (postal)" are words of their own. Raises UserError.
    """
    file = find_file(path, *IMAGEABILITY)
    cells = read_cells(file)
    names = cells[0] if cells else []
    if "IMAG" in names:  # the first of the three columns below it is the mean
        word = names[0]
        return _norm(file, cells[2:], names, word, "IMAG", "imageability")
    return _norm(file, cells[1:], names, "Word", "Imageability", "imageability")


def _norm(file: Path, rows, names: list[str], word: str, column: str, title: str) -> pd.Series:
    missing = [name for name in (word, column) if name not in names]
    if missing:
        raise UserError(f"{file} has no column {missing[0]!r}: take the published file of norms")
    at, value = names.index(word), names.index(column)
    pairs = [(row[at], row[value]) for row in rows if len(row) > max(at, value)]
    found = pd.Series(
        pd.to_numeric([text for _, text in pairs], errors="coerce"),
        pd.Index([name for name, _ in pairs], dtype=object),
        name=title,
        dtype=float,
    ).dropna()
    return found[~found.index.duplicated()]
