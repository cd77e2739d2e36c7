"""Experiment of chapter 06: the error of a choice of candidates for the log-sum-exp, against quadrature."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...envs import Bandit
from ...evaluation.quadrature import log_partition_quadrature
from ...losses import LOG_2, log_partition, tanh_gaussian_log_prob

BEST_ACTION = 0.5  # where the bandit's high bump is, in each dimension; the policy's mean is there
GENTLE, STEEP = (1.0, 2.0), (3.0, 6.0)  # heights of the bandit's two bumps


def recipe_error(
    heights: tuple[float, float], n_uniform: int, n_policy: int, weights: str, sd: float = 0.05, repeats: int = 400
) -> float:
    """Root-mean-square error of the log-integral in six dimensions, nats, over repetitions with a seed of their own.

    ``weights`` is "own", each candidate divided by the density that drew it, or "mixture", by that of all proposals
    in the shares in which they were drawn. The policy is a tanh-Gaussian of standard deviation ``sd`` before tanh.
    """
    generator, A, double = torch.Generator().manual_seed(0), 6, torch.float64
    n_uniform, n_policy = int(n_uniform), int(n_policy)  # 06.7 takes 17.0 for 17
    world, mean = Bandit(actions=A, heights=heights), math.atanh(BEST_ACTION)
    uniform = torch.atanh(0.9999 * (2 * torch.rand(repeats, n_uniform, A, generator=generator, dtype=double) - 1))
    drawn = mean + sd * torch.randn(repeats, n_policy, A, generator=generator, dtype=double)
    u = torch.cat([uniform, drawn], 1)
    statistics: list[Tensor] = [torch.full((A,), value, dtype=double) for value in (mean, math.log(sd))]
    log_pi = tanh_gaussian_log_prob(u, *statistics)
    flat = torch.full_like(log_pi, -A * LOG_2)
    if weights == "own":
        density = torch.cat([flat[:, :n_uniform], log_pi[:, n_uniform:]], 1)
    else:
        shares = torch.tensor([n_uniform, n_policy], dtype=double).log() - math.log(n_uniform + n_policy)
        density = torch.logaddexp(flat + shares[0], log_pi + shares[1])
    error = log_partition(world.reward_function(u.tanh()), density) - log_partition_quadrature(world.per_dimension)
    return float(error.square().mean().sqrt())
