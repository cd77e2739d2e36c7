"""D4RL's HDF5 files: one flat array a quantity, all episodes one after another, read into flat numpy arrays.

`terminals` end the task and become terminations; `timeouts` only end the recording and become truncations. Files of v0
may lack `timeouts`, most files of v0 and v1 lack `next_observations` (which D4RL left out for size), those of v2 have
both. The reader reads numbers alone: it runs nothing that is in a file, and follows no link.
"""

from __future__ import annotations

import difflib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CQLWarning, check_int, require_data
from . import checks as check
from .files import fill_next_observations, open_checked, require_file

_NEEDED = {"observations": "observations", "actions": "actions", "rewards": "rewards", "terminals": "terminations"}
_NAMES = _NEEDED | {"timeouts": "truncations", "next_observations": "next_observations"}
_DOWNLOAD_AGAIN = "download the file again from where it came."


def arrays(path: str | os.PathLike[str], max_gigabytes: float = 8.0) -> dict[str, np.ndarray]:
    """Read the arrays of a D4RL file as they are stored, under this package's names; only the structure is checked.

    ``observations [N, S]``, ``actions [N, A]``, ``rewards, terminations [N]``; ``truncations [N]`` and
    ``next_observations [N, S]`` if the file has them. This is what `defects.find` reads of a file too damaged to load.
    Raises ``DataError`` for a damaged file, a missing key, a link to elsewhere, anything but numbers, lengths that
    differ, and arrays that together promise more than ``max_gigabytes``; ``DatasetNotFoundError``.
    """
    return _load(path, max_gigabytes)[0]


def _load(
    path: Any, max_gigabytes: float, dtype: str | None = None, left_out: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all `arrays` but the one ``left_out``, floats as ``dtype`` if given; return them and the file's dtypes."""
    with open_checked(require_file(path), max_gigabytes, _DOWNLOAD_AGAIN) as store:
        rewards = _item(store, "rewards")
        chosen = [key for key in _NAMES if (key in store or key in _NEEDED) and key != left_out]
        items = {_NAMES[key]: _item(store, key, rewards.shape[0]) for key in chosen}
        stored = {name: str(item.dtype.newbyteorder("=")) for name, item in items.items()}
        return {name: _numbers(name, item, dtype) for name, item in items.items()}, stored


def _item(store: Any, key: str, rows: int | None = None) -> Any:
    """Check one array of the file without reading it: numbers, and ``rows`` rows (None: one or more)."""
    near = difflib.get_close_matches(key, list(store), 1) or sorted(store)[:8]
    mend = "rename it in the file, or read the file with h5py and use OfflineDataset.from_arrays(...)."
    require_data(key in store, f"key {key!r}", f"no such key; nearest: {str(near)[1:-1]}", "a D4RL file", mend)
    item = store[key]
    shape, dtype = getattr(item, "shape", None), getattr(item, "dtype", np.dtype(object))
    fits = shape and dtype.kind in "biuf" and shape[0] == (rows or shape[0]) > 0
    found = f"a {type(item).__name__} of shape {shape} and dtype {dtype}"
    expected = f"an array of numbers, {rows or 'one or more'} rows (one a reward)"
    require_data(fits, f"key {key!r}", found, expected, f"copy plain arrays into it, or {_DOWNLOAD_AGAIN}")
    return item


def _numbers(name: str, item: Any, dtype: str | None) -> np.ndarray:
    """Read an array: in this machine's byte order, flags and rewards without D4RL's occasional second dimension."""
    array = np.empty(item.shape, dtype if dtype and item.dtype.kind == "f" else item.dtype.newbyteorder("="))
    if array.size:
        item.read_direct(array)  # HDF5 converts a megabyte at a time: no second copy of the column
    if name in ("rewards", "terminations", "truncations"):
        return array[:, 0] if array.shape[1:] == (1,) else array
    return array[:, None] if array.ndim == 1 and array.dtype.kind == "f" else array


def read(
    path: str | os.PathLike[str],
    max_episode_steps: int | None = None,
    max_gigabytes: float = 8.0,
    use_next_observations: bool = True,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Read a D4RL file into the arguments of ``from_arrays``; see ``OfflineDataset.from_d4rl_hdf5``."""
    arrays, stored = _load(path, max_gigabytes, dtype, None if use_next_observations else "next_observations")
    columns: dict[str, Any] = dict(arrays)
    n = len(columns["rewards"])
    term = columns["terminations"] = check.flags("terminals", columns["terminations"], n).numpy()
    how = "from the file" if "truncations" in columns else "none in the file"
    given = columns.get("truncations", np.zeros(n, bool))
    trunc = columns["truncations"] = check.flags("timeouts", given, n).numpy()
    assumed = []
    if "truncations" not in stored and "next_observations" in columns:
        obs, nxt = columns["observations"], columns["next_observations"]
        expected, mend = f"shape {obs.shape}, as observations", "repair the file, or use_next_observations=False."
        require_data(obs.shape == nxt.shape, "key 'next_observations'", f"shape {nxt.shape}", expected, mend)
        trunc[:-1] |= check.rows_differ(nxt[:-1], obs[1:]) & ~term[:-1]
        assumed.append("where next_observations are not the following row's observations")
    if max_episode_steps is not None:
        trunc |= _every(check_int("max_episode_steps", max_episode_steps, 1), term | trunc) & ~term
        assumed.append(f"after {max_episode_steps} steps")
    if "truncations" not in stored and not assumed:
        assumed.append("nowhere: only terminals end an episode")
        text = f"{Path(path).name} has no timeouts: read as if no recording was cut by a time limit. If the task has "
        warnings.warn(text + "one, pass max_episode_steps= (1000 in D4RL's Gym tasks).", CQLWarning, stacklevel=3)
    columns = fill_next_observations(columns)
    about = columns.pop("metadata")
    about |= {"format": "D4RL HDF5", "timeouts": "; assumed ".join([how, *assumed]), "stored_dtypes": stored}
    return columns | {"id": Path(path).stem, "metadata": about, "copy": False}


def _every(limit: int, ends: np.ndarray) -> np.ndarray:
    """Mark the rows ``[N]`` bool that are the ``limit``-th, 2 ``limit``-th, ... of their episode."""
    rows = np.arange(len(ends))
    starts = np.maximum.accumulate(np.where(np.r_[True, ends[:-1]], rows, 0))
    return (rows - starts + 1) % limit == 0
