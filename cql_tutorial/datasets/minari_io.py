"""Minari files: find a data set by id or path, read it into flat arrays, write flat arrays as one.

This module works with NumPy arrays; `OfflineDataset` makes tensors of them. The functions import Minari, Gymnasium and
h5py, so that the package needs none of them until it touches a file. Nothing is ever unpickled.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, CQLTutorialError, DataError, DatasetNotFoundError, require, require_data
from ..files import atomic_write
from . import checks as check
from .files import missing_package, open_checked, search_places

_FILE, _METADATA, _NAMESPACE = "main_data.hdf5", "metadata.json", "namespace_metadata.json"
ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
_MADE_ON_DEMAND = re.compile(r"mujoco/(halfcheetah|hopper|walker2d)-[a-z-]+-\d-v0")
_REGENERATE = (
    "make the file again (`make data` for the course's own), or delete its folder and download it again with "
    "load_dataset(id, remote=True)."
)


def find(id_or_path: str | os.PathLike[str], remote: bool = False) -> Path:
    """Return the folder that holds a data set's HDF5 file; ask Minari's remote only if `remote` is set.

    Raises ``DatasetNotFoundError`` that lists the places looked at and the nearest ids that do exist.
    """
    name, places = os.fspath(id_or_path), search_places()
    for path in (given := Path(os.path.expanduser(name)), *(place / name for place in places)):
        for folder in (path / "data", path, path.parent if path.name == _FILE else path):
            if os.path.isfile(folder / _METADATA) or os.path.isfile(folder / _FILE):
                return folder
    found = f"nothing at that path nor below {', '.join(map(str, places))}"
    if os.path.exists(given):
        found = "a path that is no Minari data set (read such a file yourself and use from_arrays)"
    if remote:
        import minari

        try:
            minari.download_dataset(name)
            return find(name.split("://")[-1].split("/", 1)[1] if "://" in name else name)  # hf://farama-minari/id
        except Exception as error:  # no network, no such id, no such package: each remote raises errors of its own
            found += f"; Minari's remote answered: {type(error).__name__}: {error}".replace("\n", " ")
    known = sorted({key for place in places for key in ids(place)})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:10]
    expected = f"an id ({'nearest: ' + ', '.join(near) if near else 'none exists yet'}) or a folder's path"
    mend = f"run `make data` for the course's own, or load_dataset({name!r}, remote=True) to download it from Minari."
    if _MADE_ON_DEMAND.fullmatch(name):
        mend = f"in a checkout, with the extra mujoco: python -m experiments mujoco_data --only {name}"
    raise DatasetNotFoundError(f"data set {name!r}", found, expected, mend)


def ids(place: Path) -> Iterator[str]:
    """Yield the ids of the data sets in a folder, namespaces up to three deep."""
    for depth in range(1, 5):
        for file in place.glob("*/" * depth + f"data/{_FILE}"):
            name = file.parent.parent.relative_to(place).as_posix()
            if not name.startswith("."):
                yield name


def read(source: Any, max_gigabytes: float = 8.0, dtype: str | None = None) -> dict[str, Any]:
    """Read a ``MinariDataset``, an id or a path into the arguments of ``from_arrays``.

    Minari keeps T + 1 observations of an episode of T steps: rows 0..T-1 are the observations and rows 1..T the
    next_observations. Floats are converted to ``dtype`` (None: kept) an episode at a time. No environment is made:
    Minari would import what the file names if its spaces were missing. Raises ``DataError`` for a damaged file, a file
    that leads elsewhere or promises more than ``max_gigabytes``, and spaces other than a flat Box and Box/Discrete.
    """
    try:
        import minari
        from gymnasium.spaces import Discrete
        from minari.dataset.minari_storage import MinariStorage

        if isinstance(source, (str, os.PathLike)):
            source, groups = find(source), 0
            for file in (files := sorted(source.rglob("*.hdf5"))):
                with open_checked(file, max_gigabytes, _REGENERATE) as store:
                    groups += len(store)
            promised = MinariStorage.read_raw_metadata(source)
            found, number = f"{groups} groups, one an episode", promised["total_episodes"]  # Minari counts up to it
            fits = number <= groups or not files  # no file at all: Minari says so
            require_data(fits, f"file {source}", found, f"the promised {number!r} episodes", _REGENERATE)
            absent = {"observation_space", "action_space"} - set(promised)
            mend = "minari.MinariDataset(path) runs the environment's code to learn them: pass that, if you trust it."
            require_data(not absent, f"file {source}", f"no {' nor '.join(sorted(absent))}", "both spaces", mend)
        data = minari.MinariDataset(source) if isinstance(source, Path) else source
        metadata = dict(data.storage.metadata)
        observation_space, action_space = metadata.pop("observation_space"), metadata.pop("action_space")
        discrete = isinstance(action_space, Discrete)
        name = f"spaces of {metadata['dataset_id']}"
        _check_spaces(name, observation_space, action_space)
        columns, lengths, facts = _columns(data, data.total_steps, dtype, observation_space)
        found, expected = f"{sum(lengths)} steps in {len(lengths)} episodes", f"the promised {data.total_steps} steps"
        require_data(sum(lengths) == data.total_steps > 0, f"file {source}", found, expected, _REGENERATE)
    except CQLTutorialError:
        raise
    except ImportError as error:
        raise missing_package(error) from error
    except Exception as error:  # a damaged file makes h5py and Minari fail in many ways
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {source}", found, "a whole Minari data set", _REGENERATE) from error
    for name in ("total_episodes", "total_steps", "dataset_size", "data_format", "jpeg_encoding"):
        metadata.pop(name, None)  # facts about the file, not about the data
    metadata |= facts
    about = {"id": metadata["dataset_id"], "metadata": metadata, "episode_starts": np.cumsum([0, *lengths[:-1]])}
    if discrete:
        about["n_actions"] = int(action_space.n)
    else:
        about |= {"action_low": action_space.low, "action_high": action_space.high}
    return about | columns | {"copy": False}


def _check_spaces(name: str, observation_space: Any, action_space: Any) -> None:
    """``DataError`` for spaces that are neither vectors nor made of vectors, with the reason."""
    from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

    found = " ".join(f"observations {observation_space}, actions {action_space}".split())
    expected = "observations Box(S,), or a Dict or Tuple of such, and actions Box(A,) or Discrete(n)"
    mend = "flatten them yourself (gymnasium.spaces.flatten) and use OfflineDataset.from_arrays(...)."
    if isinstance(action_space, (MultiDiscrete, MultiBinary)):
        mend = (
            "several choices at once: number their combinations (np.ravel_multi_index) and use from_arrays(n_actions=)."
        )
    leaves = _leaves(observation_space)
    if any(isinstance(leaf, Box) and len(leaf.shape) > 1 for _, leaf in leaves):
        mend = (
            "images, matrices or stacks of frames: these agents read vectors; encode them first, and use from_arrays."
        )
    fits = isinstance(action_space, Discrete) or (isinstance(action_space, Box) and len(action_space.shape) == 1)
    fits = fits and bool(leaves) and all(isinstance(leaf, Box) and len(leaf.shape) <= 1 for _, leaf in leaves)
    require_data(fits, name, found, expected, mend)


def _leaves(space: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """(keys, space) of each part of a Dict or Tuple, in the order of `gymnasium.spaces.flatten_space`."""
    from gymnasium.spaces import Dict, Tuple

    if isinstance(space, (Dict, Tuple)):
        parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        return [leaf for key, part in parts for leaf in _leaves(part, (*path, key))]
    return [(path, space)]


def _joined(observations: Any, leaves: Any) -> np.ndarray:
    """The parts of a Dict or Tuple observation ``[T + 1, ...]`` side by side, ``[T + 1, S]``."""
    if len(leaves) == 1 and not leaves[0][0]:
        return np.asarray(observations)
    parts = []
    for path, _ in leaves:
        part = observations
        for key in path:
            part = part[key]
        parts.append(np.asarray(part).reshape(len(part), -1))
    return np.concatenate(parts, 1)


def _columns(data: Any, steps: int, dtype: str | None, space: Any) -> tuple[dict[str, Any], list[int], dict[str, Any]]:
    """Fill arrays of so many steps, episode by episode; return them, the episodes' lengths, and facts about them."""
    columns: dict[str, Any] = {}
    lengths: list[int] = []
    facts: dict[str, Any] = {}
    stored: dict[str, str] = {}
    collapsed: dict[str, list[int]] = {}
    leaves = _leaves(space)
    if leaves[0][0]:
        facts["observation_keys"] = {".".join(map(str, path)): int(np.prod(leaf.shape)) for path, leaf in leaves}
    # Opening the five arrays of an episode takes Minari's reader 1 ms; this loop costs little beside it.
    for episode in data.iterate_episodes():
        start, end = sum(lengths), sum(lengths) + len(episode.rewards)
        parts = {name: np.asarray(getattr(episode, name)) for name in ARRAYS[1:] if name != "next_observations"}
        chain = _joined(episode.observations, leaves)
        parts |= {"observations": chain[:-1], "next_observations": chain[1:]}
        for name, part in parts.items():
            kind = dtype if dtype and part.dtype.kind == "f" else part.dtype
            if name not in columns:
                stored[name] = str(part.dtype)
            rows = columns.setdefault(name, np.empty((steps, *part.shape[1:]), kind))[start:end]
            if end <= steps:  # else they are counted, and refused
                if rows.shape != part.shape:
                    raise ValueError(f"{name} {part.shape} in episode {episode.id}, {rows.shape} expected")
                if rows.dtype.itemsize < part.dtype.itemsize == 8 and name != "next_observations" and len(part) > 1:
                    for i, pair in check.collapsed(part).items():
                        known = collapsed.setdefault(f"{name} {i}", [0, 0])
                        known[0], known[1] = known[0] + pair[0], known[1] + pair[1]
                with np.errstate(over="ignore"):  # infinite then, which from_arrays reports
                    np.copyto(rows, part, casting="same_kind")
        if not lengths and isinstance(episode.infos, Mapping) and episode.infos:
            facts["unused"] = [f"infos/{key}" for key in episode.infos]
        lengths.append(len(episode.rewards))
    return columns, lengths, facts | {"stored_dtypes": stored, "collapsed": collapsed}


def write(
    data: Any,
    dataset_id: str,
    root_path: str | os.PathLike[str],
    environment: Any,
    about: Mapping[str, Any],
    extra: Mapping[str, Any],
    overwrite: bool,
) -> Path:
    """Write an ``OfflineDataset`` as Minari data set `dataset_id` below `root_path` and return its folder.

    The data set is made in a hidden folder beside its place and renamed into it, so no half of one ever remains. The
    HDF5 arrays are stored contiguously (a third to a fifth of Minari's own size). Minari's default folder and the
    network stay untouched. `about` holds Minari's own texts (description, author, ...), `extra` any further metadata.
    Raises ``DataError`` for an id that is no id or exists, ``CheckpointError`` where the file cannot be written.
    """
    try:  # the storages are imported by name, when they are used
        import minari.dataset._storages.hdf5_storage  # noqa: F401
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise missing_package(error) from error

    parents = _check_id(dataset_id)
    root = Path(root_path).expanduser().resolve()
    destination = root / dataset_id
    vacant, mend = overwrite or not destination.exists(), "raise its -vN, or pass overwrite=True."
    require_data(vacant, "id", f"{destination} exists already", "a new id", mend)
    observation_space, action_space = _spaces(data)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".writing-") as workplace:
        folder = Path(workplace) / "new"
        folder.mkdir()
        storage = MinariStorage.new(
            folder / "data",
            observation_space=observation_space,
            action_space=action_space,
            env_spec=_specification(environment),
        )
        storage.update_metadata({"dataset_id": dataset_id, **about, "minari_version": version("minari")})
        storage.update_episodes(_episodes(data))
        _store_contiguously(folder / "data" / _FILE)
        storage.update_metadata({**extra, "dataset_size": storage.get_size()})
        for parent in parents:
            (root / parent).mkdir(exist_ok=True)
            if not (root / parent / _NAMESPACE).exists():
                with atomic_write(root / parent / _NAMESPACE) as temporary:
                    temporary.write_text("{}", encoding="utf-8")
        _replace_folder(folder, destination, aside=Path(workplace) / "old")
    return destination


def check_new(dataset_id: str, root_path: str | os.PathLike[str], overwrite: bool) -> None:
    """``DataError`` for an id that is none, or is taken below ``root_path``: before the work of recording it."""
    _check_id(dataset_id)
    destination = Path(root_path).expanduser().resolve() / dataset_id
    vacant, mend = overwrite or not destination.exists(), "raise its -vN, or pass overwrite=True."
    require_data(vacant, "id", f"{destination} exists already", "a new id", mend)


def _check_id(dataset_id: str) -> list[Path]:
    """The namespaces of an id, outermost first; ``DataError`` if it is no id."""
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        expected = "[namespace/]name-vN with letters, digits, - and _ (a namespace has 2 or more)"
        raise DataError("id", repr(dataset_id), expected, "for example 'course/pendulum/medium-v0'.") from error
    return list(Path(dataset_id).parents)[-2::-1]  # without "."


def _spaces(data: Any) -> tuple[Any, Any]:
    """Gymnasium's spaces of a data set: unbounded observations, and actions within their bounds or choices."""
    from gymnasium.spaces import Box, Discrete

    observations, actions = data.observations.cpu().numpy(), data.actions.cpu().numpy()
    observation_space = Box(-np.inf, np.inf, observations.shape[1:], observations.dtype.type)
    if data.n_actions is not None:
        return observation_space, Discrete(data.n_actions)
    low, high = (np.full(actions.shape[1], bound, actions.dtype) for bound in (data.action_low, data.action_high))
    return observation_space, Box(low, high, dtype=actions.dtype.type)


def _specification(environment: Any) -> Any:
    """Gymnasium's ``EnvSpec`` of an id, an environment or a specification; ``ConfigError`` for anything else."""
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    expected, mend = "a registered id, a gymnasium.Env or its spec", "leave it out if there is no such environment."
    if isinstance(environment, str):
        try:
            return gymnasium.spec(environment)
        except gymnasium.error.Error as error:
            raise ConfigError("environment", f"{environment!r} ({error})", expected, mend) from error
    specification = environment.spec if isinstance(environment, gymnasium.Env) else environment
    require(specification is None or isinstance(specification, EnvSpec), "environment", environment, expected, mend)
    return specification


def _episodes(data: Any) -> Iterator[Any]:
    """Minari's buffer of each episode: the rows of all arrays, and one observation more than there are rows."""
    from minari.data_collector import EpisodeBuffer

    arrays = {name: getattr(data, name).cpu().numpy() for name in ARRAYS}
    observations, next_observations = arrays.pop("observations"), arrays.pop("next_observations")
    starts = data.episode_starts.tolist()
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True)):
        chain = np.concatenate([observations[start:end], next_observations[end - 1 : end]])
        yield EpisodeBuffer(id=number, observations=chain, **{name: x[start:end] for name, x in arrays.items()})


def _replace_folder(new: Path, destination: Path, aside: Path) -> None:
    """Rename a folder to its destination; one that is there is moved ``aside``, and back if the renaming fails."""
    if destination.exists():
        os.replace(destination, aside)
    try:
        os.replace(new, destination)
    except BaseException:  # Ctrl-C included
        if aside.exists():
            os.replace(aside, destination)
        raise


def _store_contiguously(path: Path) -> None:
    """Copy Minari's growable (chunked) arrays, which take 3-5 times their size, into a tree of plain arrays."""
    import h5py

    def copy(source: Any, target: Any) -> None:
        target.attrs.update(source.attrs)
        for name, item in source.items():
            if isinstance(item, h5py.Group):
                copy(item, target.create_group(name))
            else:
                target.create_dataset(name, data=item[()])

    with (
        atomic_write(path) as partial,
        h5py.File(path) as source,
        h5py.File(partial, "w", libver="latest", track_order=True) as target,
    ):
        copy(source, target)
