"""The stitching maze: the data never show the way from start to goal in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..errors import require
from .base import Policy, Transition, World, normal, record_episodes, uniform

ARMS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "top": (0.0, 1.0), "bottom": (0.0, -1.0)}


@dataclass(eq=False, kw_only=True)
class Maze(World):
    """Two crossing corridors, |x| <= half_width or |y| <= half_width in [-1, 1]^2; the goal is the end of the top arm.

    ``p' = p + step_size * a``; a move into a wall slides along it. The observation is ``2 (x, y)``.
    Reward 1 for every step that ends at ``y > goal``, else 0; never terminates.
    A start is drawn within 0.1 (x) and 0.15 (y, in the left arm's own frame) of the point 0.85 along an arm.
    """

    discount: float = 0.95
    horizon: int = 60
    half_width: float = 0.2
    step_size: float = 0.12
    goal: float = 0.75
    name: ClassVar[str] = "maze"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 < self.half_width < 0.7, "maze.half_width", self.half_width, "a number in (0, 0.7)")
        # a longer step could jump from one arm into the next across the corner of the wall
        require(0 < self.step_size <= self.half_width, "maze.step_size", self.step_size, "a number in (0, half_width]")
        require(self.half_width < self.goal < 1.0, "maze.goal", self.goal, "a height in (half_width, 1)")
        self.observation_dim = self.action_dim = 2
        self.reward_high, self.observation_high = 1.0, [2.0, 2.0]

    def reset(
        self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32, arm: str = "left"
    ) -> Tensor:
        """Positions ``[n, 2]`` near the end of an arm: left, right, top or bottom (``ConfigError`` otherwise)."""
        require(arm in ARMS, "maze.reset: arm", arm, f"one of {sorted(ARMS)}")
        draw = uniform(-1.0, 1.0, n, 2, generator=generator, dtype=dtype)
        along, across = 0.85 + 0.1 * draw[:, :1], 0.75 * self.half_width * draw[:, 1:]
        x, y = ARMS[arm]
        return along * draw.new_tensor([x, y]) + across * draw.new_tensor([-y, x])

    def observe(self, states: Tensor) -> Tensor:
        return 2.0 * states

    def states_of(self, observations: Tensor) -> Tensor:
        return 0.5 * observations

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        moved = (states + self.step_size * self.check_actions(states, actions)).clamp(-1.0, 1.0)
        (x, y), w = moved.unbind(-1), self.half_width
        # A point outside both corridors goes back into the one it came from; comparing |x| with |y| rather than with w
        # decides this safely for states that rounding has put a hair outside.
        sideways = (y.abs() <= w) | ((x.abs() > w) & (states[:, 0].abs() > states[:, 1].abs()))
        along_x, along_y = torch.stack([x, y.clamp(-w, w)], -1), torch.stack([x.clamp(-w, w), y], -1)
        states = torch.where(sideways[:, None], along_x, along_y)
        rewards = (states[:, 1] > self.goal).to(states.dtype)
        return states, rewards, torch.zeros_like(rewards, dtype=torch.bool)


def stitching_behaviour(
    arm: str, turn: str, speed: float = 0.6, noise: float = 0.2, half_width: float = 0.2, turn_before: float = 0.5
) -> Policy:
    """A script that walks from the ``left`` or ``right`` arm to the centre, turns ``up`` or ``down``, and goes on.

    ``a = speed * direction - 2 * (distance from the middle of the corridor) + noise * standard normal``, clipped to
    [-1, 1]. It turns ``turn_before`` half-widths before the centre. That choice decides how cloning fares: where it is
    0.5 the two scripts keep to their own side of the centre and a clone goes down, where it is 0 they mix and some
    clones go up (the results table has both). ``ConfigError`` for other words.
    """
    require(arm in ("left", "right"), "stitching_behaviour: arm", arm, "left or right")
    require(turn in ("up", "down"), "stitching_behaviour: turn", turn, "up or down")
    inward, away = (1.0 if arm == "left" else -1.0), (1.0 if turn == "up" else -1.0)

    def behaviour(observations: Tensor, generator: Generator | None = None) -> Tensor:
        x, y = (0.5 * observations).unbind(-1)
        # Not yet in the new arm, and short of the turning point or (noise!) adrift in the arm beyond it.
        arriving = (away * y <= half_width) & ((inward * x < -turn_before * half_width) | (x.abs() > half_width))
        across = torch.where(arriving, -speed * x.sign(), -2.0 * x)
        along = torch.where(arriving, -2.0 * y, speed * away)
        mean = torch.stack([across, along], -1)
        return (mean + noise * normal(mean, generator)).clamp(-1.0, 1.0)

    return behaviour


def stitching_episodes(
    world: Maze,
    n_left: int = 120,
    n_right: int = 40,
    steps: int = 50,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
    turn_before: float = 0.5,
) -> dict[str, Tensor]:
    """The maze's data: ``n_left`` episodes from the left arm that turn down (return 0), ``n_right`` from the right arm
    that turn up to the goal. The flat tensors of ``record_episodes``; the left-arm episodes come first."""
    how = {"half_width": world.half_width, "turn_before": turn_before}
    left, right = stitching_behaviour("left", "down", **how), stitching_behaviour("right", "up", **how)
    starts = [world.reset(n, generator, dtype, arm) for n, arm in ((n_left, "left"), (n_right, "right"))]
    return record_episodes(world, [(left, starts[0]), (right, starts[1])], steps, generator)
