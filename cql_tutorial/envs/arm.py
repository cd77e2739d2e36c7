"""A planar arm with A joints: the same task at any action dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..errors import check_int, require
from .base import Policy, Transition, UniformPolicy, World, normal, record_episodes, uniform


@dataclass(eq=False, kw_only=True)
class Arm(World):
    """A revolute joints with links of length 1/A reach for a target; every reward is negative.

    State: A joint angles (each relative to the link before) and the target ``[n, A + 2]``. Observation: cosines, sines,
    target, target minus tip ``[n, 2A + 4]``. ``angles' = angles + step_size * a``; the reward is
    ``-5 |tip' - target| - mean(a^2)``. Angles start in ±``start_angle`` rad, targets at radius 0.2 to 0.9, any bearing.
    """

    discount: float = 0.9
    horizon: int = 40
    joints: int = 6
    step_size: float = 0.25
    start_angle: float = 1.5
    name: ClassVar[str] = "arm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("arm.joints", self.joints, 1)
        require(self.step_size > 0, "arm.step_size", self.step_size, "a positive angle in rad")
        require(0 <= self.start_angle <= math.pi, "arm.start_angle", self.start_angle, "an angle in [0, pi] rad")
        self.action_dim, self.observation_dim = self.joints, 2 * self.joints + 4
        self.reward_low = -5.0 * (1.0 + 0.9) - 1.0
        self.observation_high = [1.0] * (2 * self.joints + 2) + [2.0, 2.0]

    def joint_positions(self, states: Tensor) -> Tensor:
        """Base, joints and tip ``[n, A + 1, 2]``; the base is the origin."""
        bearing = states[:, : self.joints].cumsum(-1)
        links = torch.stack([bearing.cos(), bearing.sin()], -1).cumsum(1) / self.joints
        return torch.cat([torch.zeros_like(links[:, :1]), links], 1)

    def tip(self, states: Tensor) -> Tensor:
        """Position of the last link's end ``[n, 2]``."""
        return self.joint_positions(states)[:, -1]

    def reset(self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        start = self.start_angle
        angles = uniform(-start, start, n, self.joints, generator=generator, dtype=dtype)
        radius = uniform(0.2, 0.9, n, 1, generator=generator, dtype=dtype)
        bearing = uniform(-math.pi, math.pi, n, 1, generator=generator, dtype=dtype)
        return torch.cat([angles, radius * bearing.cos(), radius * bearing.sin()], -1)

    def observe(self, states: Tensor) -> Tensor:
        angles, target = states[:, : self.joints], states[:, self.joints :]
        return torch.cat([angles.cos(), angles.sin(), target, target - self.tip(states)], -1)

    def states_of(self, observations: Tensor) -> Tensor:
        cosines, sines, target, _ = observations.split([self.joints, self.joints, 2, 2], -1)
        return torch.cat([torch.atan2(sines, cosines), target], -1)  # turns of 2 pi do not matter

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        actions = self.check_actions(states, actions)
        angles, target = states[:, : self.joints], states[:, self.joints :]
        states = torch.cat([angles + self.step_size * actions, target], -1)
        rewards = -5.0 * (self.tip(states) - target).norm(dim=-1) - actions.square().mean(-1)
        return states, rewards, torch.zeros_like(rewards, dtype=torch.bool)


def narrow_behaviour(
    world: Arm, gain: float = 2.0, rotation: float = 0.8, bias: float = 0.2, noise: float = 0.15
) -> Policy:
    """A mediocre controller: ``a = gain * J^T R(rotation) (target - tip) + bias + noise * standard normal``, clipped.

    J is the Jacobian of the tip; R turns the error by ``rotation`` rad, which makes the arm approach in a spiral.
    """

    def behaviour(observations: Tensor, generator: Generator | None = None) -> Tensor:
        places = world.joint_positions(world.states_of(observations))
        error = observations[:, -2:]
        c, s = math.cos(rotation), math.sin(rotation)
        turned = torch.stack([c * error[:, 0] - s * error[:, 1], s * error[:, 0] + c * error[:, 1]], -1)
        reach = places[:, -1:] - places[:, :-1]  # from each joint to the tip; d tip / d angle_j is this turned by 90°
        mean = gain * (reach[..., 0] * turned[:, 1:] - reach[..., 1] * turned[:, :1]) + bias
        return (mean + noise * normal(mean, generator)).clamp(-1.0, 1.0)

    return behaviour


def arm_episodes(
    world: Arm,
    behaviour: str = "narrow",
    n_episodes: int = 500,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """The arm's data, flat as in ``record_episodes``: ``narrow`` (the controller), ``uniform`` actions, or ``mixed``
    (half of the episodes each)."""
    n_uniform = {"narrow": 0, "uniform": n_episodes, "mixed": n_episodes // 2}
    require(behaviour in n_uniform, "arm_episodes: behaviour", behaviour, f"one of {sorted(n_uniform)}")
    n = n_uniform[behaviour]
    starts = world.reset(n_episodes, generator, dtype).split([n_episodes - n, n])
    policies = (narrow_behaviour(world), UniformPolicy(world))
    return record_episodes(world, list(zip(policies, starts, strict=True)), generator=generator)
