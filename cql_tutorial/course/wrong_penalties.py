"""Wrong penalties, named as wrong: CQL is trained with them to *measure* what a mistake does. Never use them.

All share one signature: ``q_candidates [E, B, K], log_density [B, K], q_data [E, B], n_uniform -> [E]``, where the
first ``n_uniform`` candidates are the uniform ones and the rest were drawn from policies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..agents import CQLAgent, CQLConfig, register_agent
from ..losses import cql_penalty, log_partition

Penalty = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def no_importance_correction(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG for CQL(H): no density, so ``log E_rho[exp Q]``. Right for CQL(rho), rho the mixture of the proposals.

    Equation 3 of the paper with R = -KL(mu || rho): what is pushed down is ``rho exp Q``, so that candidates from the
    policy draw the push to the policy's own actions. The paper's rho is the previous policy; the official code has a
    variant of it as ``min_q_version=2``, with the logged action among the candidates.
    """
    return cql_penalty(q_candidates, torch.zeros_like(log_density), q_data)


def no_uniform_density(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG: leaves out the density 2^-A of the uniform candidates, which then weigh 2^A times too little."""
    without = torch.cat([torch.zeros_like(log_density[:, :n_uniform]), log_density[:, n_uniform:]], dim=1)
    return cql_penalty(q_candidates, without, q_data)


def uniform_only(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG in practice: right densities but no policy candidates, so in high A nothing lands where the policy goes."""
    return cql_penalty(q_candidates[..., :n_uniform], log_density[:, :n_uniform], q_data)


def policy_only(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG in practice: right densities but no uniform candidates; a sharp policy never sees the other actions."""
    return cql_penalty(q_candidates[..., n_uniform:], log_density[:, n_uniform:], q_data)


def hard_max(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG: the maximum over the candidates in place of log-sum-exp; all push-down lands on a single action."""
    return (q_candidates.amax(-1) - q_data).mean(-1)


def batch_max(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG twice: ``torch.max(q)`` without a dimension takes one maximum over the whole batch."""
    return q_candidates.flatten(1).amax(-1) - q_data.mean(-1)


def single_action(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """WRONG in practice: one uniform and one policy action; right on average before the log, very noisy and low."""
    pick = [0, n_uniform]
    return cql_penalty(q_candidates[..., pick], log_density[:, pick], q_data)


PITFALLS: dict[str, Penalty] = {
    function.__name__: function
    for function in (
        no_importance_correction,
        no_uniform_density,
        uniform_only,
        policy_only,
        hard_max,
        batch_max,
        single_action,
    )
}


def push_only(q_candidates: Tensor, log_density: Tensor, q_data: Tensor, n_uniform: int) -> Tensor:
    """No pitfall: the log-sum-exp without the pull on the logged actions, as in Equation 1 of the paper.

    It serves to ask what that pull does; ``q_data`` is not read.
    """
    return log_partition(q_candidates, log_density).mean(-1)


PENALTIES: dict[str, Penalty] = {**PITFALLS, "push_only": push_only}


@dataclass(frozen=True, kw_only=True)
class WrongPenaltyConfig(CQLConfig):
    """Settings of CQL, and the name of one of `PENALTIES`, or None for the right penalty."""

    pitfall: str | None = None
    """Name of the penalty to train with, one of PENALTIES; None is the right one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("pitfall", None, *PENALTIES)
        if self.pitfall is not None:  # a part of the candidates with the weights of all is a second mistake
            self.require("pitfall", self.proposal_weights == "own", "None with proposal_weights 'mixture'")


class WrongPenaltyAgent(CQLAgent):
    """CQL with the penalty that ``config.pitfall`` names; ``make_agent("cql-wrong-penalty", config)`` builds one."""

    name = "cql-wrong-penalty"
    config_class = WrongPenaltyConfig
    config: WrongPenaltyConfig

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """The wrong penalty of each critic: ``[E, B, K], [B, K], [E, B] -> [E]``."""
        if self.config.pitfall is None:
            return super().penalty(q_candidates, log_density, q_data)
        return PENALTIES[self.config.pitfall](q_candidates, log_density, q_data, self.config.cql_n_actions)


register_agent("cql-wrong-penalty", WrongPenaltyAgent)
