"""The log of a task by draw, from which several studies learn."""

from __future__ import annotations

from pathlib import Path

import torch

from cql_tutorial import OfflineDataset, load_agent, load_dataset
from cql_tutorial.datasets.recording import dataset_of, record
from cql_tutorial.envs import Gridworld, Maze, Pendulum
from cql_tutorial.envs.maze import stitching_episodes
from cql_tutorial.evaluation import optimal_q

DATA = Path(__file__).resolve().parents[1] / "data"


def maze_data(draw: int, turn_before: float = 0.5) -> OfflineDataset:
    """The stitching maze's log, drawn anew for each seed."""
    world, generator = Maze(), torch.Generator().manual_seed(draw)
    return dataset_of(world, stitching_episodes(world, generator=generator, turn_before=turn_before), id=f"draw {draw}")


def pendulum_data(draw: int) -> OfflineDataset:
    """Draws 0 to 3 are the shipped medium sets; others are recorded from the same policy."""
    if draw < 4:
        return load_dataset("pendulum/medium-10k-v0" if draw == 0 else f"pendulum/medium-10k-draw{draw}-v0")
    policy = load_agent(DATA / "policies" / "pendulum-medium.safetensors", "cpu").policy()
    return record(Pendulum(), policy, 10_000, seed=draw, id=f"draw {draw}")


def swinging_data(draw: int) -> OfflineDataset:
    """10,000 steps of the policy that earns as much as a medium one and never gets the pendulum up."""
    policy = load_agent(DATA / "policies" / "pendulum-swinging.safetensors", "cpu").policy()
    return record(Pendulum(), policy, 10_000, seed=draw, id=f"draw {draw}")


class EpsilonGreedy:
    """The optimal gridworld action, or with probability epsilon any of the four."""

    def __init__(self, world: Gridworld, epsilon: float) -> None:
        best = optimal_q(world).argmax(-1)
        self.table = torch.full((len(best), world.action_dim), epsilon / world.action_dim)
        self.table[torch.arange(len(best)), best] += 1 - epsilon

    def probabilities(self, observations: torch.Tensor) -> torch.Tensor:
        return self.table.to(observations.dtype)[observations.argmax(-1)]

    def __call__(self, observations: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.multinomial(self.probabilities(observations), 1, generator=generator).squeeze(-1)
