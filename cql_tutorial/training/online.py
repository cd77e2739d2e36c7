"""Behaviour policies from scratch: online soft actor-critic with our own agent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..agents import SACAgent
from ..envs.base import UniformPolicy, World


@dataclass
class OnlineRun:
    """An online training run: the agent at its end, copies of it at earlier steps, and all it saw, in order."""

    agent: SACAgent
    snapshots: dict[int, SACAgent] = field(default_factory=dict)
    replay: dict[str, Tensor] = field(default_factory=dict)


def train_online(
    world: World,
    config: Mapping[str, Any],
    steps: int,
    *,
    seed: int = 0,
    batch_size: int = 64,
    start_steps: int = 500,
    snapshots: Iterable[int] = (),
    progress: bool = True,
) -> OnlineRun:
    """Online SAC in one copy of ``world``: ``start_steps`` uniform actions, then one action and one update a step.

    ``config`` holds `SACConfig` settings except the dimensions and bounds, which are the world's. An agent is copied at
    each of ``snapshots``. ``replay`` has the columns of a data set, cut into episodes at the world's horizon.
    """
    from tqdm.auto import trange

    bounds = {"action_low": world.action_low, "action_high": world.action_high}
    settings = {"state_dim": world.observation_dim, "action_dim": world.action_dim, **bounds, "seed": seed, **config}
    agent = SACAgent({**settings, "device": "cpu"})
    generator = torch.Generator().manual_seed(seed)
    uniform, policy = UniformPolicy(world), agent.policy()
    run, wanted = OnlineRun(agent), set(snapshots)
    store = _Replay(steps, world.observation_dim, world.action_dim)
    state, age = world.reset(1, generator), 0
    for step in trange(1, steps + 1, disable=not progress, unit="step", mininterval=0.5):
        observation = world.observe(state)
        act: Callable[..., Tensor] = uniform if step <= start_steps else policy
        action = act(observation, generator)
        state, reward, terminated = world.step(state, action, generator)
        age += 1
        ended = bool(terminated)
        truncated = age >= world.horizon and not ended
        store.add(observation, action, reward, world.observe(state), terminated, truncated)
        if ended or truncated:
            state, age = world.reset(1, generator), 0
        if step > start_steps:
            agent.update(store.sample(batch_size, generator))
        if step in wanted:
            run.snapshots[step] = copy.deepcopy(agent)
    run.replay = store.columns
    return run


class _Replay:
    """Transitions in the order they happened."""

    def __init__(self, capacity: int, state_dim: int, action_dim: int) -> None:
        self.size = 0
        self.columns = {
            "observations": torch.zeros(capacity, state_dim),
            "actions": torch.zeros(capacity, action_dim),
            "rewards": torch.zeros(capacity),
            "next_observations": torch.zeros(capacity, state_dim),
            "terminations": torch.zeros(capacity, dtype=torch.bool),
            "truncations": torch.zeros(capacity, dtype=torch.bool),
        }

    def add(self, *row: Tensor | bool) -> None:
        for column, value in zip(self.columns.values(), row, strict=True):
            column[self.size] = value[0] if isinstance(value, Tensor) else value
        self.size += 1

    def sample(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(self.size, (batch_size,), generator=generator)
        return {key: column.index_select(0, rows) for key, column in self.columns.items()}
