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


def search_places() -> list[Path]:
    """Return the folders that `minari_io.find` searches, in order.

    MINARI_DATASETS_PATH, the checkout's data/, data/ in the current folder and three levels above, Minari's own folder.
    """
    here, checkout, configured = Path.cwd(), Path(__file__).resolve().parents[2], os.environ.get("MINARI_DATASETS_PATH")
    places = [Path(configured)] if configured else []
    places += [folder / "data" for folder in (checkout, here, *list(here.parents)[:3])]
    return list(dict.fromkeys([*places, Path.home() / ".minari" / "datasets"]))


def require_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that exists; raise ``DatasetNotFoundError`` otherwise."""
    file = Path(os.path.expanduser(path))
    found = "a folder" if os.path.isdir(file) else "no such file"
    if not os.path.isfile(file):
        raise DatasetNotFoundError(f"file {file}", found, "the path of one file", "check its folder and spelling.")
    return file


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
                require_data(inside, f"file {file}", found, expected, remedy)
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
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {file}", found, "a whole HDF5 file", remedy) from error


_ROWS = (
    "observations",
    "actions",
    "rewards",
    "next_observations",
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


def _actions(columns: Mapping[str, Any], options: Mapping[str, Any], where: Mapping[str, str]) -> Any:
    """Choices as int64 ``[N]``, numbers as they are; ``DataError`` for a column that may be either."""
    array = columns["actions"]
    one = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    n_actions = options.get("n_actions", columns.get("n_actions"))
    bounded = any(
        source.get(name) is not None for name in ("action_low", "action_high") for source in (options, columns)
    )
    if not one or not array.size:
        return array
    flat = array.reshape(len(array))
    whole = array.dtype.kind in "iu" or (np.isfinite(flat).all() and bool((flat == np.round(flat)).all()))
    if n_actions is not None:
        return flat.astype(np.int64) if whole else array
    least, most = flat.min(), flat.max()
    if whole and not bounded and least >= 0 and most > least and most < 2**31:
        name = where.get("actions", "actions")
        found = f"whole numbers {least:g}..{most:g} ({len(np.unique(flat)):,} different)"
        mend = (
            f"--n-actions {int(most) + 1} if they are choices (n_actions= in Python); --action-low {least:g} "
            f"--action-high {most:g} if they are amounts (action_low=, action_high=)."
        )
        raise DataError(name, found, "to be told whether they are choices or amounts", mend)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


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
    kept = np.flatnonzero(~last | term)
    found, mend = "no row with a next observation", "pass next observations, or leave such a file out."
    require_data(len(kept), "observations", found, "episodes of two rows or more", mend)
    cut = np.zeros(len(last), bool)
    cut[:-1] = (last & ~term)[1:] & ~last[:-1]
    dropped, lost = len(last) - len(kept), float(columns["rewards"][last & ~term].sum(dtype=np.float64))
    columns = {name: x for name, x in columns.items() if name != "episode_starts"} | {"truncations": trunc | cut}
    following = np.empty_like(obs)
    following[:-1], following[last] = obs[1:], obs[last]
    columns["next_observations"] = following
    if dropped:  # every episode now ends in a flag, from which the starts follow
        columns |= {name: _move_up(columns[name], kept) for name in _ROWS if name in columns}
    note = f"the following row's; {dropped} last rows without one were dropped, with rewards of {lost:g} in all"
    about = {"next_observations": note, "dropped_rows": dropped}
    return columns | {"metadata": known | about}


def _move_up(array: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return ``array[kept]`` in the same memory; ``kept`` must rise."""
    for rows in check.row_blocks(len(kept), array[:1].size):
        array[rows] = array.take(kept[rows], 0)
    return array[: len(kept)]
