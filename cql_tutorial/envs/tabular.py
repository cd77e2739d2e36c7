"""Worlds with finitely many states, whose values are one linear solve away, and a policy's table in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from ..errors import ConfigError, DataError, require_data
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
        self._cumulative: Tensor | None = None  # made when the first step is taken, and kept
        self.expected_rewards, self.start_state = (table * payoff).sum(-1), start_state
        possible = payoff[(table > 0) & ~terminal[:, None, None]]
        self.reward_low, self.reward_high = float(possible.min()), float(possible.max())
        self.observation_dim, self.action_dim, self.observation_high = n_states, n_actions, [1.0] * n_states

    @classmethod
    def from_tables(
        cls,
        transitions: Tensor,
        rewards: Tensor,
        terminal_states: Tensor | Sequence[bool],
        start_state: int = 0,
        **settings: Any,
    ) -> TabularWorld:
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
        if self._cumulative is None:
            self._cumulative = self.transitions.cumsum(-1).flatten()
        cdf, width = self._cumulative.to(here.device), self.observation_dim
        first = (here * self.action_dim + actions) * width
        # scaled by the last entry: rounding must not leave a sliver above the cumulative sum
        wanted = u * cdf[first + width - 1]
        there = torch.zeros_like(first)  # by halving, so that no row of the table is copied: entries <= wanted
        step = 1 << (width.bit_length() - 1)
        while step:
            beyond = there + step
            below = (beyond <= width) & (cdf[first + (beyond - 1).clamp(max=width - 1)] <= wanted)
            there = torch.where(below, beyond, there)
            step >>= 1
        there = there.clamp(max=width - 1)
        return there, self.transition_rewards.to(here.device)[here, actions, there]


def _require_method(policy: Any, name: str, signature: str, mend: str) -> None:
    if not hasattr(policy, name):
        raise ConfigError("policy", f"a {type(policy).__name__}", f"a method {name}{signature}", mend)


def policy_probabilities(world: TabularWorld, policy: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """The table pi(a|s) ``[S, A]`` of a policy that offers ``probabilities(observations)``, or of a table itself.

    Raises ``ConfigError`` if it offers none, ``DataError`` if a row is no distribution.
    """
    if not isinstance(policy, Tensor):
        _require_method(policy, "probabilities", "(observations) -> [n, n_actions]", "or pass the table [S, A] itself.")
        policy = policy.probabilities(torch.eye(world.observation_dim, dtype=dtype))
    table, shape = policy.detach().cpu().double(), (world.observation_dim, world.action_dim)
    require_data(table.shape == shape, "policy probabilities", f"shape {tuple(table.shape)}", f"shape {shape}")
    bad = ~((table >= 0).all(-1) & ((table.sum(-1) - 1).abs() < 1e-4))
    for s in bad.nonzero().flatten().tolist():
        raise DataError(f"policy probabilities[{s}]", str(table[s].tolist()), "non-negative numbers that sum to 1")
    return table / table.sum(-1, keepdim=True)  # float32 rows sum to 1 only to 1e-7
