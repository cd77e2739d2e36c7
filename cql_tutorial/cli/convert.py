"""`cql-tutorial convert`: any log as a Minari data set (checked once, read fast ever after) or as a plain table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from ..datasets.offline_dataset import OfflineDataset
from ..errors import require
from ..files import atomic_write
from .options import DataOptions


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What is written: a Minari data set (--id), a table (--csv), or both."""

    id: Annotated[str | None, tyro.conf.arg(metavar="NAME-vN")] = None
    """Id of the new Minari data set, for example mine/pump-v0."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("data")
    """Folder below which it is written."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """Table to write: one row a transition, every digit kept."""
    description: str = "converted by cql-tutorial"
    """Recorded in the data set."""
    author: str = "unknown"
    """Recorded in the data set."""
    overwrite: bool = False
    """Replace what is there."""


def convert(data: DataOptions, target: ConvertOptions) -> int:
    """Read a log with all checks and write it again."""
    require(target.id or target.csv, "--id, --csv", None, "one of them at least", "say what to write.")
    dataset = data.load()
    if target.csv is not None:
        free = target.overwrite or not target.csv.exists()
        require(free, "--csv", str(target.csv), "a new file", "choose another name, or pass --overwrite.")
        write_csv(dataset, target.csv)
        print(f"written: {target.csv} ({len(dataset)} rows)\nread it with --columns {' '.join(columns(dataset))}")
    if target.id is not None:
        folder = dataset.to_minari(
            target.id, target.out, description=target.description, author=target.author, overwrite=target.overwrite
        )
        print(f"written: {folder}")
    return 0


def columns(dataset: OfflineDataset) -> list[str]:
    """Return the ``--columns`` entries that read a table of `write_csv`."""
    action = "actions=action" + "_*" * (not dataset.discrete)
    flags = ["rewards=reward", "terminations=termination", "truncations=truncation", "episode=episode"]
    return ["observations=obs_*", action, "next_observations=next_obs_*", *flags]


def write_csv(dataset: OfflineDataset, path: Path) -> None:
    """Write every transition as a row, by a temporary file that is renamed into place.

    Columns: ``episode, obs_0.., action_0..`` (``action`` if discrete)``, reward, next_obs_0.., termination,
    truncation``. Numbers have the digits that give the same float again. ``CheckpointError`` for a failed write.
    """
    wide = range(dataset.observation_dim)
    actions = ["action"] if dataset.discrete else [f"action_{i}" for i in range(dataset.action_dim)]
    header = ["episode", *(f"obs_{i}" for i in wide), *actions, "reward", *(f"next_obs_{i}" for i in wide)]
    episode = np.repeat(np.arange(len(dataset.episode_starts)), dataset.episode_lengths().cpu().numpy())
    arrays = (dataset.observations, dataset.actions, dataset.rewards, dataset.next_observations)
    flags = (dataset.terminations.int(), dataset.truncations.int())
    parts = [_text(episode), *(_text(column.cpu().numpy()) for column in (*arrays, *flags))]
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "termination", "truncation"])
        writer.writerows(np.concatenate(parts, 1))


def _text(array: np.ndarray) -> np.ndarray:
    """Write ``[N]`` or ``[N, k]`` as text: 9 digits give a float32 back exactly, 17 a float64."""
    digits = {"f": "%.17g" if array.dtype.itemsize == 8 else "%.9g"}.get(array.dtype.kind, "%d")
    return np.char.mod(digits, array.reshape(len(array), -1))
