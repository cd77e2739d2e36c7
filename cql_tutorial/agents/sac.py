"""Soft actor-critic, and with ``backup_entropy=False`` the offline SAC that the comparisons use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..fast import fused
from .actor_critic import ActorCritic, ActorCriticConfig


@dataclass(frozen=True, kw_only=True)
class SACConfig(ActorCriticConfig):
    """SAC has entropy in the backup (its critics estimate the *soft* Q^pi) unless ``backup_entropy`` is False."""

    backup_entropy: bool = True


class SACAgent(ActorCritic):
    """Soft actor-critic with automatic temperature. Source: SAC (Haarnoja et al. 2018, arXiv 1812.05905)."""

    name = "sac"
    fused_form = True
    config_class = SACConfig
    config: SACConfig

    def draw_noise(self, batch_size: int) -> Noise:
        """Normal numbers for the next action in the target and the action of the actor's loss, ``[B, A]`` each."""
        shape = (batch_size, self.config.action_dim)
        return Noise(target=self.normal(*shape), actor=self.normal(*shape))

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of critics, actor, temperature and target networks; metrics are 0-d tensors on the device."""
        batch = self.prepare(batch)
        noise = noise or self.draw_noise(batch.size)
        if self.fused:
            return fused.update(self, batch, noise)
        assert noise.target is not None and noise.actor is not None

        with torch.no_grad():
            next_policy = self.actor(batch.next_observations)
        target = self.bellman_target(batch, next_policy, noise.target)
        q_data = self.critic(batch.observations, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        self.step("critic", td_loss.sum())

        actor_metrics = self.update_actor(batch, noise.actor)
        self.update_target()
        return {"q_value": q_data.detach().mean(), "td_loss": td_loss.detach().mean(), **actor_metrics}
