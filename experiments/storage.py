"""The result tables on disk: `data/results/<table>.csv`, read as texts and written whole. Needs nothing but Python."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cql_tutorial.files import atomic_write

Row = dict[str, str]  # as it stands in the file
RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"


def read_rows(table: str, folder: Path = RESULTS) -> list[Row]:
    """The rows of a table as they were written; none where there is no such file."""
    path = folder / f"{table}.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], folder: Path = RESULTS) -> None:
    """Write a table whole or not at all, so that no reader and no interruption meets half a table."""
    path = folder / f"{table}.csv"
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: to_text(value) for name, value in row.items()} for row in rows)


def to_text(value: Any) -> str:
    """A cell: a float with six digits (20, not 20.0), everything else as Python prints it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
