"""Experiments of chapter 08: random transitions, differences from the result tables, and the maze seen from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...batch import Batch
from ...envs import Maze
from ...evaluation.true_values import true_q


def random_batch(
    size: int, state_dim: int, action_dim: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Batch:
    """Draw transitions of normal numbers, actions in [-1, 1]; a fifth of them terminate."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return Batch(
        observations=normal(size, state_dim),
        actions=torch.tanh(normal(size, action_dim)),
        rewards=normal(size),
        next_observations=normal(size, state_dim),
        terminations=torch.rand(size, generator=generator) < 0.2,
    )


# ---------------------------------------------------------------- the result tables
def by_draw(rows: Sequence[Mapping[str, str]], algorithm: str, column: str) -> dict[str, float]:
    """Return an algorithm's mean over the seeds of each data draw."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["algorithm"] == algorithm:
            values.setdefault(row["draw"], []).append(float(row[column]))
    return {draw: sum(each) / len(each) for draw, each in values.items()}


def paired(rows: Sequence[Mapping[str, str]], algorithm: str, other: str, column: str) -> list[float]:
    """Subtract one algorithm from another: a number for each data draw."""
    mine, theirs = (by_draw(rows, name, column) for name in (algorithm, other))
    return [mine[draw] - theirs[draw] for draw in mine]


def against_cloning(rows: Sequence[Mapping[str, str]], alpha: str) -> list[float]:
    """Return of CQL at an alpha minus that of behaviour cloning, a number for each data draw."""
    kept = [row for row in rows if row["algorithm"] == "bc" or row["cql_alpha"] == alpha]
    return paired(kept, "cql", "bc", "return")


def letter(intervals: Mapping[Any, tuple[float, float]]) -> str:
    """a: a return is told apart from 0; b: only an estimation error is; c: neither. Keys end in the column."""
    told = {key[-1] for key, (mean, half) in intervals.items() if abs(mean) > half}
    return "a" if "return" in told else "b" if "estimation_error" in told else "c"


# ---------------------------------------------------------------- the maze from above
def maze_places(world: Maze, step: float = 0.1) -> Tensor:
    """Positions on a grid inside the corridors: ``[n, 2]``."""
    ticks = torch.arange(-0.95, 0.951, step)
    grid = torch.cartesian_prod(ticks, ticks)
    return grid[(grid.abs() <= world.half_width + 1e-6).any(1)]


@torch.no_grad()
def maze_snapshot(agent: Any, world: Maze, places: Tensor, rollouts: int = 4) -> dict[str, Tensor]:
    """At each place: the policy's mean action ``[n, 2]``, the smallest critic's value of it, and that minus its truth.

    The truth is Q^pi of the deterministic policy, by Monte-Carlo.
    """
    observations, policy = world.observe(places), agent.policy(deterministic=True)
    actions = policy(observations)
    value = agent.q_values(observations, actions).amin(0).cpu().double()
    true, _ = true_q(world, policy, observations, actions, rollouts=rollouts)
    return {"action": actions.cpu(), "value": value, "error": value - true.cpu()}
