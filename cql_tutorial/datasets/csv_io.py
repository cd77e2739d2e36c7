"""CSV files: one row a transition, one column a number, read in blocks into flat numpy arrays."""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, require, require_data
from .files import fill_next_observations, require_file

REQUIRED = ("observations", "actions", "rewards", "terminations")
_KNOWN = (*REQUIRED, "next_observations", "truncations", "episode")
_WIDE = ("observations", "next_observations", "actions")  # of several columns; the others have one
_BLOCK_ROWS = 2**10
_FLAGS = dict.fromkeys(["true", "t", "yes", "y", "1", "1.0"], 1.0)
_FLAGS |= dict.fromkeys(["false", "f", "no", "n", "0", "0.0"], 0.0)
_DELIMITERS = ",;\t| "


def read(
    path: str | os.PathLike[str], columns: Mapping[str, str | Sequence[str]], dtype: Any = np.float64,
    discrete: bool = False, delimiter: str = ",",
) -> dict[str, Any]:  # fmt: skip
    """Read a CSV file into the arguments of ``from_arrays``; see ``OfflineDataset.from_csv``.

    ``discrete`` makes one column of choices of the actions. Raises ``ConfigError`` for the mapping, ``DataError`` for
    the file, ``DatasetNotFoundError``.
    """
    require(
        isinstance(columns, Mapping), "columns", columns, "a mapping of names to column names", "{'rewards': 'r', ...}."
    )
    for name in columns:
        near = ", ".join(difflib.get_close_matches(str(name), _KNOWN, 1) or _KNOWN)
        require(name in _KNOWN, "columns", name, f"known names (nearest: {near})", "rename that key of columns=.")
    missing = [name for name in REQUIRED if name not in columns]
    require(not missing, "columns", missing, f"entries for {', '.join(REQUIRED)}", "name the file's columns for these.")
    require(delimiter in tuple(_DELIMITERS), "delimiter", delimiter, f"one of {list(_DELIMITERS)}", "',' is usual.")
    file = require_file(path)
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            table, names = _table(csv.reader(text, delimiter=delimiter), columns, dtype)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        mend = "save it as CSV in UTF-8; other formats have loaders of their own."
        raise DataError(f"file {file}", f"{type(error).__name__}: {error}", "a text file in UTF-8", mend) from error
    require_data("rewards" in table, f"file {file}", "no row below the header", "one row a transition", "export again.")
    if discrete and table["actions"].shape[1] == 1 and (table["actions"] == np.round(table["actions"])).all():
        table["actions"] = table["actions"][:, 0].astype(np.int64)
    table |= {name: table[name].astype(bool) for name in ("terminations", "truncations") if name in table}
    table.setdefault("truncations", np.zeros(len(table["rewards"]), bool))
    result = fill_next_observations(table)
    result["metadata"] |= {"format": "CSV", "columns": names}
    return result | {"id": file.stem, "copy": False}


def _table(reader: Any, columns: Mapping[str, Any], dtype: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The named columns of a file as arrays, and the names of the file's columns that went into each."""
    header = [name.strip() for name in next(reader, [])]
    double = sorted({name for name in header if header.count(name) > 1})
    require_data(not double, "header", f"{double[:5]} more than once", "one name a column", "rename the columns.")
    chosen = {name: _chosen(header, name, columns[name]) for name in _KNOWN if name in columns}
    labels: dict[str, int] = {}  # of each episode its first row
    parts: dict[str, list[np.ndarray]] = {}
    n, previous = 0, None
    for lines, cells in _blocks(reader, len(header)):
        for name, names in chosen.items():
            places = [header.index(one) for one in names]
            if name == "episode":
                for row, label in enumerate(cells[places[0]]):
                    back = label != previous and label in labels
                    expected = "the rows of an episode one after another"
                    found, mend = f"episode {label!r} again, after another one", "sort the file by episode and step."
                    require_data(not back, f"column {names[0]!r}, line {lines[row]}", found, expected, mend)
                    labels.setdefault(label, n + row)
                    previous = label
            else:
                flags = name in ("terminations", "truncations")
                part = [_parsed(cells[i], header[i], lines, dtype, flags) for i in places]
                parts.setdefault(name, []).append(np.stack(part, 1) if name in _WIDE else part[0])
        n += len(lines)
    table: dict[str, Any] = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    return (table | {"episode_starts": np.array(list(labels.values()))} if labels else table), chosen


def _chosen(header: list[str], name: str, wanted: Any) -> list[str]:
    """The file's columns that one of our names asks for; ``obs_*`` takes all that fit, ordered by their numbers."""
    result: list[str] = []
    asked = [wanted] if isinstance(wanted, str) else wanted
    fits = isinstance(asked, (list, tuple)) and asked and all(isinstance(one, str) for one in asked)
    expected = "a column name, a list of them, or a pattern such as 'obs_*'"
    require(fits, f"columns[{name!r}]", wanted, expected, "copy the name from the file's first line.")
    for one in asked:
        pattern = re.escape(one).replace(r"\*", ".*")
        hits = [column for column in header if re.fullmatch(pattern, column)]
        if not hits:
            close = difflib.get_close_matches(one, header, 3, 0.4) or header[:10]
            near = str([name[:40] for name in close])[1:-1]
            found, expected = f"no column {one!r} in the header", f"a column name (nearest: {near})"
            raise DataError(f"columns[{name!r}]", found, expected, "correct the name; capitals count.")
        result += sorted(
            hits, key=lambda text: [int(x) if i % 2 else x for i, x in enumerate(re.split(r"(\d+)", text))]
        )
    one_only = name not in _WIDE
    if len(set(result)) < len(result) or (one_only and len(result) > 1):
        expected = "one column" if one_only else "each column once"
        raise ConfigError(f"columns[{name!r}]", f"the columns {result[:8]}", expected, "name it in full.")
    return result


def _blocks(reader: Any, width: int) -> Iterator[tuple[tuple[int, ...], list[tuple[str, ...]]]]:
    """(line numbers, columns of cells) of some thousand rows at a time; empty lines are left out."""
    while block := list(islice(((reader.line_num, row) for row in reader), _BLOCK_ROWS)):
        for line, row in block:
            found, expected = f"{len(row)} cells", f"{width}, as in the header"
            require_data(len(row) in (0, width), f"line {line}", found, expected, "complete that line, or delete it.")
        if full := [pair for pair in block if pair[1]]:
            lines, rows = zip(*full, strict=True)
            yield lines, list(zip(*rows, strict=True))


def _parsed(cells: Sequence[str], name: str, lines: Sequence[int], dtype: Any, flags: bool) -> np.ndarray:
    """A column of cells as numbers, or as flags of 0 and 1; ``DataError`` names the first cell that is none."""
    kind: Callable[[str], float] = (lambda cell: _FLAGS[cell.strip().lower()]) if flags else float
    try:
        with np.errstate(over="ignore"):  # beyond the dtype's range: infinite, which from_arrays reports
            return np.array([kind(cell) for cell in cells]).astype(dtype)
    except (ValueError, KeyError):
        for line, cell in zip(lines, cells, strict=True):
            try:
                kind(cell)
            except (ValueError, KeyError) as error:
                expected = "true, yes, 1, false, no or 0" if flags else "a number"
                mend = "correct that cell, or delete its row (and mark the row before as truncated)."
                raise DataError(f"column {name!r}, line {line}", repr(cell[:40]), expected, mend) from error
        raise
