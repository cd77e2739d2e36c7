"""What the readers of all formats share: find data, open a file safely, fill in next observations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CQLTutorialError, DataError, DatasetNotFoundError, require, require_data
from . import checks as check
from .stored_columns import StoredColumn, pack


def search_places() -> list[Path]:
    """Return the folders that `minari_io.find` searches, in order.

    MINARI_DATASETS_PATH, the checkout's data/ (of an installed wheel: the copy that it carries), data/ in the current
    folder and three levels above, Minari's own folder.
    """
    here, package, configured = Path.cwd(), Path(__file__).resolve().parents[1], os.environ.get("MINARI_DATASETS_PATH")
    shipped = package / "shipped"
    places = [Path(configured)] if configured else []
    places += [shipped if shipped.is_dir() else package.parent / "data"]
    places += [folder / "data" for folder in (here, *list(here.parents)[:3])]
    return list(dict.fromkeys([*places, Path.home() / ".minari" / "datasets"]))


def require_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that exists; raise ``DatasetNotFoundError`` otherwise."""
    file = Path(os.path.expanduser(path))
    found = "a folder" if os.path.isdir(file) else "no such file"
    if "://" in os.fspath(path):
        mend = "download it first, and pass the path of the copy."
        raise DatasetNotFoundError(f"file {os.fspath(path)}", "an address", "the path of a file here", mend)
    if not os.path.isfile(file):
        raise DatasetNotFoundError(f"file {file}", found, "the path of one file", "check its folder and spelling.")
    return file


_FIRST_BYTES = {
    b"PAR1": "a Parquet file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x1f\x8b": "a file packed by gzip",
    b"PK\x03\x04": "a zip archive (.npz and .xlsx are such, too)",
    b"BZh": "a file packed by bzip2",
    b"\xfd7zXZ": "a file packed by xz",
    b"(\xb5/\xfd": "a file packed by zstd",
    b"\x93NUMPY": "an array of NumPy's",
    b"ARROW1": "an Arrow (Feather) file",
    b"\xd0\xcf\x11\xe0": "an Excel file of old",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"{": "JSON",
    b"[{": "JSON",
    b"<": "HTML or XML",
}
_FOR_CONTENTS = {
    "text in": "save it in UTF-8.",
    "JSON": "pandas.read_json(path) (lines=True for one record a line) makes a data frame for from_dataframe.",
    "HTML": "pandas.read_html(path) or read_xml(path) makes a data frame; or export the table as CSV.",
    "a file packed": "unpack it first, or let its name end in .csv.gz if it is a table packed by gzip.",
    "a zip": "unpack it first; numpy.load(path) reads .npz, pandas.read_excel(path) .xlsx.",
    "a Parquet": "let its name end in .parquet.",
    "an HDF5": "let its name end in .hdf5.",
}


def contents_of(file: Path) -> str | None:
    """What a file is by its first bytes, whatever its name says; None if they are not known."""
    with file.open("rb") as stream:
        first = stream.read(64)
    first = first.removeprefix(b"\xef\xbb\xbf").lstrip(b" \n") if first[:1] in (b"\xef", b" ", b"\n") else first
    known = next((what for bytes_, what in _FIRST_BYTES.items() if first.startswith(bytes_)), None)
    return (
        "a pickle" if known is None and first[:1] == b"\x80" and first[1:2] in (b"\2", b"\3", b"\4", b"\5") else known
    )


def mend_of_contents(what: str | None, otherwise: str) -> str:
    """What to do with a file of such contents."""
    return next((mend for start, mend in _FOR_CONTENTS.items() if what and what.startswith(start)), otherwise)


def raise_other_contents(file: Path, expected: str) -> None:
    """``DataError`` if the first bytes of a file say that it is something else than its name does."""
    what = contents_of(file)
    gzipped = what is not None and "gzip" in what and file.name.lower().endswith(".gz")
    own = (what == "a Parquet file" and "Parquet" in expected) or (what == "an HDF5 file" and "HDF5" in expected)
    if what is not None and not gzipped and not own:
        mend = mend_of_contents(what, "have its maker save a table (.csv, .parquet) or an HDF5 file.")
        raise DataError(f"file {file}", f"{what}, by its first bytes", expected, mend)


GAP = 5  # a step this many times as long as usual is told as a gap in time, and is where cutting is advised
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "PyYAML"}  # where pip's name is not the import's


def missing_package(error: ImportError, purpose: str = "reads and writes data sets") -> DataError:
    """Turn a failed import into our error: data that cannot be read for want of a package are not damaged data."""
    module = (error.name or str(error).rpartition("'")[0].rpartition("'")[2] or "a package").split(".")[0]
    name = _DISTRIBUTIONS.get(module, module)
    expected = f"the package {name}, which this package or one that it uses needs ({purpose})"
    return DataError(f"package {name}", f"{type(error).__name__}: {error}", expected, f"pip install {name}")


@contextmanager
def open_checked(file: Path, max_gigabytes: float, remedy: str) -> Iterator[Any]:
    """Open an HDF5 file for reading, if it holds its arrays itself: reading a data set must not read other files.

    Raises ``DataError`` for links, for arrays stored elsewhere, and for arrays that together promise more than
    ``max_gigabytes``; also for whatever h5py raises within the ``with`` statement.
    """
    positive = isinstance(max_gigabytes, (int, float)) and max_gigabytes > 0
    require(positive, "max_gigabytes", max_gigabytes, "a number > 0", "8.0 is the default.")
    try:
        import h5py
    except ImportError as error:
        mend = "pip install h5py (it comes with this package's own dependency minari[hdf5])."
        raise DataError("package h5py", "none", "h5py, which reads HDF5 files", mend) from error
    expected, promised = "arrays kept in this file itself", 0
    links: list[tuple[str, Any]] = []
    try:
        with h5py.File(file, "r") as store:
            store.visititems_links(lambda *link: links.append(link))  # h5py would replace an exception raised here
            for name, link in links:
                inside, found = isinstance(link, h5py.HardLink), f"{name!r}, a {type(link).__name__}"
                require_data(inside, f"file {file}", found, expected, f"put a copy in place of the link, or {remedy}")
                if isinstance(item := store[name], h5py.Dataset):
                    found = f"{name!r}, stored in another file"
                    require_data(not (item.external or item.is_virtual), f"file {file}", found, expected, remedy)
                    promised += (item.size or 0) * item.dtype.itemsize
            found, expected = f"arrays of {promised / 1e9:,.1f} GB", f"at most {max_gigabytes:g} GB"
            mend = "pass max_gigabytes= if the file is meant to be so large."
            require_data(promised <= 1e9 * max_gigabytes, f"file {file}", found, expected, mend)
            yield store
    except CQLTutorialError:
        raise
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, ... for a damaged file
        if os.access(file, os.R_OK):
            raise_other_contents(file, "an HDF5 file, as its ending says")
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {file}", found, "a whole HDF5 file", remedy) from error


def episode_starts(
    labels: np.ndarray, column: str, line: Callable[[int], Any], name_of: Callable[[Any], Any] = str
) -> np.ndarray:
    """First row ``[E]`` of each run of equal labels ``[N]``; ``DataError`` for an episode that goes on after another.

    ``name_of(label)`` is what the source calls it, ``line(row)`` where that row stands in it.
    """
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    again = np.delete(starts, np.unique(labels[starts], return_index=True)[1])
    if len(again):
        expected = "the rows of an episode one after another"
        mend = "sort the file by episode and time (frame.sort_values([...], kind='stable') of a data frame)."
        found = f"episode {name_of(labels[again[0]])!r} again, after another one ({len(again):,} such places)"
        raise DataError(f"{column}, {line(int(again[0]))}", found, expected, mend)
    return starts


def keep_time(
    columns: dict[str, Any], times: np.ndarray, max_gap: float | None, column: str, line: Callable[[int], Any], raw: Any
) -> dict[str, Any]:
    """Check that ``times [N]`` rise within episodes, cut where more than ``max_gap`` lies between two rows.

    Works on the arguments of ``from_arrays`` in place: the row before such a gap is truncated. Returns what `defects`
    tells: the usual step, how many steps are longer than five of it, how many rows stand at the time of the row before.
    Raises ``DataError`` where the time falls, unless ``raw``.
    """
    good = max_gap is None or (isinstance(max_gap, (int, float)) and max_gap > 0)
    require(
        good, "max_gap", max_gap, "a number > 0: seconds, or the unit of the column", "leave it out to cut nowhere."
    )
    follows = np.r_[False, ~(columns["terminations"] | columns["truncations"])[:-1].astype(bool)]
    if "episode_starts" in columns:
        follows[columns["episode_starts"]] = False
    # Of whole numbers before they are float64, which does not tell the nanoseconds since 1970 apart.
    step = np.diff(times, prepend=times[:1]).astype(np.float64)
    back = follows & (step < 0)
    if back.any() and not raw:
        row = int(back.argmax())
        found = f"a time {-step[row]:,.6g} before that of the row above, in the same episode ({int(back.sum()):,} such)"
        mend = "sort by episode and time (frame.sort_values([...], kind='stable')); a clock that is put back, as where "
        mend += "summer time ends, needs UTC; or name the column that tells recordings apart: episode=..."
        raise DataError(f"{column}, {line(row)}", found, "times that rise within an episode", mend)
    forward = step[follows & (step > 0)]
    usual = float(np.median(forward)) if len(forward) else 0.0
    if max_gap is not None:
        cut = follows & (step > max_gap)
        columns["truncations"][np.flatnonzero(cut) - 1] = True
        if "episode_starts" in columns:
            columns["episode_starts"] = np.union1d(columns["episode_starts"], np.flatnonzero(cut))
        follows &= ~cut
    far = follows & (step > GAP * usual)
    row = int(np.where(far, step, -1).argmax()) if far.any() else 0
    return {
        "column": column, "usual_step": usual, "largest_step": float(step[follows].max()) if follows.any() else 0.0,
        "gaps": int(far.sum()), "of": int(follows.sum()), "row": row, "still": int((follows & (step == 0)).sum()),
        "cut": int(cut.sum()) if max_gap is not None else 0,
    }  # fmt: skip


def no_time_to_cut_at(max_gap: float | None) -> None:
    """``ConfigError`` where a longest gap is asked for, but no column has the role of a time."""
    require(max_gap is None, "max_gap", max_gap, "a column of times beside it", "name it: columns time=...")


_ROWS = (
    "observations",
    "actions",
    "rewards",
    "terminations",
    "truncations",
    "flags_within",
)  # one entry a row


def finish(
    columns: dict[str, Any],
    options: Mapping[str, Any],
    *,
    where: Mapping[str, str] | None = None,
    line: Callable[[int], Any] = lambda row: f"row {row}",
) -> dict[str, Any]:
    """Make the arguments of ``from_arrays`` of what a reader found, or leave it as found if ``options["raw"]``.

    ``options`` are the reader's: ``n_actions`` and the bounds say what actions are. ``where`` says how the source calls
    its flags and labels, ``line`` where a row stands in it. Raises ``DataError`` for whole-number actions that may be
    choices, and for flags that contradict the labels of the episodes.
    """
    if options.get("raw"):
        return columns
    named = dict(where or {})
    columns["actions"] = _actions(columns, options, named)
    term, trunc = columns["terminations"], columns["truncations"]
    starts = columns.get("episode_starts")
    if starts is not None:
        inner = (term | trunc)[:-1].copy()
        inner[np.asarray(starts)[1:] - 1] = False
        if inner.any():
            first = int(inner.argmax())
            flag = named.get(
                "terminations" if term[first] else "truncations", "terminations" if term[first] else "truncations"
            )
            label = named.get("episode", "episode_starts")
            found = f"1 in {int(inner.sum()):,} rows that are not the last of their episode by {label}"
            found += f" (first: {line(first)})"
            mend = (
                "describe says what to do; if the flags are right and a label covers several episodes, read "
                "without it; "
                "if the labels are right, correct the flags (convert --mend inner-flags) or the order of the rows."
            )
            raise DataError(flag, found, "a flag at the end of an episode alone", mend)
    return fill_next_observations(columns)


def _actions(columns: dict[str, Any], options: Mapping[str, Any], where: Mapping[str, str]) -> Any:
    """Choices as int64 ``[N]``, numbers as they are; ``DataError`` for columns that may be either."""
    array = columns["actions"]
    if isinstance(array, StoredColumn):
        if not _whole(array.head(256)):
            return array  # amounts, which need not be looked at before they are in their place
        array = columns["actions"] = array.read()
    n_actions = options.get("n_actions", columns.get("n_actions"))
    bounded = any(
        source.get(name) is not None for name in ("action_low", "action_high") for source in (options, columns)
    )
    if not array.size or array.ndim > 2:
        return array
    wide = array.reshape(len(array), -1)
    flat = wide[:, 0]
    one = wide.shape[1] == 1
    whole = array.dtype.kind in "iu" or all(
        _whole(wide[rows])
        for rows in (slice(256), *check.row_blocks(len(wide), wide.shape[1]))  # amounts mostly show in a few rows
    )
    if n_actions is not None:
        return flat.astype(np.int64) if whole and one else array
    least, most = (wide.min(), wide.max()) if whole and not bounded else (0, 0)
    if most > least and abs(least) < 2**31 > most:
        expected = "to be told whether they are choices or amounts"
        amounts = f"--action-low {least:g} --action-high {most:g} if they are amounts (action_low=, action_high=)."
        name = where.get("actions", "actions")
        if not one:
            hot = least == 0 and most == 1 and bool((wide.sum(1, dtype=np.int64) == 1).all())
            found = f"{wide.shape[1]} columns of whole numbers {least:g}..{most:g}"
            found += ", one 1 in each row: one choice in several columns" if hot else ""
            mend = (
                f"make one column of them, a = frame[[...]].to_numpy().argmax(1), and pass --n-actions {wide.shape[1]} "
                if hot
                else "make one column of the choices, a = np.ravel_multi_index(frame[[...]].to_numpy().T, sizes), and "
                "pass --n-actions np.prod(sizes) "
            )
            raise DataError(name, found, expected, f"{mend}if they are choices (n_actions= in Python); {amounts}")
        found = f"whole numbers {least:g}..{most:g} ({len(np.unique(flat)):,} different)"
        mend = f"--n-actions {int(most) + 1} if they are choices (n_actions= in Python); {amounts}"
        if least < 0:
            mend = f"if they are choices, count them from 0 (a - a.min()) and pass --n-actions {int(most - least) + 1} "
            mend += f"(n_actions= in Python); {amounts}"
        raise DataError(name, found, expected, mend)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _whole(numbers: np.ndarray) -> bool:
    return bool((numbers == np.round(numbers)).all() and np.isfinite(numbers).all())


def fill_next_observations(columns: dict[str, Any]) -> dict[str, Any]:
    """Add next observations to the arguments of ``from_arrays``: those given, or the following row's in the episode.

    Where none are given, a last row that terminates is kept: no bootstrap reads its next observation, so it repeats its
    own observation. The last row of any other episode has no next observation anywhere. It is dropped, and the row
    before it ends the episode as a truncation. D4RL's own ``qlearning_dataset`` drops the same rows, and also rows that
    both terminate and time out, and the file's last row. ``metadata`` counts the dropped rows and their rewards, which
    ``episode_returns()`` then misses. The function overwrites the arrays (rows move up in place), as two of each may
    not fit into memory. Raises ``DataError`` if no row is left.
    """
    term, trunc, obs = columns["terminations"], columns["truncations"], columns["observations"]
    known = columns.get("metadata", {})
    if "next_observations" in columns:
        return columns | {"metadata": known | {"next_observations": "from the file", "dropped_rows": 0}}
    last = term | trunc
    last[-1] = True
    last[np.asarray(columns.get("episode_starts", [0]))[1:] - 1] = True
    left = last & ~term
    kept = ~left
    found = "no row with a next observation"
    mend = "pass next_observations; or say where the task ends: terminations=last-row beside episode=, or every-row "
    mend += "if each row is a decision of its own."
    require_data(kept.any(), "observations", found, "episodes of two rows or more", mend)
    cut = np.zeros(len(last), bool)
    cut[:-1] = left[1:] & ~last[:-1]
    repeats = np.flatnonzero(last & term)  # nothing is bootstrapped there
    repeats = repeats - np.searchsorted(np.flatnonzero(left), repeats)  # the rows before them that are dropped
    outstanding = _outstanding(columns["rewards"], left)
    dropped, lost = int(np.count_nonzero(left)), float(columns["rewards"][left].sum(dtype=np.float64))
    columns = {name: x for name, x in columns.items() if name != "episode_starts"} | {"truncations": trunc | cut}
    if isinstance(obs, StoredColumn):
        columns["observations"], following = obs.read_kept_and_next(kept)
    else:
        obs = columns["observations"] = np.ascontiguousarray(obs)
        following = np.empty((len(last) - dropped, *obs.shape[1:]), obs.dtype)
        pack(obs[1:], kept[:-1], following, 0)
    if isinstance(act := columns["actions"], StoredColumn):
        columns["actions"] = act.read_kept(kept)
    if dropped:  # every episode now ends in a flag, from which the starts follow
        for name in _ROWS:
            if name in columns and len(columns[name]) > len(last) - dropped:
                whole = np.ascontiguousarray(columns[name])
                columns[name] = whole[: pack(whole, kept, whole, 0)]
    following[repeats] = columns["observations"][repeats]
    note = f"the following row's; {dropped} last rows without one were dropped, with rewards of {lost:g} in all"
    about = {"next_observations": note, "dropped_rows": dropped} | outstanding
    return columns | {"next_observations": following, "metadata": known | about}


def _outstanding(rewards: np.ndarray, dropped: np.ndarray) -> dict[str, Any]:
    """``dropped_rewards: [how many, how large, their share in the rows kept]`` where dropped rows earn unlike others.

    At least three and a tenth of them have a reward that is five times rarer in the rows kept.
    """
    if rewards.dtype.kind != "f":  # a file may hold booleans or numbers without a sign
        rewards = rewards.astype(np.float64)
    size = np.abs(rewards[dropped])
    earned = size[size > 0]
    for level in (0.5, 0.1):
        if len(earned):
            large = np.sort(earned)[int((1 - level) * (len(earned) - 1))]
            count = np.count_nonzero(size >= large)
            if count < max(3, 0.1 * len(size)):
                continue
            others = np.count_nonzero(rewards >= large) + np.count_nonzero(rewards <= -large) - count
            share = others / max(1, len(rewards) - len(size))
            if count / len(size) >= 5 * share:
                return {"dropped_rewards": [count, float(large), share]}
    return {}
