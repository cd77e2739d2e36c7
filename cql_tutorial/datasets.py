"""Offline data: build from arrays or a Minari file, check, describe, iterate, sample, write.

A data set is a flat table of transitions (s, a, r, s', termination, truncation) in the environment's own units, cut
into episodes. A *termination* ends the task and cuts the bootstrap; a *truncation* only ends the recording. Where both
are set, the termination wins. An episode whose last row has neither is *unfinished* and counts as truncated there.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import data_checks as check
from . import minari_io
from .batch import Batch
from .errors import ConfigError, DataError

_STORED = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
_ROW_FIELDS = (*_STORED, "clipped", "batch_returns")
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
        cls, observations: Any, actions: Any, rewards: Any, next_observations: Any = None, terminations: Any = None,
        truncations: Any = None, *, id: str = "arrays", action_low: Any = None, action_high: Any = None,
        n_actions: int | None = None, out_of_bounds: str = "error", episode_starts: Any = None,
        dtype: torch.dtype = torch.float32, metadata: Mapping[str, Any] | None = None,
    ) -> OfflineDataset:  # fmt: skip
        """Check and copy arrays, tensors or lists of N transitions (shapes as in the class) into a data set.

        ``n_actions`` says that the actions are discrete; otherwise they lie within ``action_low``..``action_high`` (a
        number or A of them; -1 and 1 if not given), or are clipped, marked and counted with ``out_of_bounds="clip"``.
        ``truncations`` default to none. A new episode begins after each termination or truncation, and at
        ``episode_starts`` if given. ``next_observations=None`` takes the following row's observation within an episode;
        after a termination it repeats the observation (no bootstrap reads it); for the last row of any other
        episode it is missing, which is an error. Raises ``DataError``.
        """
        obs = check.floats("observations", observations, dtype, "[N, S]")
        n = len(obs)
        if n_actions is None:
            act = check.continuous_actions(actions, dtype, n)
            low, high = check.bounds(action_low, action_high, act.shape[1])
            act, clipped = check.within_bounds(act, low, high, out_of_bounds)
        else:
            low = high = None
            if action_low is not None or action_high is not None:
                raise DataError(
                    "action_low/action_high", "bounds beside n_actions", "one of the two", "drop the bounds."
                )
            n_actions = check.whole("n_actions", n_actions, 1)  # a plain int, also if given as NumPy's
            act = check.discrete_actions(actions, n_actions, n)
            clipped = torch.zeros(n, dtype=torch.bool)
        rew = check.floats("rewards", rewards, dtype, "[N]", n)
        if terminations is None:
            raise DataError(
                "terminations", "none", "a flag a row: did the task end there?",
                "for a task that never ends pass np.zeros(len(rewards), bool); time limits belong in truncations=.",
            )  # fmt: skip
        term = check.flags("terminations", terminations, n)
        trunc = check.flags("truncations", [False] * n if truncations is None else truncations, n)
        starts = check.starts(episode_starts, term | trunc)
        if next_observations is None:
            nxt = check.following(obs, starts, term)
        else:
            nxt = check.floats("next_observations", next_observations, dtype, "[N, S]", n, obs.shape[1])
        made = cls(obs, act, rew, nxt, term, trunc, starts, clipped, id, low, high, n_actions, dict(metadata or {}))
        return made.to(obs.device)  # columns may have come from several devices

    @classmethod
    def from_mapping(cls, source: Mapping[str, Any], **options: Any) -> OfflineDataset:
        """`from_arrays` of a mapping that has the keys of a ``Batch`` (and truncations); other keys are ignored.

        Raises ``DataError`` that names a missing key.
        """
        return cls.from_arrays(**(check.columns(source) | options))

    @classmethod
    def from_minari(
        cls, source: Any, *, action_low: Any = None, action_high: Any = None, out_of_bounds: str = "error",
        dtype: torch.dtype = torch.float32,
    ) -> OfflineDataset:  # fmt: skip
        """Read a ``MinariDataset`` object, an id or a path (local only; see `load_dataset`).

        Action bounds are those of the data set's action space unless given. Raises ``DataError`` for a damaged
        file or unusable spaces, ``DatasetNotFoundError``.
        """
        found = minari_io.read(minari_io.find(source) if isinstance(source, (str, os.PathLike)) else source)
        given = {"action_low": action_low, "action_high": action_high}
        found |= {name: bound for name, bound in given.items() if bound is not None}
        return cls.from_arrays(**found, out_of_bounds=out_of_bounds, dtype=dtype)

    def to_minari(
        self, id: str, root_path: str | os.PathLike[str], *, description: str, author: str, environment: Any = None,
        episode_seeds: Sequence[int | None] | None = None, extra: Mapping[str, Any] | None = None,
        overwrite: bool = False, **about: Any,
    ) -> Path:  # fmt: skip
        """Write Minari data set ``id`` below ``root_path`` and return its folder; reading it gives the same numbers.

        ``environment`` (an id, an EnvSpec or a gymnasium.Env) is recorded so that Minari can recover it; ``extra``
        goes into metadata.json; ``about`` is for ``minari.create_dataset_from_buffers`` (algorithm_name, author_email,
        code_permalink, requirements). Minari keeps T + 1 observations an episode, so ``DataError`` is raised if a
        next_observation differs from the following row's observation; also if the id exists and not ``overwrite``.
        """
        jumps = self._jumps().nonzero()
        if len(jumps):
            raise DataError(
                "next_observations", f"{len(jumps)} rows (first: {int(jumps[0])}) unlike the next row's observation",
                "next_observations[t] == observations[t + 1] within an episode, as Minari stores each only once",
                "pass episode_starts= to from_arrays with a start after each such row.",
            )  # fmt: skip
        seeds = self.metadata.get("episode_seeds") if episode_seeds is None else episode_seeds
        if seeds is not None and len(seeds) != len(self.episode_starts):
            raise DataError(
                "episode_seeds", f"{len(seeds)}", f"{len(self.episode_starts)}, one an episode", "drop some."
            )
        arrays = {name: getattr(self, name).cpu().numpy() for name in _STORED}
        return minari_io.write(
            arrays, self.episode_starts.tolist(), id, root_path, action_low=self.action_low,
            action_high=self.action_high, n_actions=self.n_actions, environment=environment, seeds=seeds,
            extra=extra or {}, overwrite=overwrite, description=description, author=author, **about,
        )  # fmt: skip

    # ---- parts and copies -----------------------------------------------------------------------------------------

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> OfflineDataset:
        """The same data on another device, or with its floating-point columns in another dtype."""
        moved: dict[str, Any] = {
            name: column.to(device, dtype if column.is_floating_point() else None)
            for name, column in self._columns(*_ROW_FIELDS).items()
        }
        return replace(self, **moved, episode_starts=self.episode_starts.to(device))

    def with_batch_size(self, batch_size: int) -> OfflineDataset:
        """The same data, iterated in mini-batches of ``batch_size`` rows."""
        return replace(self, batch_size=check.whole("batch_size", batch_size, 1))

    def with_seed(self, seed: int) -> OfflineDataset:
        """The same data, shuffled by another seed, from epoch 0."""
        return replace(self, seed=check.whole("seed", seed, 0), epoch=0)

    def with_returns_to_go(
        self, discount: float, reward_scale: float = 1.0, truncation_value: float | Tensor | Callable | None = None
    ) -> OfflineDataset:
        """The same data, whose batches carry ``returns_to_go`` (which Cal-QL reads)."""
        return replace(self, batch_returns=self.returns_to_go(discount, reward_scale, truncation_value))

    def subset(self, rows: Any) -> OfflineDataset:
        """The given rows (indices or a bool mask) in that order; a gap within an episode cuts it in two."""
        index = torch.as_tensor(rows, device=self.device)
        if index.dtype == torch.bool and index.shape == self.rewards.shape:
            index = index.nonzero().flatten()
        if index.ndim != 1 or not len(index) or index.is_floating_point() or index.dtype == torch.bool:
            raise DataError(
                "rows", f"{index.dtype} of shape {tuple(index.shape)}", f"row numbers, or a mask of {len(self)} bools",
                "choose at least one row.",
            )  # fmt: skip
        if int(index.min()) < 0 or int(index.max()) >= len(self):
            raise DataError(
                "rows", f"{int(index.min())}..{int(index.max())}", f"0..{len(self) - 1}", "drop the others."
            )
        episode = self._episode_of_row()[index]
        new = torch.ones(len(index), dtype=torch.bool, device=self.device)
        new[1:] = (index[1:] != index[:-1] + 1) | (episode[1:] != episode[:-1])
        chosen: dict[str, Any] = {name: tensor[index] for name, tensor in self._columns(*_ROW_FIELDS).items()}
        metadata = {key: value for key, value in self.metadata.items() if key != "episode_seeds"}
        return replace(self, **chosen, episode_starts=new.nonzero().flatten(), metadata=metadata, epoch=0)

    def split(self, fraction: float, seed: int = 0) -> tuple[OfflineDataset, OfflineDataset]:
        """(training part, held-out part): ``fraction`` of the whole episodes, at least one, is held out at random."""
        episodes = len(self.episode_starts)
        if not 0 < fraction < 1 or episodes < 2:
            raise DataError(
                "split", f"fraction {fraction} of {episodes} episodes", "0 < fraction < 1 and two or more episodes",
                "record more episodes, or hold out rows with subset(rows).",
            )  # fmt: skip
        held = min(max(1, round(fraction * episodes)), episodes - 1)
        order = torch.randperm(episodes, generator=_generator(check.whole("seed", seed, 0), 2, 0)).to(self.device)
        mask = torch.zeros(episodes, dtype=torch.bool, device=self.device)
        mask[order[:held]] = True
        mask = mask[self._episode_of_row()]
        return self.subset(~mask), self.subset(mask)

    def top_episodes(self, fraction: float) -> OfflineDataset:
        """The best ``fraction`` of the whole episodes by undiscounted return, at least one (the data of %BC)."""
        if not 0 < fraction <= 1:
            raise ConfigError("fraction", f"{fraction}", "0 < fraction <= 1", "0.1 keeps the best tenth.")
        kept = max(1, math.floor(fraction * len(self.episode_starts) + 0.5))
        best = self.episode_returns().argsort(descending=True, stable=True)[:kept]
        return self.subset(torch.isin(self._episode_of_row(), best))

    # ---- mini-batches ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rewards)

    def __iter__(self) -> Iterator[Batch]:
        if len(self) < self.batch_size:
            raise DataError(
                "dataset", f"{len(self)} transitions", f"at least one mini-batch of {self.batch_size}",
                "use dataset.with_batch_size(n) with a smaller n, or batches(steps, batch_size, seed), which draws "
                "with replacement.",
            )  # fmt: skip
        order = torch.randperm(len(self), generator=_generator(self.seed, 0, self.epoch))
        object.__setattr__(self, "epoch", self.epoch + 1)  # the one thing that moves in a frozen data set
        whole = len(self) - len(self) % self.batch_size
        return self._gather(self._place(order[:whole].view(-1, self.batch_size)))

    def batches(
        self, steps: int, batch_size: int | None = None, seed: int | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """Batches number start..steps-1, each of ``batch_size`` rows drawn uniformly with replacement.

        Batch t depends on (seed, t, batch_size) and the data alone, so a resumed run with ``start=k`` sees what the
        whole run would have seen; skipping costs nothing. Raises ``ConfigError``.
        """
        size = check.whole("batch_size", self.batch_size if batch_size is None else batch_size, 1)
        seed = check.whole("seed", self.seed if seed is None else seed, 0)
        start, steps = check.whole("start", start, 0), check.whole("steps", steps, 0)
        return self._sample(steps, size, seed, start)

    def _sample(self, steps: int, size: int, seed: int, start: int) -> Iterator[Batch]:
        length = max(1, _BLOCK_ROWS // size)  # batches a block
        while start < steps:
            block, first = divmod(start, length)
            index = torch.randint(len(self), (length, size), generator=_generator(seed, 1, block))
            last = min(length, steps - block * length)
            yield from self._gather(self._place(index[first:last]))
            start = block * length + last

    def _place(self, index: Tensor) -> Tensor:
        if self.device.type == "cuda":  # pinned, so that the host need not wait for the copy
            return index.pin_memory().to(self.device, non_blocking=True)
        return index.to(self.device)

    def _gather(self, index: Tensor) -> Iterator[Batch]:
        """The batches of rows ``index [batches, B]``; several are gathered at once, as starting a gather costs most."""
        columns = self._columns(*_STORED[:5], "batch_returns")
        for part in index.split(max(1, _GATHER_ROWS // index.shape[1])):
            flat = part.reshape(-1)
            rows = [column.index_select(0, flat).unflatten(0, part.shape).unbind() for column in columns.values()]
            for batch in zip(*rows, strict=True):
                yield Batch(*batch)

    # ---- returns and facts ----------------------------------------------------------------------------------------

    def returns_to_go(
        self, discount: float, reward_scale: float = 1.0, truncation_value: float | Tensor | Callable | None = None
    ) -> Tensor:
        """``G_t = reward_scale r_t + discount G_{t+1}`` to the end of each episode, ``[N]`` (summed in float64).

        After a termination G is 0; after a truncation or an unfinished end it is ``truncation_value`` (a number, a
        tensor [N] read at those rows, or a function of their next_observations; in scaled reward units), or 0 if None.
        Without it G is a lower bound of the behaviour's return only if rewards are >= 0. Raises ``ConfigError``.
        """
        if not 0 <= discount <= 1:
            raise ConfigError("discount", f"{discount}", "0 <= discount <= 1", "0.99 is usual.")
        cut = self._last_rows()
        cut = cut[~self.terminations[cut]]
        after = torch.zeros(len(self), dtype=torch.float64)
        if callable(truncation_value):
            with torch.no_grad():
                value = truncation_value(self.next_observations[cut])
            after[cut.cpu()] = value.reshape(len(cut)).double().cpu()
        elif isinstance(truncation_value, Tensor) and truncation_value.ndim:
            if truncation_value.shape != self.rewards.shape:
                raise DataError(
                    "truncation_value", f"shape {tuple(truncation_value.shape)}", f"shape ({len(self)},), one a row",
                    "pass a number, a value for each row, or a function of next_observations.",
                )  # fmt: skip
            after[cut.cpu()] = truncation_value.detach()[cut.to(truncation_value.device)].double().cpu()
        elif truncation_value is not None:
            after[cut.cpu()] = float(truncation_value)
        ends = torch.zeros(len(self), dtype=torch.bool)
        ends[self._last_rows().cpu()] = True
        rewards = (self.rewards.double().cpu() * reward_scale).tolist()
        # Plain floats: a division by discount**t (the usual vector form) overflows on long episodes.
        result, value, backward = [0.0] * len(self), 0.0, range(len(self) - 1, -1, -1)
        for t, end, beyond in zip(backward, reversed(ends.tolist()), reversed(after.tolist()), strict=True):
            result[t] = value = rewards[t] + discount * (beyond if end else value)
        return torch.tensor(result, dtype=torch.float64).to(self.rewards)

    def episode_lengths(self) -> Tensor:
        """Number of rows of each episode, ``[E]``."""
        end = self.episode_starts.new_tensor([len(self)])
        return torch.diff(self.episode_starts, append=end)

    def episode_returns(self) -> Tensor:
        """Undiscounted return of each episode, ``[E]`` (summed in float64)."""
        total = torch.zeros(len(self.episode_starts), dtype=torch.float64, device=self.device)
        return total.index_add_(0, self._episode_of_row(), self.rewards.double()).to(self.dtype)

    def describe(self) -> check.Description:
        """What is in the data, as a dict that prints as a table: sizes, ranges, ends, and signs of trouble.

        ``jump_share``: rows whose next_observation differs from the following row's observation, of those that have
        one within their episode. ``duplicate_share``: rows whose (observation, action) occurred before.
        """
        return check.describe(self, self._last_rows(), self._jumps())

    def fingerprint(self) -> str:
        """A hash of the numbers and of where episodes begin, the same on every device: are two data sets one?"""
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

    def _jumps(self) -> Tensor:
        inner = torch.ones(len(self), dtype=torch.bool, device=self.device)
        inner[self._last_rows()] = False
        return inner & (self.next_observations != self.observations.roll(-1, 0)).any(1)


def load_dataset(id_or_path: str | os.PathLike[str], *, remote: bool = False) -> OfflineDataset:
    """Load a Minari data set by id or path.

    Looked at, in this order: the path, MINARI_DATASETS_PATH, the checkout's ``data/``, ``data/`` in and above the
    current folder, Minari's own folder; Minari's remote only if ``remote``. Raises ``DatasetNotFoundError`` that lists
    the places and the nearest ids, ``DataError`` for a damaged file.
    """
    return OfflineDataset.from_minari(minari_io.find(id_or_path, remote))


def _generator(seed: int, purpose: int, number: int) -> torch.Generator:
    """A generator of its own for each (seed, purpose, number): nothing has to be replayed to reach it."""
    words = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))
