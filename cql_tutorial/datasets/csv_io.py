"""CSV files: one row a transition, one column a number, parsed by `numpy.loadtxt` into flat arrays.

``loadtxt`` counts rows and columns, and not lines: empty lines and line breaks within quotes shift them. So what it
refuses is read again by the standard library's `csv`, which finds line, column and cell of the first fault.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, require, require_data
from . import checks as check
from .files import fill_next_observations, require_file

REQUIRED = ("observations", "actions", "rewards", "terminations")
_KNOWN = (*REQUIRED, "next_observations", "truncations", "episode")
_WIDE = ("observations", "next_observations", "actions")  # of several columns; the others have one
_FLAGS = {
    **dict.fromkeys(["true", "t", "yes", "y", "1", "1.0"], True),
    **dict.fromkeys(["false", "f", "no", "n", "0", "0.0"], False),
}
_DELIMITERS = ",;\t| "


def read(
    path: str | os.PathLike[str],
    columns: Mapping[str, str | Sequence[str]],
    dtype: Any = np.float64,
    discrete: bool = False,
    delimiter: str = ",",
) -> dict[str, Any]:
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
        table, names = _table(file, columns, dtype, delimiter)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        mend = "save it as CSV in UTF-8; other formats have loaders of their own."
        raise DataError(f"file {file}", f"{type(error).__name__}: {error}", "a text file in UTF-8", mend) from error
    if discrete and table["actions"].shape[1] == 1 and (table["actions"] == np.round(table["actions"])).all():
        table["actions"] = table["actions"][:, 0].astype(np.int64)
    table.setdefault("truncations", np.zeros(len(table["rewards"]), bool))
    result = fill_next_observations(table)
    result["metadata"] |= {"format": "CSV", "columns": names}
    return result | {"id": file.stem, "copy": False}


def _table(
    file: Path, columns: Mapping[str, Any], dtype: Any, delimiter: str
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The named columns of a file as arrays, and the names of the file's columns that went into each."""
    with file.open(newline="", encoding="utf-8-sig") as text:
        header = [name.strip() for name in next(csv.reader(text, delimiter=delimiter), [])]
        double = sorted({name for name in header if header.count(name) > 1})
        require_data(not double, "header", f"{double[:5]} more than once", "one name a column", "rename the columns.")
        chosen = {name: _chosen(header, name, columns[name]) for name in _KNOWN if name in columns}
        cells = _parsed(text, file, header, chosen, dtype, delimiter)
    require_data(len(cells), f"file {file}", "no row below the header", "one row a transition", "export again.")
    table: dict[str, Any] = {}
    for name, names in chosen.items():
        parts = [cells[str(header.index(one))] for one in names]
        if name in _WIDE:
            table[name] = np.stack(parts, 1)
        elif name == "rewards":
            table[name] = parts[0].copy()
        elif name == "episode":
            table["episode_starts"] = _episode_starts(parts[0], file, header.index(names[0]), names[0], delimiter)
        else:
            table[name] = check.flags(name, parts[0], len(cells)).numpy()
    return table, chosen


def _parsed(
    text: Any, file: Path, header: list[str], chosen: Mapping[str, list[str]], dtype: Any, delimiter: str
) -> np.ndarray:
    """The rows below the header ``[N]``, a field "0", "1", ... for each column; ``DataError`` names the first fault.

    A column that goes into several arrays is read as numbers if one of them needs numbers, else as flags, else as
    labels, which become 0, 1, ... in the order of appearance. A column that goes into none keeps one character of each
    cell, so that every row is still held against the header's width.
    """
    labels: defaultdict[str, int] = defaultdict()
    labels.default_factory = labels.__len__
    kinds: dict[str, tuple[Callable[[str], Any], Any]] = {
        "episode": (labels.__getitem__, "i8"),
        "truncations": (_flag, "?"),
        "terminations": (_flag, "?"),
    }
    kinds |= dict.fromkeys([*_WIDE, "rewards"], (float, dtype))  # the later kind wins
    parsers = {column: kind for name, kind in kinds.items() for column in chosen.get(name, ())}
    fields: list[Any] = [(str(i), parsers.get(column, (str, "U1"))[1]) for i, column in enumerate(header)]
    converters: dict[int | str, Callable[[str], Any]] = {  # none for numbers: NumPy's own parser is faster
        i: parse for i, column in enumerate(header) if (parse := parsers.get(column, (float, ""))[0]) is not float
    }
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):  # infinite then, which from_arrays reports
            warnings.filterwarnings("ignore", "loadtxt: input contained no data", UserWarning)
            return np.loadtxt(
                text,
                np.dtype(fields),
                comments=None,
                delimiter=delimiter,
                converters=converters,
                ndmin=1,
                encoding=None,
                quotechar='"',
            )
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        fault = _first_fault(file, header, {name: parse for name, (parse, _) in parsers.items()}, delimiter)
        expected, mend = "rows of cells as in the header", "correct that cell, or export the table again."
        raise fault or DataError(f"file {file}", " ".join(str(error).split()), expected, mend) from error


def _first_fault(
    file: Path, header: list[str], parsers: Mapping[str, Callable[[str], Any]], delimiter: str
) -> DataError | None:
    """The first line of another width, or cell that its column's parser refuses."""
    for line, row in _rows(file, delimiter):
        if len(row) != len(header):
            expected, mend = f"{len(header)}, as in the header", "complete that line, or delete it."
            return DataError(f"line {line}", f"{len(row)} cells", expected, mend)
        for column, cell in zip(header, row, strict=True):
            try:
                parsers.get(column, str)(cell)
            except ValueError:
                expected = "a number" if parsers[column] is float else "true, yes, 1, false, no or 0"
                mend = "correct that cell, or delete its row (and mark the row before as truncated)."
                return DataError(f"column {column!r}, line {line}", repr(cell[:40]), expected, mend)
    return None


def _rows(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row below the header; empty lines are left out, as by `numpy.loadtxt`."""
    with file.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.reader(text, delimiter=delimiter)
        next(reader, None)
        yield from ((reader.line_num, row) for row in reader if row)


def _flag(cell: str) -> bool:
    """A flag in any of the usual spellings; ``ValueError`` for other text."""
    try:
        return _FLAGS[cell.strip().lower()]
    except KeyError as error:
        raise ValueError(cell) from error


def _episode_starts(labels: np.ndarray, file: Path, place: int, column: str, delimiter: str) -> np.ndarray:
    """First row of each episode; ``DataError`` for an episode that goes on after another one."""
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    again = np.delete(starts, np.unique(labels[starts], return_index=True)[1])
    if len(again):
        line, row = next(islice(_rows(file, delimiter), int(again[0]), None))
        expected, mend = "the rows of an episode one after another", "sort the file by episode and step."
        found = f"episode {row[place]!r} again, after another one"
        raise DataError(f"column {column!r}, line {line}", found, expected, mend)
    return starts


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
