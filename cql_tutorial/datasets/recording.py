"""Record data sets of any policy in the package's own worlds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..envs.base import World, record_episodes
from .offline_dataset import OfflineDataset


def record(
    world: World, policy: Callable[..., Tensor], steps: int, *, seed: int, id: str = "recorded", **reset: Any
) -> OfflineDataset:
    """Record whole episodes of ``policy`` (at least ``steps`` transitions, cut to that many) from new start states.

    ``reset`` goes to ``world.reset``. The last episode is truncated where the recording stops.
    """
    generator = torch.Generator().manual_seed(seed)
    episodes = -(-steps // world.horizon)
    while True:
        starts = world.reset(episodes, generator, **reset)
        columns = record_episodes(world, [(policy, starts)], generator=generator)
        if len(columns["rewards"]) >= steps:
            break
        episodes *= 2  # episodes that terminate early are shorter than the horizon
    return dataset_of(world, {key: value[:steps] for key, value in columns.items()}, id=id)


def dataset_of(world: World, recorded: Mapping[str, Tensor], *, id: str) -> OfflineDataset:
    """Make a data set of recorded columns, with the world's action bounds; an unfinished last row is truncated."""
    columns: dict[str, Any] = {key: value.clone() for key, value in recorded.items() if key != "episode_starts"}
    if not columns["terminations"][-1]:
        columns["truncations"][-1] = True
    bounds = (
        {"n_actions": world.action_dim}
        if world.discrete
        else {"action_low": world.action_low, "action_high": world.action_high}
    )
    return OfflineDataset.from_arrays(**columns, id=id, **bounds)
