"""Conservative Q-learning: SAC's update plus a penalty that pushes Q down on candidates and up on logged actions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..errors import TargetAboveNaturalGapWarning, TargetBelowFloorWarning
from ..networks import MAX_ACTION, TanhGaussian, soft_update
from .actor_critic import ActorCritic, ActorCriticConfig
from .config import AgentConfig

MULTIPLIER_RANGE = (1e-3, 1e4)
LOG_MULTIPLIER_RANGE = tuple(math.log(bound) for bound in MULTIPLIER_RANGE)


@dataclass(frozen=True, kw_only=True)
class CQLConfig(ActorCriticConfig):
    """Settings of CQL(H).

    Critic loss: ``sum_j [mean (Q_j - y)^2 + cql_alpha * penalty_j]`` (the paper's alpha is half of ours).
    The proposals of candidate actions are uniform, pi(.|s) and, with ``next_policy_proposal``, pi(.|s').
    """

    cql_alpha: float = 5.0
    """Weight of the penalty, twice the paper's alpha. It depends on the rewards' scale: try a factor of 3."""
    cql_n_actions: int = 10
    """Candidate actions of each proposal in the estimate of logsumexp Q. More cost time, fewer add noise."""
    cql_lagrange: bool = False
    """Let a multiplier replace cql_alpha: it starts there and holds the CQL gap at cql_target_action_gap."""
    cql_target_action_gap: float = 5.0
    """CQL gap that the multiplier holds, in units of Q (0: flat Q). See losses.normalised_target."""
    multiplier_lr: float = 5e-3
    """Adam's step size of the multiplier's logarithm; read only with cql_lagrange."""
    next_policy_proposal: bool = True
    """Also draw candidates from the policy at the next state, scored at this one (official code)."""
    proposal_weights: str = "own"
    """'own' divides a candidate by its own density (official code), 'mixture' by that of all proposals."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.number("cql_alpha", 0)
        self.integer("cql_n_actions", 1)
        self.number("cql_target_action_gap")
        self.one_of("proposal_weights", "own", "mixture")
        self.positive("multiplier_lr")
        if self.cql_lagrange:
            low, high = MULTIPLIER_RANGE
            self.require("cql_alpha", low < self.cql_alpha < high, f"the multiplier's start, in ({low:g}, {high:g})")


class CQLAgent(ActorCritic):
    """CQL(H) on a SAC actor-critic, with a fixed ``cql_alpha`` or a Lagrange multiplier.

    Source: Kumar et al. 2020 (arXiv 2006.04779), Eq. 4 and Appendix F.
    """

    name = "cql"
    config_class = CQLConfig
    config: CQLConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        if self.config.cql_lagrange:
            self.log_multiplier = self.learnable(math.log(self.config.cql_alpha))
            self.add_optimizer("multiplier", [self.log_multiplier], self.config.multiplier_lr)
        self._warned = False

    def draw_noise(self, batch_size: int) -> Noise:
        """Uniform candidates strictly inside (-1, 1) and normal numbers for the policies' candidates and actions."""
        config = self.config
        single, many = (batch_size, config.action_dim), (batch_size, config.cql_n_actions, config.action_dim)
        uniform = torch.rand(many, generator=self.generator, dtype=self.dtype, device=self.device)
        return Noise(
            target=self.normal(*single),
            actor=self.normal(*single),
            uniform=(2.0 * uniform - 1.0).clamp(-MAX_ACTION, MAX_ACTION),
            policy=self.normal(*many),
            next_policy=self.normal(*many) if config.next_policy_proposal else None,
            subset=None if config.target_subset is None else self.draw_subset(),
        )

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One gradient step each for critics, actor, temperature and multiplier, then the target networks.

        Shapes: E critics, B transitions, K candidate actions. Metrics are 0-d tensors: ``cql_loss`` is the penalty
        before alpha, ``cql_gap`` the same minus A log 2, ``cql_alpha`` the weight that this update used.
        """
        batch = self.prepare(batch)
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

        # 2. Critics: squared Bellman error plus the penalty, which pushes candidates down and logged actions up.
        q = self.critic(s, torch.cat([batch.actions[:, None], candidates], dim=1))  # [E, B, 1 + K]
        q_data, q_candidates = q[..., 0], q[..., 1:]
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
            "q_value": q_data.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "cql_alpha": cql_alpha,
            "policy_loss": policy_loss.detach(),
            "entropy": -action.log_prob.detach().mean(),
            "temperature": temperature,
        }

    def sample_candidates(self, policy: TanhGaussian, next_policy: TanhGaussian, noise: Noise) -> tuple[Tensor, Tensor]:
        """Candidate actions ``[B, K, A]`` and the log-density ``[B, K]`` that each is weighted by.

        N uniform, N from pi(.|s), and N from pi(.|s') *scored at s* as in the official code: any set of proposals is
        right as long as each density is the right one.
        """
        assert noise.uniform is not None and noise.policy is not None
        drawn = [policy.sample(noise.policy)]
        if self.config.next_policy_proposal:
            assert noise.next_policy is not None
            drawn.append(next_policy.sample(noise.next_policy))
        uniform = torch.full_like(noise.uniform[..., 0], losses.uniform_log_density(self.config.action_dim))
        actions, log_density = [noise.uniform], [uniform]
        for sample in drawn:
            actions.append(sample.actions)
            log_density.append(sample.log_prob)
        if self.config.proposal_weights == "own":
            return torch.cat(actions, dim=1), torch.cat(log_density, dim=1)
        # The mixture wants each proposal's density at every candidate.
        pre_tanh = torch.cat([torch.atanh(noise.uniform), *(sample.pre_tanh for sample in drawn)], dim=1)
        each = [uniform[:, :1].expand(pre_tanh.shape[:2]), policy.log_prob(pre_tanh)]
        if self.config.next_policy_proposal:
            each.append(next_policy.log_prob(pre_tanh))
        return torch.cat(actions, dim=1), losses.mixture_log_density(torch.stack(each))

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """The penalty of each critic, `losses.cql_penalty`: ``[E, B, K], [B, K], [E, B] -> [E]``.

        A subclass with another penalty overrides this, and may still be trained by the faster form.
        """
        return losses.cql_penalty(q_candidates, log_density, q_data)

    @property
    def cql_alpha(self) -> Tensor:
        """The penalty's weight: the multiplier where there is one, else ``config.cql_alpha``; without gradient."""
        if self.config.cql_lagrange:
            return self.log_multiplier.detach().exp()
        return torch.full((), self.config.cql_alpha, dtype=self.dtype, device=self.device)

    def check_multiplier(self) -> None:
        """Warn once, by name, when the multiplier has run to a bound. Reads the host: `fit` calls it as it logs."""
        if not self.config.cql_lagrange or self._warned:
            return
        value, target = float(self.cql_alpha), self.config.cql_target_action_gap
        low, high = MULTIPLIER_RANGE
        advice = "A raw target of other code converts with losses.normalised_target."
        if value >= 0.999 * high:
            text = f"the CQL gap stays above its target {target:g} with the multiplier at its cap {high:g}: the target"
            text += f" lies below the floor that the data allow. Raise cql_target_action_gap. {advice}"
            warnings.warn(text, TargetBelowFloorWarning, stacklevel=2)
        elif value <= 1.001 * low:
            text = f"the CQL gap stays below its target {target:g} without a penalty (multiplier at {low:g}): this run"
            text += f" is plain SAC. Lower cql_target_action_gap. {advice}"
            warnings.warn(text, TargetAboveNaturalGapWarning, stacklevel=2)
        self._warned = value >= 0.999 * high or value <= 1.001 * low
