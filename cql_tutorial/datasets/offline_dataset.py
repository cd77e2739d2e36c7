"""Offline data: build from arrays or a Minari file, check, describe, iterate, sample, write.

A data set is a flat table of transitions (s, a, r, s', termination, truncation) in the environment's own units, cut
into episodes. A *termination* ends the task and cuts the bootstrap; a *truncation* only ends the recording. Where both
are set, the termination wins. An episode whose last row has neither is *unfinished* and counts as truncated there.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import REQUIRED, Batch
from ..errors import DataError, check_int, require, require_data
from . import checks as check
from . import d4rl_io, mend, minari_io, tables
from . import defects as known_defects

_STORED = minari_io.ARRAYS
_ROW_FIELDS = (*_STORED, "clipped", "batch_returns")
_OTHER_NAMES = {
    "terminals": "terminations",
    "terminated": "terminations",
    "timeouts": "truncations",
    "truncated": "truncations",
    "dones": "terminations or truncations",
    "done": "terminations or truncations",
}
_BOUNDS = ("action_low", "action_high")
_BLOCK_ROWS, _GATHER_ROWS = 2**18, 2**14  # rows drawn from one seed (1,024 batches of 256); rows gathered at once


@dataclass(frozen=True, eq=False, repr=False)
class OfflineDataset:
    """N transitions of E episodes; make one with `from_arrays`, `from_mapping`, `from_minari` or `load_dataset`.

    Shapes: ``observations, next_observations [N, S]``, ``actions [N, A]`` (``[N]`` int64 if discrete), ``rewards [N]``,
    ``terminations, truncations, clipped [N]`` bool, ``episode_starts [E]`` int64. ``action_low`` and ``action_high``
    are a float, or a tuple of A where the dimensions differ (None if discrete); ``n_actions`` is None if continuous.
    ``len(dataset)`` is N. Iterating yields one epoch of ``Batch``es: ``batch_size`` rows each, every row at most once,
    in an order drawn from ``seed`` and ``epoch`` (which then counts up); the last partial batch is dropped.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminations: Tensor
    truncations: Tensor
    episode_starts: Tensor
    clipped: Tensor
    id: str = "arrays"
    action_low: float | tuple[float, ...] | None = None
    action_high: float | tuple[float, ...] | None = None
    n_actions: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    batch_returns: Tensor | None = None
    batch_size: int = 256
    seed: int = 0
    epoch: int = 0

    # ---- building -------------------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        observations: Any,
        actions: Any,
        rewards: Any,
        next_observations: Any = None,
        terminations: Any = None,
        truncations: Any = None,
        *,
        id: str = "arrays",
        action_low: Any = None,
        action_high: Any = None,
        n_actions: int | None = None,
        out_of_bounds: str = "error",
        episode_starts: Any = None,
        dtype: torch.dtype = torch.float32,
        metadata: Mapping[str, Any] | None = None,
        copy: bool = True,
    ) -> OfflineDataset:
        """Check and copy arrays, tensors or lists of N transitions (shapes as in the class) into a data set.

        Any dtype and byte order will do; whole numbers become floats where floats are due, ``[N, 1]`` becomes ``[N]``.
        Masked and missing values, images, stacks of frames and dicts are refused, each with what to do.
        ``copy=False`` takes over arrays that have the right dtype already: change them no more.
        ``n_actions`` says that the actions are discrete; otherwise they lie within ``action_low``..``action_high`` (a
        number or A of them; -1 and 1 if not given), or are clipped, marked and counted with ``out_of_bounds="clip"``.
        ``truncations`` default to none. A new episode begins after each termination or truncation, and at
        ``episode_starts`` if given. ``next_observations=None`` takes the following row's observation within an episode;
        after a termination it repeats the observation (no bootstrap reads it); for the last row of any other
        episode it is missing, which is an error. Raises ``DataError``.
        """
        good = isinstance(dtype, torch.dtype) and dtype.is_floating_point
        require(good, "dtype", dtype, "torch.float32 or torch.float64", "pass dtype=torch.float32, or leave it out.")
        require(isinstance(metadata, (Mapping, type(None))), "metadata", metadata, "a mapping, or None", "pass a dict.")
        obs = check.floats("observations", observations, dtype, "N", "S", copy=copy)
        n, width = obs.shape
        if n_actions is None:
            act = check.actions(actions, None, n, dtype, copy)
            low, high = check.bounds(action_low, action_high, act)
            act, clipped = check.within_bounds(act, low, high, out_of_bounds)
        else:
            none, name = action_low is None and action_high is None, "action_low, action_high"
            require_data(none, name, "bounds beside n_actions", "n_actions alone", "drop them.")
            n_actions = check_int("n_actions", n_actions, 1)  # a plain int, also if given as NumPy's
            check.plausible_choices(n_actions, n)
            act, clipped = check.actions(actions, n_actions, n, dtype), torch.zeros(n, dtype=torch.bool)
            low = high = None
        rew = check.floats("rewards", rewards, dtype, n, copy=copy)
        mend = "for a task that never ends pass np.zeros(len(rewards), bool); time limits belong in truncations=."
        require_data(terminations is not None, "terminations", "none", "a flag a row: did the task end there?", mend)
        term = check.flags("terminations", terminations, n)
        trunc = check.flags("truncations", torch.zeros(n, dtype=torch.bool) if truncations is None else truncations, n)
        starts = check.starts(episode_starts, term | trunc)
        if next_observations is None:
            nxt = check.next_observations_of(obs, starts, term)
        else:
            nxt = check.floats("next_observations", next_observations, dtype, n, width, copy=copy)
        about = dict(metadata or {})
        if "collapsed" not in about and dtype != torch.float64:  # a reader that has narrowed them has looked itself
            given = {"observations": observations, "actions": actions, "rewards": rewards}
            if half := {name: "float16" for name, column in given.items() if check.is_half(column)}:
                about.setdefault("stored_dtypes", half)
            if lost := {} if n_actions is not None and n > 2**24 else check.collapsed_in(given):
                about["collapsed"] = lost
        made = cls(obs, act, rew, nxt, term, trunc, starts, clipped, id, low, high, n_actions, about)
        return made.to(obs.device)  # columns may have come from several devices

    @classmethod
    def from_mapping(cls, source: Mapping[str, Any], **options: Any) -> OfflineDataset:
        """`from_arrays` of a mapping that has the keys of a ``Batch`` (and truncations); other keys are ignored.

        Raises ``DataError`` that names a missing key.
        """
        found, expected = f"no such key among {sorted(map(str, source))}", f"the keys {list(REQUIRED)}"
        mend = "rename your arrays to these terms (D4RL's terminals are terminations, its timeouts truncations)."
        for key in REQUIRED:
            require_data(key in source, f"data[{key!r}]", found, expected, mend)
        found, mend = "a flag under another name", "rename or remove it."
        for key, meant in _OTHER_NAMES.items():  # dropping one of these would quietly join episodes
            require_data(key not in source, f"data[{key!r}]", found, f"the name {meant!r}", mend)
        columns = {key: source[key] for key in (*REQUIRED, "truncations", "episode_starts") if key in source}
        return cls.from_arrays(**(columns | options))

    @classmethod
    def from_minari(cls, source: Any, *, max_gigabytes: float = 8.0, **options: Any) -> OfflineDataset:
        """Read a ``MinariDataset`` object, an id or a path (local only; see `load_dataset`).

        ``options`` are those of `from_arrays`; action bounds are the action space's unless given. Raises ``DataError``
        for a damaged or too large file, or unusable spaces; ``DatasetNotFoundError``.
        """
        return cls.from_arrays(**(minari_io.read(source, max_gigabytes, _dtype_name(options)) | options))

    @classmethod
    def from_d4rl_hdf5(
        cls,
        path: Any,
        columns: Mapping[str, Any] | None = None,
        *,
        max_gap: float | None = None,
        max_episode_steps: int | None = None,
        max_gigabytes: float = 8.0,
        use_next_observations: bool = True,
        **options: Any,
    ) -> OfflineDataset:
        """Read an HDF5 file of D4RL (v0-v2), d3rlpy (1, 2), robomimic, or `to_hdf5`.

        ``terminals`` become terminations, ``timeouts`` truncations, and d3rlpy's ``episode_terminals`` truncations
        where the task did not end. ``columns`` maps our names to other keys, as in `from_dataframe`: also to several,
        whose arrays are joined, and to those within groups (``{"observations": ["obs/pos", "obs/vel"], "terminations":
        "done"}``). ``max_episode_steps`` ends episodes in files that mark no (or not all) timeouts; what was assumed,
        which keys were not used, and how many last rows lacked a next observation (see `files.fill_next_observations`),
        is in ``metadata``. Raises as `d4rl_io.arrays`.
        """
        more = options | {"max_gap": max_gap}
        read = d4rl_io.read(
            path, max_episode_steps, max_gigabytes, use_next_observations, _dtype_name(options), columns, more
        )
        if options.get("n_actions") is not None or any(options.get(name) is not None for name in _BOUNDS):
            read = {name: value for name, value in read.items() if name not in (*_BOUNDS, "n_actions")}
        read |= {name: check.Finite(read[name]) for name in read.pop("finite", ())}
        return cls.from_arrays(**(read | options))

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        columns: Mapping[str, Any] | None = None,
        *,
        max_gap: float | None = None,
        max_gigabytes: float = 8.0,
        **options: Any,
    ) -> OfflineDataset:
        """Read a data frame: a row a transition, the rows of an episode one after another.

        ``columns`` maps our names to the frame's: ``{"observations": "obs_*", "actions": ["a"], ...}``; and
        ``episode``, a label, and ``time``, by which the order of the rows is checked. ``terminations`` may be
        ``"none"`` (the task never ends), ``"every-row"``, or ``"last-row"`` (of each ``episode``). None takes columns
        whose names are plain (obs_0, action, reward, termination, ...) and says which. Episodes are cut where more than
        ``max_gap`` seconds (units of a ``time`` of numbers) lie between two rows. pandas, or anything with
        ``to_pandas``, ``__arrow_c_stream__`` or ``__dataframe__``. Missing values, words and times are refused, with
        counts; nothing is filled in. Without next_observations, last rows are treated as by
        `files.fill_next_observations`. ``metadata`` names the columns used and those unused. Raises ``DataError``,
        ``ConfigError``.
        """
        more = {"max_gigabytes": max_gigabytes, "dtype": _dtype_name(options), "max_gap": max_gap}
        return cls.from_arrays(**(tables.from_frame(frame, columns, **(options | more)) | options))

    @classmethod
    def from_csv(
        cls,
        path: Any,
        columns: Mapping[str, Any] | None = None,
        *,
        delimiter: str | None = None,
        decimal: str = ".",
        max_gap: float | None = None,
        max_gigabytes: float = 8.0,
        **options: Any,
    ) -> OfflineDataset:
        """Read a CSV or TSV file, also one that ends in .gz; ``columns`` as in `from_dataframe`.

        ``delimiter`` None takes what the header shows: a comma, else a semicolon, a tab or a bar. ``decimal`` may be a
        comma. Needs the extra ``cql-tutorial[tables]``. Raises as `from_dataframe`; errors name the line.
        """
        more = {"delimiter": delimiter, "decimal": decimal, "max_gigabytes": max_gigabytes}
        more |= {"dtype": _dtype_name(options), "max_gap": max_gap}
        return cls.from_arrays(**(tables.from_csv(path, columns, **(options | more)) | options))

    @classmethod
    def from_parquet(
        cls,
        path: Any,
        columns: Mapping[str, Any] | None = None,
        *,
        max_gap: float | None = None,
        max_gigabytes: float = 8.0,
        **options: Any,
    ) -> OfflineDataset:
        """Read a Parquet file; ``columns`` as in `from_dataframe`. Columns without a role are not read.

        Needs the extra ``cql-tutorial[tables]``. Raises as `from_dataframe`.
        """
        more = {"max_gigabytes": max_gigabytes, "dtype": _dtype_name(options), "max_gap": max_gap}
        return cls.from_arrays(**(tables.from_parquet(path, columns, **(options | more)) | options))

    def to_dataframe(self) -> Any:
        """A pandas ``DataFrame``, a row a transition: episode, obs_*, action_*, reward, next_obs_* and the flags.

        `from_dataframe` reads it back (with ``n_actions`` or the bounds, which a frame does not hold).
        """
        return tables.to_frame(self)

    def to_hdf5(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one flat HDF5 file, which is read fast however short the episodes are, and return its path.

        Its arrays have D4RL's names; bounds (or the number of actions) and episode starts are recorded beside them.
        ``DataError`` if the file exists and not ``overwrite``, ``CheckpointError`` where it cannot be written.
        """
        file = Path(path).expanduser()
        free = overwrite or not file.exists()
        require_data(free, f"file {file}", "a file of that name", "a new one", "pass overwrite=True, or another name.")
        d4rl_io.write(self, file)
        return file

    def to_minari(
        self,
        id: str,
        root_path: str | os.PathLike[str],
        *,
        description: str,
        author: str | Collection[str],
        author_email: str | Collection[str] | None = None,
        algorithm_name: str | None = None,
        code_permalink: str | None = None,
        requirements: Sequence[str] | None = None,
        environment: Any = None,
        extra: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write Minari data set ``id`` below ``root_path`` and return its folder.

        Reading it in the same dtype gives the same numbers. ``environment`` (an id, an EnvSpec or a gymnasium.Env) is
        recorded so that Minari can recover it, ``requirements`` are pip's lines for it. The other texts are Minari's
        own; ``extra`` goes into metadata.json beside them. Minari keeps T + 1 observations an episode, so ``DataError``
        is raised if a next_observation differs from the following row's observation; also if the id exists and not
        ``overwrite``. ``CheckpointError`` where the file cannot be written.
        """
        jumps = self._discontinuities().nonzero()
        if len(jumps):
            found = f"{len(jumps)} rows (first: {int(jumps[0])}) unlike the next row's observation"
            expected = "next_observations[t] == observations[t + 1] within an episode, as Minari stores each only once"
            mend = "pass episode_starts= to from_arrays with a start after each such row."
            raise DataError("next_observations", found, expected, mend)
        about = {
            "code_permalink": code_permalink,
            "author": _names(author),
            "author_email": _names(author_email),
            "algorithm_name": algorithm_name,
            "description": description,
            "requirements": None if requirements is None else list(requirements),
        }
        about = {key: value for key, value in about.items() if value is not None}
        return minari_io.write(self, id, root_path, environment, about, dict(extra or {}), overwrite)

    # ---- parts and copies -----------------------------------------------------------------------------------------

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> OfflineDataset:
        """The same data on another device, or with its floating-point columns in another dtype."""
        columns = self._columns(*_ROW_FIELDS, "episode_starts").items()
        moved: Any = {name: x.to(device, dtype if x.is_floating_point() else None) for name, x in columns}
        return replace(self, **moved)

    def with_batch_size(self, batch_size: int) -> OfflineDataset:
        """The same data, iterated in mini-batches of ``batch_size`` rows."""
        return replace(self, batch_size=check_int("batch_size", batch_size, 1))

    def with_returns_to_go(
        self, discount: float, reward_scale: float = 1.0, truncation_value: float | Tensor | None = None
    ) -> OfflineDataset:
        """The same data, whose batches carry ``returns_to_go`` (which Cal-QL reads)."""
        return replace(self, batch_returns=self.returns_to_go(discount, reward_scale, truncation_value))

    def subset(self, rows: Any) -> OfflineDataset:
        """The given rows (indices or a bool mask) in that order; a gap within an episode cuts it in two."""
        expected, mend = f"row numbers below {len(self)}, or a mask of {len(self)} bools", "choose at least one row."
        try:
            index = torch.arange(len(self))[torch.as_tensor(rows).cpu()].to(self.device)
        except IndexError as error:
            raise DataError("rows", str(error), expected, mend) from error
        require_data(index.ndim == 1 and len(index), "rows", f"shape {tuple(index.shape)}", expected, mend)
        episode = self._episode_of_row()[index]
        new = torch.ones(len(index), dtype=torch.bool, device=self.device)
        new[1:] = (index[1:] != index[:-1] + 1) | (episode[1:] != episode[:-1])
        chosen: dict[str, Any] = {name: column[index] for name, column in self._columns(*_ROW_FIELDS).items()}
        return replace(self, **chosen, episode_starts=new.nonzero().flatten(), epoch=0)

    def split(self, fraction: float, seed: int = 0) -> tuple[OfflineDataset, OfflineDataset]:
        """(training part, held-out part): ``fraction`` of the whole episodes, at least one, is held out at random."""
        episodes = len(self.episode_starts)
        found, expected = f"fraction {fraction} of {episodes} episodes", "0 < fraction < 1 and two or more episodes"
        mend = "0.2 holds out a fifth; of a single episode hold out rows with subset(rows)."
        require_data(0 < fraction < 1 and episodes >= 2, "split", found, expected, mend)
        held = min(max(1, round(fraction * episodes)), episodes - 1)
        order = torch.randperm(episodes, generator=_generator(check_int("seed", seed, 0), 2, 0)).to(self.device)
        mask = torch.zeros(episodes, dtype=torch.bool, device=self.device)
        mask[order[:held]] = True
        mask = mask[self._episode_of_row()]
        return self.subset(~mask), self.subset(mask)

    def top_episodes(self, fraction: float) -> OfflineDataset:
        """The best ``fraction`` of the whole episodes by undiscounted return, at least one (the data of %BC)."""
        require(0 < fraction <= 1, "fraction", fraction, "0 < fraction <= 1", "0.1 keeps the best tenth.")
        kept = max(1, math.floor(fraction * len(self.episode_starts) + 0.5))
        best = self.episode_returns().argsort(descending=True, stable=True)[:kept]
        return self.subset(torch.isin(self._episode_of_row(), best))

    # ---- mini-batches ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rewards)

    def __iter__(self) -> Iterator[Batch]:
        found, expected = f"{len(self)} transitions", f"at least one mini-batch of {self.batch_size}"
        mend = "use with_batch_size(n) with a smaller n, or batches(steps, batch_size, seed): drawn with replacement."
        require_data(len(self) >= self.batch_size, "dataset", found, expected, mend)
        order = torch.randperm(len(self), generator=_generator(self.seed, 0, self.epoch))
        object.__setattr__(self, "epoch", self.epoch + 1)  # the only thing that changes in a frozen data set
        used = len(self) - len(self) % self.batch_size
        return self._gather(order[:used].view(-1, self.batch_size))

    def batches(
        self, steps: int, batch_size: int | None = None, seed: int | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """Batches number start..steps-1, each of ``batch_size`` rows drawn uniformly with replacement.

        Batch t depends on (seed, t, batch_size) and the data alone, so a resumed run with ``start=k`` sees what the
        whole run would have seen; skipping costs nothing. Raises ``ConfigError``.
        """
        size = check_int("batch_size", self.batch_size if batch_size is None else batch_size, 1)
        seed = check_int("seed", self.seed if seed is None else seed, 0)
        start, steps = check_int("start", start, 0), check_int("steps", steps, 0)
        return self._sample(steps, size, seed, start)

    def _sample(self, steps: int, size: int, seed: int, start: int) -> Iterator[Batch]:
        length = max(1, _BLOCK_ROWS // size)  # batches a block
        while start < steps:
            block, first = divmod(start, length)
            index = torch.randint(len(self), (length, size), generator=_generator(seed, 1, block))
            last = min(length, steps - block * length)
            yield from self._gather(index[first:last])
            start = block * length + last

    def _gather(self, index: Tensor) -> Iterator[Batch]:
        """Yield the batches of rows ``index [batches, B]``; gather several at once: each gather has a fixed cost."""
        if self.device.type == "cuda":
            index = index.pin_memory()  # so that the host need not wait for the copy
        index = index.to(self.device, non_blocking=True)
        columns = self._columns(*_STORED[:5], "batch_returns")
        for part in index.split(max(1, _GATHER_ROWS // index.shape[1])):
            flat = part.reshape(-1)
            rows = [column.index_select(0, flat).unflatten(0, part.shape).unbind() for column in columns.values()]
            for batch in zip(*rows, strict=True):
                yield Batch(*batch)

    # ---- returns and facts ----------------------------------------------------------------------------------------

    def returns_to_go(
        self, discount: float, reward_scale: float = 1.0, truncation_value: float | Tensor | None = None
    ) -> Tensor:
        """``G_t = reward_scale r_t + discount G_{t+1}`` to the end of each episode, ``[N]`` (summed in float64).

        After a termination G is 0; after a truncation or an unfinished end it is ``truncation_value`` (a number, or a
        tensor [N], such as the values of next_observations; in scaled reward units), or 0 if None. A row whose
        next_observation is not the following row's observation ends the sum in the same way: rewards beyond a gap were
        not earned from there.
        Without it G is a lower bound of the behaviour's return only if rewards are >= 0. Raises ``ConfigError``, and
        ``DataError`` for a tensor of another shape.
        """
        require(0 <= discount <= 1, "discount", discount, "0 <= discount <= 1", "0.99 is usual.")
        given = 0.0 if truncation_value is None else truncation_value
        expected, mend = f"a finite number, or {len(self)} of them, one a row", "pass 0.0, or the values of a critic."
        try:
            after = torch.as_tensor(given).detach().cpu().double()  # on the host: Apple's GPUs have no float64
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError("truncation_value", repr(given)[:80], expected, mend) from error
        found = f"shape {tuple(after.shape)}"
        require_data(after.shape in ((), self.rewards.shape), "truncation_value", found, expected, mend)
        wrong = int((~after.isfinite()).sum())
        require_data(not wrong, "truncation_value", f"{wrong} NaN or infinite values", expected, mend)
        scale = isinstance(reward_scale, (int, float)) and math.isfinite(reward_scale)
        require(scale, "reward_scale", reward_scale, "a finite number", "1.0 leaves the rewards as they are.")
        beyond = torch.where(self.terminations.cpu(), 0.0, after).tolist()
        ends = set(self._last_rows().tolist()) | set(self._gaps().nonzero()[0].tolist())
        rewards = (self.rewards.cpu().double() * reward_scale).tolist()
        # Plain floats: a division by discount**t (the usual vector form) overflows on long episodes.
        result, value = [0.0] * len(self), 0.0
        for t in reversed(range(len(self))):
            result[t] = value = rewards[t] + discount * (beyond[t] if t in ends else value)
        return torch.tensor(result, dtype=torch.float64).to(self.dtype).to(self.device)

    def episode_lengths(self) -> Tensor:
        """Number of rows of each episode, ``[E]``."""
        end = self.episode_starts.new_tensor([len(self)])
        return torch.diff(self.episode_starts, append=end)

    def episode_returns(self) -> Tensor:
        """Undiscounted return of each episode, ``[E]`` (summed in float64)."""
        # On the host, as Apple's GPUs have no float64.
        total = torch.zeros(len(self.episode_starts), dtype=torch.float64)
        total.index_add_(0, self._episode_of_row().cpu(), self.rewards.cpu().double())
        return total.to(self.dtype).to(self.device)

    def describe(self, with_defects: bool = True) -> check.Description:
        """Describe the data in a dict that prints as a table: sizes, ranges, ends, and signs of trouble.

        ``jump_share``: rows whose next_observation differs from the following row's observation, of those that have
        one within their episode. ``duplicate_share``: rows whose (observation, action) occurred before.
        ``known_defects``, if any and ``with_defects``: count and remedy of each (`defects()` also finds double rows).
        """
        facts = check.describe(self, self._last_rows(), self._discontinuities())
        if with_defects and (found := self.defects(duplicates=False)):
            facts["known_defects"] = list(map(str, found))
        return facts

    def defects(self, **options: Any) -> list[known_defects.Defect]:
        """Find known defects of recorded data, each with its count and remedy (``options`` of `defects.find`)."""
        return known_defects.find(self, **options)

    def mended(self, *names: str, **options: Any) -> OfflineDataset:
        """The same data after the remedies ``names`` (those that `defects` gives as ``mend``); see `mend.apply`.

        ``metadata["mended"]`` says what was done. Raises as `mend.apply`.
        """
        columns = self._columns(*_STORED, "clipped")
        starts = self.episode_starts.cpu()
        ended = (self.terminations | self.truncations).cpu()
        about: Any = {"n_actions": self.n_actions, "action_low": self.action_low, "action_high": self.action_high}
        unflagged = starts[1:][~ended[starts[1:] - 1]]
        data, said = mend.apply({**columns, **about, "unflagged_starts": unflagged.numpy()}, names, **options)
        if self.n_actions is not None:
            data["actions"] = data["actions"].reshape(-1)
        data.pop("clipped", None)
        if "unflagged_starts" in data:
            flagged = np.flatnonzero((data["terminations"].astype(bool) | data["truncations"].astype(bool))[:-1]) + 1
            data["episode_starts"] = np.union1d(np.r_[0, flagged], data.pop("unflagged_starts"))
        metadata = {**self.metadata, "mended": [*self.metadata.get("mended", ()), *said]}
        made = type(self).from_arrays(**data, dtype=self.dtype, id=self.id, metadata=metadata)
        return replace(made, batch_size=self.batch_size, seed=self.seed).to(self.device)

    def fingerprint(self) -> str:
        """Hash the numbers and the episodes' first rows, equally on every device: equal hashes mean equal data sets."""
        digest = hashlib.sha256(repr((tuple(self.observations.shape), str(self.dtype), self.n_actions)).encode())
        for column in self._columns(*_STORED, "episode_starts", "batch_returns").values():
            digest.update(column.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        return self.rewards.device

    @property
    def dtype(self) -> torch.dtype:
        return self.rewards.dtype

    @property
    def discrete(self) -> bool:
        return self.n_actions is not None

    @property
    def observation_dim(self) -> int:
        return self.observations.shape[1]

    @property
    def action_dim(self) -> int:
        """Dimensions of an action; the number of actions if they are discrete."""
        return self.actions.shape[1] if self.n_actions is None else self.n_actions

    def __repr__(self) -> str:
        return f"OfflineDataset({self.id!r}, {len(self)} transitions, {len(self.episode_starts)} episodes)"

    def _columns(self, *names: str) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _last_rows(self) -> Tensor:
        return self.episode_starts + self.episode_lengths() - 1

    def _episode_of_row(self) -> Tensor:
        return torch.repeat_interleave(self.episode_lengths())

    def _gaps(self) -> np.ndarray:
        """Rows within an episode from which the recording did not go on to the next row, beyond rounding."""
        obs, nxt = (x.detach().cpu().numpy() for x in (self.observations, self.next_observations))
        last = np.zeros(len(self), bool)
        last[self._last_rows().cpu().numpy()] = True
        return check.jumps(obs, nxt, last)

    def _discontinuities(self) -> Tensor:
        following, nxt = (x.detach().cpu().numpy() for x in (self.observations[1:], self.next_observations[:-1]))
        result = torch.from_numpy(np.append(check.rows_differ(nxt, following), False)).to(self.device)
        result[self._last_rows()] = False
        return result


def load_dataset(id_or_path: str | os.PathLike[str], *, remote: bool = False, **options: Any) -> OfflineDataset:
    """Load a Minari data set by id or path, or a file (.hdf5, .h5, .csv, .tsv, .parquet) by the loader of its ending.

    ``options`` are those of the loader (``columns`` for tables) and of `OfflineDataset.from_arrays`, such as ``dtype``.
    Looked at, in this order: the path, MINARI_DATASETS_PATH, the checkout's ``data/``, ``data/`` in and above the
    current folder, Minari's own folder; Minari's remote only if ``remote``. Raises ``DatasetNotFoundError`` that lists
    the places and the nearest ids, ``DataError`` for a damaged file.
    """
    kind = kind_of(id_or_path)
    if kind == "minari" or os.path.isdir(id_or_path):
        folder = minari_io.find(id_or_path, remote)
        _require_options(OfflineDataset.from_minari, options, "a Minari data set")
        return OfflineDataset.from_minari(folder, **options)
    read = {
        "d4rl": OfflineDataset.from_d4rl_hdf5,
        "parquet": OfflineDataset.from_parquet,
        "csv": OfflineDataset.from_csv,
    }
    if kind in read:
        _require_options(read[kind], options, f"a file .{kind}" if kind != "d4rl" else "an HDF5 file")
    else:
        raise DataError(
            f"file {os.fspath(id_or_path)}", f"the ending .{kind}", "a kind of file with a reader", _READ_IT[kind]
        )
    return read[kind](id_or_path, **options)


_READ_IT = {
    "npz": "numpy.load(path) gives its arrays: OfflineDataset.from_arrays(observations=..., actions=..., ...).",
    "npy": "numpy.load(path) gives its array: OfflineDataset.from_arrays(observations=..., actions=..., ...).",
    "json": "pandas.read_json(path, lines=True) makes a data frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "jsonl": "pandas.read_json(path, lines=True) makes a frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "xlsx": "pandas.read_excel(path) makes a data frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "feather": "pandas.read_feather(path) makes a data frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "pkl": "a pickle runs the code in it: have its maker save arrays, as .npz, .hdf5 or .parquet.",
    "pickle": "a pickle runs the code in it: have its maker save arrays, as .npz, .hdf5 or .parquet.",
    "pt": "torch.load(path, weights_only=True) gives its tensors: OfflineDataset.from_arrays(observations=..., ...).",
    "mat": "scipy.io.loadmat(path) gives its arrays: OfflineDataset.from_arrays(observations=..., actions=..., ...).",
    "zip": "unpack it first.",
    "bz2": "unpack it first, or pack it as .gz.",
    "xz": "unpack it first, or pack it as .gz.",
    "zst": "unpack it first, or pack it as .gz.",
    "tar": "unpack it first.",
    "xls": "pandas.read_excel(path) makes a data frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "ods": "pandas.read_excel(path) makes a data frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "orc": "pandas.read_orc(path) makes a data frame: OfflineDataset.from_dataframe(frame, columns=...).",
    "pth": "torch.load(path, weights_only=True) gives its tensors: OfflineDataset.from_arrays(observations=..., ...).",
    "joblib": "a pickle runs the code in it: have its maker save arrays, as .npz, .hdf5 or .parquet.",
}


def kind_of(id_or_path: str | os.PathLike[str]) -> str:
    """d4rl, csv, parquet, an ending that has no reader, or minari for all else, by the ending of the name."""
    if not isinstance(id_or_path, (str, os.PathLike)):
        kind = type(id_or_path).__name__
        mend = (
            "OfflineDataset.from_dataframe(frame, columns=...) reads a data frame, from_mapping(...) a dict of arrays."
        )
        raise DataError("data set", f"a {kind}", "an id or a path", mend)
    name = os.fspath(id_or_path).lower()
    ending = Path(name.removesuffix(".gz")).suffix[1:]
    if ending in ("hdf5", "h5", "hdf") and os.path.basename(name) != "main_data.hdf5" and not name.endswith(".gz"):
        return "d4rl"
    if ending in ("parquet", "pq") and not name.endswith(".gz"):
        return "parquet"
    if ending in ("csv", "tsv", "txt"):
        return "csv"
    return ending if ending in _READ_IT else "minari"


def _require_options(loader: Any, options: Mapping[str, Any], source: str) -> None:
    """``ConfigError`` for options that neither a loader has nor `from_arrays`, which it passes them to."""
    known = {name for made in (loader, OfflineDataset.from_arrays) for name in inspect.signature(made).parameters}
    known -= {*_STORED, "path", "source", "options"}
    for name in options:
        near = ", ".join(difflib.get_close_matches(name, known, 1)) or ", ".join(sorted(known))
        require(name in known, name, options[name], f"an option of {source} (nearest: {near})", "leave it out.")


def _dtype_name(options: Mapping[str, Any]) -> str:
    return "float64" if options.get("dtype") == torch.float64 else "float32"


def _names(given: str | Collection[str] | None) -> set[str] | None:
    return {given} if isinstance(given, str) else None if given is None else set(given)


def _generator(seed: int, purpose: int, number: int) -> torch.Generator:
    """Make a generator for each (seed, purpose, number), so that no draw has to be repeated to reach a later one."""
    words = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))
