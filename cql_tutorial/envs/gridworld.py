"""The cliff grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import check_int, require
from .tabular import TabularWorld


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
        check_int("gridworld.size", self.size, 3)
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
