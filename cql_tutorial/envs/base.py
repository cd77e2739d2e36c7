"""`World`: batched dynamics in torch whose true values can be computed; and episodes recorded in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Generator, Tensor

from ..errors import check_int, require, require_data

if TYPE_CHECKING:
    import gymnasium

Policy = Callable[[Tensor, Generator | None], Tensor]  # (observations [n, S], generator) -> actions
Transition = tuple[Tensor, Tensor, Tensor]  # next states [n, ...], rewards [n], terminations [n] bool


def uniform(
    low: float, high: float, *shape: int, generator: Generator | None, dtype: torch.dtype, device: Any = None
) -> Tensor:
    """Draw U(low, high) on the generator's own device, then move to ``device``."""
    source = "cpu" if generator is None else generator.device
    draw = torch.rand(*shape, generator=generator, dtype=dtype, device=source)
    return (low + (high - low) * draw).to(device if device is not None else source)


def normal(like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of ``like``."""
    source = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=source).to(like.device)


@dataclass(eq=False, kw_only=True)
class World:
    """A Markov decision process, batched over n independent copies; device and dtype follow the states.

    ``observation_dim`` S; ``action_dim`` A (the number of actions if ``discrete``); actions lie in
    [``action_low``, ``action_high``] and are clipped to it; every reward lies in [``reward_low``, ``reward_high``];
    ``discount`` is a suggestion, ``horizon`` the steps after which an episode is truncated (never a termination);
    ``terminates`` tells whether the task itself can end. All settings are keyword arguments.
    """

    discount: float = 0.95
    horizon: int = 200

    name: ClassVar[str] = "world"
    discrete: ClassVar[bool] = False
    terminates: ClassVar[bool] = False
    action_low: ClassVar[float] = -1.0
    action_high: ClassVar[float] = 1.0
    observation_dim: int = field(init=False, default=1)
    action_dim: int = field(init=False, default=1)
    reward_low: float = field(init=False, default=0.0)
    reward_high: float = field(init=False, default=0.0)
    observation_high: list[float] = field(init=False, default_factory=list, repr=False)  # |observation| <= this

    def __post_init__(self) -> None:
        require(0.0 <= self.discount <= 1.0, f"{self.name}.discount", self.discount, "a number in [0, 1]")
        check_int(f"{self.name}.horizon", self.horizon, 1)

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments that rebuild this world: ``make(world.name, **world.settings)``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def reset(self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw n start states ``[n, ...]``."""
        raise NotImplementedError

    def observe(self, states: Tensor) -> Tensor:
        """What an agent sees of the states: ``[n, ...] -> [n, S]``."""
        return states

    def states_of(self, observations: Tensor) -> Tensor:
        """Inverse of ``observe``, up to what does not matter for the dynamics: ``[n, S] -> [n, ...]``."""
        return observations

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        """One step, with actions clipped to the bounds: (next states, rewards, terminations)."""
        raise NotImplementedError

    def env(self, render_mode: str | None = None) -> gymnasium.Env:
        """The same dynamics as a ``gymnasium.Env`` that truncates at ``horizon``."""
        from .gymnasium_env import WorldEnv

        return WorldEnv(self, render_mode=render_mode)

    def check_actions(self, states: Tensor, actions: Tensor) -> Tensor:
        """Actions in the states' dtype, clipped to the bounds; ``DataError`` if the shape (or an index) is wrong."""
        name, shape = f"{self.name}: actions", (len(states),) if self.discrete else (len(states), self.action_dim)
        require_data(tuple(actions.shape) == shape, name, f"shape {tuple(actions.shape)}", f"shape {shape}")
        if not self.discrete:
            return actions.to(states.dtype).clamp(self.action_low, self.action_high)
        require_data(not actions.is_floating_point(), name, f"dtype {actions.dtype}", "integers: the action's index")
        if len(actions):
            low, high, last = int(actions.min()), int(actions.max()), self.action_dim - 1
            require_data(low >= 0 and high <= last, name, f"values {low} to {high}", f"whole numbers from 0 to {last}")
        return actions.long()


@dataclass(frozen=True)
class UniformPolicy:
    """Every action of a world equally likely."""

    world: World

    def __call__(self, observations: Tensor, generator: Generator | None = None) -> Tensor:
        return self.sample(observations, generator)[0]

    def sample(self, observations: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Actions ``[n, A]`` (``[n]`` integers) and their log-density ``[n]`` on [-1, 1]^A (log-probability)."""
        world, n = self.world, observations.shape[0]
        place: dict[str, Any] = {"generator": generator, "dtype": observations.dtype, "device": observations.device}
        if world.discrete:
            actions = uniform(0.0, world.action_dim, n, **place).long().clamp(max=world.action_dim - 1)
            return actions, observations.new_full((n,), -math.log(world.action_dim))
        actions = uniform(world.action_low, world.action_high, n, world.action_dim, **place)
        return actions, observations.new_full((n,), -world.action_dim * math.log(2.0))

    def probabilities(self, observations: Tensor) -> Tensor:
        """``[n, n_actions]``, discrete worlds only."""
        return observations.new_full((observations.shape[0], self.world.action_dim), 1.0 / self.world.action_dim)


def record_episodes(
    world: World, parts: Sequence[tuple[Policy, Tensor]], steps: int | None = None, generator: Generator | None = None
) -> dict[str, Tensor]:
    """Record episodes of ``steps`` steps (the horizon by default) from several behaviours, one after the other.

    ``parts`` lists (policy, start states of its episodes). Returns flat tensors ``observations
    [N, S]``, ``actions``, ``rewards``, ``next_observations``, ``terminations``, ``truncations`` (True where an episode
    stops without terminating) and ``episode_starts [E]``, the first row of each episode.
    """
    keys = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
    pieces: dict[str, list[Tensor]] = {key: [] for key in keys}
    lengths: list[Tensor] = []
    for policy, states in parts:
        n, rows = states.shape[0], []
        for _ in range(world.horizon if steps is None else steps):
            observations = world.observe(states)
            actions = policy(observations, generator)
            states, rewards, ended = world.step(states, actions, generator)
            rows.append((observations, actions, rewards, world.observe(states), ended, torch.zeros_like(ended)))
        columns = [torch.stack(column, 1) for column in zip(*rows, strict=True)]  # [n, steps, ...]
        kept = columns[4].cumsum(1) - columns[4].long() == 0  # nothing after the first termination
        columns[5][torch.arange(n), kept.sum(1) - 1] = ~(columns[4] & kept).any(1)
        for key, column in zip(keys, columns, strict=True):
            pieces[key].append(column[kept])
        lengths.append(kept.sum(1))
    flat = {key: torch.cat(column) for key, column in pieces.items()}
    length = torch.cat(lengths)
    return flat | {"episode_starts": length.cumsum(0) - length}
