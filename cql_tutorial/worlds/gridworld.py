"""Worlds with finitely many states, whose values are one linear solve away; and the cliff grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from ..errors import ConfigError, require, whole
from .base import Transition, World, uniform


@dataclass(eq=False, kw_only=True)
class TabularWorld(World):
    """S states, given by tables in float64 on the CPU; states and observations are one-hot rows ``[n, S]``.

    ``transitions [S, A, S]`` holds probabilities, ``transition_rewards [S, A, S]`` the reward of each transition,
    ``expected_rewards [S, A]`` its mean, ``terminal_states [S]`` bool; a terminal state keeps to itself at reward 0.
    Subclasses call ``set_tables``; ``TabularWorld.from_tables`` makes one from your own tables. ``move`` is the same
    dynamics on state numbers; ``expected_next`` and ``chain`` are all that an exact solve needs of the tables.
    """

    name: ClassVar[str] = "tabular"
    discrete: ClassVar[bool] = True
    terminates: ClassVar[bool] = True

    def set_tables(
        self, transitions: Tensor, rewards: Tensor, terminal_states: Tensor | Sequence[bool], start_state: int = 0
    ) -> None:
        """Set the tables; rewards are ``[S, A]`` or ``[S, A, S]``. ``ConfigError`` names the first bad row."""
        n_states, n_actions = transitions.shape[:2]
        terminal = torch.as_tensor(terminal_states, dtype=torch.bool)
        table = torch.as_tensor(transitions, dtype=torch.float64).clone()
        table[terminal] = torch.eye(n_states, dtype=torch.float64)[terminal][:, None]
        bad = ((table.sum(-1) - 1).abs() > 1e-6) | (table < 0).any(-1)
        for s, a in bad.nonzero().tolist():
            found = f"a row that sums to {float(table[s, a].sum()):.6g}"
            raise ConfigError(f"transitions[{s}, {a}]", found, "non-negative probabilities that sum to 1")
        payoff = torch.as_tensor(rewards, dtype=torch.float64)
        payoff = (payoff[..., None] if payoff.dim() == 2 else payoff).expand_as(table).clone()
        payoff[terminal] = 0.0
        self.transitions, self.transition_rewards, self.terminal_states = table, payoff, terminal
        self.expected_rewards, self.start_state = (table * payoff).sum(-1), start_state
        possible = payoff[(table > 0) & ~terminal[:, None, None]]
        self.reward_low, self.reward_high = float(possible.min()), float(possible.max())
        self.observation_dim, self.action_dim, self.observation_high = n_states, n_actions, [1.0] * n_states

    @classmethod
    def from_tables(
        cls, transitions: Tensor, rewards: Tensor, terminal_states: Tensor | Sequence[bool], start_state: int = 0,
        **settings: Any,
    ) -> TabularWorld:  # fmt: skip
        """A world from tables ``[S, A, S]``, ``[S, A]`` or ``[S, A, S]``, and ``[S]``."""
        world = cls(**settings)
        world.set_tables(transitions, rewards, terminal_states, start_state)
        return world

    def one_hot(self, indices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """State numbers ``[n]`` to one-hot rows ``[n, S]``."""
        return torch.nn.functional.one_hot(indices, self.observation_dim).to(dtype)

    def start_distribution(self) -> Tensor:
        """The probability of starting in each state ``[S]``."""
        return self.one_hot(torch.tensor([self.start_state]), torch.float64)[0]

    def expected_next(self, values: Tensor) -> Tensor:
        """``E[V(s') | s, a]`` of a table of values: ``[S] -> [S, A]``, float64."""
        return self.transitions @ values

    def chain(self, probabilities: Tensor) -> Tensor:
        """``P^pi(s'|s) = sum_a pi(a|s) P(s'|s, a)`` of a policy's table: ``[S, A] -> [S, S]``."""
        return torch.einsum("sa,sat->st", probabilities, self.transitions)

    def reset(self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.one_hot(self.start_states(n, generator), dtype)

    def start_states(self, n: int, generator: Generator | None = None) -> Tensor:
        """Numbers of n start states ``[n]``."""
        return torch.full((n,), self.start_state, device="cpu" if generator is None else generator.device)

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        actions = self.check_actions(states, actions).to(states.device)
        there, rewards, ended = self.move(states.argmax(-1), actions, generator)
        return self.one_hot(there, states.dtype), rewards.to(states.dtype), ended

    def move(self, here: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        """One step on state numbers: ``[n], [n]`` to (next state numbers, rewards in float64, terminations)."""
        u = uniform(0.0, 1.0, len(here), generator=generator, dtype=torch.float64, device=here.device)
        there, rewards = self._next(here, actions, u)
        return there, rewards, self.terminal_states.to(here.device)[there]

    def _next(self, here: Tensor, actions: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Next states by inverting the cumulative distribution at u in [0, 1), and the transitions' rewards."""
        cdf = self.transitions.to(here.device)[here, actions].cumsum(-1)
        # scaled by the last entry: rounding must not leave a sliver above the cumulative sum
        there = torch.searchsorted(cdf, u[:, None] * cdf[:, -1:], right=True)[:, 0].clamp(max=self.observation_dim - 1)
        return there, self.transition_rewards.to(here.device)[here, actions, there]


@dataclass(eq=False, kw_only=True)
class Gridworld(TabularWorld):
    """The cliff: walk from the lower left to the lower right corner along an edge that ends the episode.

    Actions 0-3 are up, right, down, left; with probability ``slip`` the move is replaced by one of the four drawn
    uniformly (so the chosen one keeps ``1 - slip + slip / 4``); a move off the grid stays. Entering the goal pays
    ``goal_reward`` and entering a cliff cell ``cliff_reward``, both end the episode; any other step pays
    ``step_reward``. State number = row * ``size`` + column. Optimum from the start 4.240, uniform actions -7.708.
    """

    discount: float = 0.95
    horizon: int = 200
    size: int = 8
    slip: float = 0.1
    goal_reward: float = 10.0
    cliff_reward: float = -10.0
    step_reward: float = -0.1
    name: ClassVar[str] = "gridworld"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("gridworld.size", self.size, 3)
        require(0.0 <= self.slip <= 1.0, "gridworld.slip", self.slip, "a probability in [0, 1]")
        n = self.size
        self.cliff, self.goal = list(range(n * (n - 1) + 1, n * n - 1)), n * n - 1
        rows, columns = torch.arange(n * n) // n, torch.arange(n * n) % n
        transitions = torch.full((n * n, 4, n * n), 0.0, dtype=torch.float64)
        for move, (down, right) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
            target = (rows + down).clamp(0, n - 1) * n + (columns + right).clamp(0, n - 1)
            for action in range(4):
                chance = self.slip / 4 + (1 - self.slip) * (move == action)
                transitions[torch.arange(n * n), action, target] += chance
        rewards = torch.full_like(transitions, self.step_reward)
        rewards[:, :, self.cliff], rewards[:, :, self.goal] = self.cliff_reward, self.goal_reward
        terminal = torch.zeros(n * n, dtype=torch.bool)
        terminal[[*self.cliff, self.goal]] = True
        self.set_tables(transitions, rewards, terminal, start_state=n * (n - 1))
