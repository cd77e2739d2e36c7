"""Gymnasium's Pendulum-v1, batched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from .base import Transition, World, uniform

MAX_SPEED, MAX_TORQUE, TIME_STEP, GRAVITY = 8.0, 2.0, 0.05, 10.0  # rad/s, N m, s, m/s^2; mass 1 kg and length 1 m


@dataclass(eq=False, kw_only=True)
class Pendulum(World):
    """Swing up and balance a pendulum; the same equations as Gymnasium's Pendulum-v1 (no reward is positive).

    State: angle (0 is upright, rad) and angular velocity (rad/s) ``[n, 2]``; observation ``(cos, sin, velocity)``;
    action: a torque in ±2 N m. ``reward = -(angle^2 + 0.1 velocity^2 + 0.001 torque^2)``, of the state before the step
    and with the angle in [-pi, pi). Starts: angle in ±pi, velocity in ±1. Truncated at 200 steps, never terminated.
    """

    discount: float = 0.95
    horizon: int = 200
    name: ClassVar[str] = "pendulum"
    action_low: ClassVar[float] = -MAX_TORQUE
    action_high: ClassVar[float] = MAX_TORQUE

    def __post_init__(self) -> None:
        super().__post_init__()
        self.observation_dim, self.action_dim, self.observation_high = 3, 1, [1.0, 1.0, MAX_SPEED]
        self.reward_low = -(math.pi**2 + 0.1 * MAX_SPEED**2 + 0.001 * MAX_TORQUE**2)

    def reset(self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        draw = uniform(-1.0, 1.0, n, 2, generator=generator, dtype=dtype)
        return draw * draw.new_tensor([math.pi, 1.0])

    def observe(self, states: Tensor) -> Tensor:
        angle, speed = states.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), speed], -1)

    def states_of(self, observations: Tensor) -> Tensor:
        cosine, sine, speed = observations.unbind(-1)
        return torch.stack([torch.atan2(sine, cosine), speed], -1)

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        torque = self.check_actions(states, actions)[:, 0]
        angle, speed = states.unbind(-1)
        wrapped = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        rewards = -(wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2)
        speed = speed + (1.5 * GRAVITY * angle.sin() + 3.0 * torque) * TIME_STEP
        speed = speed.clamp(-MAX_SPEED, MAX_SPEED)
        states = torch.stack([angle + speed * TIME_STEP, speed], -1)
        return states, rewards, torch.zeros_like(rewards, dtype=torch.bool)
