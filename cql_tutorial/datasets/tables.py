"""Tables: data frames, CSV (plain or .gz), TSV and Parquet, one row a transition, read by pandas into flat arrays.

pandas and pyarrow come with the extra ``cql-tutorial[tables]``. There is one parser for tables, and it is pandas': a
second one of our own would have to be as well tried. What a cell means is decided here: numbers are taken, true and
false are 1 and 0, missing values, words and times are refused, with counts and with what to do; nothing is filled in.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CQLTutorialError, CQLWarning, DataError, require, require_data
from . import checks as check
from .files import (
    episode_starts,
    finish,
    keep_time,
    missing_package,
    no_time_to_cut_at,
    raise_other_contents,
    require_file,
)
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
    numbers: dict[str, int] = field(default_factory=dict)  # column with words -> how many numbers stand beside them
    infinite: dict[str, list[Any]] = field(default_factory=dict)  # column -> [count, first row, first cell]
    times: dict[str, Any] = field(default_factory=dict)  # column -> an example
    flags: dict[str, list[Any]] = field(default_factory=dict)  # column -> [count, first row, first cell]
    moments: dict[str, list[Any]] = field(default_factory=dict)  # the same, of cells of a time that are none
    origin: dict[str, Any] = field(default_factory=dict)  # column -> its first date
    labels: dict[Any, int] = field(default_factory=dict)  # of the episodes, in the order of appearance
    unequal: dict[str, list[int]] = field(default_factory=dict)  # column -> [values lost to float32, distinct values]
    stored: dict[str, list[int]] = field(default_factory=dict)  # role -> [columns of 16 bits, columns]
    decimal: str = "."


def _numbers(pandas: Any, series: Any, name: str, start: int, faults: _Faults) -> np.ndarray:
    """A column as float64, or in its own kind if that is whole or narrower; NaN for what is missing or no number."""
    kind = getattr(series.dtype, "kind", "O")
    if isinstance(series.dtype, np.dtype) and kind in "fiub":
        return series.to_numpy()
    if kind in "mM" or pandas.api.types.is_datetime64_any_dtype(series.dtype) or _is_period(series.dtype):
        faults.times.setdefault(name, next(iter(series.dropna()), ""))
        return np.full(len(series), np.nan)
    numeric = pandas.api.types.is_numeric_dtype(series.dtype) or pandas.api.types.is_bool_dtype(series.dtype)
    if numeric and kind != "c":
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    cells = series.astype(object)
    if kind == "c":
        faults.words.setdefault(name, [0, start, cells.iloc[0], set()])[0] += len(cells)
        return np.full(len(cells), np.nan)
    absent = cells.isna().to_numpy() | np.fromiter(
        (isinstance(x, str) and not x.strip() for x in cells), bool, len(cells)
    )
    plain = cells if faults.decimal == "." else cells.map(_with_a_point)
    numbers = pandas.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
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
    if name in faults.words:
        faults.numbers[name] = faults.numbers.get(name, 0) + int((~np.isnan(numbers)).sum())
    return numbers


def _is_period(dtype: Any) -> bool:
    return str(dtype).startswith("period[")


def _with_a_point(cell: Any) -> Any:
    """A number written with a decimal comma as one with a point; text with a point is none there."""
    if not isinstance(cell, str):
        return cell
    return "no number" if "." in cell else cell.replace(",", ".")


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
            elif isinstance(cell, (list, tuple, np.ndarray, dict)):
                values[row] = np.inf
            elif not pandas.isna(cell):
                values[row] = float(cell) if hasattr(cell, "__float__") else np.inf
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        first = int(wrong.argmax())
        known = faults.flags.setdefault(name, [0, start + first, series.iloc[first], set()])
        known[0] += int(wrong.sum())
        known[3] |= {str(cell)[:40] for cell in series.iloc[:1000].dropna()}
    return values


def _times_of(pandas: Any, series: Any, name: str, start: int, faults: _Faults) -> np.ndarray:
    """A column of times: whole numbers as int64, others, and dates and spans in seconds, as float64, NaN if missing."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu":
        return series.to_numpy().astype(np.int64)
    if pandas.api.types.is_numeric_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    if getattr(series.dtype, "kind", "O") == "m":
        return series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    if not pandas.api.types.is_datetime64_any_dtype(series.dtype) and not _is_period(series.dtype):
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
    moments = pandas.to_datetime(series.dt.to_timestamp() if _is_period(series.dtype) else series, utc=True)
    # From the first date on: seconds since 1970 have no room in float64 for steps of less than a microsecond.
    origin = faults.origin.setdefault(name, next(iter(moments.dropna()), pandas.Timestamp(0, tz="UTC")))
    passed = moments - origin
    whole = passed.dt.as_unit("ns") if passed.dt.unit != "ns" else passed
    return np.where(whole.isna(), np.nan, whole.to_numpy().astype("m8[ns]").astype(np.int64) / 1e9)


def _labels_of(series: Any, codes: dict[Any, int]) -> np.ndarray:
    """Labels as whole numbers in the order of appearance; -1 where missing."""
    places, uniques = series.factorize()
    own = np.array([codes.setdefault(str(one).strip(), len(codes)) for one in uniques] or [0], np.int64)
    return np.where(places < 0, -1, own[places])


def _collect(
    pandas: Any, blocks: Iterator[Any], roles: Roles, dtype: str, decimal: str = "."
) -> tuple[dict[str, Any], _Faults]:
    """Read blocks of a table into arrays, a role each, of flags as float64 and of labels as whole numbers."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in roles.places}
    faults, start = _Faults(decimal=decimal), 0
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
                    half = sum(_is_half(one) for one in part.dtypes)
                    faults.stored[name] = [half, len(names)]
                    _count_unequal(block, name, names, faults, dtype)
                    if not (block.dtype.kind in "iu" and name == "actions"):
                        block = _narrowed(block, names, start, faults, dtype)
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


def _is_half(dtype: Any) -> bool:
    """Whether a column holds numbers of 16 bits, in NumPy's or another library's kind."""
    return getattr(dtype, "kind", "") == "f" and getattr(dtype, "itemsize", 8) == 2


def _narrowed(block: np.ndarray, names: list[str], start: int, faults: _Faults, dtype: str) -> np.ndarray:
    """A block as ``dtype``; what is infinite, or becomes so, is noted with its column and row."""
    with np.errstate(over="ignore"):
        result = block.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(result.sum()))
    if not finite:
        infinite = np.isinf(result)
        for i in np.flatnonzero(infinite.any(0)):
            first = int(infinite[:, i].argmax())
            known = faults.infinite.setdefault(names[i], [0, start + first, block[first, i]])
            known[0] += int(infinite[:, i].sum())
    return result


def _count_unequal(block: np.ndarray, role: str, names: list[str], faults: _Faults, dtype: str) -> None:
    if dtype == "float64" or block.dtype.itemsize < 8 or (role == "actions" and block.dtype.kind in "iu"):
        return
    for i, pair in check.collapsed(block).items():
        known = faults.unequal.setdefault(f"{role} {names[i]!r}", [0, 0])
        known[0], known[1] = known[0] + pair[0], known[1] + pair[1]


_MARKS = ("-", "--", "?", ".", "..", "...", "missing", "unknown", "empty", "void", "error", "err", "#ref!", "#div/0!",
          "#value!", "bad", "x", "*")  # fmt: skip
_DECORATED = re.compile(r"\s*(?P<before>[^\d\s.,+-]{0,4})\s*[+-]?\d[\d.,]*([eE][+-]?\d+)?\s*(?P<after>\D{0,8})\s*")


def _mend_of_words(faults: _Faults, name: str, decimal: str, of_actions: bool) -> str:
    """What to do about cells of a column that are no numbers."""
    count, row, cell, kinds = faults.words[name]
    text = str(cell)[:40]
    if isinstance(cell, (list, tuple, np.ndarray, dict)):
        return f"one number a cell: frame[{name!r}].tolist() is a matrix if all are as long, of which columns are made."
    if isinstance(cell, (complex, np.complexfloating)):
        return f"make two columns of it: frame[{name!r}].to_numpy().real and .imag."
    if text.strip() == name:
        return (
            "the header stands there again, as where files were joined: delete that line, and tell the parts apart "
            "by a column (episode=...)."
        )
    if row == 0 and count == 1 and len(faults.words) > 1:
        return "a second line of names, or of units: delete it."
    point, other = (".", ",") if decimal == "." else (",", ".")
    thousands = all(
        re.fullmatch(rf"\s*[+-]?\d{{1,3}}([{other}' \u00a0\u202f]\d{{3}})+([{point}]\d+)?\s*", one) for one in kinds
    )
    comma = decimal == "." and "," in text and all(_is_number(one.strip().replace(",", ".")) for one in kinds)
    separator = "" if not thousands else next(one for one in f"{other}' \u00a0\u202f" if one in text.strip())
    removed = f"frame[{name!r}] = frame[{name!r}].str.replace({separator!r}, '').astype(float)"
    if thousands and decimal == ",":
        return (
            f"a point here parts the thousands, or is the decimal point: in the first case remove it, {removed[:-14]}; "
            "in the second leave out --decimal (decimal= in Python)."
        )
    if comma:
        more = f" If it parts the thousands, remove it: {removed}." if thousands else ""
        return f"pass --decimal , (decimal=',' in Python) if that is a decimal comma.{more}"
    if decimal == "," and "." in text and _is_number(text):
        return "leave out --decimal (decimal= in Python), which says that a comma is the point; or correct the cells."
    if thousands:
        return f"remove what parts the thousands: {removed}."
    if _looks_like_time(text):
        return (
            f"turn it into a number first, such as seconds since the start of the episode: t = "
            f"pandas.to_datetime(frame[{name!r}]); (t - t.min()).dt.total_seconds(); or leave the column out."
        )
    if faults.numbers.get(name, 0) >= count and {one.strip().lower() for one in kinds} <= set(_MARKS):
        return (
            f"if that says that a value is missing, make it one: frame[{name!r}] = pandas.to_numeric(frame[{name!r}], "
            "errors='coerce'); missing values are then counted, and mended as such."
        )
    around = [_DECORATED.fullmatch(one) for one in kinds]
    parts = {(one["before"], one["after"].strip()) for one in around if one}
    most = count > faults.numbers.get(name, 0)
    if kinds and all(around) and most and 0 < len(parts - {("", "")}) <= 2 and not of_actions:
        shown = " and ".join(repr((before + " " + after).strip()) for before, after in sorted(parts - {("", "")}))
        pattern = "[^0-9.eE+-]" if decimal == "." else "[^0-9,eE+-]"
        return (
            f"leave {shown} out, in one unit throughout: frame[{name!r}] = "
            f"frame[{name!r}].str.replace(r'{pattern}', '', regex=True).astype(float)."
        )
    if count > 1 and of_actions:
        return (
            f"if they are choices, number them: frame[{name!r}], names = pandas.factorize(frame[{name!r}]), and "
            f"pass --n-actions {len(kinds)} (n_actions= in Python); names says which number is which."
        )
    if count > 1 and len(kinds) <= 12 and not faults.numbers.get(name, 0):
        shown = ", ".join(sorted(map(repr, kinds))[:6])
        return (
            f"encode {'these' if len(kinds) > 1 else 'this'} {len(kinds)} word{'s' * (len(kinds) > 1)} ({shown}) as "
            f"numbers: pandas.get_dummies(frame, columns=[{name!r}], dtype=float) makes a column of 0 and 1 for each; "
            "words with an order may become 0, 1, 2, ..."
        )
    several = "those cells, or delete their rows" if count > 1 else "that cell, or delete its row"
    return f"correct {several} (and mark the row before as truncated)."


def _raise_faults(
    faults: _Faults, line: Any, kind: str, decimal: str, actions: Sequence[str], raw: bool = False
) -> None:
    """One ``DataError`` for what cells are not; ``line(row)`` says where a row stands."""
    for name, (count, row, cell) in faults.moments.items():
        found = f"{str(cell)[:40]!r}" + (f" and {count - 1:,} more cells that are no times" if count > 1 else "")
        expected = "a number, or a date such as 2026-03-29T01:30:00+00:00"
        mend = f"make dates of it first: frame[{name!r}] = pandas.to_datetime(frame[{name!r}], format=...)."
        raise DataError(f"column {name!r}, {line(row)}", found, expected, mend)
    if faults.times:
        name, example = next(iter(faults.times.items()))
        moments = f"frame[{name!r}]" + (".dt.to_timestamp()" if type(example).__name__ == "Period" else "")
        mend = (
            f"turn it into a number first, from a start that keeps it small: (t - t.min()).dt.total_seconds(), or the "
            f"hour of the day, with t = {moments}; or leave the column out; or, if it only says when a row was "
            f"written, give it the role: time={name}."
        )
        raise DataError(f"column {name!r}", f"times, such as {str(example)[:40]!r}", "numbers", mend)
    for name, (count, row, cell, _) in faults.words.items():
        found = f"{str(cell)[:40]!r}" + (f" and {count - 1:,} more cells that are no numbers" if count > 1 else "")
        others = [repr(other) for other in faults.words if other != name]
        found += f" (likewise in {', '.join(others[:8])})" if others else ""
        if isinstance(cell, (list, tuple, np.ndarray, dict)):
            found = f"a {type(cell).__name__} in a cell"
        mend = _mend_of_words(faults, name, decimal, name in actions)
        raise DataError(f"column {name!r}, {line(row)}", found, "a number", mend)
    for name, (count, row, cell, kinds) in faults.flags.items():
        found = f"{str(cell)[:40]!r}" + (f" and {count - 1:,} more cells that are no flags" if count > 1 else "")
        mend = "correct that cell."
        if 1 < len(kinds) <= 8:
            shown = ", ".join(sorted(map(repr, kinds)))
            number = isinstance(cell, (int, float, np.number))
            last = max(kinds, key=float) if number and all(map(_is_number, kinds)) else "WORD"
            mend = f"the column holds {shown}: compare with what says that it ended, "
            mend += f"frame[{name!r}] = frame[{name!r}] == {last}."
        raise DataError(f"column {name!r}, {line(row)}", found, "true, yes, 1, false, no or 0", mend)
    for name, (count, row, cell) in faults.infinite.items() if not raw else ():
        found = f"{cell:g}" + (f" and {count - 1:,} more infinite values" if count > 1 else "")
        expected, mend = "a finite number", "correct that cell, or drop its row (and mark the row before as truncated)."
        if np.isfinite(cell):
            expected = "a number that float32 holds, up to 3.4e38"
            mend = "pass --read-dtype float64 (dtype=torch.float64 in Python) if it is meant to be so large."
        raise DataError(f"column {name!r}, {line(row)}", found, expected, mend)
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
        found = f"{total:,} missing values in {faults.rows:,} rows: {shown}"
        raise DataError(f"{kind}", found, expected, mend)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _looks_like_time(text: str) -> bool:
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
        _raise_faults(faults, line, f"{kind} {about['source']}", options.get("decimal", "."), actions, raw)
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
    metadata |= {"collapsed": faults.unequal}
    half = {name: f"float16 in {some} of {of} columns" for name, (some, of) in faults.stored.items() if some}
    metadata |= {"stored_dtypes": half} if half else {}
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
    roles = assign([_name(name) for name in frame.columns], _by_name(columns), "frame")
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


def _name(column: Any) -> str:
    """What a column is called here: ``obs/x`` of a name in levels ("obs", "x"), as in HDF5's groups."""
    return "/".join(str(part) for part in column if str(part)) if isinstance(column, tuple) else str(column)


def _by_name(columns: Any) -> Any:
    """A mapping that may name columns by whole numbers, or by tuples within a list, with names alone."""
    if not isinstance(columns, Mapping):
        return columns
    plain = (int, np.integer)
    return {
        role: [_name(one) if isinstance(one, (*plain, tuple)) else one for one in wanted]
        if isinstance(wanted, list)
        else (str(wanted) if isinstance(wanted, plain) and not isinstance(wanted, bool) else wanted)
        for role, wanted in columns.items()
    }


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
    with _readable(file):
        return _header(file, delimiter)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """``DataError`` for what a file that is no text raises within."""
    try:
        yield
    except CQLTutorialError:
        raise
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        if not isinstance(error, PermissionError):
            raise_other_contents(file, "text, as its ending says")
        mend = "save it as CSV in UTF-8; other formats have loaders of their own."
        mend = "ask for the right to read it." if isinstance(error, PermissionError) else mend
        raise DataError(f"file {file}", f"{type(error).__name__}: {error}", "a text file in UTF-8", mend) from error


def _header(file: Path, delimiter: str | None) -> tuple[list[str], str]:
    with _text(file) as text:
        first = text.readline(2**24).lstrip("\ufeff")
    expected, mend = "a header: one name a column", "delete that line, or export it again."
    require_data(first.strip(), f"file {file}", "an empty first line", expected, mend)
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
    header, delimiter = read_header(file, options.get("delimiter"))
    with _readable(file):
        try:
            roles = assign(header, columns)
        except DataError as error:
            _raise_no_table(file, header, delimiter, columns, error)
            raise
        _announce(roles, options)
        blocks = _csv_blocks(pandas, file, header, roles, delimiter, decimal, options.get("dtype", "float32"))
        arrays, faults = _collect(pandas, blocks, roles, options.get("dtype", "float32"), decimal)
    require_data(
        len(arrays["rewards"]), f"file {file}", "no row below the header", "one row a transition", "export again."
    )
    name = file.name.removesuffix(".gz").rpartition(".")[0]
    about = {"format": "CSV", "source": name, "delimiter": delimiter}
    return _arguments(arrays, faults, roles, options, lambda row: f"line {_line(file, delimiter, row)}", about)


def _raise_no_table(file: Path, header: list[str], delimiter: str, columns: Any, error: DataError) -> None:
    """``DataError`` with the reason, where the first line is no header that has the columns asked for."""
    raise_other_contents(file, "text, as its ending says")
    if len(header) == 1 and (other := next((one for one in ";\t|, " if one in header[0]), None)):
        with _text(file) as text:
            second = [next(text, ""), next(text, "")][1]
        if second.count(other) == header[0].count(other):
            mend = f"pass --delimiter {other!r} (delimiter= in Python)."
            expected = f"cells separated by {delimiter!r}"
            raise DataError(f"file {file}", "one column only", expected, mend) from error
    asked = columns.values() if isinstance(columns, Mapping) else ()
    lists = [entry if isinstance(entry, (list, tuple)) else [entry] for entry in asked]
    names = {one for entry in lists for one in entry if isinstance(one, str)}
    with _text(file) as text:
        for number, line in enumerate(islice(text, 100), 1):
            cells = [cell.strip().strip('"') for cell in line.strip().lstrip("#").split(delimiter)]
            if number > 1 and len(names & set(cells)) > len(names) / 2:
                mend = f"delete the {number - 1} line{'s' * (number > 2)} above it."
                raise DataError(f"file {file}", f"the header in line {number}", "in line 1", mend) from error


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
        "dtype": {str(place): str for place in roles.places.get("episode", ())},  # 007 is not 7, nor 1e20 + 1 1e20
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
        raise_other_contents(file, "a Parquet file, as its ending says")
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {file}", found, "a whole Parquet file", "export it again.") from error


def from_parquet(
    path: str | os.PathLike[str], columns: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """The arguments of ``from_arrays`` for a Parquet file; see `OfflineDataset.from_parquet`."""
    pandas = require_pandas("which reads tables")
    file = require_file(path)
    names, rows = _parquet_schema(file)
    roles = assign(names, columns, "file")
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
