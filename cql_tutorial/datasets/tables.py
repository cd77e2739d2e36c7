"""Tables: data frames, CSV (plain or .gz), TSV and Parquet, one row a transition, read by pandas into flat arrays.

pandas and pyarrow come with the extra ``cql-tutorial[tables]``. There is one parser for tables, and it is pandas': a
second one of our own would have to be as well tried. What a cell means is decided here: numbers are taken, true and
false are 1 and 0, missing values, words and times are refused, with counts and with what to do; nothing is filled in.
"""

from __future__ import annotations

import csv
import gzip
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CQLTutorialError, CQLWarning, DataError, require, require_data
from . import checks as check
from .files import episode_starts, finish, keep_time, missing_package, no_time_to_cut_at, require_file
from .roles import EVERY_ROW, FLAGS, LAST_ROW, WIDE, Roles, assign

_FLAGS = {
    **dict.fromkeys(["true", "t", "yes", "y", "on", "1"], True),
    **dict.fromkeys(["false", "f", "no", "n", "off", "0"], False),
}
_DELIMITERS = ",;\t| "
_ENDINGS = (".csv", ".tsv", ".txt", ".parquet")
_BLOCK_CELLS = 2**18  # pandas takes some ten times the memory of the cells that it parses


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether the name ends as that of a table does: .csv, .tsv, .txt, those with .gz, or .parquet."""
    name = os.fspath(path).lower().removesuffix(".gz")
    return name.endswith(_ENDINGS)


def require_pandas(purpose: str) -> Any:
    """The module pandas, or ``DataError`` that names the extra."""
    try:
        import pandas
    except ImportError as error:
        mend = "pip install 'cql-tutorial[tables]'"
        raise DataError("package pandas", "none", f"pandas, {purpose}", mend) from error
    return pandas


# ---- one block of rows after another ---------------------------------------------------------------------------------


@dataclass
class _Faults:
    """What is wrong with cells, counted over all blocks: missing ones, and those that are no numbers."""

    missing: dict[str, list[int]] = field(default_factory=dict)  # column -> [count, first row]
    rows: int = 0
    words: dict[str, list[Any]] = field(default_factory=dict)  # column -> [count, first row, first cell, kinds]
    times: dict[str, Any] = field(default_factory=dict)  # column -> an example
    flags: dict[str, list[Any]] = field(default_factory=dict)  # column -> [count, first row, first cell]
    moments: dict[str, list[Any]] = field(default_factory=dict)  # the same, of cells of a time that are none
    origin: dict[str, Any] = field(default_factory=dict)  # column -> its first date
    labels: dict[Any, int] = field(default_factory=dict)  # of the episodes, in the order of appearance
    unequal: dict[str, list[int]] = field(default_factory=dict)  # column -> [values lost to float32, distinct values]


def _numbers(pandas: Any, series: Any, name: str, start: int, faults: _Faults) -> np.ndarray:
    """A column as float64, or in its own kind if that is whole or narrower; NaN for what is missing or no number."""
    kind = getattr(series.dtype, "kind", "O")
    if isinstance(series.dtype, np.dtype) and kind in "fiub":
        return series.to_numpy()
    if kind in "mM" or pandas.api.types.is_datetime64_any_dtype(series.dtype):
        faults.times.setdefault(name, next(iter(series.dropna()), ""))
        return np.full(len(series), np.nan)
    if pandas.api.types.is_numeric_dtype(series.dtype) or pandas.api.types.is_bool_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    cells = series.astype(object)
    absent = cells.isna().to_numpy() | np.fromiter(
        (isinstance(x, str) and not x.strip() for x in cells), bool, len(cells)
    )
    numbers = pandas.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.isnan(numbers) & ~absent
    no_word = wrong.copy()
    for row in np.flatnonzero(wrong):
        text = str(cells.iloc[row]).strip().lower()
        no_word[row] = text not in ("nan", "na", "n/a", "null", "none", "-nan")
    if no_word.any() and np.isnan(numbers).all():  # a column of words, in which none is one of them
        no_word = wrong
    wrong = no_word
    if wrong.any():
        places = np.flatnonzero(wrong)
        said = {str(cells.iloc[row]).strip().lower() for row in places[:1000]}
        if said <= set(_FLAGS) and not (~np.isnan(numbers)).any():
            numbers[places] = [float(_FLAGS[str(cells.iloc[row]).strip().lower()]) for row in places]
            return numbers
        known = faults.words.setdefault(name, [0, start + int(places[0]), cells.iloc[places[0]], set()])
        known[0] += len(places)
        known[3] |= set(map(str, cells.iloc[places[:1000]]))
    return numbers


def _flags_of(pandas: Any, series: Any, name: str, start: int, faults: _Faults) -> np.ndarray:
    """A column of flags as float64 0 and 1 (NaN where missing): bools, numbers, or words such as yes and no."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiub":
        values = series.to_numpy().astype(np.float64)
    else:
        cells = series.astype(object)
        values = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if isinstance(cell, str):
                text = cell.strip().lower()
                if text in _FLAGS:
                    values[row] = _FLAGS[text]
                elif text and text not in ("nan", "na", "n/a", "null", "none"):
                    try:
                        values[row] = float(text.replace("_", "x"))
                    except ValueError:
                        values[row] = np.inf
            elif not pandas.isna(cell):
                values[row] = float(cell)
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        first = int(wrong.argmax())
        known = faults.flags.setdefault(name, [0, start + first, series.iloc[first]])
        known[0] += int(wrong.sum())
    return values


def _times_of(pandas: Any, series: Any, name: str, start: int, faults: _Faults) -> np.ndarray:
    """A column of times: whole numbers as int64, others, and dates and spans in seconds, as float64, NaN if missing."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu":
        return series.to_numpy().astype(np.int64)
    if pandas.api.types.is_numeric_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    if getattr(series.dtype, "kind", "O") == "m":
        return series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    if not pandas.api.types.is_datetime64_any_dtype(series.dtype):
        numbers = pandas.to_numeric(series.astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if not np.isnan(numbers[~series.isna().to_numpy()]).any():
            return numbers
        absent = series.isna()
        series, cells = pandas.to_datetime(series, utc=True, errors="coerce", format="ISO8601"), series
        wrong = (series.isna() & ~absent).to_numpy()
        if wrong.any():
            first = int(wrong.argmax())
            known = faults.moments.setdefault(name, [0, start + first, cells.iloc[first]])
            known[0] += int(wrong.sum())
    moments = pandas.to_datetime(series, utc=True)
    # From the first date on: seconds since 1970 have no room in float64 for steps of less than a microsecond.
    origin = faults.origin.setdefault(name, next(iter(moments.dropna()), pandas.Timestamp(0, tz="UTC")))
    passed = moments - origin
    whole = passed.dt.as_unit("ns") if passed.dt.unit != "ns" else passed
    return np.where(whole.isna(), np.nan, whole.to_numpy().astype("m8[ns]").astype(np.int64) / 1e9)


def _labels_of(series: Any, codes: dict[Any, int]) -> np.ndarray:
    """Labels as whole numbers in the order of appearance; -1 where missing."""
    places, uniques = series.factorize()
    own = np.array([codes.setdefault(str(one), len(codes)) for one in uniques] or [0], np.int64)
    return np.where(places < 0, -1, own[places])


def _collect(pandas: Any, blocks: Iterator[Any], roles: Roles, dtype: str) -> tuple[dict[str, Any], _Faults]:
    """Read blocks of a table into arrays, a role each, of flags as float64 and of labels as whole numbers."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in roles.places}
    faults, start = _Faults(), 0
    for frame in blocks:
        incomplete = np.zeros(len(frame), bool)
        for name, places in roles.places.items():
            names = roles.columns[name]
            part = frame.iloc[:, places]
            if name == "episode":
                block = _labels_of(part.iloc[:, 0], faults.labels)
                absent = (block < 0)[:, None]
            elif name == "time":
                block = _times_of(pandas, part.iloc[:, 0], names[0], start, faults)
                absent = np.isnan(block)[:, None]
            else:
                plain = all(isinstance(one, np.dtype) and one.kind in "fiub" for one in part.dtypes)
                read = _flags_of if name in FLAGS else _numbers
                block = (
                    part.to_numpy()
                    if plain and name not in FLAGS
                    else np.stack([read(pandas, part.iloc[:, i], one, start, faults) for i, one in enumerate(names)], 1)
                )
                block = block.astype(np.float64) if block.dtype.kind in "bO" else block
                absent = np.isnan(block) if block.dtype.kind == "f" else np.zeros((len(block), 1), bool)
                if name not in FLAGS:
                    _count_unequal(block, name, names, faults, dtype)
                    whole = block.dtype.kind in "iu" and name == "actions"
                    with np.errstate(over="ignore"):  # infinite then, which from_arrays reports
                        block = block if whole else block.astype(dtype)
            for i in np.flatnonzero(absent.any(0)):
                if names[i] not in (*faults.words, *faults.times, *faults.moments):
                    known = faults.missing.setdefault(names[i], [0, start + int(absent[:, i].argmax())])
                    known[0] += int(absent[:, i].sum())
                    incomplete |= absent[:, i]
            parts[name].append(block if name in WIDE or block.ndim == 1 else block[:, 0])
        faults.rows += int(incomplete.sum())
        start += len(frame)
    arrays: dict[str, Any] = {}
    for name in list(parts):
        pieces = parts.pop(name)
        arrays[name] = np.concatenate(pieces) if len(pieces) != 1 else np.ascontiguousarray(pieces[0])
    return arrays, faults


def _count_unequal(block: np.ndarray, role: str, names: list[str], faults: _Faults, dtype: str) -> None:
    if dtype == "float64" or block.dtype.itemsize < 8 or (role == "actions" and block.dtype.kind in "iu"):
        return
    for i, pair in check.collapsed(block).items():
        known = faults.unequal.setdefault(f"{role} {names[i]!r}", [0, 0])
        known[0], known[1] = known[0] + pair[0], known[1] + pair[1]


def _raise_faults(faults: _Faults, line: Any, kind: str, decimal: str, actions: Sequence[str]) -> None:
    """One ``DataError`` for what cells are not; ``line(row)`` says where a row stands."""
    for name, (count, row, cell) in faults.moments.items():
        found = f"{str(cell)[:40]!r}" + (f" and {count - 1:,} more cells that are no times" if count > 1 else "")
        expected = "a number, or a date such as 2026-03-29T01:30:00+00:00"
        mend = f"make dates of it first: frame[{name!r}] = pandas.to_datetime(frame[{name!r}], format=...)."
        raise DataError(f"column {name!r}, {line(row)}", found, expected, mend)
    if faults.times:
        name, example = next(iter(faults.times.items()))
        mend = (
            f"turn it into a number first, from a start that keeps it small: (t - t.min()).dt.total_seconds(), or the "
            f"hour of the day, with t = frame[{name!r}]; or leave the column out; or, if it only says when a row was "
            f"written, give it the role: time={name}."
        )
        raise DataError(f"column {name!r}", f"times, such as {str(example)[:40]!r}", "numbers", mend)
    for name, (count, row, cell, kinds) in faults.words.items():
        text = str(cell)[:40]
        field = f"column {name!r}, {line(row)}"
        swapped = text.strip().replace(",", ".") if decimal == "." else text.strip()
        comma = decimal == "." and "," in text and _is_number(swapped)
        import_time = _looks_like_time(text)
        few = len(kinds) <= 12
        found = f"{text!r}" + (f" and {count - 1} more cells that are no numbers" if count > 1 else "")
        others = [repr(other) for other in faults.words if other != name]
        found += f" (likewise in {', '.join(others[:8])})" if others else ""
        if isinstance(cell, (list, tuple, np.ndarray, dict)):
            mend = f"make one column of each of their numbers: frame[{name!r}].tolist() is a matrix if all are as long."
            raise DataError(field, f"a {type(cell).__name__} in a cell", "one number a cell", mend)
        if comma:
            mend = "pass --decimal , (decimal=',' in Python) if that is a decimal comma."
        elif import_time:
            mend = (
                f"turn it into a number first, such as seconds since the start of the episode: t = "
                f"pandas.to_datetime(frame[{name!r}]); (t - t.min()).dt.total_seconds(); or leave the column out."
            )
        elif count > 1 and name in actions:
            mend = (
                f"if they are choices, number them: frame[{name!r}], names = pandas.factorize(frame[{name!r}]), and "
                f"pass --n-actions {len(kinds)} (n_actions= in Python); names says which number is which."
            )
        elif count > 1 and few:
            shown = ", ".join(sorted(map(repr, kinds))[:6])
            mend = (
                f"encode these {len(kinds)} words ({shown}) as numbers: pandas.get_dummies(frame, columns=[{name!r}], "
                f"dtype=float) makes a column of 0 and 1 for each; words with an order may become 0, 1, 2, ..."
            )
        else:
            mend = "correct that cell, or delete its row (and mark the row before as truncated)."
        raise DataError(field, found, "a number", mend)
    for name, (count, row, cell) in faults.flags.items():
        found = f"{str(cell)[:40]!r}" + (f" and {count - 1} more cells that are no flags" if count > 1 else "")
        expected = "true, yes, 1, false, no or 0"
        raise DataError(f"column {name!r}, {line(row)}", found, expected, "correct that cell, or compare: (x > 0).")
    if faults.missing:
        shown = ", ".join(
            f"{count:,} in {name!r} (first: {line(row)})" for name, (count, row) in faults.missing.items()
        )
        total = sum(count for count, _ in faults.missing.values())
        expected = "a number in each; nothing is filled in here, as that would invent data"
        mend = (
            "drop those rows and mark the row before each gap as truncated (--mend not-finite of cql-tutorial convert "
            "does that), or fill them in by what you know of the sensor, and add a column that says so."
        )
        raise DataError(f"{kind}", f"{total:,} missing values in {faults.rows:,} rows: {shown}", expected, mend)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _looks_like_time(text: str) -> bool:
    import re

    return bool(
        re.match(r"\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{1,2}:\d{2}(:\d{2})?\b)", text)
    )


# ---- from frames and files to the arguments of from_arrays -----------------------------------------------------------


def _arguments(
    arrays: dict[str, np.ndarray],
    faults: _Faults,
    roles: Roles,
    options: Mapping[str, Any],
    line: Any,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Flags, labels and actions of what was read, checked unless ``options["raw"]``, and the metadata."""
    raw, kind = options.get("raw", False), about["format"]
    if faults.words or faults.times or faults.flags or faults.moments or not raw:
        actions = roles.columns["actions"]
        _raise_faults(faults, line, f"{kind} {about['source']}", options.get("decimal", "."), actions)
    n = len(arrays["rewards"])
    require_data(n, f"{kind} {about['source']}", "no row below the header", "one row a transition", "export again.")
    for name in FLAGS:
        if name in arrays:
            arrays[name] = arrays[name] == 1
    for name, word in roles.constants.items():
        arrays[name] = np.full(n, word == EVERY_ROW)
    arrays.setdefault("truncations", np.zeros(n, bool))
    labels, times = arrays.pop("episode", None), arrays.pop("time", None)
    if labels is not None:
        names = list(faults.labels)
        column = f"column {roles.columns['episode'][0]!r}"
        arrays["episode_starts"] = episode_starts(labels, column, line, lambda label: names[label])
    if roles.constants.get("terminations") == LAST_ROW:
        arrays["terminations"][np.r_[arrays["episode_starts"][1:] - 1, n - 1]] = True
    if times is not None:
        column = f"column {roles.columns['time'][0]!r}"
        about = about | {"time": keep_time(arrays, times, options.get("max_gap"), column, line, raw)}
    else:
        no_time_to_cut_at(options.get("max_gap"))
    metadata = about | {"columns": roles.columns | roles.constants, "unused": roles.unused}
    metadata |= {"guessed": "from their names"} if roles.guessed else {}
    metadata |= {"collapsed": faults.unequal} if faults.unequal else {"collapsed": {}}
    where = {name: f"column {roles.columns[name][0]!r}" for name in (*FLAGS, "episode") if name in roles.columns}
    return finish({**arrays, "metadata": metadata}, options, where=where, line=line) | {
        "id": about["source"],
        "copy": False,
    }


def from_frame(frame: Any, columns: Mapping[str, Any] | None, **options: Any) -> dict[str, Any]:
    """The arguments of ``from_arrays`` for a data frame; see `OfflineDataset.from_dataframe`."""
    pandas = require_pandas("which reads data frames")
    if not isinstance(frame, pandas.DataFrame):
        frame = _to_pandas(pandas, frame)
    _check_size(len(frame) * max(1, frame.shape[1]) * 8, options)
    roles = assign([str(name) for name in frame.columns], columns, "frame")
    _announce(roles, options)
    rows = max(1, _BLOCK_CELLS // max(1, frame.shape[1]))
    blocks = (frame.iloc[start : start + rows] for start in range(0, len(frame), rows))
    arrays, faults = (
        _collect(pandas, blocks or iter([frame]), roles, options.get("dtype", "float32"))
        if len(frame)
        else ({}, _Faults())
    )
    require_data(len(frame), "frame", "no rows", "one row a transition", "look at how it was made.")
    about = {"format": options.get("format", "data frame"), "source": options.get("source", "frame")}
    return _arguments(arrays, faults, roles, options, lambda row: f"row {row}", about)


def _to_pandas(pandas: Any, frame: Any) -> Any:
    """A frame of another library as one of pandas, by the first of its own ways that works; else ``DataError``."""
    kind = type(frame).__name__
    if isinstance(frame, pandas.Series):
        mend = "pass the whole frame, or frame.to_frame()."
        raise DataError("frame", "a Series, which is one column", "a frame with a column for each role", mend)
    failed: list[Exception] = []
    for turn in (_own_way, _by_arrow, _by_interchange, _by_columns):
        try:
            made = turn(pandas, frame)
        except Exception as error:  # whatever that library raises
            failed.append(error)
            continue
        if isinstance(made, pandas.DataFrame):
            return made
    if failed and isinstance(failed[0], ImportError):
        raise missing_package(failed[0], "turns that frame into one of pandas") from failed[0]
    expected = "a pandas DataFrame, or what has to_pandas, __arrow_c_stream__ or __dataframe__"
    if failed:
        found = " ".join(f"a {kind} that does not become one: {type(failed[0]).__name__}: {failed[0]}".split())
        mend = "make a pandas.DataFrame of it first, with columns of one kind and length."
        raise DataError("frame", found[:300], expected, mend) from failed[0]
    mend = "pandas.DataFrame(...) makes one of a dict or of a matrix."
    mend = "it is not computed yet: pass frame.collect()." if hasattr(frame, "collect") else mend
    raise DataError("frame", f"a {kind}", expected, mend)


def _own_way(pandas: Any, frame: Any) -> Any:
    return frame.to_pandas() if hasattr(frame, "to_pandas") else None


def _by_arrow(pandas: Any, frame: Any) -> Any:
    if not hasattr(frame, "__arrow_c_stream__") and not hasattr(frame, "__arrow_c_array__"):
        return None
    import pyarrow

    return pyarrow.table(frame).to_pandas()


def _by_interchange(pandas: Any, frame: Any) -> Any:
    if not hasattr(frame, "__dataframe__"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 3 says that it will go
        return pandas.api.interchange.from_dataframe(frame)


def _by_columns(pandas: Any, frame: Any) -> Any:
    return pandas.DataFrame(frame) if isinstance(frame, Mapping) else None


def _check_size(size: float, options: Mapping[str, Any]) -> None:
    most = options.get("max_gigabytes", 8.0)
    positive = isinstance(most, (int, float)) and most > 0
    require(positive, "max_gigabytes", most, "a number > 0", "8.0 is the default.")
    mend = "convert it in parts, leave columns out, or pass max_gigabytes= if it is meant to be so large."
    require_data(size <= 1e9 * most, "table", f"some {size / 1e9:.1f} GB of cells", f"at most {most:g} GB", mend)


def _announce(roles: Roles, options: Mapping[str, Any]) -> None:
    if roles.guessed and options.get("warn", True):
        text = "columns guessed from their names (columns= says it for sure): " + str(roles).replace("\n", "; ")
        warnings.warn(" ".join(text.split()), CQLWarning, stacklevel=4)


def read_header(path: str | os.PathLike[str], delimiter: str | None = None) -> tuple[list[str], str]:
    """The names in a table's first line (or a Parquet file's), and the delimiter: the given one, or what it shows."""
    file = require_file(path)
    if file.name.lower().endswith(".parquet"):
        return _parquet_schema(file)[0], ""
    with _text(file) as text:
        first = text.readline(2**24).lstrip("\ufeff")
    require_data(
        first.strip(), f"file {file}", "an empty first line", "a header: one name a column", "export it again."
    )
    if delimiter is None:
        delimiter = "\t" if file.name.lower().removesuffix(".gz").endswith(".tsv") else ","
        if delimiter not in first:
            delimiter = next((one for one in ";\t|," if one in first), delimiter)
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    require(delimiter in tuple(_DELIMITERS), "delimiter", delimiter, f"one of {list(_DELIMITERS)}", "',' is usual.")
    with _text(file) as text:
        header = [
            name.strip().lstrip("\ufeff")
            for name in next(csv.reader(text, delimiter=delimiter, skipinitialspace=True), [])
        ]
    if len(header) > 1 and all(_is_number(name) for name in header):
        mend = "write the names of the columns into a line above, with the same separator."
        raise DataError(f"file {file}, line 1", f"numbers ({', '.join(header[:4])}, ...)", "a header of names", mend)
    return header, delimiter


def _text(file: Path) -> Any:
    """A text file open for reading, unpacked if its name ends in .gz."""
    if file.name.lower().endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def from_csv(path: str | os.PathLike[str], columns: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The arguments of ``from_arrays`` for a CSV or TSV file; see `OfflineDataset.from_csv`."""
    pandas = require_pandas("which reads tables")
    file = require_file(path)
    decimal = options.get("decimal", ".")
    require(decimal in (".", ","), "decimal", decimal, "'.' or ','", "'.' is usual.")
    size = file.stat().st_size * (8 if file.name.lower().endswith(".gz") else 1)
    _check_size(size, options)
    try:
        header, delimiter = read_header(file, options.get("delimiter"))
        try:
            roles = assign(header, columns)
        except DataError as error:
            if len(header) == 1 and (other := next((one for one in ";\t|," if one in header[0]), None)):
                expected, mend = (
                    f"cells separated by {delimiter!r}",
                    f"pass --delimiter {other!r} (delimiter= in Python).",
                )
                raise DataError(f"file {file}", "one column only", expected, mend) from error
            raise
        _announce(roles, options)
        blocks = _csv_blocks(pandas, file, header, roles, delimiter, decimal, options.get("dtype", "float32"))
        arrays, faults = _collect(pandas, blocks, roles, options.get("dtype", "float32"))
    except CQLTutorialError:
        raise
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        mend = "save it as CSV in UTF-8; other formats have loaders of their own."
        raise DataError(f"file {file}", f"{type(error).__name__}: {error}", "a text file in UTF-8", mend) from error
    require_data(
        len(arrays["rewards"]), f"file {file}", "no row below the header", "one row a transition", "export again."
    )
    name = file.name.removesuffix(".gz").rpartition(".")[0]
    about = {"format": "CSV", "source": name, "delimiter": delimiter}
    return _arguments(arrays, faults, roles, options, lambda row: f"line {_line(file, delimiter, row)}", about)


def _csv_blocks(
    pandas: Any, file: Path, header: list[str], roles: Roles, delimiter: str, decimal: str, dtype: str
) -> Iterator[Any]:
    """Blocks of rows below the header; ``DataError`` for a line of another width, by its number."""
    names = list(map(str, range(len(header))))
    # Before pandas 3 the default parser may miss the nearest float64 by one unit in the last place.
    exact = {"float_precision": "round_trip"} if dtype == "float64" and pandas.__version__ < "3" else {}
    settings: dict[str, Any] = {
        "sep": delimiter, "decimal": decimal, "header": 0, "names": names, "index_col": False, "encoding": "utf-8-sig",
        "skipinitialspace": True, "low_memory": False, "compression": "infer", **exact,
    }  # fmt: skip
    rows = max(1000, _BLOCK_CELLS // max(1, len(header)))
    seen = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            with pandas.read_csv(file, chunksize=rows, **settings) as reader:
                for block in reader:
                    last = block.iloc[:, -1]
                    if last.isna().any():  # a missing cell, or a line that is too short: pandas fills it up
                        _check_widths(file, header, delimiter, seen + len(block))
                    seen += len(block)
                    yield block
    except pandas.errors.EmptyDataError:
        return
    except (pandas.errors.ParserError, pandas.errors.ParserWarning) as error:
        _check_widths(file, header, delimiter, None)
        found = " ".join(str(error).split())
        mend = "look for a quotation mark that is not closed, or export the table again."
        raise DataError(f"file {file}", found, "rows of cells as in the header", mend) from error


def _check_widths(file: Path, header: list[str], delimiter: str, most: int | None) -> None:
    for line, row in islice(_rows(file, delimiter), most):
        if len(row) != len(header):
            expected, mend = f"{len(header)}, as in the header", "complete that line, or delete it."
            raise DataError(f"line {line}", f"{len(row)} cells", expected, mend)


def _rows(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row below the header; empty lines are left out, as by pandas."""
    with _text(file) as text:
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
        next(reader, None)
        yield from ((reader.line_num, row) for row in reader if row and (len(row) > 1 or row[0].strip()))


def _line(file: Path, delimiter: str, row: int) -> int:
    return next(islice(_rows(file, delimiter), row, None), (row + 2, []))[0]


def _parquet_schema(file: Path) -> tuple[list[str], int]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        mend = "pip install 'cql-tutorial[tables]'"
        raise DataError("package pyarrow", "none", "pyarrow, which reads Parquet files", mend) from error
    try:
        schema = parquet.ParquetFile(file)
        return list(schema.schema_arrow.names), schema.metadata.num_rows
    except Exception as error:  # pyarrow raises errors of many kinds for a damaged file
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {file}", found, "a whole Parquet file", "export it again.") from error


def from_parquet(
    path: str | os.PathLike[str], columns: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """The arguments of ``from_arrays`` for a Parquet file; see `OfflineDataset.from_parquet`."""
    pandas = require_pandas("which reads tables")
    file = require_file(path)
    names, rows = _parquet_schema(file)
    roles = assign(names, columns)
    used = [one for name in roles.columns.values() for one in name]
    _check_size(rows * len(used) * 8, options)
    try:
        frame = pandas.read_parquet(file, columns=used, engine="pyarrow")
    except Exception as error:  # as above
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {file}", found, "a whole Parquet file", "export it again.") from error
    more = {"format": "Parquet", "source": file.stem, "warn": False}
    _announce(roles, options)
    result = from_frame(frame, roles.columns | roles.constants, **(dict(options) | more))
    result["metadata"] |= {"unused": roles.unused} | ({"guessed": "from their names"} if roles.guessed else {})
    return result


def to_frame(dataset: Any) -> Any:
    """A data set as a pandas DataFrame: a row a transition; see `OfflineDataset.to_dataframe`."""
    pandas = require_pandas("which makes data frames")
    arrays = {name: getattr(dataset, name).detach().cpu().numpy() for name in (*WIDE, "rewards", *FLAGS)}
    cells: dict[str, np.ndarray] = {"episode": dataset._episode_of_row().cpu().numpy()}
    for name, short in (
        ("observations", "obs"),
        ("actions", "action"),
        ("rewards", "reward"),
        ("next_observations", "next_obs"),
    ):
        column = arrays[name]
        cells |= {short: column} if column.ndim == 1 else {f"{short}_{i}": column[:, i] for i in range(column.shape[1])}
    return pandas.DataFrame(cells | {"termination": arrays["terminations"], "truncation": arrays["truncations"]})
