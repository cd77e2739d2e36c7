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
from ..fast import fused
from ..networks import MAX_ACTION, TanhGaussian
from .actor_critic import ActorCritic, ActorCriticConfig
from .config import AgentConfig
from .wrong_penalties import PITFALLS

MULTIPLIER_RANGE = (1e-3, 1e4)


@dataclass(frozen=True, kw_only=True)
class CQLConfig(ActorCriticConfig):
    """Settings of CQL(H).

    Critic loss: ``sum_j [mean (Q_j - y)^2 + cql_alpha * penalty_j]`` (the paper's alpha is half of ours).
    ``cql_n_actions`` is N of each proposal: uniform, pi(.|s) and, with ``next_policy_proposal``, pi(.|s').
    ``proposal_weights`` "own" divides by each candidate's own density (the official code), "mixture" by that of all
    proposals together. With ``cql_lagrange`` the multiplier replaces ``cql_alpha``, starts at it and holds the CQL gap
    (0 for a flat Q; see `losses.normalised_target` for peers' targets) at ``cql_target_action_gap``.
    ``pitfall`` names a *wrong* penalty of `wrong_penalties.PITFALLS`, for measuring what the mistake does.
    """

    cql_alpha: float = 5.0
    cql_n_actions: int = 10
    cql_lagrange: bool = False
    cql_target_action_gap: float = 5.0
    multiplier_lr: float = 5e-3
    next_policy_proposal: bool = True
    proposal_weights: str = "own"
    pitfall: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.number("cql_alpha", 0)
        self.whole("cql_n_actions", 1)
        self.number("cql_target_action_gap")
        self.one_of("proposal_weights", "own", "mixture")
        self.one_of("pitfall", None, *PITFALLS)
        if self.pitfall is not None:  # a part of the candidates with the weights of all is a second mistake
            self.require("pitfall", self.proposal_weights == "own", "None with proposal_weights 'mixture'")
        self.positive("multiplier_lr")
        if self.cql_lagrange:
            low, high = MULTIPLIER_RANGE
            self.require("cql_alpha", low < self.cql_alpha < high, f"the multiplier's start, in ({low:g}, {high:g})")


class CQLAgent(ActorCritic):
    """CQL(H) on a SAC actor-critic, with a fixed ``cql_alpha`` or a Lagrange multiplier.

    Source: Kumar et al. 2020 (arXiv 2006.04779), Eq. 4 and Appendix F.
    """

    name = "cql"
    fused_form = True
    config_class = CQLConfig
    config: CQLConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        if self.config.cql_lagrange:
            self.log_multiplier = self.learned_number("log_multiplier", math.log(self.config.cql_alpha))
            self.add_optimizer("multiplier", [self.log_multiplier], self.config.multiplier_lr)
            self._log_bounds = tuple(math.log(bound) for bound in MULTIPLIER_RANGE)
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
        )

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of critics, actor, temperature, multiplier and target networks; metrics are 0-d tensors.

        ``cql_loss`` is the penalty (mean over critics, before alpha), ``cql_gap`` the same minus A log 2,
        ``cql_alpha`` the weight that this update used.
        """
        batch = self.prepare(batch)
        noise = noise or self.draw_noise(batch.size)
        if self.fused:
            return fused.update(self, batch, noise)
        assert noise.target is not None and noise.actor is not None

        # Critics: squared Bellman error plus the penalty. Candidates, densities and target are constants.
        with torch.no_grad():
            policy, next_policy = self.actor(batch.observations), self.actor(batch.next_observations)
            candidates, log_density = self.propose(policy, next_policy, noise)
        target = self.bellman_target(batch, next_policy, noise.target)
        q_all = self.critic(batch.observations, torch.cat([batch.actions[:, None], candidates], dim=1))
        q_data, q_candidates = q_all[..., 0], q_all[..., 1:]
        td_loss = losses.td_loss(q_data, target)
        penalty = self.penalty(q_candidates, log_density, q_data)
        cql_alpha = self.cql_alpha
        self.step("critic", (td_loss + cql_alpha * penalty).sum())

        # Actor: E [temperature log pi - min_j Q_j] with the new critics. Temperature: towards the target entropy.
        actor_metrics = self.update_actor(batch, noise.actor)

        # Multiplier: up while the CQL gap exceeds its target. It sends nothing into the critics.
        cql_loss = penalty.detach().mean()
        gap = self.step_multiplier(cql_loss)

        self.update_target()
        return {
            "cql_loss": cql_loss,
            "cql_gap": gap,
            "q_value": q_data.detach().mean(),
            "td_loss": td_loss.detach().mean(),
            "cql_alpha": cql_alpha,
            **actor_metrics,
        }

    def propose(self, policy: TanhGaussian, next_policy: TanhGaussian, noise: Noise) -> tuple[Tensor, Tensor]:
        """Candidate actions ``[B, K, A]`` and the log-density ``[B, K]`` that each is weighted by.

        N uniform, N from pi(.|s), and N from pi(.|s') *scored at s* as in the official code: any set of proposals is
        right as long as each density is the right one.
        """
        assert noise.uniform is not None and noise.policy is not None
        proposals = [(policy, noise.policy)]
        if self.config.next_policy_proposal:
            assert noise.next_policy is not None
            proposals.append((next_policy, noise.next_policy))
        samples = [distribution.sample(normal) for distribution, normal in proposals]
        actions = torch.cat([noise.uniform, *(sample.actions for sample in samples)], dim=1)
        uniform = torch.full_like(noise.uniform[..., 0], losses.uniform_log_density(self.config.action_dim))
        if self.config.proposal_weights == "own":
            return actions, torch.cat([uniform, *(sample.log_prob for sample in samples)], dim=1)
        pre_tanh = torch.cat([torch.atanh(noise.uniform), *(sample.pre_tanh for sample in samples)], dim=1)
        each = [uniform[:, :1].expand(pre_tanh.shape[:2]), *(d.log_prob(pre_tanh) for d, _ in proposals)]
        return actions, losses.mixture_log_density(torch.stack(each))

    def step_multiplier(self, cql_loss: Tensor) -> Tensor:
        """The CQL gap of a penalty, after one step of the multiplier (where there is one) on it."""
        gap = losses.normalised_gap(cql_loss, self.config.action_dim)
        if self.config.cql_lagrange:
            self.step("multiplier", losses.multiplier_loss(self.log_multiplier, gap, self.config.cql_target_action_gap))
            with torch.no_grad():
                self.log_multiplier.clamp_(*self._log_bounds)
        return gap

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """`losses.cql_penalty`, or the wrong one that ``config.pitfall`` names: ``[E]``."""
        if self.config.pitfall is None:
            return losses.cql_penalty(q_candidates, log_density, q_data)
        return PITFALLS[self.config.pitfall](q_candidates, log_density, q_data, self.config.cql_n_actions)

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
