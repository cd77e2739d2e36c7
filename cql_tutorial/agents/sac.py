"""Soft actor-critic, and with ``backup_entropy=False`` the offline SAC that the comparisons use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..networks import soft_update
from .actor_critic import ActorCritic, ActorCriticConfig


@dataclass(frozen=True, kw_only=True)
class SACConfig(ActorCriticConfig):
    """SAC has entropy in the backup (its critics estimate the *soft* Q^pi) unless ``backup_entropy`` is False."""

    backup_entropy: bool = True
    """Subtract temperature * log pi in the Bellman target, as SAC does: the critics are soft values."""


class SACAgent(ActorCritic):
    """Soft actor-critic with automatic temperature. Source: SAC (Haarnoja et al. 2018, arXiv 1812.05905)."""

    name = "sac"
    config_class = SACConfig
    config: SACConfig

    def draw_noise(self, batch_size: int) -> Noise:
        """Normal numbers for the next action in the target and the action of the actor's loss, ``[B, A]`` each.

        With ``target_subset``, also the critics that the target takes.
        """
        shape = (batch_size, self.config.action_dim)
        return Noise(
            target=self.normal(*shape),
            actor=self.normal(*shape),
            subset=None if self.config.target_subset is None else self.draw_subset(),
        )

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One gradient step each for critics, actor and temperature, then the target critics.

        Shapes: E critics, B transitions, A action dimensions. Metrics are 0-d tensors on the device.
        """
        batch = self.prepare(batch)
        noise = noise or self.draw_noise(batch.size)
        assert noise.target is not None and noise.actor is not None
        config, s, s_next = self.config, batch.observations, batch.next_observations
        temperature = self.temperature

        # 1. Bellman target: a constant for the critics.
        with torch.no_grad():
            next_action = self.actor(s_next).sample(noise.target)
            next_q = self.target_critic(s_next, next_action.actions)  # [E, B]
            if config.target_subset is not None:  # a randomised ensemble
                assert noise.subset is not None
                next_q = next_q[noise.subset]
            next_value = next_q.amin(0)  # min over critics, [B]
            if config.backup_entropy:
                next_value = next_value - temperature * next_action.log_prob
            target = losses.td_target(batch.rewards, batch.terminations, next_value, config.discount)

        # 2. Critics: the squared Bellman error.
        q_data = self.critic(s, batch.actions)  # [E, B]
        td_loss = losses.td_loss(q_data, target)
        self.step("critic", td_loss.sum())

        # 3. Actor: towards higher Q of the critics just updated, and more entropy.
        action = self.actor(s).sample(noise.actor)
        q_policy = self.critic(s, action.actions)  # [E, B]
        q_policy = q_policy.mean(0) if config.actor_reduction == "mean" else q_policy.amin(0)
        policy_loss = losses.actor_loss(action.log_prob, q_policy, temperature)
        self.step("actor", policy_loss)

        # 4. Temperature: up while the entropy is below its target.
        if config.auto_alpha:
            self.step(
                "temperature", losses.temperature_loss(self.log_temperature, action.log_prob, self.target_entropy)
            )

        # 5. Target critics: a step tau towards the critics.
        soft_update(self.target_critic, self.critic, config.tau)
        return {
            "q_value": q_data.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "policy_loss": policy_loss.detach(),
            "entropy": -action.log_prob.detach().mean(),
            "temperature": temperature,
        }
