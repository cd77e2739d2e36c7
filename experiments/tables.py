"""Result tables as data frames, and the two pieces of every Markdown table made from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import pandas as pd

from cql_tutorial.evaluation import t_interval
from experiments.storage import RESULTS

TEXTS = ("cql_alpha", "note")  # columns that stay as they are written: an alpha is a name here, "" one that has none


def read_frame(table: str) -> pd.DataFrame:
    """The rows of a committed table, numbers as numbers; empty where there is no such file. Not to be changed."""
    path = RESULTS / f"{table}.csv"
    return _read_csv(table, path.stat().st_mtime_ns) if path.exists() else pd.DataFrame(columns=["split"])


@lru_cache(32)
def _read_csv(table: str, modified: int) -> pd.DataFrame:
    path = RESULTS / f"{table}.csv"
    frame = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str), low_memory=False)
    return frame.fillna({name: "" for name in TEXTS if name in frame})


def read_reported(table: str) -> pd.DataFrame:
    """The rows that were not tuned on."""
    frame = read_frame(table)
    return frame[frame["split"] == "report"]


def mean_and_interval(values: Iterable[float], form: str | None = None) -> str:
    """``mean ± half width`` of Student's t-interval, both in one format; by default two digits of the half width."""
    mean, half = t_interval(list(values))
    if form is None:
        form = f".{max(0, 1 - math.floor(math.log10(half))) if half > 0 else 2}f"
    return f"{mean:{form}} ± {half:{form.lstrip('+')}}"


def markdown_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, a string a line."""
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
