"""Calibrated Q-learning, continuous and discrete: CQL that pushes no action of the policy below what the log earned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Batch, Noise
from ..errors import ConfigError, DataError
from ..networks import soft_update
from .cql import LOG_MULTIPLIER_RANGE, CQLAgent, CQLConfig
from .discrete import DiscreteCQLAgent, DiscreteCQLConfig


@dataclass(frozen=True, kw_only=True)
class CalQLConfig(CQLConfig):
    """Settings of Cal-QL: those of CQL, and what an episode is worth where its recording was cut."""

    truncation_value: float | None = None
    """Return expected after a truncation, in the log's units. None: that of an average row of the log. Read by fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.truncation_value is not None:
            self.number("truncation_value")


class CalQLAgent(CQLAgent):
    """CQL(H) in which the values of the policy's candidates are raised to the row's return-to-go first.

    A candidate from pi(.|s) or pi(.|s') counts in the penalty as ``max(Q_j(s, a), G) - log pi(a)``, where G is the
    return-to-go of the row, also for candidates from pi(.|s'), as they are scored at s. Uniform candidates and the
    pull on the logged action are those of CQL. So Q of the policy's actions is pushed down to about the value of the
    behaviour policy and no further, and what is learned offline is on the scale of what comes online. Where
    ``bound_rate`` is 0, this is CQL.

    `fit` supplies the returns-to-go: discounted by the agent's discount, in the units of the rewards that the losses
    see, cut at terminations and at unflagged jumps, bootstrapped with ``truncation_value`` where the recording ends.
    A data set that carries some already (`OfflineDataset.with_returns_to_go`) keeps them.

    Source: Nakamoto et al. 2023 (arXiv 2303.05479). Deviations from the paper's code: its Bellman target is
    a maximum over ten actions; its returns start from 0 where the recording was cut; a trajectory that never succeeds
    gets a return of its own there. For tasks that do not end the paper fits a critic of the behaviour policy in the
    place of returns.
    """

    name = "cal-ql"
    config_class = CalQLConfig
    config: CalQLConfig

    def prepare_dataset(self, dataset: Any) -> Any:
        """The same rows with returns-to-go: see `with_returns_to_go`."""
        return with_returns_to_go(dataset, self.config.discount, self.config.truncation_value)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One gradient step each for critics, actor, temperature and multiplier, then the target networks.

        Shapes: E critics, B transitions, K candidate actions. Metrics are those of CQL, and ``bound_rate``, the share
        of the policy's candidates (over all critics) that were raised. Raises `DataError` for a batch without
        returns-to-go.
        """
        batch = self.prepare(batch)
        returns_to_go = returns_of(batch)
        noise = noise or self.draw_noise(batch.size)
        assert noise.target is not None and noise.actor is not None
        config, s, s_next = self.config, batch.observations, batch.next_observations
        temperature, cql_alpha = self.temperature, self.cql_alpha

        # 1. Bellman target and candidate actions: constants for the critics.
        with torch.no_grad():
            policy, next_policy = self.actor(s), self.actor(s_next)
            next_action = next_policy.sample(noise.target)
            next_q = self.target_critic(s_next, next_action.actions)  # [E, B]
            if config.target_subset is not None:  # a randomised ensemble
                assert noise.subset is not None
                next_q = next_q[noise.subset]
            next_value = next_q.amin(0)  # min over critics, [B]
            if config.backup_entropy:
                next_value = next_value - temperature * next_action.log_prob
            target = losses.td_target(batch.rewards, batch.terminations, next_value, config.discount)
            candidates, log_density = self.sample_candidates(policy, next_policy, noise)  # [B, K, A], [B, K]

        # 2. Critics: squared Bellman error plus the penalty, in which the policy's candidates are raised to G.
        q = self.critic(s, torch.cat([batch.actions[:, None], candidates], dim=1))  # [E, B, 1 + K]
        q_data, q_uniform, q_policy = q.split([1, config.cql_n_actions, q.shape[-1] - 1 - config.cql_n_actions], -1)
        q_data = q_data.squeeze(-1)
        bound_rate = (q_policy.detach() < returns_to_go[:, None]).to(self.dtype).mean()
        q_candidates = torch.cat([q_uniform, losses.calibrate(q_policy, returns_to_go)], -1)
        td_loss = losses.td_loss(q_data, target)
        penalty = self.penalty(q_candidates, log_density, q_data)
        self.step("critic", (td_loss + cql_alpha * penalty).sum())

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

        # 5. Multiplier (Lagrange): up while the CQL gap is above its target.
        cql_loss = penalty.detach().mean()
        gap = losses.normalised_gap(cql_loss, config.action_dim)
        if config.cql_lagrange:
            self.step("multiplier", losses.multiplier_loss(self.log_multiplier, gap, config.cql_target_action_gap))
            with torch.no_grad():
                self.log_multiplier.clamp_(*LOG_MULTIPLIER_RANGE)

        # 6. Target critics: a step tau towards the critics.
        soft_update(self.target_critic, self.critic, config.tau)
        return {
            "cql_loss": cql_loss,
            "cql_gap": gap,
            "bound_rate": bound_rate,
            "q_value": q_data.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "cql_alpha": cql_alpha,
            "policy_loss": policy_loss.detach(),
            "entropy": -action.log_prob.detach().mean(),
            "temperature": temperature,
        }


# ---------------------------------------------------------------- a finite number of actions
@dataclass(frozen=True, kw_only=True)
class DiscreteCalQLConfig(DiscreteCQLConfig):
    """Settings of discrete Cal-QL: those of discrete CQL, and what an episode is worth where its recording was cut."""

    truncation_value: float | None = None
    """Return expected after a truncation, in the log's units. None: that of an average row of the log. Read by fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.truncation_value is not None:
            self.number("truncation_value")


class DiscreteCalQLAgent(DiscreteCQLAgent):
    """Discrete CQL(H) in which the values of all actions are raised to the row's return-to-go in the logsumexp.

    The penalty is ``logsumexp_a max(Q_j(s, a), G) - Q_j(s, a_data)``: the policy that it assumes, softmax(Q), takes
    every action, and there are no uniform candidates beside it. The logged action's own term is that of CQL.
    ``bound_rate`` is the share of all actions (over all critics) that were raised. Where it is 0, this is discrete CQL.
    Returns-to-go: see `CalQLAgent`. The paper treats continuous actions alone.
    """

    name = "discrete-cal-ql"
    config_class = DiscreteCalQLConfig
    config: DiscreteCalQLConfig

    def prepare_dataset(self, dataset: Any) -> Any:
        """The same rows with returns-to-go: see `with_returns_to_go`."""
        return with_returns_to_go(dataset, self.config.discount, self.config.truncation_value)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the critics and their targets; raises `DataError` for a batch without returns-to-go."""
        batch = self.prepare(batch)
        returns_to_go, config = returns_of(batch), self.config
        with torch.no_grad():
            next_targets = self.target_critic(batch.next_observations)
            chooser = self.critic(batch.next_observations) if config.double_q else next_targets
            best = chooser.mean(0).argmax(-1)
            next_values = losses.take_actions(next_targets, best).amin(0)
            target = losses.td_target(batch.rewards, batch.terminations, next_values, config.discount)

        q_all = self.critic(batch.observations)  # [E, B, actions]
        q_data = losses.take_actions(q_all, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        log_density = torch.full_like(q_all[0], -math.log(config.action_dim))
        penalty = losses.cql_penalty(losses.calibrate(q_all, returns_to_go), log_density, q_data)
        bound_rate = (q_all.detach() < returns_to_go[:, None]).to(self.dtype).mean()
        self.step("critic", (td_loss + config.cql_alpha * penalty).sum())
        soft_update(self.target_critic, self.critic, config.tau)

        cql_loss = penalty.detach().mean()
        return {
            "cql_loss": cql_loss,
            "cql_gap": cql_loss - math.log(config.action_dim),
            "bound_rate": bound_rate,
            "q_value": q_data.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "cql_alpha": torch.full((), config.cql_alpha, dtype=self.dtype, device=self.device),
        }


# ---------------------------------------------------------------- returns-to-go
def returns_of(batch: Batch) -> Tensor:
    """The batch's returns-to-go ``[B]``; raises `DataError` if it has none."""
    if batch.returns_to_go is None:
        mend = "train with fit, which adds them; or take batches of dataset.with_returns_to_go(discount)."
        raise DataError("batch['returns_to_go']", "no such key", "the return-to-go of each row, [B]", mend)
    return batch.returns_to_go


def with_returns_to_go(dataset: Any, discount: float, truncation_value: float | None) -> Any:
    """A data set whose batches carry returns-to-go, in the log's own units; one that carries some is left as it is.

    ``truncation_value`` None stands for the v with ``v = mean_t G_t(v)``: an episode whose recording was cut goes on
    like an average row of the log. G is linear in it: ``v = mean_t G_t(0) / (1 - weight)``, where the weight is the
    mean of G for no rewards and a truncation value of 1. Raises `ConfigError` where no episode ends and nothing is
    discounted, as there is no such number.
    """
    if dataset.batch_returns is not None:
        return dataset
    if truncation_value is None:
        earned = dataset.returns_to_go(discount)
        of_one = dataset.returns_to_go(discount, reward_scale=0.0, truncation_value=1.0)
        mean, weight = (float(column.cpu().double().mean()) for column in (earned, of_one))
        if weight > 1.0 - 1e-6:
            mend = "set truncation_value, in the log's units, or a discount below 1."
            raise ConfigError("config['truncation_value']", "None", "a number, as no episode of the log ends", mend)
        truncation_value = mean / (1.0 - weight)
    value = torch.tensor(truncation_value, dtype=torch.float64)  # to all its digits
    return dataset.with_returns_to_go(discount, truncation_value=value)
