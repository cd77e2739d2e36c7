"""What a policy is worth: true values, the estimation report, rollouts, intervals; from a log alone, `off_policy`."""

from __future__ import annotations

from .estimation_report import EstimationReport, estimation_report
from .intervals import t_interval, t_quantile
from .quadrature import log_partition_quadrature
from .rollouts import EVALUATION_SEED, Evaluator, evaluate_env, evaluate_policy, normalised_score, rollout_returns
from .true_values import monte_carlo_value, optimal_q, solve_q, true_q

__all__ = [
    "EVALUATION_SEED",
    "EstimationReport",
    "Evaluator",
    "estimation_report",
    "evaluate_env",
    "evaluate_policy",
    "log_partition_quadrature",
    "monte_carlo_value",
    "normalised_score",
    "optimal_q",
    "rollout_returns",
    "solve_q",
    "t_interval",
    "t_quantile",
    "true_q",
]
