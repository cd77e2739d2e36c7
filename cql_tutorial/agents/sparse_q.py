"""Sparse Q-learning (SQL) and exponential Q-learning (EQL): as IQL, with another loss of V and other weights.

Not soft Q-learning, which has the same initials.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..errors import CQLWarning
from ..networks import LOG_STD_RANGE, soft_update
from .iql import InSampleConfig, IQLAgent


@dataclass(frozen=True, kw_only=True)
class SparseQConfig(InSampleConfig):
    """Settings of sparse Q-learning. The paper uses regularisation 1 on locomotion and 0.1 on AntMaze, scaled rewards.

    Two logged values that lie D apart, the better one with share p of the rows: the worse one is left out (weight 0)
    only if ``regularisation < p D / 2``. Above that V is the mean of Q and the policy a clone that tilts with Q.
    """

    regularisation: float = 1.0
    """The paper's alpha, in units of the return: how far below V a logged action still counts is twice this."""
    weight: str = "derivation"
    """'derivation': max(1 + (Q - V) / (2 alpha), 0); 'code': max(Q - V, 0), as the authors' program. See losses."""
    weight_cap: float = 100.0
    """Largest weight of a transition in the policy's loss. 100 as in the authors' code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positive("regularisation", "weight_cap")
        self.one_of("weight", "derivation", "code")


@dataclass(frozen=True, kw_only=True)
class EQLConfig(SparseQConfig):
    """Settings of exponential Q-learning. The paper uses regularisation 2 on locomotion and 0.5 on AntMaze."""

    regularisation: float = 2.0
    """The paper's alpha, in units of the return: towards 0 V is the best logged Q, large it is the mean."""
    weight: str = "derivation"
    """'derivation': exp((Q - V) / alpha); 'code': exp(10 (Q - V) / alpha), as the authors' program."""


class SparseQAgent(IQLAgent):
    """Sparse Q-learning: in-sample learning that gives bad logged actions the weight 0.

    With ``t = 1 + (Q - V) / (2 alpha)`` and Q the minimum of the target critics at the logged action: V minimises
    ``E [1(t > 0) t^2 + V / alpha]``, the critics ``sum_j E (r + discount (1 - termination) V(s') - Q_j)^2``, the policy
    ``-E w log pi(a|s)``, ``w = max(t, 0)``. The networks are `IQLAgent`'s. Deviations from the authors' code: no
    LayerNorm in V, and a constant actor step size (there: a cosine down to 0). Source: Xu et al. 2023
    (arXiv 2303.15810); order and target critics as in their code.
    """

    name = "sparse-q"
    config_class = SparseQConfig  # type: ignore[assignment]  # the networks read what InSampleConfig has
    config: SparseQConfig  # type: ignore[assignment]
    value_loss: ClassVar[Any] = staticmethod(losses.sparse_value_loss)
    weights: ClassVar[Any] = staticmethod(losses.sparse_weights)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of V, policy, critics and target critics, in this order; metrics are 0-d tensors on the device.

        ``advantage`` is min_j Qbar_j(s, a) - V(s) with V after its step, as policy and critics read it; ``share_zero``
        the part of the batch that the policy does not learn from, ``share_capped`` that whose weight is at the cap.
        """
        batch = self.prepare(batch)
        config, s = self.config, batch.observations

        # 1. V: from the target critics at logged actions.
        with torch.no_grad():
            q_target = self.q_of(self.target_critic, s, batch.actions).amin(0)
        values = self.value(s)
        value_loss = self.value_loss(q_target, values, config.regularisation)
        self.step("value", value_loss)

        # 2. Policy: cloning with the weights that the new V gives; they are constants.
        with torch.no_grad():
            advantage, next_values = q_target - self.value(s), self.value(batch.next_observations)
        weights = self.weights(advantage, config.regularisation, config.weight, config.weight_cap)
        policy_loss = losses.behaviour_cloning_loss(weights * self.log_likelihood(s, batch.actions))
        self.step("actor", policy_loss)
        with torch.no_grad():
            self.actor.log_std.clamp_(*LOG_STD_RANGE)

        # 3. Critics: the squared Bellman error with the new V(s') as the next value.
        target = losses.td_target(batch.rewards, batch.terminations, next_values, config.discount)
        q_data = self.q_of(self.critic, s, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        self.step("critic", td_loss.sum())

        # 4. Target critics: a step tau towards the critics.
        soft_update(self.target_critic, self.critic, config.tau)
        return {
            "q_value": q_data.detach().mean() / config.reward_scale,
            "value": values.detach().mean() / config.reward_scale,
            "td_loss": td_loss.detach().mean(),
            "value_loss": value_loss.detach(),
            "policy_loss": policy_loss.detach(),
            "advantage": advantage.mean(),
            "advantage_weight": weights.mean(),
            "share_zero": (weights == 0).to(self.dtype).mean(),
            "share_capped": (weights >= config.weight_cap).to(self.dtype).mean(),
        }

    def check_training(self, row: Mapping[str, float], batch: Mapping[str, Any]) -> None:
        """Warn once where hardly a row has a weight, or half of them the cap: the regularisation does not fit."""
        if "weights" in self.told:
            return
        cap, zero, at_cap = self.config.weight_cap, row["share_zero"], row["share_capped"]
        if zero >= 0.99 or row["advantage_weight"] < 1e-3:
            found = (
                f"{zero:.0%} of the policy's weights are 0 (mean {row['advantage_weight']:.2g}): it is hardly trained"
            )
            mend = "raise regularisation, in units of the return; with weight='code' equal values have weight 0"
        elif at_cap >= 0.5:
            found = f"{at_cap:.0%} of the policy's weights are at the cap {cap:g}: better actions count no more"
            mend = "raise regularisation, or set reward_scale; with weight='code' weights are in units of the return"
        else:
            return
        warnings.warn(f"{found}, by update {row['step']}. To mend it: {mend}.", CQLWarning, stacklevel=2)
        self.told.add("weights")


class EQLAgent(SparseQAgent):
    """Exponential Q-learning: `SparseQAgent` with ``E [exp(u) + V / alpha]``, ``u = (Q - V) / alpha``, as V's loss.

    V is then ``alpha log E exp(Q / alpha)`` over the logged actions, and the policy's weights ``exp(u)``: none is 0.
    """

    name = "eql"
    config_class = EQLConfig
    config: EQLConfig
    value_loss = staticmethod(losses.exponential_value_loss)
    weights = staticmethod(losses.exponential_weights)
