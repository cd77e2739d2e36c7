"""Single-step worlds: a continuous bandit whose integrals are exact, and the few-armed one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..errors import check_int, require
from .base import Transition, World, normal
from .tabular import TabularWorld


@dataclass(eq=False, kw_only=True)
class Bandit(World):
    """Choose a in [-1, 1]^A once; the mean reward is separable, so every integral is A integrals in one dimension.

    ``Q(a) = sum_j f(a_j)`` with ``f(x) = sum_k height_k exp(-(x - centre_k)^2 / (2 width_k^2))``. The default has a
    broad low bump at -0.5 and a narrow high one at 0.5. The observation is a zero. A reward has Gaussian noise of
    standard deviation ``noise``; ``reward_low`` and ``reward_high`` bound its mean.
    """

    discount: float = 0.95
    horizon: int = 1
    actions: int = 1
    heights: Sequence[float] = (1.0, 2.0)
    centres: Sequence[float] = (-0.5, 0.5)
    widths: Sequence[float] = (0.3, 0.1)
    noise: float = 0.0
    name: ClassVar[str] = "bandit"
    terminates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("bandit.actions", self.actions, 1)
        sizes = (len(self.heights), len(self.centres), len(self.widths))
        same = len(set(sizes)) == 1 and min(sizes) > 0
        require(same, "bandit.heights, centres, widths: lengths", sizes, "one number of each for every bump")
        require(min(self.widths) > 0, "bandit.widths", self.widths, "positive numbers")
        require(self.noise >= 0, "bandit.noise", self.noise, "a standard deviation >= 0")
        self.action_dim, self.observation_high = self.actions, [1.0]
        grid = torch.linspace(-1.0, 1.0, 20001, dtype=torch.float64)
        slope = sum(abs(h) / w for h, w in zip(self.heights, self.widths, strict=True)) * math.exp(-0.5)
        slack = 0.5e-4 * slope  # half a grid cell times the steepest slope: makes the grid's extremes true bounds
        low, high = float(self.bumps(grid).min()), float(self.bumps(grid).max())
        self.reward_low, self.reward_high = self.actions * (low - slack), self.actions * (high + slack)

    def bumps(self, x: Tensor) -> Tensor:
        """f(x), the share of one action dimension, elementwise."""
        terms = zip(self.heights, self.centres, self.widths, strict=True)
        return sum((h * torch.exp(-0.5 * ((x - c) / w) ** 2) for h, c, w in terms), torch.zeros_like(x))

    @property
    def per_dimension(self) -> list[Callable[[Tensor], Tensor]]:
        """The A functions of one variable whose sum is Q; what `evaluation.quadrature` takes."""
        return [self.bumps] * self.actions

    def reward_function(self, actions: Tensor) -> Tensor:
        """The exact mean reward Q(a): ``[..., A] -> [...]``."""
        return self.bumps(actions).sum(-1)

    def reset(self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(n, 1, dtype=dtype, device="cpu" if generator is None else generator.device)

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        rewards = self.reward_function(self.check_actions(states, actions))
        if self.noise:
            rewards = rewards + self.noise * normal(rewards, generator)
        return states, rewards, torch.ones_like(rewards, dtype=torch.bool)


@dataclass(eq=False, kw_only=True)
class DiscreteBandit(TabularWorld):
    """A bandit with one arm for each of ``rewards`` (deterministic): state 0 is the choice, state 1 the end."""

    discount: float = 0.95
    horizon: int = 1
    rewards: Sequence[float] = (1.0, 0.8, 0.5, 0.0)
    name: ClassVar[str] = "discrete-bandit"

    def __post_init__(self) -> None:
        require(len(self.rewards) >= 1, "discrete-bandit.rewards", self.rewards, "at least one number")
        transitions = torch.zeros(2, len(self.rewards), 2)
        transitions[:, :, 1] = 1.0
        self.set_tables(transitions, torch.tensor([list(self.rewards)] * 2, dtype=torch.float64), [False, True])
        super().__post_init__()
