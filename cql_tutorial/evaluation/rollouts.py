"""What a policy earns: rollouts on common start states, and intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..envs.spaces import check_env
from ..errors import ConfigError, check_int, require
from .estimation_report import estimation_report
from .true_values import where_float64_is

Policy = Callable[..., Tensor]
EVALUATION_SEED = 2_000_003  # of the start states common to all runs; far from the seeds that people train with


def normalised_score(value: float, random: float, expert: float) -> float:
    """``100 * (value - random) / (expert - random)``: 0 is the random policy, 100 the expert; D4RL's convention."""
    if random == expert:
        raise ConfigError("expert", repr(expert), "another value than random", "pass two different reference returns.")
    return 100.0 * (value - random) / (expert - random)


@torch.no_grad()
def rollout_returns(
    world: Any, policy: Policy, states: Tensor, generator: torch.Generator, horizon: int | None = None
) -> Tensor:
    """Undiscounted return of one episode from each state, all at once: ``[n, ...] -> [n]``.

    An episode ends at a termination or after ``horizon`` steps (the world's own by default).
    """
    states = where_float64_is(states)
    returns = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    alive = torch.ones(len(states), dtype=torch.bool, device=states.device)
    for _ in range(horizon or world.horizon):
        actions = policy(world.observe(states), generator)
        states, rewards, terminations = world.step(states, actions.to(states.device), generator)
        returns += torch.where(alive, rewards.double(), 0.0)
        alive &= ~terminations
    return returns


def evaluate_policy(world: Any, policy: Policy, n: int = 500, seed: int = EVALUATION_SEED, **reset: Any) -> Tensor:
    """Returns ``[n]`` from start states that depend on the seed alone: every run is judged on the same ones.

    Extra arguments go to ``world.reset``.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = world.reset(n, generator, **reset)
    return rollout_returns(world, policy, starts, generator)


LONGEST_EPISODE = 10_000  # steps of an episode in an environment without a time limit of its own


def check_env_of(env: Any, agent: Any) -> None:
    """`check_env` of an agent's own settings."""
    config = agent.config
    check_env(env, config.state_dim, config.action_dim, agent.discrete, config.action_low, config.action_high)


def evaluate_env(env: Any, agent: Any, episodes: int = 10, seed: int = 0, max_steps: int | None = None) -> np.ndarray:
    """Undiscounted returns of ``agent.act`` (deterministic) in any Gymnasium environment, ``[episodes]``.

    Raises `ConfigError` for spaces that are not the agent's, and for an episode that has not ended after ``max_steps``
    (unless given 10,000, or the environment's own limit if that is more): it would never be over.
    """
    if hasattr(agent, "config"):
        check_env_of(env, agent)
    name = getattr(getattr(env, "spec", None), "id", None) or type(env).__name__
    own = getattr(getattr(env, "spec", None), "max_episode_steps", None) or 0
    most = max(LONGEST_EPISODE, own) if max_steps is None else check_int("max_steps", max_steps, 1)
    returns = np.zeros(episodes)
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        done, steps = False, 0
        while not done:
            found, expected = f"an episode of {most:,} steps without an end or a time limit", "episodes that end"
            mend = f"wrap it: gymnasium.wrappers.TimeLimit({name}, max_episode_steps=...)."
            require(steps < most, name, found, expected, mend)
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
            returns[episode] += float(reward)
            done, steps = terminated or truncated, steps + 1
    return returns


@dataclass
class Evaluator:
    """Measures an agent on states common to all runs; give it to `training.fit` as ``evaluate``.

    Returns a row with ``return`` (deterministic policy, ``n_starts`` starts) and, for agents with critics, all that
    `EstimationReport.at` tells of the policy's own actions: ``predicted``, ``true`` (Q^pi of the stochastic
    policy), ``estimation_error``, ``share_over``, ``share_impossible``, their intervals and quantiles.
    """

    world: Any
    dataset: Any
    n_starts: int = 500
    n_states: int = 200
    rollouts: int = 4
    q: str = "min"
    seed: int = EVALUATION_SEED

    def __call__(self, agent: Any) -> dict[str, float]:
        returns = evaluate_policy(self.world, agent.policy(deterministic=True), self.n_starts, self.seed)
        row = {"return": float(returns.mean())}
        if hasattr(agent, "q_values"):
            report = estimation_report(
                agent,
                self.world,
                self.dataset,
                n_states=self.n_states,
                q=self.q,
                rollouts=self.rollouts,
                seed=self.seed,
            )
            row |= report.at("policy")
        return row
