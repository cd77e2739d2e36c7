"""Implicit Q-learning, continuous and discrete: it learns from logged actions alone and never asks for another one."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..errors import CQLWarning
from ..networks import LOG_STD_RANGE, Critic, EnsembleMLP, Normal, NormalPolicy, StateValue, soft_update
from .agent import Agent
from .config import AgentConfig
from .discrete import DiscreteAgent


@dataclass(frozen=True, kw_only=True)
class InSampleConfig(AgentConfig):
    """Settings of agents with critics, V and a policy that learn from logged actions alone.

    The critics and V must agree at the start, so ``initial_value`` is for both.
    """

    n_critics: int = 2
    """Critics in the ensemble. V follows the minimum over their target networks."""
    critic_lr: float = 3e-4
    """Adam's step size of the critics."""
    value_lr: float = 3e-4
    """Adam's step size of the state-value network."""
    actor_lr: float = 3e-4
    """Adam's step size of the policy; constant, where the paper lets it fall to 0 along a cosine."""
    tau: float = 0.005
    """Share of the way that the target critics go towards the critics, each update; not the expectile."""
    initial_value: float = 0.0
    """Last bias of critics and V at the start, a return. mean reward / (1 - discount) saves training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.integer("n_critics", 1)
        self.number("tau", 0, 1)
        self.positive("tau", "critic_lr", "value_lr", "actor_lr")
        self.number("initial_value")


@dataclass(frozen=True, kw_only=True)
class ImplicitConfig(InSampleConfig):
    """Settings that both forms share. The policy's weights are ``min(exp(beta * advantage), advantage_cap)``.

    What the paper calls tau is the ``expectile``. It uses expectile 0.7 with beta 3 on locomotion and 0.9 with 10 on
    AntMaze, at scaled rewards.
    """

    expectile: float = 0.7
    """In (0, 1): 0.5 evaluates the behaviour policy, towards 1 the best logged actions. 0.7 as in the paper."""
    inverse_temperature: float = 3.0
    """beta of the weights exp(beta * advantage), per unit of return: 0 clones the data. 3 as in the paper."""
    advantage_cap: float = 100.0
    """Largest weight of a transition in the policy's loss. 100 as in the paper's code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.number("expectile", 0, 1)
        self.require("expectile", 0 < self.expectile < 1, "a number in (0, 1), both ends excluded")
        self.number("inverse_temperature", 0)
        self.positive("advantage_cap")


@dataclass(frozen=True, kw_only=True)
class IQLConfig(ImplicitConfig):
    """Settings of continuous IQL; see `ImplicitConfig`."""

    policy_std: float | None = None
    """Fix the policy's standard deviation; None learns it. With sqrt(1/2) log pi is minus the squared error up to a
    constant: the loss of the deterministic policy that published settings have on some tasks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy_std is not None:
            low, high = (math.exp(bound) for bound in LOG_STD_RANGE)
            self.number("policy_std", low, high)


@dataclass(frozen=True, kw_only=True)
class DiscreteIQLConfig(ImplicitConfig):
    """Settings of discrete IQL; ``action_dim`` is the number of actions."""


class ImplicitAgent(Agent):
    """What both forms share: critics and their targets, V, and the update. Source: IQL, Algorithm 1.

    Deviations from the paper's code: the advantage and the Bellman target use V from *before* its own step (there:
    after it), and the actor's step size stays constant (there: a cosine down to 0 over the run).
    """

    config: ImplicitConfig
    actor: EnsembleMLP

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        settings = self.config
        self.critic, actor = self._build_critic(), self._build_actor()
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        value = StateValue(settings.mlp_sizes(settings.state_dim, 1), 1, self.initial_value, self._init_generator)
        self.value = value.to(self.device, self.dtype)
        self.actor = actor
        self.add_optimizer("critic", list(self.critic.parameters()), settings.critic_lr)
        self.add_optimizer("value", list(self.value.parameters()), settings.value_lr)
        learned = [one for one in self.actor.parameters() if one.requires_grad]
        self.add_optimizer("actor", learned, settings.actor_lr)

    # ------------------------------------------------------------ what the two forms differ in
    def _build_critic(self) -> EnsembleMLP:
        """The critics' network."""
        raise NotImplementedError

    def _build_actor(self) -> EnsembleMLP:
        """The policy's network."""
        raise NotImplementedError

    def q_of(self, critic: EnsembleMLP, observations: Tensor, actions: Tensor) -> Tensor:
        """Each critic's value of the actions: ``[E, B]``."""
        raise NotImplementedError

    def log_likelihood(self, observations: Tensor, actions: Tensor) -> Tensor:
        """log pi(a|s) of the actions: ``[B]``."""
        raise NotImplementedError

    # ------------------------------------------------------------ the update
    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of V, critics, policy and target critics; metrics are 0-d tensors on the device.

        ``value`` is V(s), ``advantage`` min_j Qbar_j(s, a) - V(s), ``advantage_weight`` the mean weight of a logged
        action and ``share_capped`` the part of the batch whose weight is at the cap.
        """
        batch = self.prepare(batch)
        config = self.config
        with torch.no_grad():
            q_target = self.q_of(self.target_critic, batch.observations, batch.actions).amin(0)
            next_values = self.value(batch.next_observations)
        values = self.value(batch.observations)
        advantage = q_target - values

        # V: an expectile of the target critics over the logged actions.
        value_loss = losses.expectile_loss(advantage, config.expectile)
        self.step("value", value_loss)

        # Critics: the squared Bellman error with V(s') as the next value.
        target = losses.td_target(batch.rewards, batch.terminations, next_values, config.discount)
        q_data = self.q_of(self.critic, batch.observations, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        self.step("critic", td_loss.sum())

        # Policy: cloning in which a better action counts more. The weights are constants.
        weights = losses.advantage_weights(advantage, config.inverse_temperature, config.advantage_cap)
        log_prob = self.log_likelihood(batch.observations, batch.actions)
        policy_loss = losses.behaviour_cloning_loss(weights * log_prob)
        self.step("actor", policy_loss)

        soft_update(self.target_critic, self.critic, config.tau)
        return {
            "q_value": q_data.detach().mean() / config.reward_scale,
            "value": values.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "value_loss": value_loss.detach(),
            "policy_loss": policy_loss.detach(),
            "advantage": advantage.detach().mean(),
            "advantage_weight": weights.mean(),
            "share_capped": (weights >= config.advantage_cap).to(self.dtype).mean(),
        }

    def check_training(self, row: Mapping[str, float], batch: Mapping[str, Any]) -> None:
        """Warn once where the policy's weights are all 0, or 0 and the cap alone: beta does not fit the rewards."""
        if "weights" in self.told:
            return
        mean, at_cap, cap = row["advantage_weight"], row["share_capped"], self.config.advantage_cap
        found = f"{at_cap:.0%} of the policy's weights are at the cap {cap:g} and the others near 0"
        if mean < 1e-3:
            found = f"the policy's weights are {mean:.2g} on average: it is not trained"
        elif at_cap >= 0.5:
            found = f"{at_cap:.0%} of the policy's weights are at the cap {cap:g}: better actions count no more"
        elif at_cap * cap < 0.95 * mean:
            return
        text = f"{found}, by update {row['step']}. exp(beta * advantage) wants advantages of order 1 / beta: lower"
        text += " inverse_temperature, or set reward_scale (and initial_value to what a state is worth)."
        warnings.warn(text, CQLWarning, stacklevel=2)
        self.told.add("weights")

    # ------------------------------------------------------------ what was learned
    @torch.no_grad()
    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of actions in environment units: ``[n, S], [n, A] (or [n]) -> [E, n]``."""
        q_values = self.q_of(self.critic, self.as_observations(observations), self.as_actions(actions))
        return q_values / self.config.reward_scale

    @torch.no_grad()
    def state_values(self, observations: Any) -> Tensor:
        """V(s), the expectile over the logged actions: ``[n, S] -> [n]``."""
        return self.value(self.as_observations(observations)) / self.config.reward_scale

    @torch.no_grad()
    def log_prob(self, observations: Any, actions: Any) -> Tensor:
        """Log-density on [-1, 1]^A (log-probability) of actions in environment units: ``-> [n]``, nats."""
        return self.log_likelihood(self.as_observations(observations), self.as_actions(actions))


# ---------------------------------------------------------------- continuous actions
class IQLAgent(ImplicitAgent):
    """Implicit Q-learning with a Normal policy. Source: Kostrikov et al. 2021 (arXiv 2110.06169), Eq. 5 to 7.

    With ``u = min_j Qbar_j(s, a) - V(s)``, V from before its step: V minimises ``E |expectile - 1(u < 0)| u^2``, the
    critics ``sum_j E (r + discount (1 - termination) V(s') - Q_j)^2``, the policy
    ``-E min(exp(beta u), cap) log pi(a|s)``. The policy is not squashed, as in the paper's code: a logged action at a
    bound is then a point like any other, where a tanh-Gaussian would have to reach its atanh, which is infinite.
    """

    name = "iql"
    config_class = IQLConfig
    config: IQLConfig
    actor: NormalPolicy

    def _build_critic(self) -> Critic:
        sizes = self.config.mlp_sizes(self.config.state_dim + self.config.action_dim, 1)
        critic = Critic(sizes, self.config.n_critics, self.initial_value, self._init_generator)
        return critic.to(self.device, self.dtype)

    def _build_actor(self) -> NormalPolicy:
        sizes = self.config.mlp_sizes(self.config.state_dim, self.config.action_dim)
        policy = NormalPolicy(sizes, self._init_generator).to(self.device, self.dtype)
        if isinstance(self.config, IQLConfig) and self.config.policy_std is not None:  # sparse Q-learning has none
            policy.log_std.requires_grad_(False).fill_(math.log(self.config.policy_std))
        return policy

    def distribution(self, observations: Tensor) -> Normal:
        """``[n, S]`` -> the actor's Normal; its mode is the mean, and a random action is clipped to [-1, 1]."""
        return self.actor(observations)

    def q_of(self, critic: EnsembleMLP, observations: Tensor, actions: Tensor) -> Tensor:
        return critic(observations, actions)

    def log_likelihood(self, observations: Tensor, actions: Tensor) -> Tensor:
        return losses.normal_log_prob(actions, *self.actor(observations))

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """`ImplicitAgent.update`; then log_std goes back into [-5, 2] if its step left it."""
        metrics = super().update(batch, noise)
        with torch.no_grad():  # a clamp inside the network would have no gradient to come back by
            self.actor.log_std.clamp_(*LOG_STD_RANGE)
        return metrics


# ---------------------------------------------------------------- a finite number of actions
class DiscreteIQLAgent(ImplicitAgent, DiscreteAgent):
    """Implicit Q-learning over ``action_dim`` actions: the losses of `IQLAgent` with a softmax policy over logits."""

    name = "discrete-iql"
    config_class = DiscreteIQLConfig
    config: DiscreteIQLConfig

    def _build_critic(self) -> EnsembleMLP:
        return self._build_network(self.config.n_critics, self.initial_value)

    def _build_actor(self) -> EnsembleMLP:
        return self._build_network(1)

    def scores(self, observations: Tensor) -> Tensor:
        return self.actor(observations).squeeze(0)

    def q_of(self, critic: EnsembleMLP, observations: Tensor, actions: Tensor) -> Tensor:
        return losses.take_actions(critic(observations), actions)

    def log_likelihood(self, observations: Tensor, actions: Tensor) -> Tensor:
        return losses.take_actions(torch.log_softmax(self.scores(observations), -1)[None], actions)[0]
