"""HDF5 files of flat or grouped arrays, read into flat numpy arrays: D4RL's, d3rlpy's (1 and 2), robomimic's.

D4RL: one flat array a quantity, all episodes one after another. `terminals` end the task and become terminations;
`timeouts` only end the recording and become truncations. Files of v0 may lack `timeouts`, most files of v0 and v1 lack
`next_observations` (which D4RL left out for size), those of v2 have both. d3rlpy 1 has the same, and marks each
episode's last row in `episode_terminals`. d3rlpy 2 and robomimic keep an episode's arrays apart. The reader reads
numbers alone: it runs nothing that is in a file, and follows no link. What it does not use it names.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CQLWarning, DataError, check_int, require_data
from . import checks as check
from .files import episode_starts, finish, keep_time, no_time_to_cut_at, open_checked, require_file
from .roles import EVERY_ROW, FLAGS, LAST_ROW, NONE, Roles, assign
from .stored_columns import StoredColumn

_NEEDED = {"observations": "observations", "actions": "actions", "rewards": "rewards", "terminals": "terminations"}
_NAMES = _NEEDED | {"timeouts": "truncations", "next_observations": "next_observations"}
_ALSO = {"terminals": "terminations", "timeouts": "truncations"}  # Gymnasium's names for D4RL's
_EPISODE_ENDS = (
    "episode_terminals"  # of d3rlpy 1: the last row of each episode, whether the task or the recording ended
)
_OWN = ("episode_starts", "action_low", "action_high", "n_actions", "id")  # what `write` adds, as attributes or arrays
_DOWNLOAD_AGAIN = "download the file again from where it came."


def arrays(path: str | os.PathLike[str], max_gigabytes: float = 8.0) -> dict[str, np.ndarray]:
    """Read the arrays of a D4RL file as they are stored, under this package's names; only the structure is checked.

    ``observations [N, S]``, ``actions [N, A]``, ``rewards, terminations [N]``; ``truncations [N]`` and
    ``next_observations [N, S]`` if the file has them. This is what `defects.find` reads of a file too damaged to load.
    Raises ``DataError`` for a damaged file, a missing key, a link to elsewhere, anything but numbers, lengths that
    differ, and arrays that together promise more than ``max_gigabytes``; ``DatasetNotFoundError``.
    """
    with open_checked(require_file(path), max_gigabytes, _DOWNLOAD_AGAIN) as store:
        stored, _ = _load(store, {}, None, None)
        return {name: _numbers(name, column, {}) for name, column in stored.items()}


def _roles(store: Any, columns: Mapping[str, Any]) -> Roles:
    """Which arrays of the file are what: those asked for, D4RL's, or Gymnasium's where D4RL's are not there."""
    names = _arrays_of(store) if columns else [str(key) for key in store]
    wanted: dict[str, Any] = {}
    for key, name in _NAMES.items():
        other = _ALSO.get(key)
        wanted[name] = key if key in store or other is None or other not in store else other
    absent = [key for name, key in wanted.items() if name not in columns and key in _NEEDED and key not in store]
    if absent:
        near = difflib.get_close_matches(absent[0], list(store), 1) or sorted(store)[:8]
        role = _NEEDED[absent[0]]
        more = f" (nor {', '.join(absent[1:])})" if len(absent) > 1 else ""
        mend = f"rename it in the file, or say which key it is: --columns {role}=KEY (columns= in Python)"
        mend += f"; the file has {_shown(store, _arrays_of(store))}"
        if "terminals" in absent:
            mend += f"; terminations={NONE} says that the task never ends, {LAST_ROW} that it ends with each episode="
        raise DataError(
            f"key {absent[0]!r}{more}", f"no such key; nearest: {str(near)[1:-1]}", "a D4RL file", f"{mend}."
        )
    wanted = {name: key for name, key in wanted.items() if name in columns or key in store} | dict(columns)
    for name, asked in columns.items():
        for one in asked if isinstance(asked, (list, tuple)) else [asked]:
            if isinstance(one, str) and one in store and not hasattr(store[one], "shape"):
                raise _group(store, name, one)
    return assign(names, wanted, "file")


def _group(store: Any, name: str, key: str) -> DataError:
    """The error of a group where an array is due: it names the arrays inside, and how to ask for them."""
    inside = [path for path in _arrays_of(store) if path.startswith(f"{key}/")]
    flat = [path for path in inside if len(store[path].shape) in (1, 2)]
    mend = f"name its arrays, in the order that you want: --columns {name}={','.join(flat[:8])}"
    mend += ", ..." * (len(flat) > 8)
    mend += f", or {name}={key}/* (columns= in Python)." if flat == inside else "; images cannot be read."
    return DataError(f"key {key!r}", f"a group of {_shown(store, inside)}", "arrays", mend)


def _arrays_of(store: Any) -> list[str]:
    """The paths of all arrays in a file, in its own order."""
    paths: list[str] = []
    store.visititems_links(lambda path, _: paths.append(str(path)))  # links, as `open_checked` has looked at them
    return [path for path in paths if hasattr(store[path], "shape")]


def _shown(store: Any, paths: list[str]) -> str:
    # A damaged file has names with line ends in them; a message is one line.
    names = [path if path.isprintable() else repr(path)[1:-1] for path in paths[:12]]
    text = [f"{name} {list(store[path].shape)}" for name, path in zip(names, paths, strict=False)]
    return ", ".join(text) + (f" and {len(paths) - 12} more" if len(paths) > 12 else "") or "no array"


def _load(
    store: Any, columns: Mapping[str, Any], dtype: str | None, left_out: str | None
) -> tuple[dict[str, StoredColumn], dict[str, Any]]:
    """Find all `arrays` but the one ``left_out``, floats as ``dtype`` if given; return them and facts about them."""
    roles = _roles(store, columns)
    keys = {name: paths for name, paths in roles.columns.items() if name not in (left_out, "episode", "time")}
    rewards = _item(store, keys["rewards"][0], name="rewards")
    n = rewards.shape[0]
    items = {name: [_item(store, key, n, name) for key in paths] for name, paths in keys.items()}
    facts: dict[str, Any] = {"stored_dtypes": {name: _stored_as(found) for name, found in items.items()}}
    result = {name: StoredColumn(found, _dtype_of(name, found, dtype)) for name, found in items.items()}
    facts |= {"keys": {name: paths[0] for name, paths in keys.items()}, "roles": roles}
    if columns:
        widths = {name: [x[:1].size // max(1, len(x[:1])) for x in found] for name, found in items.items()}
        facts["columns"] = {
            name: [
                key if width == 1 else f"{key}_{i}" for key, width in zip(keys[name], widths[name], strict=True)
                for i in range(width)
            ]
            for name in keys
        } | roles.constants  # fmt: skip
    return result, facts


def _stored_as(items: list[Any]) -> str:
    """The dtype of the arrays that make one of ours; which of its columns are of 16 bits where not all are."""
    kinds = [str(item.dtype.newbyteorder("=")) for item in items]
    widths = [int(np.prod(item.shape[1:])) for item in items]
    half = sum(width for kind, width in zip(kinds, widths, strict=True) if kind == "float16")
    if len(set(kinds)) == 1 or not half:
        return kinds[0] if len(set(kinds)) == 1 else str(np.result_type(*(item.dtype for item in items)))
    return f"float16 in {half} of {sum(widths)} columns"


def _dtype_of(name: str, items: list[Any], dtype: str | None) -> Any:
    """What a column is read as: floats as ``dtype``, also whole numbers that are no choices; others as stored."""
    if len(items) > 1:
        return dtype or np.result_type(np.float32, *(item.dtype for item in items))
    kind = items[0].dtype.kind
    wanted = kind == "f" or (kind in "iu" and name in ("observations", "next_observations", "rewards"))
    return dtype if dtype and wanted else items[0].dtype.newbyteorder("=")


def _item(store: Any, key: str, rows: int | None = None, name: str = "") -> Any:
    """Check one array of the file without reading it: numbers, and ``rows`` rows (None: one or more)."""
    if key not in store:
        near = difflib.get_close_matches(key, list(store), 1) or sorted(store)[:8]
        mend = "rename it in the file, or say which key it is: --columns NAME=KEY (columns= in Python)."
        raise DataError(f"key {key!r}", f"no such key; nearest: {str(near)[1:-1]}", "a D4RL file", mend)
    item = store[key]
    if not hasattr(item, "shape"):
        raise _group(store, name, key)
    shape: Any = item.shape
    dtype = getattr(item, "dtype", np.dtype(object))
    text = name == "episode" and dtype.kind in "SO"  # labels may be words
    fits = shape and (dtype.kind in "biuf" or text) and shape[0] == (rows or shape[0]) > 0
    found = f"a {type(item).__name__} of shape {shape} and dtype {dtype}"
    expected = f"an array of numbers, {rows or 'one or more'} rows (one a reward)"
    require_data(fits, f"key {key!r}", found, expected, _mend_of(dtype, name))
    pixels = name.endswith("observations") and len(shape) > 2
    expected, mend = "one row of numbers an observation", "these agents read vectors: encode images or stacks first."
    require_data(not pixels, f"key {key!r}", f"shape {shape}: images, or stacks of frames", expected, mend)
    return item


def _mend_of(dtype: np.dtype[Any], name: str) -> str:
    """What to do about an array of a file that is not one of so many rows of numbers."""
    if dtype.names:
        return f"it has fields: write an array of each, such as array[{dtype.names[0]!r}], and name them in --columns."
    if dtype.metadata and "vlen" in dtype.metadata:
        return "its rows are of different lengths: cut or pad them to one, and write an array [N, S]."
    if dtype.kind in "SO":
        more = " (names, numbers = np.unique(array, return_inverse=True))" if name == "actions" else ""
        return f"it holds text: write numbers in its place{more}."
    if dtype.kind == "c":
        return "write two arrays, array.real and array.imag, and name both in --columns (columns= in Python)."
    return f"copy plain arrays of as many rows into it, or {_DOWNLOAD_AGAIN}"


def _numbers(name: str, column: StoredColumn, collapsed: dict[str, Any]) -> np.ndarray:
    """Read a column: flags and rewards without D4RL's occasional second dimension."""
    array, items = column.read(), column.items
    _note_collapsed(name, column, collapsed)
    if len(items) > 1:
        return array
    array = array.reshape(items[0].shape)
    if name in ("rewards", "terminations", "truncations"):
        return array[:, 0] if array.shape[1:] == (1,) else array
    wide = array.ndim == 1 and (array.dtype.kind == "f" or name != "actions")  # choices stay [N]
    return array[:, None] if wide else array


def _note_collapsed(name: str, column: StoredColumn, collapsed: dict[str, Any]) -> None:
    one = len(column.items) == 1 and len(column.items[0].shape) == 1
    collapsed |= {name if one else f"{name} {i}": pair for i, pair in column.collapsed.items()}


def _can_wait(name: str, column: StoredColumn) -> bool:
    """Whether a column need not be read before it is known which rows are kept."""
    vectors = len(column.items) > 1 or len(column.items[0].shape) <= 2
    return vectors and (name == "observations" or (name == "actions" and column.dtype.kind == "f"))


# ---- files with a group, or numbered arrays, for each episode --------------------------------------------------------


def _d3rlpy_2(store: Any) -> Iterator[dict[str, np.ndarray]]:
    """The episodes of a file of d3rlpy 2: arrays ``observations_0``, ..., and whether each terminated."""
    for number in range(int(np.asarray(store["num_episodes" if "num_episodes" in store else "total_size"]))):
        keys = {name: f"{name}_{number}" for name in ("observations", "actions", "rewards", "terminated")}
        several = [key for key in (f"observations_{number}_0", f"actions_{number}_0") if key in store]
        mend = "these agents read one vector: join the parts, or choose one, and use from_arrays."
        require_data(not several, f"key {str(several)[1:-1]}", "observations of several parts", "one array", mend)
        rows = _item(store, keys["rewards"]).shape[0]
        part = {name: np.asarray(_item(store, keys[name], rows)) for name in ("observations", "actions", "rewards")}
        term = np.zeros(rows, bool)
        term[-1] = bool(np.asarray(store[keys["terminated"]])) if keys["terminated"] in store else False
        yield part | {"terminations": term}


def _robomimic(store: Any, about: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    """The episodes of a robomimic file: ``data/demo_0/{obs/*, next_obs/*, actions, rewards, dones}``."""
    group = store["data"]
    demos = sorted((name for name in group if re.fullmatch(r"demo_\d+", name)), key=lambda name: int(name[5:]))
    for name in demos:
        demo = group[name]
        absent = [key for key in ("obs", "actions", "rewards", "dones") if key not in demo]
        mend = "robomimic's dataset_states_to_obs.py adds observations, rewards and dones to a raw file."
        require_data(not absent, f"group data/{name}", f"no {' nor '.join(absent)}", "a processed robomimic file", mend)
        rows = _item(demo, "rewards").shape[0]
        part = {key: np.asarray(_item(demo, key, rows)) for key in ("actions", "rewards")}
        part["terminations"] = np.asarray(_item(demo, "dones", rows)).reshape(rows)
        for key, ours in (("obs", "observations"), ("next_obs", "next_observations")):
            if key in demo:
                part[ours] = _joined(demo[key], rows, about, f"data/{name}/{key}")
        yield part


def _joined(group: Any, rows: int, about: dict[str, Any], where: str) -> np.ndarray:
    """The vectors of a group side by side, in the order of their names; images are named and left out."""
    vectors = [key for key in sorted(group) if getattr(group[key], "ndim", 0) in (1, 2)]
    left = [key for key in sorted(group) if key not in vectors]
    require_data(vectors, f"group {where}", f"only {', '.join(left) or 'nothing'}", "vectors, and not images alone")
    parts = [np.asarray(_item(group, key, rows)).reshape(rows, -1) for key in vectors]
    about["observation_keys"] = {key: part.shape[1] for key, part in zip(vectors, parts, strict=True)}
    about.setdefault("left", set()).update(f"obs/{key}" for key in left)
    return np.concatenate(parts, 1)


def _grouped(store: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The arrays of a file that keeps episodes apart, one after another, and facts about it; None for flat files."""
    about: dict[str, Any] = {}
    if "data" in store and any(re.fullmatch(r"demo_\d+", str(name)) for name in store["data"]):
        about["format"], episodes = "robomimic HDF5", list(_robomimic(store, about))
    elif "observations" not in store and "rewards_0" in store and ("num_episodes" in store or "total_size" in store):
        about["format"], episodes = "d3rlpy 2 HDF5", list(_d3rlpy_2(store))
    else:
        return None
    names = set.intersection(*(set(part) for part in episodes))
    widths = {name: {part[name].shape[1:] for part in episodes} for name in names}
    wrong = [name for name in names if len(widths[name]) > 1]
    require_data(not wrong, f"{wrong}", "another width in each episode", "one width", _DOWNLOAD_AGAIN)
    result: dict[str, Any] = {name: np.concatenate([part[name] for part in episodes]) for name in names}
    lengths = [len(part["rewards"]) for part in episodes]
    result["episode_starts"] = np.cumsum([0, *lengths[:-1]])
    last = np.cumsum(lengths) - 1
    result["truncations"] = np.zeros(sum(lengths), bool)
    result["truncations"][last] = result["terminations"][last] != 1
    about["stored_dtypes"] = {name: str(array.dtype.newbyteorder("=")) for name, array in result.items()}
    used = ("observations", "actions", "rewards", "terminated", "num_episodes", "total_size", "columns", "version")
    flat = {str(name) for name in store if not str(name).startswith(used) and name != "data"}
    about["left"] = about.get("left", set()) | flat
    if about["format"].startswith("robomimic"):
        demo = store["data/demo_0" if "demo_0" in store["data"] else f"data/{next(iter(store['data']))}"]
        about["left"] |= {str(name) for name in demo} - {"obs", "next_obs", "actions", "rewards", "dones"}
    return result, about


# ---- to the arguments of from_arrays ---------------------------------------------------------------------------------


def read(
    path: str | os.PathLike[str],
    max_episode_steps: int | None = None,
    max_gigabytes: float = 8.0,
    use_next_observations: bool = True,
    dtype: str | None = None,
    columns: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read such a file into the arguments of ``from_arrays``; see ``OfflineDataset.from_d4rl_hdf5``."""
    file, asked = require_file(path), dict(options or {})
    with open_checked(file, max_gigabytes, _DOWNLOAD_AGAIN) as store:
        grouped = None if columns else _grouped(store)
        if grouped is not None:
            found, about = grouped
            if not use_next_observations:
                found.pop("next_observations", None)
            return _finish_grouped(found, about, file, asked, dtype)
        stored, about = _load(store, columns or {}, dtype, None if use_next_observations else "next_observations")
        result = _flat(store, stored, about, max_episode_steps, asked)
        done = _end(result, file, asked)
    if done.pop("nowhere_cut", False):
        text = f"{file.name} has no timeouts: read as if no recording was cut by a time limit. If the task has "
        warnings.warn(text + "one, pass max_episode_steps= (1000 in D4RL's Gym tasks).", CQLWarning, stacklevel=3)
    return done


def _flat(
    store: Any, stored: dict[str, StoredColumn], about: dict[str, Any], limit: int | None, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of ``from_arrays`` that a flat file has; wide columns unread where rows may have to be dropped."""
    raw, collapsed = asked.get("raw", False), dict[str, Any]()
    waits = [] if raw or "next_observations" in stored else [name for name in stored if _can_wait(name, stored[name])]
    result: dict[str, Any] = {
        name: column if name in waits else _numbers(name, column, collapsed) for name, column in stored.items()
    }
    n, roles = len(result["rewards"]), about.pop("roles")
    for name in FLAGS:
        if name not in result and name in roles.constants:
            result[name] = np.full(n, roles.constants[name] == EVERY_ROW)
    unused = [key for key in _unused(store, roles) if key not in (_EPISODE_ENDS, *_OWN)]
    labels, times = _labels_and_times(store, roles, n)
    ends = _item(store, _EPISODE_ENDS, n)[()] if _EPISODE_ENDS in store else None
    if labels is None and "episode_starts" in store:
        labels = _item(store, "episode_starts")[()]
    for name, key in (("terminations", "terminals"), ("truncations", "timeouts")):
        if name in result and not raw:
            result[name] = check.flags(about["keys"].get(name, key), result[name], n).numpy()
    term = np.asarray(result["terminations"]).astype(bool)
    how = "from the file" if "truncations" in result else "none in the file"
    trunc = np.asarray(result.get("truncations", np.zeros(n, bool))).astype(bool)
    assumed = []
    if ends is not None:
        last = check.flags(_EPISODE_ENDS, ends, n).numpy()
        trunc |= last & ~term
        how = f"from the file's {_EPISODE_ENDS}"
        if last.any():
            result["flags_within"] = term & ~last
        if raw:
            result["episode_starts"] = np.r_[0, np.flatnonzero(last[:-1]) + 1]
    elif "truncations" not in result and "next_observations" in result:
        obs, nxt = result["observations"], result["next_observations"]
        expected, mend = f"shape {obs.shape}, as observations", "repair the file, or use_next_observations=False."
        require_data(obs.shape == nxt.shape, "key 'next_observations'", f"shape {nxt.shape}", expected, mend)
        trunc[:-1] |= check.rows_differ(nxt[:-1], obs[1:]) & ~term[:-1]
        assumed.append("where next_observations are not the following row's observations")
    if limit is not None:
        trunc |= _every(check_int("max_episode_steps", limit, 1), term | trunc) & ~term
        assumed.append(f"after {limit} steps")
    if labels is not None:
        result["episode_starts"] = labels
    if roles.constants.get("terminations") == LAST_ROW:
        term[np.r_[np.asarray(labels)[1:] - 1, n - 1]] = True
        result["terminations"] = term
    if times is not None:
        key = f"key {roles.columns['time'][0]!r}"
        both: dict[str, Any] = {"terminations": term, "truncations": trunc}
        both |= {"episode_starts": labels} if labels is not None else {}
        about["time"] = keep_time(both, times, asked.get("max_gap"), key, lambda row: f"row {row}", raw)
        result |= {"episode_starts": both["episode_starts"]} if labels is not None else {}
    else:
        no_time_to_cut_at(asked.get("max_gap"))
    known = "truncations" in result or assumed or ends is not None or "episode" in roles.columns or times is not None
    if not known and roles.constants.get("terminations", NONE) == NONE and not raw:
        assumed.append("nowhere: only terminals end an episode")
        result["nowhere_cut"] = True
    result |= {"terminations": term, "truncations": trunc} if not raw else {"truncations": trunc}
    about.pop("keys")
    about |= {"collapsed": collapsed, "format": "D4RL HDF5" if ends is None else "d3rlpy 1 HDF5", "unused": unused}
    metadata = _noted(store) | about
    metadata["timeouts"] = "; assumed ".join([how, *assumed])
    return result | _own_facts(store) | {"metadata": metadata, "stored": stored}


def _unused(store: Any, roles: Roles) -> list[str]:
    """Arrays, and groups of them, that have no role; of a group of which a part is used, the other parts."""
    used = {path for paths in roles.columns.values() for path in paths}
    tops = {path.partition("/")[0] for path in used}
    parts = [path for path in roles.unused if "/" in path and path.partition("/")[0] in tops]
    return [str(key) for key in store if str(key) not in tops] + parts


def _labels_and_times(store: Any, roles: Roles, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """First rows of the episodes by the file's own labels, and its times; None for what it does not have."""
    starts = times = None
    if "episode" in roles.columns:
        key = roles.columns["episode"][0]
        labels = np.asarray(_item(store, key, n, "episode")[()]).reshape(n)
        _require_known(key, labels)
        names, codes = np.unique(labels.astype(str) if labels.dtype.kind in "SO" else labels, return_inverse=True)
        starts = episode_starts(codes, f"key {key!r}", lambda row: f"row {row}", lambda label: str(names[label]))
    if "time" in roles.columns:
        read = np.asarray(_item(store, roles.columns["time"][0], n)[()]).reshape(n)
        _require_known(roles.columns["time"][0], read)
        times = read.astype(np.int64 if read.dtype.kind in "iu" else np.float64)
    return starts, times


def _require_known(key: str, array: np.ndarray) -> None:
    """``DataError`` for labels or times that are missing."""
    absent = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    if absent.any():
        found = f"{int(absent.sum()):,} missing values (NaN, first: row {int(absent.argmax())})"
        raise DataError(f"key {key!r}", found, "a value in each row", "drop those rows, or write what they are.")


def _finish_grouped(
    found: dict[str, Any], about: dict[str, Any], file: Path, asked: Mapping[str, Any], dtype: str | None
) -> dict[str, Any]:
    n = len(found["rewards"])
    collapsed: dict[str, Any] = {}
    for name in ("observations", "next_observations", "actions", "rewards"):
        array = found.get(name)
        if array is not None and dtype and array.dtype.kind == "f":
            collapsed |= {f"{name} {i}": pair for i, pair in check.collapsed(array.reshape(n, -1)).items()}
            found[name] = array.astype(dtype)
    if not asked.get("raw"):
        found["rewards"] = found["rewards"].reshape(n)
        found["terminations"] = check.flags("terminations", found["terminations"], n).numpy()
    metadata = {"format": about["format"], "stored_dtypes": about["stored_dtypes"], "collapsed": collapsed}
    metadata |= {"timeouts": "at the end of each episode that does not terminate", "unused": sorted(about["left"])}
    if "observation_keys" in about:
        metadata["observation_keys"] = about["observation_keys"]
    return _end(found | {"metadata": metadata}, file, asked)


def _end(columns: dict[str, Any], file: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    about = columns.pop("metadata")
    own_id = columns.pop("id", file.stem)
    where = {"terminations": "terminals", "truncations": "timeouts"}
    for name in where:
        if name in about.get("columns", {}) and isinstance(about["columns"][name], list):
            where[name] = f"key {about['columns'][name][0]!r}"
    stored = columns.pop("stored", {})
    done = finish(columns, asked, where=where)
    for name, column in stored.items():  # those that had to wait are read by now
        _note_collapsed(name, column, about["collapsed"])
    finite = [name for name, column in stored.items() if column.finite and name not in FLAGS]
    finite += ["next_observations"] * ("observations" in finite and "next_observations" not in stored)
    inner = np.flatnonzero(done.pop("flags_within", np.zeros(0, bool))).tolist()
    about |= {"flags_within": inner} if inner else {}
    about |= done.get("metadata", {})
    return done | {"id": own_id, "metadata": about, "copy": False} | ({"finite": finite} if finite else {})


def _own_facts(store: Any) -> dict[str, Any]:
    """What `write` has recorded beside the arrays: bounds or the number of actions, and the id."""
    facts: dict[str, Any] = {}
    for name in ("action_low", "action_high"):
        if name in store.attrs:
            facts[name] = np.asarray(store.attrs[name], np.float64)
    if "n_actions" in store.attrs:
        facts["n_actions"] = int(store.attrs["n_actions"])
    if isinstance(store.attrs.get("id"), str):
        facts["id"] = store.attrs["id"]
    return facts


def _noted(store: Any) -> dict[str, Any]:
    """What `write` has noted of the source: the names of its columns, and its times."""
    text = store.attrs.get("cql_tutorial")
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return {
        key: found[key] for key in ("columns", "time") if isinstance(found, dict) and isinstance(found.get(key), dict)
    }


def write(data: Any, path: Path) -> None:
    """Write an ``OfflineDataset`` as one flat HDF5 file under D4RL's names, which this module and others read back.

    Contiguous arrays, bounds or the number of actions as attributes, and the first row of each episode. It appears
    whole or not at all.
    """
    import h5py

    from ..files import atomic_write

    with atomic_write(path) as temporary, h5py.File(temporary, "w", libver="latest") as store:
        for key, name in _NAMES.items():
            store.create_dataset(key, data=getattr(data, name).detach().cpu().numpy())
        store.create_dataset("episode_starts", data=data.episode_starts.cpu().numpy())
        store.attrs["id"] = data.id
        if noted := {key: data.metadata[key] for key in ("columns", "time") if data.metadata.get(key)}:
            store.attrs["cql_tutorial"] = json.dumps(noted)
        if data.n_actions is not None:
            store.attrs["n_actions"] = data.n_actions
        else:
            store.attrs["action_low"], store.attrs["action_high"] = data.action_low, data.action_high


def _every(limit: int, ends: np.ndarray) -> np.ndarray:
    """Mark the rows ``[N]`` bool that are the ``limit``-th, 2 ``limit``-th, ... of their episode."""
    rows = np.arange(len(ends))
    starts = np.maximum.accumulate(np.where(np.r_[True, ends[:-1]], rows, 0))
    return (rows - starts + 1) % limit == 0
