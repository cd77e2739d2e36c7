"""Minari files: find a data set by id or path, read it into flat arrays, write flat arrays as one.

Everything here speaks numpy; `datasets.OfflineDataset` puts tensors around it. Minari, Gymnasium and h5py are imported
inside the functions, so that the package needs none of them until a file is touched. Nothing is ever unpickled.
"""

from __future__ import annotations

import difflib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ..errors import CQLTutorialError, DataError, DatasetNotFoundError, require_data
from .files import opened, search_places

_FILE, _METADATA, _NAMESPACE = "main_data.hdf5", "metadata.json", "namespace_metadata.json"
ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
_REMAKE = (
    "make the file again (`make data` for the course's own), or delete its folder and download it again with "
    "load_dataset(id, remote=True)."
)


def find(id_or_path: str | os.PathLike[str], remote: bool = False) -> Path:
    """The folder that holds the data set's HDF5 file; Minari's remote is asked only if `remote` is set.

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
        except Exception as error:  # no network, no such id, a package missing: each remote has errors of its own
            found += f"; Minari's remote answered: {type(error).__name__}: {error}".replace("\n", " ")
    known = sorted({key for place in places for key in ids(place)})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:10]
    expected = f"an id ({'nearest: ' + ', '.join(near) if near else 'none exists yet'}) or a folder's path"
    mend = f"run `make data` for the course's own, or load_dataset({name!r}, remote=True) to download it from Minari."
    raise DatasetNotFoundError(f"data set {name!r}", found, expected, mend)


def ids(place: Path) -> Iterator[str]:
    """The ids of the data sets in a folder, namespaces up to three deep."""
    for depth in range(1, 5):
        for file in place.glob("*/" * depth + f"data/{_FILE}"):
            name = file.parent.parent.relative_to(place).as_posix()
            if not name.startswith("."):
                yield name


def read(source: Any, max_gigabytes: float = 8.0, dtype: str | None = None) -> dict[str, Any]:
    """Read a ``MinariDataset``, an id or a path into the arguments of ``from_arrays``.

    Minari keeps T + 1 observations of an episode of T steps: rows 0..T-1 are the observations and rows 1..T the
    next_observations. Floats are kept in ``dtype`` (None: the file's), an episode at a time. No environment is made:
    Minari would import what the file names if its spaces were missing. Raises ``DataError`` for a damaged file, a file
    that leads elsewhere or promises more than ``max_gigabytes``, and spaces other than a flat Box and Box/Discrete.
    """
    import minari
    from gymnasium.spaces import Box, Discrete
    from minari.dataset.minari_storage import MinariStorage

    try:
        if isinstance(source, (str, os.PathLike)):
            source, groups = find(source), 0
            for file in (files := sorted(source.rglob("*.hdf5"))):
                with opened(file, max_gigabytes, _REMAKE) as store:
                    groups += len(store)
            promised = MinariStorage.read_raw_metadata(source)
            found, number = f"{groups} groups, one an episode", promised["total_episodes"]  # Minari counts up to it
            fits = number <= groups or not files  # no file at all: Minari says so
            require_data(fits, f"file {source}", found, f"the promised {number!r} episodes", _REMAKE)
            absent = {"observation_space", "action_space"} - set(promised)
            mend = "minari.MinariDataset(path) runs the environment's code to learn them: pass that, if you trust it."
            require_data(not absent, f"file {source}", f"no {' nor '.join(sorted(absent))}", "both spaces", mend)
        data = minari.MinariDataset(source) if isinstance(source, Path) else source
        metadata = dict(data.storage.metadata)
        observation_space, action_space = metadata.pop("observation_space"), metadata.pop("action_space")
        discrete = isinstance(action_space, Discrete)
        boxes = [observation_space] if discrete else [observation_space, action_space]
        fits = all(isinstance(box, Box) and len(box.shape) == 1 for box in boxes)
        name = f"spaces of {metadata['dataset_id']}"
        found = " ".join(f"observations {observation_space}, actions {action_space}".split())
        mend = "flatten them yourself (gymnasium.spaces.flatten) and use OfflineDataset.from_arrays(...)."
        require_data(fits, name, found, "observations Box(S,) and actions Box(A,) or Discrete(n)", mend)
        columns, lengths = _columns(data, data.total_steps, dtype)
        found, expected = f"{sum(lengths)} steps in {len(lengths)} episodes", f"the promised {data.total_steps} steps"
        require_data(sum(lengths) == data.total_steps > 0, f"file {source}", found, expected, _REMAKE)
    except CQLTutorialError:
        raise
    except Exception as error:  # a damaged file makes h5py and Minari fail in many ways
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DataError(f"file {source}", found, "a whole Minari data set", _REMAKE) from error
    for name in ("total_episodes", "total_steps", "dataset_size", "data_format", "jpeg_encoding"):
        metadata.pop(name, None)  # facts about the file, not about the data
    about = {"id": metadata["dataset_id"], "metadata": metadata, "episode_starts": np.cumsum([0, *lengths[:-1]])}
    if discrete:
        about["n_actions"] = int(action_space.n)
    else:
        about |= {"action_low": action_space.low, "action_high": action_space.high}
    return about | columns | {"copy": False}


def _columns(data: Any, steps: int, dtype: str | None) -> tuple[dict[str, Any], list[int]]:
    """The arrays of so many steps, filled episode by episode, and the episodes' lengths."""
    columns: dict[str, Any] = {}
    lengths: list[int] = []
    # Minari's own reader: opening the five arrays of an episode is what costs (1 ms), not this loop.
    for episode in data.iterate_episodes():
        start, end = sum(lengths), sum(lengths) + len(episode.rewards)
        parts = {name: np.asarray(getattr(episode, name)) for name in ARRAYS if name != "next_observations"}
        parts |= {"observations": parts["observations"][:-1], "next_observations": parts["observations"][1:]}
        for name, part in parts.items():
            kind = dtype if dtype and part.dtype.kind == "f" else part.dtype
            rows = columns.setdefault(name, np.empty((steps, *part.shape[1:]), kind))[start:end]
            if end <= steps:  # else they are counted, and refused
                if rows.shape != part.shape:
                    raise ValueError(f"{name} {part.shape} in episode {episode.id}, {rows.shape} expected")
                with np.errstate(over="ignore"):  # infinite then, which from_arrays reports
                    np.copyto(rows, part, casting="same_kind")
        lengths.append(len(episode.rewards))
    return columns, lengths


def write(
    data: Any, dataset_id: str, root_path: str | os.PathLike[str], environment: Any, extra: dict[str, Any],
    overwrite: bool, about: dict[str, Any],
) -> Path:  # fmt: skip
    """Write an ``OfflineDataset`` as Minari data set `dataset_id` below `root_path` and return its folder.

    The data set is made in a hidden folder beside its place and renamed into it, so no half of one ever remains; the
    HDF5 arrays are stored contiguously (a third to a fifth of Minari's own size), and Minari's default folder and the
    network stay untouched. `about` are ``minari.create_dataset_from_buffers``'s texts. Raises ``DataError``.
    """
    import minari
    from gymnasium.spaces import Box, Discrete
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        expected = "[namespace/]name-vN with letters, digits, - and _ (a namespace has 2 or more)"
        raise DataError("id", repr(dataset_id), expected, "for example 'course/pendulum/medium-v0'.") from error
    root = Path(root_path).expanduser().resolve()  # Minari would join a relative one twice
    destination = root / dataset_id
    vacant, mend = overwrite or not destination.exists(), "raise its -vN, or pass overwrite=True."
    require_data(vacant, "id", f"{destination} exists already", "a new id", mend)
    arrays = {name: getattr(data, name).cpu().numpy() for name in ARRAYS}
    observations, actions = arrays.pop("observations"), arrays["actions"]
    if data.n_actions is None:
        low, high = (np.full(actions.shape[1], bound, actions.dtype) for bound in (data.action_low, data.action_high))
    action_space = Discrete(data.n_actions) if data.n_actions else Box(low, high, dtype=actions.dtype.type)
    following, starts = arrays.pop("next_observations"), data.episode_starts.tolist()
    buffers = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(actions)], strict=True)):
        chain = np.concatenate([observations[start:end], following[end - 1 : end]])
        steps = {name: array[start:end] for name, array in arrays.items()}
        buffers.append(EpisodeBuffer(id=number, observations=chain, **steps))
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".writing-") as workplace:
        with mock.patch.dict(os.environ, MINARI_DATASETS_PATH=workplace), warnings.catch_warnings():
            # Minari reads its root from that variable and from nowhere else.
            warnings.filterwarnings("ignore", message=r".*is set to `?None|env_spec is None", category=UserWarning)
            made = minari.create_dataset_from_buffers(
                dataset_id, buffers, env=environment, action_space=action_space,
                observation_space=Box(-np.inf, np.inf, observations.shape[1:], observations.dtype.type), **about,
            )  # fmt: skip
            _store_contiguously(Path(made.storage.data_path) / _FILE)
            made.storage.update_metadata({**extra, "dataset_size": made.storage.get_size()})
        for parent in list(Path(dataset_id).parents)[-2::-1]:  # outermost namespace first, "." left out
            (root / parent).mkdir(exist_ok=True)
            if not (root / parent / _NAMESPACE).exists():
                os.replace(Path(workplace) / parent / _NAMESPACE, root / parent / _NAMESPACE)
        old = Path(workplace) / ".old"
        if destination.exists():
            os.replace(destination, old)
        try:
            os.replace(Path(workplace) / dataset_id, destination)
        except BaseException:  # Ctrl-C included: the old data set must not vanish with the workplace
            if old.exists():
                os.replace(old, destination)
            raise
    return destination


def _store_contiguously(path: Path) -> None:
    """Minari's growable (chunked) arrays cost 3-5 times their size; the same tree with plain arrays reads the same."""
    import h5py

    def copy(source: Any, target: Any) -> None:
        target.attrs.update(source.attrs)
        for name, item in source.items():
            if isinstance(item, h5py.Group):
                copy(item, target.create_group(name))
            else:
                target.create_dataset(name, data=item[()])

    partial = path.with_suffix(".tmp")
    with h5py.File(path) as source, h5py.File(partial, "w", libver="latest", track_order=True) as target:
        copy(source, target)
    os.replace(partial, path)
