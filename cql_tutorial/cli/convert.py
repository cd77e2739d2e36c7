"""`cql-tutorial convert`: any log, mended if asked for, as one flat file, a Minari data set, or a plain table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ..datasets import checks as check
from ..datasets import mend
from ..datasets.checks import row_blocks
from ..datasets.files import finish
from ..datasets.offline_dataset import OfflineDataset
from ..errors import require
from ..files import atomic_write
from .options import DataOptions


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What is written: one or more of a flat file (--hdf5), a Minari data set (--id), tables (--csv, --parquet)."""

    hdf5: Annotated[Path | None, tyro.conf.arg(metavar="FILE.hdf5")] = None
    """One flat file, checked: it needs no --columns and no bounds, and is read fast, however short the episodes are."""
    id: Annotated[str | None, tyro.conf.arg(metavar="NAME-vN")] = None
    """Id of the new Minari data set, for example mine/pump-v0."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("data")
    """Folder below which the Minari data set is written."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """Table to write: one row a transition, every digit kept."""
    parquet: Annotated[Path | None, tyro.conf.arg(metavar="FILE.parquet")] = None
    """The same table as Parquet."""
    mend: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME", help_behavior_hint="(optional)")] = ()
    """Remedies to apply first, by the names that describe gives: time-limit, doubled-flags, not-finite, clip, ..."""
    time_limit: int | None = None
    """For --mend time-limit: the steps after which the task's episodes are cut, if you know."""
    description: str = "converted by cql-tutorial"
    """Recorded in the data set."""
    author: str = "unknown"
    """Recorded in the data set."""
    overwrite: bool = False
    """Replace what is there."""


def convert(data: DataOptions, target: ConvertOptions) -> int:
    """Read a log with all checks, mend it if asked to, and write it again."""
    files = {"--hdf5": target.hdf5, "--csv": target.csv, "--parquet": target.parquet}
    require(
        target.id or any(files.values()), "--hdf5, --id, --csv, --parquet", None, "one of them", "say what to write."
    )
    require(not data.hold_out, "--hold-out", data.hold_out, "nothing for convert", "leave it out.")
    for flag, file in files.items():
        free = target.overwrite or file is None or not file.exists()
        require(free, flag, str(file), "a new file", "choose another name, or pass --overwrite.")
    dataset = mended(data, target) if target.mend else data.load()
    if target.hdf5 is not None:
        dataset.to_hdf5(target.hdf5, overwrite=target.overwrite)
        print(f"written: {target.hdf5} ({len(dataset)} rows)\nread it with --data {target.hdf5}")
    if target.csv is not None:
        write_csv(dataset, target.csv)
        print(f"written: {target.csv} ({len(dataset)} rows)")
        print(f"read it with {data.again(target.csv, dataset, columns(dataset))}")
    if target.parquet is not None:
        frame = dataset.to_dataframe()
        with atomic_write(target.parquet) as temporary:
            frame.to_parquet(temporary)
        print(f"written: {target.parquet} ({len(dataset)} rows)")
        print(f"read it with {data.again(target.parquet, dataset, columns(dataset))}")
    if target.id is not None:
        names = {"columns": dataset.metadata["columns"]} if dataset.metadata.get("columns") else {}
        about: dict[str, Any] = {"description": target.description, "author": target.author, "extra": names}
        folder = dataset.to_minari(target.id, target.out, **about, overwrite=target.overwrite)
        print(f"written: {folder}\nread it with --data {folder}")
    return 0


def mended(data: DataOptions, target: ConvertOptions) -> OfflineDataset:
    """The data set after the remedies, also of a source that cannot be loaded as it is; prints what each has done."""
    found = data.stored()
    about = dict(found.pop("metadata", {}))
    own = {name: found.pop(name) for name in ("id", "copy") if name in found}
    columns, said = mend.apply(found, target.mend, time_limit=target.time_limit)
    for line in said:
        print(f"mended: {line}")
    for name in ("terminations", "truncations"):
        if name in columns:
            columns[name] = check.flags(name, columns[name], len(columns["rewards"])).numpy()
    columns.setdefault("truncations", np.zeros(len(columns["rewards"]), bool))
    about = {name: value for name, value in about.items() if name not in ("flags_within", "collapsed")}
    options = {name: columns.get(name) for name in ("n_actions", "action_low", "action_high")}
    columns = finish(columns, options)
    metadata = about | columns.pop("metadata", {}) | {"mended": said}
    if columns.get("n_actions") is not None:
        columns = {name: value for name, value in columns.items() if name not in ("action_low", "action_high")}
    reading = {name: value for name, value in data.reading().items() if name in ("dtype", "out_of_bounds")}
    return OfflineDataset.from_arrays(**columns, **own, **reading, metadata=metadata)


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
    parts = [episode, *(column.cpu().numpy() for column in (*arrays, *flags))]
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "termination", "truncation"])
        for rows in row_blocks(len(dataset), 8 * len(header)):  # text takes tens of times the memory of its numbers
            writer.writerows(np.concatenate([_text(part[rows]) for part in parts], 1))


def _text(array: np.ndarray) -> np.ndarray:
    """Write ``[N]`` or ``[N, k]`` as text: 9 digits give a float32 back exactly, 17 a float64."""
    digits = {"f": "%.17g" if array.dtype.itemsize == 8 else "%.9g"}.get(array.dtype.kind, "%d")
    return np.char.mod(digits, array.reshape(len(array), -1))
