"""Agents for a finite number of actions: CQL with the exact logsumexp, its naive DQN twin, behaviour cloning."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..networks import Categorical, EnsembleMLP, draw_index, one_hot, soft_update
from .agent import Agent, AgentPolicy
from .config import AgentConfig


@dataclass(frozen=True, kw_only=True)
class DiscreteCQLConfig(AgentConfig):
    """Settings of the discrete agents with critics; ``action_dim`` is the number of actions."""

    cql_alpha: float = 1.0
    """Weight of the penalty, twice the paper's alpha. It depends on the rewards' scale: try a factor of 3."""
    n_critics: int = 1
    """Critics in the ensemble. Above 1 the Bellman target is the minimum over their target networks."""
    double_q: bool = True
    """Choose the next action with the critics and value it with their target networks (double DQN)."""
    critic_lr: float = 3e-4
    """Adam's step size of the critics."""
    tau: float = 0.005
    """Share of the way that the target networks go towards the critics, each update, in (0, 1]."""
    initial_value: float = 0.0
    """Last bias of the critics at the start, a return. mean reward / (1 - discount) saves much training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.number("cql_alpha", 0)
        self.integer("n_critics", 1)
        self.number("tau", 0, 1)
        self.positive("tau", "critic_lr")
        self.number("initial_value")


@dataclass(frozen=True, kw_only=True)
class DQNConfig(DiscreteCQLConfig):
    """The naive twin: the same update with ``cql_alpha`` 0."""

    cql_alpha: float = 0.0
    """Always 0: DQN has no penalty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("cql_alpha", self.cql_alpha == 0, "0 (DQN has no penalty; use discrete-cql)")


@dataclass(frozen=True, kw_only=True)
class DiscreteBCConfig(AgentConfig):
    """Settings of discrete behaviour cloning; ``action_dim`` is the number of actions."""

    actor_lr: float = 1e-3
    """Adam's step size of the policy. Larger than with critics: cloning is plain supervised learning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positive("actor_lr")


class DiscretePolicy(AgentPolicy):
    """A policy over a finite number of actions, which also tells its probabilities."""

    @torch.no_grad()
    def probabilities(self, observations: Tensor) -> Tensor:
        """``[n, S] -> [n, actions]``; those of a deterministic policy are 0 and 1."""
        distribution = self.distribution(observations)
        return one_hot(distribution.mode(), distribution.logits) if self.deterministic else distribution.probabilities

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Actions ``[n]`` and their log-probability ``[n]``, which is 0 for a deterministic policy."""
        return draw_index(self.probabilities(observations), generator)


class DiscreteAgent(Agent):
    """An agent over ``action_dim`` actions whose policy is the softmax of one score an action, or their argmax."""

    discrete = True

    def _build_network(self, ensemble: int, initial_value: float | None = None) -> EnsembleMLP:
        """A network from observations to one number an action."""
        sizes = self.config.mlp_sizes(self.config.state_dim, self.config.action_dim)
        return EnsembleMLP(sizes, ensemble, initial_value, self._init_generator).to(self.device, self.dtype)

    def scores(self, observations: Tensor) -> Tensor:
        """What the policy ranks actions by: ``[n, S] -> [n, actions]``."""
        raise NotImplementedError

    def distribution(self, observations: Tensor) -> Categorical:
        """The softmax of the scores."""
        return Categorical(self.scores(observations))

    def policy(self, deterministic: bool = False) -> DiscretePolicy:
        """The learned policy; stochastic means softmax of the scores, deterministic their argmax."""
        return DiscretePolicy(self, deterministic)


class DiscreteCQLAgent(DiscreteAgent):
    """CQL(H) with the logsumexp over all actions, on (double) DQN. Source: Kumar et al. 2020, Eq. 4.

    Its policy is the argmax of the mean critic, which is the policy its Bellman target evaluates.
    """

    name = "discrete-cql"
    config_class = DiscreteCQLConfig
    config: DiscreteCQLConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        self.critic = self._build_network(self.config.n_critics, self.initial_value)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.add_optimizer("critic", list(self.critic.parameters()), self.config.critic_lr)

    def policy(self, deterministic: bool = True) -> DiscretePolicy:
        """The greedy policy; ``deterministic=False`` gives softmax(Q), the one that CQL(H)'s penalty assumes."""
        return DiscretePolicy(self, deterministic)

    def scores(self, observations: Tensor) -> Tensor:
        return self.critic(observations).mean(0)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the critics and their targets; metrics are 0-d tensors on the device.

        Choices are not looked at here, which would wait for the device: `OfflineDataset` refuses those out of range.
        """
        batch = self.prepare(batch)
        config = self.config
        with torch.no_grad():
            next_targets = self.target_critic(batch.next_observations)
            chooser = self.critic(batch.next_observations) if config.double_q else next_targets
            best = chooser.mean(0).argmax(-1)
            next_values = losses.take_actions(next_targets, best).amin(0)
            target = losses.td_target(batch.rewards, batch.terminations, next_values, config.discount)

        q_all = self.critic(batch.observations)  # [E, B, actions]
        q_data = losses.take_actions(q_all, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        # Every action is a candidate of the uniform proposal, so the log-mean estimate is exact.
        log_density = torch.full_like(q_all[0], -math.log(config.action_dim))
        penalty = losses.cql_penalty(q_all, log_density, q_data)
        self.step("critic", (td_loss + config.cql_alpha * penalty).sum())
        soft_update(self.target_critic, self.critic, config.tau)

        cql_loss = penalty.detach().mean()
        return {
            "cql_loss": cql_loss,
            "cql_gap": cql_loss - math.log(config.action_dim),
            "q_value": q_data.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "cql_alpha": torch.full((), config.cql_alpha, dtype=self.dtype, device=self.device),
        }

    @torch.no_grad()
    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of the given actions: ``[n, S], [n] -> [E, n]``."""
        q_all = self.critic(self.as_observations(observations))
        return losses.take_actions(q_all, self.as_actions(actions)) / self.config.reward_scale


class DQNAgent(DiscreteCQLAgent):
    """The naive twin of `DiscreteCQLAgent`: no penalty."""

    name = "dqn"
    config_class = DQNConfig


class DiscreteBCAgent(DiscreteAgent):
    """Clones the behaviour policy: minimises the cross-entropy of the logged actions under a softmax policy."""

    name = "discrete-bc"
    config_class = DiscreteBCConfig
    config: DiscreteBCConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        self.actor = self._build_network(1)
        self.add_optimizer("actor", list(self.actor.parameters()), self.config.actor_lr)

    def scores(self, observations: Tensor) -> Tensor:
        return self.actor(observations).squeeze(0)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the policy; metrics are 0-d tensors on the device.

        Choices are not looked at here, which would wait for the device: `OfflineDataset` refuses those out of range.
        """
        batch = self.prepare(batch)
        log_prob = torch.log_softmax(self.scores(batch.observations), -1)
        loss = losses.behaviour_cloning_loss(losses.take_actions(log_prob[None], batch.actions))
        self.step("actor", loss)
        return {"policy_loss": loss.detach()}
