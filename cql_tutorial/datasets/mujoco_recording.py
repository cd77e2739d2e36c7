"""Whole episodes of a policy in a MuJoCo task, with the positions and velocities that its observations do not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..envs.mujoco_env import MujocoCopies
from .offline_dataset import OfflineDataset

COPIES = 20  # episodes at a time: a set depends on it, as the random numbers of a step are drawn for all copies
Columns = dict[str, np.ndarray]
"""Of consecutive steps, ``[N, ...]``: the columns of a data set, and qpos and qvel before each step, float64."""


@torch.no_grad()
def play_episodes(
    copies: MujocoCopies, policy: Callable[..., Tensor], seeds: Sequence[int], generator: torch.Generator
) -> list[Columns]:
    """One episode from the start state of each of ``seeds`` (as many as there are copies at most), to its end."""
    kept: list[dict[str, list[np.ndarray]]] = [{} for _ in seeds]
    running = list(range(len(seeds)))
    observations = copies.reset(seeds)
    while running:
        qpos, qvel = copies.states(running)
        actions = policy(torch.as_tensor(observations, dtype=torch.float32), generator).numpy().astype(np.float32)
        following, rewards, terminated, truncated = copies.step(running, actions)
        names = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
        columns = (observations, actions, rewards, following, terminated, truncated)
        step = dict(zip(names, columns, strict=True)) | {"qpos": qpos, "qvel": qvel}
        for row, number in enumerate(running):
            for name, values in step.items():
                kept[number].setdefault(name, []).append(values[row])
        going = ~(terminated | truncated)
        running = [number for number, goes_on in zip(running, going, strict=True) if goes_on]
        observations = following[going]
    return [{name: np.stack(values) for name, values in one.items()} for one in kept]


def record_mujoco(task: str, policy: Callable[..., Tensor], steps: int, seed: int, copies: int = COPIES) -> Columns:
    """Whole episodes of ``policy``, one after another, cut to ``steps`` transitions: the last may be truncated there.

    Episodes are played ``copies`` at a time, each of them to its end, so that no short one is preferred.
    """
    together, generator = MujocoCopies(task, copies), torch.Generator().manual_seed(seed)
    starts = np.random.SeedSequence(seed)
    episodes: list[Columns] = []
    while sum(len(one["rewards"]) for one in episodes) < steps:
        seeds = [int(one.generate_state(1)[0]) >> 1 for one in starts.spawn(copies)]
        episodes += play_episodes(together, policy, seeds, generator)
    return joined(episodes, steps)


def joined(parts: Sequence[Columns], steps: int | None = None) -> Columns:
    """Columns one after another, cut to ``steps`` rows; a last row that does not end its episode is truncated."""
    columns = {name: np.concatenate([one[name] for one in parts])[:steps] for name in parts[0]}
    columns["truncations"] = columns["truncations"].copy()
    columns["truncations"][-1] = not columns["terminations"][-1]
    return columns


def dataset_of_columns(columns: Columns, low: Any, high: Any, *, id: str) -> OfflineDataset:
    """The data set of recorded columns (float32), with the task's action bounds."""
    rows: dict[str, Any] = {name: values for name, values in columns.items() if name not in ("qpos", "qvel")}
    return OfflineDataset.from_arrays(**rows, id=id, action_low=low, action_high=high, out_of_bounds="clip")
