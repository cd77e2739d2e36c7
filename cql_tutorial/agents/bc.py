"""Behaviour cloning: maximum likelihood of the logged actions; %BC clones the best share of the episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import losses
from ..batch import Noise
from ..networks import pre_tanh_of
from .actor_critic import GaussianAgent
from .config import AgentConfig


@dataclass(frozen=True, kw_only=True)
class BCConfig(AgentConfig):
    """Settings of behaviour cloning; ``top_fraction`` below 1 is %BC."""

    actor_lr: float = 1e-3
    """Adam's step size of the policy. Larger than with critics: cloning is plain supervised learning."""
    top_fraction: float = 1.0
    """Clone only this share of the whole episodes, the best by return, in (0, 1] (0.25 is '25 %BC')."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positive("actor_lr", "top_fraction")
        self.number("top_fraction", 0, 1)


class BCAgent(GaussianAgent):
    """Clones the behaviour policy: minimises ``-E log pi(a|s)`` of a tanh-Gaussian policy over the logged actions."""

    name = "bc"
    config_class = BCConfig
    config: BCConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        self.actor = self._build_actor()
        self.add_optimizer("actor", list(self.actor.parameters()), self.config.actor_lr)

    def prepare_dataset(self, dataset: Any) -> Any:
        """The data that `fit` trains on: the best ``top_fraction`` of episodes (all of them by default)."""
        return dataset if self.config.top_fraction == 1.0 else dataset.top_episodes(self.config.top_fraction)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the policy; metrics are 0-d tensors on the device."""
        batch = self.prepare(batch)
        log_prob = self.actor(batch.observations).log_prob(pre_tanh_of(batch.actions))
        loss = losses.behaviour_cloning_loss(log_prob)
        self.step("actor", loss)
        return {"policy_loss": loss.detach()}
