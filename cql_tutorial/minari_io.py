"""Minari files: find a data set by id or path, read it into flat arrays, write flat arrays as one.

Everything here speaks numpy; `datasets.OfflineDataset` puts tensors around it. Minari, Gymnasium and h5py are imported
inside the functions, so that the package needs none of them until a file is touched. Nothing is ever unpickled.
"""

from __future__ import annotations

import difflib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CQLTutorialError, DataError, DatasetNotFoundError

_FILE, _METADATA, _NAMESPACE = "main_data.hdf5", "metadata.json", "namespace_metadata.json"
_REMAKE = (
    "make the file again (`make data` for the course's own), or delete its folder and download it again with "
    "load_dataset(id, remote=True)."
)


def search_places() -> list[Path]:
    """The folders `find` looks in, in order: MINARI_DATASETS_PATH, the checkout's data/, data/ in and above the
    current folder (3 levels up), Minari's own folder."""
    configured = os.environ.get("MINARI_DATASETS_PATH")
    here = Path.cwd()
    places = [Path(configured)] if configured else []
    places += [Path(__file__).resolve().parent.parent / "data"]
    places += [folder / "data" for folder in (here, *list(here.parents)[:3])]
    places += [Path.home() / ".minari" / "datasets"]
    return list(dict.fromkeys(places))


def find(id_or_path: str | os.PathLike[str], remote: bool = False) -> Path:
    """The folder that holds the data set's HDF5 file; Minari's remote is asked only if `remote` is set.

    Raises ``DatasetNotFoundError`` that lists the places looked at and the nearest ids that do exist.
    """
    name, places = os.fspath(id_or_path), search_places()
    for path in (Path(name).expanduser(), *(place / name for place in places)):
        for folder in (path / "data", path, path.parent if path.name == _FILE else path):
            if (folder / _METADATA).is_file() or (folder / _FILE).is_file():
                return folder
    failure = ""
    if remote:
        import minari

        try:
            minari.download_dataset(name)
            return find(name)
        except (ValueError, TypeError, ImportError, OSError) as error:
            failure = f" Minari's remote answered: {error}"
    elif Path(name).expanduser().exists():
        failure = " The path exists, but is no Minari data set: read such a file yourself and use from_arrays(...)."
    known = sorted({key for place in places for key in _ids(place)})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:10]
    raise DatasetNotFoundError(
        f"data set {name!r}",
        f"nothing at that path nor below {', '.join(map(str, places))}",
        f"an id that exists there ({'nearest: ' + ', '.join(near) if near else 'none does yet'}) or a folder's path",
        f"run `make data` for the course's own data sets, or load_dataset({name!r}, remote=True) to download it from "
        f"Minari.{failure}",
    )


def _ids(place: Path) -> Iterator[str]:
    for depth in range(1, 5):
        for file in place.glob("*/" * depth + f"data/{_FILE}"):
            name = file.parent.parent.relative_to(place).as_posix()
            if not name.startswith("."):
                yield name


def read(source: Any) -> dict[str, Any]:
    """Read a ``MinariDataset``, or the folder that `find` returned, into the arguments of ``from_arrays``.

    Minari keeps T + 1 observations of an episode of T steps: rows 0..T-1 are the observations and rows 1..T the
    next_observations. Raises ``DataError`` for a damaged file and for spaces other than a flat Box and Box/Discrete.
    """
    import minari
    from gymnasium.spaces import Box, Discrete

    try:
        data = minari.MinariDataset(source) if isinstance(source, (str, os.PathLike)) else source
        where, metadata = str(data.storage.data_path), dict(data.storage.metadata)
        spaces = metadata.pop("observation_space"), metadata.pop("action_space")
        flat = isinstance(spaces[0], Box) and len(spaces[0].shape) == 1
        if not flat or not (
            isinstance(spaces[1], Discrete) or (isinstance(spaces[1], Box) and len(spaces[1].shape) == 1)
        ):
            raise DataError(
                f"spaces of {metadata['dataset_id']}", f"observations {spaces[0]}, actions {spaces[1]}",
                "observations Box(S,) and actions Box(A,) or Discrete(n)",
                "flatten them yourself (gymnasium.spaces.flatten) and use OfflineDataset.from_arrays(...).",
            )  # fmt: skip
        # Minari's own reader: opening the five arrays of an episode is what costs (1 ms), not this loop.
        episodes = list(data.iterate_episodes())
        seeds = [item.get("seed") for item in data.storage.get_episode_metadata(data.episode_indices)]
        steps = sum(len(episode.rewards) for episode in episodes)
        lengths_agree = all(
            len(e.observations) - 1 == len(e.actions) == len(e.rewards) == len(e.terminations) == len(e.truncations)
            for e in episodes
        )
        if not episodes or not lengths_agree or steps != data.total_steps:
            raise DataError(
                where,
                f"{steps} steps in {len(episodes)} episodes, {'equal' if lengths_agree else 'unequal'} arrays",
                f"the {data.total_steps} steps its metadata promise, T + 1 observations an episode",
                _REMAKE,
            )  # fmt: skip
    except CQLTutorialError:
        raise
    except (OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
        raise DataError(
            f"file {source}", f"{type(error).__name__}: {error}", "a whole Minari data set", _REMAKE
        ) from error
    for name in ("total_episodes", "total_steps", "dataset_size", "data_format", "jpeg_encoding"):
        metadata.pop(name, None)  # facts about the file, not about the data
    if any(seed is not None for seed in seeds):
        metadata["episode_seeds"] = seeds
    arrays = {
        name: np.concatenate([getattr(episode, name) for episode in episodes])
        for name in ("actions", "rewards", "terminations", "truncations")
    }
    return arrays | {
        "observations": np.concatenate([episode.observations[:-1] for episode in episodes]),
        "next_observations": np.concatenate([episode.observations[1:] for episode in episodes]),
        "episode_starts": np.cumsum([0] + [len(episode.rewards) for episode in episodes[:-1]]),
        "id": metadata["dataset_id"],
        "n_actions": int(spaces[1].n) if isinstance(spaces[1], Discrete) else None,
        "action_low": None if isinstance(spaces[1], Discrete) else spaces[1].low,
        "action_high": None if isinstance(spaces[1], Discrete) else spaces[1].high,
        "metadata": metadata,
    }


def write(
    arrays: Mapping[str, np.ndarray], starts: Sequence[int], dataset_id: str, root_path: str | os.PathLike[str], *,
    action_low: Any, action_high: Any, n_actions: int | None, environment: Any, seeds: Sequence[int | None] | None,
    extra: Mapping[str, Any], overwrite: bool, **about: Any,
) -> Path:  # fmt: skip
    """Write the episodes that begin at rows `starts` as Minari data set `dataset_id` below `root_path`; its folder.

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
        raise DataError(
            "id", repr(dataset_id), "[namespace/]name-vN with letters, digits, - and _ (a namespace has 2 or more)",
            "for example 'course/pendulum/medium-v0'.",
        ) from error  # fmt: skip
    root = Path(root_path)
    destination = root / dataset_id
    if destination.exists() and not overwrite:
        raise DataError("id", f"{destination} exists already", "a new id", "raise its -vN, or pass overwrite=True.")
    observations, actions = arrays["observations"], arrays["actions"]
    if n_actions is None:
        low, high = (np.full(actions.shape[1], bound, actions.dtype) for bound in (action_low, action_high))
    action_space = Discrete(n_actions) if n_actions else Box(low, high, dtype=actions.dtype.type)
    buffers = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(actions)], strict=True)):
        buffers.append(EpisodeBuffer(
            id=number, seed=None if seeds is None else seeds[number], actions=actions[start:end],
            observations=np.concatenate([observations[start:end], arrays["next_observations"][end - 1 : end]]),
            **{name: arrays[name][start:end] for name in ("rewards", "terminations", "truncations")},
        ))  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".writing-") as workplace:
        with _minari_root(workplace), warnings.catch_warnings():
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


@contextmanager
def _minari_root(folder: str) -> Iterator[None]:
    """Let Minari write below `folder`: it reads its root from the environment and from nowhere else."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = folder
    try:
        yield
    finally:
        del os.environ["MINARI_DATASETS_PATH"]
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before


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
